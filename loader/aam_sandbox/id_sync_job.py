"""An ID sync file's lines → ID mappings [id-sync-file-based, people-based-destinations-*]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aam_onboard.filenames import IdSyncName
from aam_sandbox.ids import DEVICES, HASHED_EMAIL, fault_of
from aam_sandbox.mappings import add_mappings
from aam_sandbox.text import LINE_BYTES

if TYPE_CHECKING:
    import duckdb

HASHED_EMAILS_PER_ID = 10

RECORDS = """
    create or replace temp table records (
        file integer, record bigint, ids varchar[], fault varchar, reason varchar, line varchar
    )
"""


@dataclass(frozen=True)
class IdSyncJob:
    """What a job's file names say; `unsynced_stay`: the first column is of a cross-device source."""

    name: IdSyncName
    unsynced_stay: bool = False
    may_be_plain = False

    @property
    def is_chained(self) -> bool:
        """Whether its first column holds IDs that lead to devices only by another ID sync."""
        return self.name.dpids[0] not in DEVICES

    def records(self, lines: str) -> str:
        """SQL: the rows of `records` for `lines` (file, record, line, odd)."""
        faults = [fault_of(f"ids[{place}]", dpid) for place, dpid in enumerate(self.name.dpids, start=1)]
        if self.name.prefix == "c2c_id":
            faults[1] = f"case when not regexp_full_match(ids[2], '{HASHED_EMAIL}') then 'format_errors' end"
        count = len(self.name.dpids)
        return f"""
            with split as (select *, string_split(line, chr(9)) as ids from {lines}),
            judged as (
                select *,
                    case
                        when strlen(line) > {LINE_BYTES} then 'a line of more than {LINE_BYTES:,} bytes'
                        when odd and contains(line, chr(0)) then 'no UTF-8'
                        when trim(line, ' ' || chr(9)) = '' then 'a blank line'
                        when right(line, 1) in (' ', chr(9)) then 'a space or TAB at the end'
                        when len(ids) <> {count} then 'not {count} columns'
                    end as form_fault,
                    case when form_fault is null then coalesce({", ".join(faults)}) else 'format_errors' end as fault
                from split
            )
            select file, record, ids, fault,
                case when fault is not null then coalesce(form_fault, 'no ID of its data source') end as reason,
                case when fault is not null then line end as line
            from judged
        """


def take_in(connection: duckdb.DuckDBPyConnection, job: IdSyncJob) -> None:
    """Change the mappings by `records`, and mark there what is left out.

    A chained file's first column must be synced already, or be of a cross-device source.
    """
    if job.name.prefix == "c2c_id":
        connection.execute(
            f"""
            update records set fault = 'format_errors', line = array_to_string(ids, chr(9)),
                reason = 'more than {HASHED_EMAILS_PER_ID} hashed e-mails of this ID'
            where record in (
                with seen as (
                    select record, ids[1] as id, min(record) over (partition by ids[1], ids[2]) as first_record
                    from records where fault is null
                )
                select record from seen
                qualify dense_rank() over (partition by id order by first_record) > {HASHED_EMAILS_PER_ID}
            )
            """
        )
    elif job.is_chained and not job.unsynced_stay:
        connection.execute(
            f"""
            update records set fault = 'no_matching_aam_id', line = array_to_string(ids, chr(9)),
                reason = 'the first ID is not synced'
            where fault is null
                and ids[1] not in (select user_id from devices_of where dpid = {job.name.dpids[0]})
            """
        )
    told = " union all ".join(
        f"select {dpid}::bigint as dpid, ids[{place}] as user_id, {job.name.dpids[0]}::bigint as device_dpid,"
        " ids[1] as device_id, record as seen from records where fault is null"
        for place, dpid in enumerate(job.name.dpids[1:], start=2)
    )
    add_mappings(connection, told)
