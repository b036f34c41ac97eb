"""What Audience Manager says it has sent, held against what was received [aam-api-retrieve-destinations].

What it says is kept in `outbound_history`, with what is not so; the model outbound_differences shows that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from aam_onboard import api as apis
from aam_onboard import state
from aam_onboard.api import Api
from aam_onboard.config import Project
from aam_onboard.outbound.ledger import Ledger, ReceivedFile
from aam_onboard.warehouse import Warehouse

TABLE = "outbound_history"
# How long Adobe keeps outbound files [faq-privacy]: nobody can be asked for older ones.
KEPT = timedelta(days=8)

Kind = Literal["never_came", "not_sent", "records"]


@dataclass(frozen=True)
class Difference:
    """A file of which Audience Manager says something else than we know. `theirs`, `ours`: records."""

    outbound: str
    name: str
    kind: Kind
    sent_at: datetime | None
    theirs: int | None
    ours: int | None


@dataclass(frozen=True)
class _Sent:
    """A row of the API's outbound history."""

    name: str
    began_at: datetime | None
    ended_at: datetime | None
    success: bool
    records: int | None
    raw: dict[str, Any]


def differences_of(warehouse: Warehouse, project: Project, outbound: str) -> list[Difference]:
    """What was not so when the API was asked last."""
    if not state.is_there(warehouse, project, TABLE):
        return []
    rows = warehouse.rows(
        "select outbound, name, difference as kind, started_at as sent_at, records as theirs, our_records as ours"
        f" from {state.table(project, TABLE)} where outbound = $1 and difference is not null"
        " order by started_at asc nulls last",
        [outbound],
    )
    return [Difference(**row) for row in rows]


def hold_against_api(
    api: Api, ledger: Ledger, project: Project, *, lying: Collection[str], began: datetime, settled: timedelta
) -> list[Difference]:
    """Ask what was sent to a destination, write it down, and tell what is not so.

    `lying`: names of the files that lay there when we began to look, received or not · `settled`: how old a file must
    be to have come for sure.
    """
    settings = project.vars.outbound[ledger.outbound]
    told = api.outbound_history(settings.destination_id, began - KEPT, began)
    # what was not so before may be by now, be it ever so long ago
    sent = {**_open_before(ledger, project), **_by_name(told)}
    batches = ledger.batches().values()
    first = min((one.made_at for one in batches), default=None)
    whole_full = max(
        (one.made_at for one in batches if one.mode == "full" and one.status == "whole"), default=None
    )
    received = {_bare(name): file for name, file in ledger.files().items()}
    there = {_bare(name) for name in lying}
    found: dict[str, Difference] = {}
    for one in sent.values():
        is_done = one.ended_at is not None and one.ended_at <= began - settled
        # of before our time; or a whole full has come since, which heals what was missing
        is_past = one.began_at is not None and any(at and one.began_at < at for at in (first, whole_full))
        if is_done and not is_past:
            kind, ours = _held(
                one, received.get(_bare(one.name)), settings.header_lines, lies=_bare(one.name) in there
            )
            if kind is not None:
                found[one.name] = Difference(ledger.outbound, one.name, kind, one.began_at, one.records, ours)
    _write_down(ledger, project, sent.values(), found, began)
    return sorted(found.values(), key=lambda one: (one.sent_at or began, one.name))


def _held(
    sent: _Sent, received: ReceivedFile | None, header_lines: int, *, lies: bool
) -> tuple[Kind | None, int | None]:
    """What is not so, and how many records we have."""
    if received is None:
        if lies:  # it waits, or was refused: that has been told already
            return None, None
        return ("never_came" if sent.success else "not_sent"), None
    ours = received.users + received.rejected
    # whether a blank line, or a user who stands there twice, is a record, no page says
    is_same = sent.records is None or ours <= sent.records <= max(ours, received.lines - header_lines)
    return (None if is_same else "records"), ours


def _by_name(rows: Iterable[dict[str, Any]]) -> dict[str, _Sent]:
    """By file; what was tried again counts as it ended. Control files are no data."""
    found: dict[str, _Sent] = {}
    for row in sorted(rows, key=lambda row: apis.whole(row, "startTime") or 0):
        name = apis.file_name(row)
        if name is not None and not name.endswith(".info"):
            times = apis.moment(row, "startTime"), apis.moment(row, "endTime")
            records = apis.whole(row, "successRecords", "receivedRecords")
            found[name] = _Sent(name, *times, row.get("success") is not False, records, row)
    return found


def _open_before(ledger: Ledger, project: Project) -> dict[str, _Sent]:
    rows = ledger.warehouse.rows(
        f"select raw from {state.table(project, TABLE)} where outbound = $1 and difference is not null",
        [ledger.outbound],
    )
    return _by_name(json.loads(row["raw"]) for row in rows)


def _write_down(
    ledger: Ledger,
    project: Project,
    sent: Iterable[_Sent],
    found: Mapping[str, Difference],
    read_at: datetime,
) -> None:
    table = state.table(project, TABLE)
    with ledger.warehouse.transaction():
        for one in sent:
            ledger.warehouse.execute(
                f"delete from {table} where outbound = $1 and name = $2", [ledger.outbound, one.name]
            )
            difference = found.get(one.name)
            row = {
                "outbound": ledger.outbound,
                "destination_id": project.vars.outbound[ledger.outbound].destination_id,
                "name": one.name,
                "started_at": one.began_at,
                "ended_at": one.ended_at,
                "success": one.success,
                "records": one.records,
                "difference": difference.kind if difference else None,
                "our_records": difference.ours if difference else None,
                "read_at": read_at,
                "raw": apis.raw(one.raw),
            }
            state.insert(ledger.warehouse, table, row)


def _bare(name: str) -> str:
    """Without what says how it is packed: of a file that is encrypted on its way, the API may name what it was."""
    return re.sub(r"([.](gz|gpg|pgp))+$", "", name)


_TODO: dict[Kind, str] = {
    "never_came": "was delivered, says Audience Manager, and never came: look whether something takes files away where"
    " they lie, else ask Adobe for it anew (they keep it for 8 days)",
    "not_sent": "could not be delivered, says Audience Manager: ask Adobe to send it anew (they keep it for 8 days)",
    "records": "has other records than Audience Manager says: ask Adobe which is right",
}


def says_difference(one: Difference) -> str:
    """What is not so, in few words."""
    if one.kind == "records":
        return f"{one.theirs:,} records, says Audience Manager; {one.ours:,} came"
    return {"never_came": "never came", "not_sent": "could not be delivered"}[one.kind]


def says_differences(outbound: str, found: Iterable[Difference]) -> list[str]:
    """A warning for each kind: which files, and what to do."""
    said = []
    for kind, todo in _TODO.items():
        names = [
            f"{one.name} ({one.theirs:,} records, {one.ours:,} came)" if kind == "records" else one.name
            for one in found
            if one.kind == kind
        ]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            said.append(f"outbound {outbound}: {', '.join(names[:3])}{more} {todo}")
    return said
