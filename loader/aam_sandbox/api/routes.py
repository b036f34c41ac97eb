"""The REST API's addresses, and Adobe's token endpoint."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from aam_sandbox.access import HEADERS, Content, Sandbox
from aam_sandbox.api import data_sources, destinations, folders, segments, traits
from aam_sandbox.api.listing import PARTNER_ID, ApiError, Paging, read_body, read_numbers
from aam_sandbox.collect import parse_parameters

Id = Annotated[int, Path(ge=0, lt=2**63)]


def _paging(
    page: Annotated[int | None, Query(ge=0, lt=10**9)] = None,
    page_size: Annotated[int | None, Query(alias="pageSize", ge=1, le=10_000)] = None,
    sort_by: Annotated[str | None, Query(alias="sortBy")] = None,
    descending: bool = False,
    search: str | None = None,
) -> Paging:
    return Paging(page, page_size, sort_by, descending, search)


Pages = Annotated[Paging, Depends(_paging)]
FolderId = Annotated[int | None, Query(alias="folderId", ge=0, lt=2**63)]
Code = Annotated[str | None, Query(alias="integrationCode")]
Dpids = Annotated[list[int], Query(alias="dataSourceId", default_factory=list)]


def token_endpoint(sandbox: Sandbox) -> APIRouter:
    """Adobe's token endpoint, for server-to-server credentials; any client ID and secret will do."""
    router = APIRouter()

    @router.post("/ims/token/v3")
    def token(content: Content) -> Response:
        given = dict(parse_parameters(content))
        if given.get("grant_type") != "client_credentials":
            raise ApiError(400, "grant_type is client_credentials")
        for name in ("client_id", "client_secret", "scope"):
            if not given.get(name):
                raise ApiError(400, f"{name} is missing")
        made = secrets.token_urlsafe(32)
        now = time.monotonic()
        for old in [old for old, (_, expires) in sandbox.tokens.items() if expires < now]:
            del sandbox.tokens[old]
        sandbox.tokens[made] = (given["client_id"], now + sandbox.token_seconds)
        said = {"access_token": made, "token_type": "bearer", "expires_in": sandbox.token_seconds}
        return JSONResponse(said, headers=HEADERS)

    return router


def rest_api(sandbox: Sandbox) -> APIRouter:
    """What stands below `/v1`."""

    def require_token(request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        client, expires = sandbox.tokens.get(token.strip(), ("", 0.0))
        if scheme.lower() != "bearer" or time.monotonic() >= expires:
            raise ApiError(401, "the token is missing, unknown or expired")
        if request.headers.get("x-api-key") != client:
            raise ApiError(403, "x-api-key is not the client ID of the token")

    router = APIRouter(dependencies=[Depends(require_token)], default_response_class=JSONResponse)

    @router.get("/users/self")
    def user() -> Any:
        return {"uid": 1, "pid": PARTNER_ID, "username": "sandbox", "status": "ACTIVE"}

    _serve_data_sources(router, sandbox)
    _serve_traits(router, sandbox)
    _serve_folders(router, sandbox)
    _serve_segments(router, sandbox)
    _serve_destinations(router, sandbox)
    return router


def _serve_data_sources(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/datasources")
    def listed(paging: Pages, code: Code = None) -> Any:
        with sandbox.store() as store:
            return data_sources.data_sources(store, paging, code)

    @router.get("/datasources/{dpid:int}")
    def one(dpid: Id) -> Any:
        with sandbox.store() as store:
            return data_sources.data_source(store, dpid)

    @router.get("/datasources/{dpid:int}/history/inbound")
    def inbound_history(
        dpid: Id,
        file: Annotated[str | None, Query(alias="dataFileName")] = None,
        samples: Annotated[bool, Query(alias="includeSamplingDetails")] = False,
    ) -> Any:
        with sandbox.store() as store:
            return data_sources.inbound_history(store, dpid, file, samples)


def _serve_traits(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/traits")
    def listed(
        paging: Pages,
        dpids: Dpids,
        folder: FolderId = None,
        code: Code = None,
        details: Annotated[bool, Query(alias="includeDetails")] = False,
    ) -> Any:
        with sandbox.store() as store:
            return traits.traits(store, paging, folder, code, dpids, details)

    @router.post("/traits", status_code=201)
    def create(content: Content) -> Any:
        body = read_body(traits.TraitBody, content)
        with sandbox.store() as store:
            return traits.create_trait(store, body)

    @router.get("/traits/limits")
    def limits() -> Any:
        with sandbox.store() as store:
            return traits.trait_limits(store)

    @router.post("/traits/validate")
    def validate(content: Content) -> Any:
        return traits.validate_rule(read_body(traits.RuleBody, content).code)

    @router.post("/traits/bulk-delete", status_code=204)
    def delete_all(content: Content) -> Response:
        sids = read_numbers(content)
        with sandbox.store() as store:
            traits.delete_traits(store, sids)
        return Response(status_code=204)

    @router.get("/traits/ic:{code}")
    def by_code(code: str) -> Any:
        with sandbox.store() as store:
            return traits.trait_by_code(store, code)

    @router.get("/traits/{sid:int}")
    def one(sid: Id) -> Any:
        with sandbox.store() as store:
            return traits.trait(store, sid)

    @router.put("/traits/{sid:int}")
    def change(sid: Id, content: Content) -> Any:
        body = read_body(traits.TraitBody, content)
        with sandbox.store() as store:
            return traits.change_trait(store, sid, body)

    @router.delete("/traits/{sid:int}", status_code=204)
    def delete(sid: Id) -> Response:
        with sandbox.store() as store:
            traits.delete_traits(store, [sid])
        return Response(status_code=204)

    @router.get("/traits/{sid:int}/trait-rule/versions")
    def rule_versions(sid: Id) -> Any:
        with sandbox.store() as store:
            return traits.rule_versions(store, sid)


def _serve_folders(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/folders/{kind}")
    def tree(kind: folders.FolderKind) -> Any:
        with sandbox.store() as store:
            return folders.folders(store, kind)

    @router.get("/folders/{kind}/{folder_id:int}")
    def one(kind: folders.FolderKind, folder_id: Id) -> Any:
        with sandbox.store() as store:
            return folders.folder(store, kind, folder_id)

    @router.post("/folders/{kind}", status_code=201)
    def create(kind: folders.FolderKind, content: Content) -> Any:
        body = read_body(folders.FolderBody, content)
        with sandbox.store() as store:
            return folders.create_folder(store, kind, body)


def _serve_segments(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/segments")
    def listed(
        paging: Pages,
        dpids: Dpids,
        folder: FolderId = None,
        code: Code = None,
        status: str | None = None,
        trait: Annotated[int | None, Query(alias="containsTrait", ge=0, lt=2**63)] = None,
        merge_rule: Annotated[int | None, Query(alias="mergeRuleDataSourceId", ge=0, lt=2**63)] = None,
        sources: Annotated[bool, Query(alias="includeTraitDataSourceIds")] = False,
    ) -> Any:
        with sandbox.store() as store:
            return segments.segments(store, paging, folder, code, dpids, status, trait, merge_rule, sources)

    @router.get("/segments/limits")
    def limits() -> Any:
        with sandbox.store() as store:
            return segments.segment_limits(store)

    @router.get("/segments/ic:{code}")
    def by_code(code: str) -> Any:
        with sandbox.store() as store:
            return segments.segment_by_code(store, code)

    @router.get("/segments/{sid:int}")
    def one(sid: Id) -> Any:
        with sandbox.store() as store:
            return segments.segment(store, sid)


def _serve_destinations(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/destinations")
    def listed(
        paging: Pages, segment: Annotated[int | None, Query(alias="containsSegment", ge=0, lt=2**63)] = None
    ) -> Any:
        with sandbox.store() as store:
            return destinations.destinations(store, paging, segment)

    @router.get("/destinations/{destination_id:int}")
    def one(destination_id: Id, mappings: Annotated[bool, Query(alias="includeMappings")] = False) -> Any:
        with sandbox.store() as store:
            return destinations.destination(store, destination_id, mappings)

    @router.get("/destinations/{destination_id:int}/mappings")
    def mapped(destination_id: Id, paging: Pages) -> Any:
        with sandbox.store() as store:
            return destinations.mappings(store, destination_id, paging)

    @router.get("/destinations/{destination_id:int}/history/outbound")
    def outbound_history(
        destination_id: Id,
        start: Annotated[int, Query(alias="startDate", ge=0, lt=2**63)],
        end: Annotated[int, Query(alias="endDate", ge=0, lt=2**63)],
    ) -> Any:
        with sandbox.store() as store:
            return destinations.outbound_history(store, destination_id, start, end)
