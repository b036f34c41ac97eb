"""`aam sandbox serve`: HTTP around the sandbox. What is behind an address stands in collect.py, api.py and page.py."""

from __future__ import annotations

import os
import pathlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aam_onboard.config import package_rules
from aam_onboard.errors import ConfigError, LockedError
from aam_onboard.rules import Rules
from aam_sandbox import api, collect
from aam_sandbox.page import render_page
from aam_sandbox.store import Store, open_store

if TYPE_CHECKING:
    import uvicorn

LARGEST_BODY = 1 << 20  # far more than any call needs
TOKEN_SECONDS = 86_399
_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]
_PATIENCE = 5.0  # seconds, while another command has the sandbox open
# a transparent picture of one pixel
_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass
class Sandbox:
    """What all requests share. The file is opened for each, so that other commands get at it in between."""

    folder: pathlib.Path
    rules: Rules
    token_seconds: int
    # token → the client that asked for it, and when it expires
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The sandbox, for one request at a time. Raises LockedError when another command keeps it."""
        with self._lock, ExitStack() as opened:
            yield self._opened(opened)

    def _opened(self, stack: ExitStack) -> Store:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return stack.enter_context(open_store(self.folder))
            except LockedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def serve(
    folder: pathlib.Path, host: str, port: int, token_seconds: int, on_ready: Callable[[str], None]
) -> None:
    """Answer until interrupted. `on_ready` is called with the address as soon as somebody may ask there.

    Raises ConfigError when there is no sandbox, or the port is taken.
    """
    server = server_of(folder, host, token_seconds)
    with listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        on_ready(f"http://{shown}:{listener.getsockname()[1]}/")
        server.run(sockets=[listener])


def server_of(
    folder: pathlib.Path, host: str = "127.0.0.1", token_seconds: int = TOKEN_SECONDS
) -> uvicorn.Server:
    """A server that doesn't listen yet. Raises ConfigError when there is no sandbox."""
    import uvicorn

    app = make_app(folder, host, token_seconds)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="info" if os.environ.get("AAM_TRACEBACK") else "critical",
        access_log=False,  # addresses hold people's IDs
        server_header=False,
        lifespan="off",
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises ConfigError when the port is taken or not ours to take."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        said = str(error.strerror or error).partition(" (while")[0]
        raise ConfigError(
            f"{host}, port {port}: {said}; give another with --port (0: any that is free)"
        ) from None


def make_app(folder: pathlib.Path, host: str = "127.0.0.1", token_seconds: int = TOKEN_SECONDS) -> FastAPI:
    """The application for a sandbox's folder. `host`: the address on which it listens.

    Raises ConfigError when there is no sandbox.
    """
    sandbox = Sandbox(folder, package_rules(), token_seconds)
    with sandbox.store():
        pass  # whether there is one
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_pages(sandbox))
    app.include_router(_calls(sandbox))
    app.include_router(_tokens(sandbox))
    app.include_router(_rest_api(sandbox), prefix="/v1")
    _answer_errors(app)
    app.add_middleware(_OnePath)
    app.add_middleware(_SmallBody)
    if host in ("127.0.0.1", "::1", "localhost"):
        # Another site's page must not get at the answers by a name of its own for this address.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    return app


def _answer_errors(app: FastAPI) -> None:
    """One line of text; Audience Manager documents no body."""

    def said(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
        return PlainTextResponse(f"{line}\n", status, headers={**_HEADERS, **(headers or {})})

    @app.exception_handler(api.ApiError)
    async def of_api(_: Request, error: api.ApiError) -> Response:
        headers = {"www-authenticate": 'Bearer realm="sandbox", error="invalid_token"'}
        return said(error.status, str(error), headers if error.status == 401 else None)

    @app.exception_handler(collect.CallError)
    async def of_call(_: Request, error: collect.CallError) -> Response:
        return said(400, str(error))

    @app.exception_handler(LockedError)
    async def of_lock(_: Request, error: LockedError) -> Response:
        return said(503, str(error), {"retry-after": "1"})

    @app.exception_handler(ConfigError)
    async def of_config(_: Request, error: ConfigError) -> Response:
        return said(500, str(error))

    @app.exception_handler(RequestValidationError)
    async def of_parameters(_: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        return said(400, f"{found['loc'][-1]}: {found['msg']}")

    @app.exception_handler(HTTPException)
    async def of_address(_: Request, error: HTTPException) -> Response:
        return said(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def of_ours(_: Request, error: Exception) -> Response:
        return said(500, f"unexpected {type(error).__name__}; this is a fault of the sandbox")


class _OnePath:
    """`/v1/traits/` is `/v1/traits`, for the pages write both; and an ID sync says what it says in its path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith("/v1/"):
            scope = {**scope, "path": path.rstrip("/")}
        elif path.startswith("/ibs:"):
            scope = {**scope, "path": "/ibs"}
        await self._app(scope, receive, send)


class _SmallBody:
    """Refuse a body that is too large: by what its head says, else as soon as so many bytes have come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        is_small = length.isdigit() and len(length) < 20 and int(length) <= LARGEST_BODY
        body = b""
        more = True
        while is_small and more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            is_small = len(body) <= LARGEST_BODY
        if not is_small:
            refused = PlainTextResponse(
                f"a body holds {LARGEST_BODY:,} bytes at most\n", 413, headers={"connection": "close"}
            )
            await refused(scope, receive, send)
            return
        messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, again, send)


def _pages(sandbox: Sandbox) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def page(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        with sandbox.store() as store:
            text = render_page(store, dict(request.query_params), nonce)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none';"
            " frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={**_HEADERS, "content-security-policy": policy})

    return router


def _calls(sandbox: Sandbox) -> APIRouter:
    """What web pages and e-mails call. [id-sync-http, declared-ids]"""
    router = APIRouter()

    @router.get("/ibs")
    def id_sync(request: Request) -> Response:
        # the path as it came: an encoded & belongs to an ID
        path: bytes = request.scope["raw_path"]
        asked = collect.parse_http_sync(path.decode("ascii", "replace").partition("ibs:")[2])
        uuid = collect.device_of(request.cookies.get("demdex"))
        with sandbox.store() as store:
            collect.sync_ids(store, sandbox.rules, uuid, [asked.declared])
        if asked.redirect is None:
            return _picture(uuid)
        where = {"location": collect.redirect_to(asked.redirect, uuid)}
        return _remembered(Response(status_code=302, headers={**_HEADERS, **where}), uuid)

    @router.get("/event")
    @router.post("/event")
    def event(request: Request, content: Content) -> Response:
        given = _parameters(request.scope["query_string"] + b"&" + content)
        uuid = collect.device_of(request.cookies.get("demdex"))
        with sandbox.store() as store:
            declared = collect.parse_declared_ids(store, given)
            collect.sync_ids(store, sandbox.rules, uuid, declared)
            signals = [(key, value) for key, value in given if not key.startswith("d_")]
            realized = collect.take_event(store, uuid, declared, signals)
        said = {"uuid": uuid, "dcs_region": 9, "stuff": [], "traits": realized}
        return _remembered(JSONResponse(said, headers=_HEADERS), uuid)

    @router.get("/demoptout.jpg")
    def opt_out(request: Request) -> Response:
        cookie = request.cookies.get("demdex")
        with sandbox.store() as store:
            declared = collect.parse_declared_ids(store, _parameters(request.scope["query_string"]))
            collect.opt_out(store, sandbox.rules, collect.device_of(cookie) if cookie else None, declared)
        return Response(_PIXEL, media_type="image/gif", headers=_HEADERS)

    return router


def _parameters(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:  # which UnicodeDecodeError is
        raise collect.CallError("the parameters are no percent-encoded UTF-8, or more than 1,000") from None


def _picture(uuid: str) -> Response:
    return _remembered(Response(_PIXEL, media_type="image/gif", headers=_HEADERS), uuid)


def _remembered(response: Response, uuid: str) -> Response:
    """An answer that lets the browser keep its AAM UUID, as the cookie `demdex` does it for 180 days."""
    response.set_cookie("demdex", uuid, max_age=180 * 86_400, httponly=True, samesite="lax")
    return response


def _tokens(sandbox: Sandbox) -> APIRouter:
    """Adobe's token endpoint, for server-to-server credentials; any client ID and secret will do."""
    router = APIRouter()

    @router.post("/ims/token/v3")
    def token(content: Content) -> Response:
        given = dict(_parameters(content))
        if given.get("grant_type") != "client_credentials":
            raise api.ApiError(400, "grant_type is client_credentials")
        for name in ("client_id", "client_secret", "scope"):
            if not given.get(name):
                raise api.ApiError(400, f"{name} is missing")
        made = secrets.token_urlsafe(32)
        now = time.monotonic()
        for old in [old for old, (_, expires) in sandbox.tokens.items() if expires < now]:
            del sandbox.tokens[old]
        sandbox.tokens[made] = (given["client_id"], now + sandbox.token_seconds)
        said = {"access_token": made, "token_type": "bearer", "expires_in": sandbox.token_seconds}
        return JSONResponse(said, headers=_HEADERS)

    return router


async def _content(request: Request) -> bytes:
    return await request.body()


Content = Annotated[bytes, Depends(_content)]
Id = Annotated[int, Path(ge=0, lt=2**63)]


def _paging(
    page: Annotated[int | None, Query(ge=0, lt=10**9)] = None,
    page_size: Annotated[int | None, Query(alias="pageSize", ge=1, le=10_000)] = None,
    sort_by: Annotated[str | None, Query(alias="sortBy")] = None,
    descending: bool = False,
    search: str | None = None,
) -> api.Paging:
    return api.Paging(page, page_size, sort_by, descending, search)


Paging = Annotated[api.Paging, Depends(_paging)]
FolderId = Annotated[int | None, Query(alias="folderId", ge=0, lt=2**63)]
Code = Annotated[str | None, Query(alias="integrationCode")]
Dpids = Annotated[list[int], Query(alias="dataSourceId", default_factory=list)]


def _rest_api(sandbox: Sandbox) -> APIRouter:
    def require_token(request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        client, expires = sandbox.tokens.get(token.strip(), ("", 0.0))
        if scheme.lower() != "bearer" or time.monotonic() >= expires:
            raise api.ApiError(401, "the token is missing, unknown or expired")
        if request.headers.get("x-api-key") != client:
            raise api.ApiError(403, "x-api-key is not the client ID of the token")

    router = APIRouter(dependencies=[Depends(require_token)], default_response_class=JSONResponse)

    @router.get("/users/self")
    def user() -> Any:
        return {"uid": 1, "pid": api.PARTNER_ID, "username": "sandbox", "status": "ACTIVE"}

    _serve_data_sources(router, sandbox)
    _serve_traits(router, sandbox)
    _serve_folders(router, sandbox)
    _serve_segments(router, sandbox)
    _serve_destinations(router, sandbox)
    return router


def _serve_data_sources(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/datasources")
    def data_sources(paging: Paging, code: Code = None) -> Any:
        with sandbox.store() as store:
            return api.data_sources(store, paging, code)

    @router.get("/datasources/{dpid:int}")
    def data_source(dpid: Id) -> Any:
        with sandbox.store() as store:
            return api.data_source(store, dpid)

    @router.get("/datasources/{dpid:int}/history/inbound")
    def inbound_history(
        dpid: Id,
        file: Annotated[str | None, Query(alias="dataFileName")] = None,
        samples: Annotated[bool, Query(alias="includeSamplingDetails")] = False,
    ) -> Any:
        with sandbox.store() as store:
            return api.inbound_history(store, dpid, file, samples)


def _serve_traits(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/traits")
    def traits(
        paging: Paging,
        dpids: Dpids,
        folder: FolderId = None,
        code: Code = None,
        details: Annotated[bool, Query(alias="includeDetails")] = False,
    ) -> Any:
        with sandbox.store() as store:
            return api.traits(store, paging, folder, code, dpids, details)

    @router.post("/traits", status_code=201)
    def create(content: Content) -> Any:
        body = api.read_body(api.TraitBody, content)
        with sandbox.store() as store:
            return api.create_trait(store, body)

    @router.get("/traits/limits")
    def limits() -> Any:
        with sandbox.store() as store:
            return api.trait_limits(store)

    @router.post("/traits/validate")
    def validate(content: Content) -> Any:
        return api.validate_rule(api.read_body(api.RuleBody, content).code)

    @router.post("/traits/bulk-delete", status_code=204)
    def delete_all(content: Content) -> Response:
        sids = api.read_numbers(content)
        with sandbox.store() as store:
            api.delete_traits(store, sids)
        return Response(status_code=204)

    @router.get("/traits/ic:{code}")
    def trait_by_code(code: str) -> Any:
        with sandbox.store() as store:
            return api.trait_by_code(store, code)

    @router.get("/traits/{sid:int}")
    def trait(sid: Id) -> Any:
        with sandbox.store() as store:
            return api.trait(store, sid)

    @router.put("/traits/{sid:int}")
    def change(sid: Id, content: Content) -> Any:
        body = api.read_body(api.TraitBody, content)
        with sandbox.store() as store:
            return api.change_trait(store, sid, body)

    @router.delete("/traits/{sid:int}", status_code=204)
    def delete(sid: Id) -> Response:
        with sandbox.store() as store:
            api.delete_traits(store, [sid])
        return Response(status_code=204)

    @router.get("/traits/{sid:int}/trait-rule/versions")
    def rule_versions(sid: Id) -> Any:
        with sandbox.store() as store:
            return api.rule_versions(store, sid)


def _serve_folders(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/folders/{kind}")
    def folders(kind: api.FolderKind) -> Any:
        with sandbox.store() as store:
            return api.folders(store, kind)

    @router.get("/folders/{kind}/{folder_id:int}")
    def folder(kind: api.FolderKind, folder_id: Id) -> Any:
        with sandbox.store() as store:
            return api.folder(store, kind, folder_id)

    @router.post("/folders/{kind}", status_code=201)
    def create(kind: api.FolderKind, content: Content) -> Any:
        body = api.read_body(api.FolderBody, content)
        with sandbox.store() as store:
            return api.create_folder(store, kind, body)


def _serve_segments(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/segments")
    def segments(
        paging: Paging,
        dpids: Dpids,
        folder: FolderId = None,
        code: Code = None,
        status: str | None = None,
        trait: Annotated[int | None, Query(alias="containsTrait", ge=0, lt=2**63)] = None,
        merge_rule: Annotated[int | None, Query(alias="mergeRuleDataSourceId", ge=0, lt=2**63)] = None,
        sources: Annotated[bool, Query(alias="includeTraitDataSourceIds")] = False,
    ) -> Any:
        with sandbox.store() as store:
            return api.segments(store, paging, folder, code, dpids, status, trait, merge_rule, sources)

    @router.get("/segments/limits")
    def limits() -> Any:
        with sandbox.store() as store:
            return api.segment_limits(store)

    @router.get("/segments/ic:{code}")
    def segment_by_code(code: str) -> Any:
        with sandbox.store() as store:
            return api.segment_by_code(store, code)

    @router.get("/segments/{sid:int}")
    def segment(sid: Id) -> Any:
        with sandbox.store() as store:
            return api.segment(store, sid)


def _serve_destinations(router: APIRouter, sandbox: Sandbox) -> None:
    @router.get("/destinations")
    def destinations(
        paging: Paging, segment: Annotated[int | None, Query(alias="containsSegment", ge=0, lt=2**63)] = None
    ) -> Any:
        with sandbox.store() as store:
            return api.destinations(store, paging, segment)

    @router.get("/destinations/{destination_id:int}")
    def destination(
        destination_id: Id, mappings: Annotated[bool, Query(alias="includeMappings")] = False
    ) -> Any:
        with sandbox.store() as store:
            return api.destination(store, destination_id, mappings)

    @router.get("/destinations/{destination_id:int}/mappings")
    def mappings(destination_id: Id, paging: Paging) -> Any:
        with sandbox.store() as store:
            return api.mappings(store, destination_id, paging)

    @router.get("/destinations/{destination_id:int}/history/outbound")
    def outbound_history(
        destination_id: Id,
        start: Annotated[int, Query(alias="startDate", ge=0, lt=2**63)],
        end: Annotated[int, Query(alias="endDate", ge=0, lt=2**63)],
    ) -> Any:
        with sandbox.store() as store:
            return api.outbound_history(store, destination_id, start, end)
