"""What the sandbox knows of a person, and of how many people."""

from __future__ import annotations

from typing import Any

from aam_onboard.errors import ConfigError
from aam_sandbox.segments import fill_memberships, parse_segment_rule
from aam_sandbox.store import Store

# What the views devices_of and visible_traits say of all, for one ID; it comes at once however many there are.
_RELATED = """
create or replace temp table related as
with recursive devices as (
    select $1::bigint as dpid, $2::varchar as id
    union
    select id_mappings.device_dpid, id_mappings.device_id
    from devices inner join id_mappings on devices.dpid = id_mappings.dpid and devices.id = id_mappings.user_id
),

ids as (
    select $1::bigint as dpid, $2::varchar as id
    union
    select id_mappings.dpid, id_mappings.user_id
    from ids inner join id_mappings on ids.dpid = id_mappings.device_dpid and ids.id = id_mappings.device_id
)

select 'devices' as kind, * from devices
union
select 'ids' as kind, * from ids
"""


def profile_of(store: Store, dpid: int, user_id: str) -> dict[str, Any]:
    """The traits and segments of an ID, and the IDs that belong to it.

    Keys: dpid, user_id, known, opted_out (then nothing else is kept), devices, ids (of customers that it belongs to),
    traits, segments. Raises ConfigError for a data source that the sandbox has not.
    """
    _require_source(store, dpid)
    one = [dpid, user_id]
    opted_out = store.value("select true from opt_outs where dpid = ? and user_id = ? limit 1", one)
    found: dict[str, Any] = {"dpid": dpid, "user_id": user_id, "known": False, "opted_out": bool(opted_out)}
    if opted_out:
        return found | {"known": True, "devices": [], "ids": [], "traits": [], "segments": []}
    store.connection.execute(_RELATED, one)
    for kind in ("devices", "ids"):
        found[kind] = store.rows(
            "select related.dpid, id, name from related left join data_sources using (dpid)"
            " where kind = ? and (related.dpid, id) <> (?, ?) order by all",
            [kind, *one],
        )
    found["traits"] = store.rows(
        "with of_these as ("
        "  select sid, max(since) as since from profile_traits"
        "  semi join related on profile_traits.dpid = related.dpid and user_id = id"
        "  anti join opt_outs using (dpid, user_id) group by sid)"
        " select sid, name, dpid, since from of_these inner join traits using (sid) order by sid"
    )
    found["known"] = bool(found["devices"] or found["ids"] or found["traits"])
    found["segments"] = _segments(store, found["traits"]) if found["known"] else []
    return found


def _segments(store: Store, traits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    active = store.rows("select sid, name, rule from segments where status = 'ACTIVE' order by sid")
    if not active:
        return []
    conditions = ", ".join(parse_segment_rule(segment["rule"]).condition for segment in active)
    sids = [trait["sid"] for trait in traits]
    is_in = store.value(
        f"select [{conditions}]"
        " from (select map_from_entries(list_transform($1::bigint[], lambda sid: (sid, sid))) as traits)",
        [sids],
    )
    return [
        {"sid": segment["sid"], "name": segment["name"]}
        for segment, belongs in zip(active, is_in, strict=True)
        if belongs
    ]


def _require_source(store: Store, dpid: int) -> None:
    if store.value("select dpid from data_sources where dpid = ?", [dpid]) is None:
        known = ", ".join(
            str(row["dpid"]) for row in store.rows("select dpid from data_sources order by dpid")
        )
        raise ConfigError(f"--dpid {dpid}: the sandbox has no such data source; known are {known}")


def sizes_of(store: Store, dpid: int) -> dict[str, Any]:
    """How many IDs of a data source are in each trait and segment that anybody is in.

    Keys: dpid, traits, segments; each a list with sid, name, users. Raises ConfigError as profile_of, and for a
    segment's rule that can't be read.
    """
    _require_source(store, dpid)
    sizes = "select sid, name, count(*) as users from {} inner join {} using (sid) group by sid, name order by sid"
    traits = store.rows(
        sizes.format("(from visible_traits select user_id, sid where dpid = ?)", "traits"), [dpid]
    )
    fill_memberships(store.connection, dpid, "select sid from segments")
    return {"dpid": dpid, "traits": traits, "segments": store.rows(sizes.format("memberships", "segments"))}
