"""ID mappings: what an ID sync file or pixel tells, within Audience Manager's limits [usage-limits]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aam_sandbox.ids import DEVICES

if TYPE_CHECKING:
    import duckdb

DEVICES_PER_ID = 100
IDS_PER_DEVICE = 10  # in one data source


def add_mappings(connection: duckdb.DuckDBPyConnection, told: str) -> None:
    """Take in what `told` holds, a table or query of (dpid, user_id, device_dpid, device_id, seen), `seen` from 1 up.

    A pair that is known already is as new as if it were told for the first time; past a limit, the oldest goes.
    """
    pair = "dpid, user_id, device_dpid, device_id"
    connection.execute(
        f"""
        create or replace temp table told_pairs as
        select {pair}, max(seen) + (select coalesce(max(seen), 0) from id_mappings) as seen
        from ({told}) group by {pair}
        """
    )
    connection.execute(f"delete from id_mappings where ({pair}) in (select ({pair}) from told_pairs)")
    connection.execute(f"insert into id_mappings select {pair}, seen from told_pairs")
    _keep_newest(connection, "dpid, user_id", DEVICES_PER_ID)
    _keep_newest(connection, "dpid, device_dpid, device_id", IDS_PER_DEVICE)
    connection.execute("drop table told_pairs")


def _keep_newest(connection: duckdb.DuckDBPyConnection, of: str, most: int) -> None:
    """Of all that was told of an ID, the newest."""
    told = f"select {of} from id_mappings semi join told_pairs using ({of}) group by {of} having count(*) > {most}"
    connection.execute(
        f"""
        delete from id_mappings where rowid in (
            select rowid from id_mappings semi join ({told}) using ({of})
            qualify row_number() over (partition by {of} order by seen desc) > {most}
        )
        """
    )


def fill_reached(connection: duckdb.DuckDBPyConnection, dpid: int, users: str) -> None:
    """Fill the temporary table `reached` (user_id, device_dpid, device_id): the devices of a data source's IDs.

    `users`: a query of their user_id. IDs may lead to devices through other IDs.
    """
    connection.execute(
        f"""
        create or replace temp table reached as
        with recursive steps (user_id, device_dpid, device_id) as (
            select user_id, device_dpid, device_id
            from id_mappings where dpid = {dpid} and user_id in ({users})
            union
            select steps.user_id, id_mappings.device_dpid, id_mappings.device_id
            from steps
            inner join id_mappings on steps.device_dpid = id_mappings.dpid and steps.device_id = id_mappings.user_id
        )
        select user_id, device_dpid, device_id from steps
        where device_dpid in ({", ".join(map(str, DEVICES))})
        """
    )
