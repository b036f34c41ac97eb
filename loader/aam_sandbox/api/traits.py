"""Traits: read, created, changed, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aam_onboard.errors import ConfigError
from aam_sandbox.api.listing import PARTNER_ID, ApiError, Listing, Paging, Where, count_of, listed, one_of
from aam_sandbox.trait_rules import parse_trait_rule

if TYPE_CHECKING:
    from aam_sandbox.store import Store

# [usage-limits]
MOST_TRAITS = 100_000
_TRAITS = Listing(
    "traits",
    {
        "sid": "sid",
        "pid": f"{PARTNER_ID}",
        "name": "name",
        "description": "description",
        "dataSourceId": "dpid",
        "folderId": "folder_id",
        "status": "status",
        "traitType": "trait_type",
        "createTime": "epoch_ms(created_at)",
        "updateTime": "epoch_ms(updated_at)",
        "ttl": "ttl",
        "comments": "comments",
        "integrationCode": "integration_code",
        "traitRule": "rule",
        "traitRuleVersion": "0",
        "type": "if(trait_type = 'ON_BOARDED_TRAIT', 10, 3)",
    },
    "sid",
    frozenset(("ttl", "comments", "integrationCode", "traitRule", "traitRuleVersion", "type")),
)


class TraitBody(BaseModel):
    """The body of POST and PUT /traits; what Audience Manager sets itself is not minded."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255)]
    traitType: Literal["RULE_BASED_TRAIT", "ON_BOARDED_TRAIT"]
    dataSourceId: Annotated[int, Field(ge=0, lt=2**63)]
    folderId: Annotated[int, Field(ge=0, lt=2**63)]
    traitRule: str | None = None
    description: str | None = None
    integrationCode: str | None = None
    comments: str | None = None
    ttl: Annotated[int, Field(ge=0, lt=2**31)] = 120
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"


class RuleBody(BaseModel):
    """The body of POST /traits/validate."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    code: str


def traits(
    store: Store,
    paging: Paging,
    folder_id: int | None,
    integration_code: str | None,
    dpids: list[int],
    with_details: bool,
) -> Any:
    """GET /traits."""
    where = Where()
    where.equal("folder_id", folder_id)
    where.equal("integration_code", integration_code)
    where.equal("dpid", dpids)
    return listed(store, _TRAITS, where, paging, with_details)


def trait(store: Store, sid: int) -> dict[str, Any]:
    """GET /traits/<sid>."""
    where = Where()
    where.equal("sid", sid)
    return one_of(store, _TRAITS, where, "trait")


def trait_by_code(store: Store, integration_code: str) -> dict[str, Any]:
    """GET /traits/ic:<code>."""
    where = Where()
    where.equal("integration_code", integration_code)
    return one_of(store, _TRAITS, where, "trait")


def create_trait(store: Store, body: TraitBody) -> dict[str, Any]:
    """POST /traits. ApiError 400 for what can't be, 409 when the data source has the integration code already."""
    if count_of(store, "traits") >= MOST_TRAITS:
        raise ApiError(400, f"there are {MOST_TRAITS:,} traits already, the most there can be")
    _require_possible(store, body)
    with store.transaction() as connection:
        sid = store.value(
            "select max(sid) + 1 from (select sid from traits union all select sid from segments union all select 0)"
        )
        connection.execute(
            f"insert into traits ({', '.join(_columns(body))}, sid, created_at, updated_at)"
            f" values ({', '.join('?' for _ in _columns(body))}, ?, now()::timestamp, now()::timestamp)",
            [*_columns(body).values(), sid],
        )
    return trait(store, sid)


def change_trait(store: Store, sid: int, body: TraitBody) -> dict[str, Any]:
    """PUT /traits/<sid>: the whole trait anew. ApiError as create_trait, 404 when there is none."""
    trait(store, sid)
    _require_possible(store, body, sid)
    columns = _columns(body)
    store.connection.execute(
        f"update traits set {', '.join(f'{column} = ?' for column in columns)}, updated_at = now()::timestamp"
        " where sid = ?",
        [*columns.values(), sid],
    )
    return trait(store, sid)


def delete_traits(store: Store, sids: Sequence[int]) -> None:
    """DELETE /traits/<sid> and POST /traits/bulk-delete: all or, with ApiError 404, none."""
    for sid in sids:
        trait(store, sid)
    with store.transaction() as connection:
        for table in ("traits", "destination_mappings"):
            connection.execute(f"delete from {table} where list_contains(?, sid)", [list(sids)])
        connection.execute(
            "update qualifications set sids = list_filter(sids, lambda sid: not list_contains($1, sid))"
            " where list_has_any(sids, $1)",
            [list(sids)],
        )
        connection.execute("delete from qualifications where sids = []")


def _columns(body: TraitBody) -> dict[str, Any]:
    return {
        "name": body.name,
        "trait_type": body.traitType,
        "dpid": body.dataSourceId,
        "folder_id": body.folderId,
        "rule": body.traitRule or None,
        "description": body.description,
        "integration_code": body.integrationCode or None,
        "comments": body.comments,
        "ttl": body.ttl,
        "status": body.status,
    }


def _require_possible(store: Store, body: TraitBody, sid: int | None = None) -> None:
    if store.value("select owned from data_sources where dpid = ?", [body.dataSourceId]) is not True:
        raise ApiError(400, "dataSourceId is no data source of the company")
    if store.value("select 1 from folders where kind = 'traits' and folder_id = ?", [body.folderId]) is None:
        raise ApiError(400, "folderId is no folder of traits")
    if body.traitType == "RULE_BASED_TRAIT" and not body.traitRule:
        raise ApiError(400, "traitRule is missing: a rule-based trait needs one")
    if body.traitRule:
        validate_rule(body.traitRule)
    if body.integrationCode and store.value(
        "select 1 from traits where dpid = ? and integration_code = ? and sid is distinct from ?",
        [body.dataSourceId, body.integrationCode, sid],
    ):
        raise ApiError(409, "integrationCode is that of another trait of the data source")


def validate_rule(rule: str) -> dict[str, Any]:
    """POST /traits/validate. ApiError 400 points at the character."""
    try:
        parse_trait_rule(rule)
    except ConfigError as error:
        raise ApiError(400, str(error)) from None
    return {"code": rule, "valid": True}


def trait_limits(store: Store) -> dict[str, Any]:
    """GET /traits/limits; the shape is ours."""
    return {"limit": MOST_TRAITS, "count": count_of(store, "traits")}


def rule_versions(store: Store, sid: int) -> list[dict[str, Any]]:
    """GET /traits/<sid>/trait-rule/versions: the sandbox keeps the newest alone."""
    found = trait(store, sid)
    return [{"version": 0, "traitRule": found["traitRule"], "createTime": found["createTime"]}]
