"""What the sandbox knows of a person, and of how many people."""

from __future__ import annotations

from typing import Any

from aam_onboard.errors import ConfigError
from aam_sandbox.segments import fill_memberships
from aam_sandbox.store import Store


def profile_of(store: Store, dpid: int, user_id: str) -> dict[str, Any]:
    """The traits and segments of an ID, and the IDs that belong to it.

    Keys: dpid, user_id, known, devices, ids (of customers that the device belongs to), traits, segments. Raises
    ConfigError for a data source that the sandbox has not.
    """
    _require_source(store, dpid)
    one = [dpid, user_id]
    devices = store.rows(
        "select device_dpid as dpid, device_id as id from devices_of where dpid = ? and user_id = ? order by all",
        one,
    )
    ids = store.rows(
        "select dpid, user_id as id from devices_of where device_dpid = ? and device_id = ? order by all", one
    )
    traits = store.rows(
        "select sid, name, traits.dpid, since from visible_traits inner join traits using (sid)"
        " where visible_traits.dpid = ? and user_id = ? order by sid",
        one,
    )
    is_known = store.value("select true from known_ids where dpid = ? and user_id = ? limit 1", one)
    segments: list[dict[str, Any]] = []
    if is_known:
        fill_memberships(store.connection, dpid, "select sid from segments")
        segments = store.rows(
            "select sid, name from memberships inner join segments using (sid) where user_id = ? order by sid",
            [user_id],
        )
    return {
        "dpid": dpid,
        "user_id": user_id,
        "known": bool(is_known),
        "devices": devices,
        "ids": ids,
        "traits": traits,
        "segments": segments,
    }


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
