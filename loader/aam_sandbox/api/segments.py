"""Segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aam_sandbox.api.listing import PARTNER_ID, Listing, Paging, Where, count_of, listed, one_of
from aam_sandbox.segments import parse_segment_rule

if TYPE_CHECKING:
    from aam_sandbox.store import Store

MOST_SEGMENTS = 20_000
_SEGMENTS = Listing(
    "segments",
    {
        "sid": "sid",
        "pid": f"{PARTNER_ID}",
        "name": "name",
        "description": "description",
        "integrationCode": "integration_code",
        "dataSourceId": "dpid",
        "mergeRuleDataSourceId": "merge_rule_dpid",
        "folderId": "folder_id",
        "status": "status",
        "segmentRule": "rule",
        "createTime": "epoch_ms(created_at)",
        "updateTime": "epoch_ms(created_at)",
    },
    "sid",
)


def segments(
    store: Store,
    paging: Paging,
    folder_id: int | None,
    integration_code: str | None,
    dpids: list[int],
    status: str | None,
    contains_trait: int | None,
    merge_rule_dpid: int | None,
    with_trait_sources: bool,
) -> Any:
    """GET /segments."""
    where = Where()
    where.equal("folder_id", folder_id)
    where.equal("integration_code", integration_code)
    where.equal("dpid", dpids)
    where.equal("status", status)
    where.equal("merge_rule_dpid", merge_rule_dpid)
    if contains_trait is not None:
        where.add(f"regexp_matches(rule, '(^|[^0-9]){int(contains_trait)}([^0-9]|$)')")
    found = listed(store, _SEGMENTS, where, paging, with_details=True)
    if with_trait_sources:
        rows = found["list"] if isinstance(found, dict) else found
        sources = {row["sid"]: row["dpid"] for row in store.rows("select sid, dpid from traits")}
        for row in rows:
            sids = parse_segment_rule(row["segmentRule"] or "").sids
            row["traitDataSourceIds"] = sorted({sources[sid] for sid in sids if sid in sources})
    return found


def segment(store: Store, sid: int) -> dict[str, Any]:
    """GET /segments/<sid>."""
    where = Where()
    where.equal("sid", sid)
    return one_of(store, _SEGMENTS, where, "segment")


def segment_by_code(store: Store, integration_code: str) -> dict[str, Any]:
    """GET /segments/ic:<code>."""
    where = Where()
    where.equal("integration_code", integration_code)
    return one_of(store, _SEGMENTS, where, "segment")


def segment_limits(store: Store) -> dict[str, Any]:
    """GET /segments/limits; the shape is ours."""
    return {"limit": MOST_SEGMENTS, "count": count_of(store, "segments")}
