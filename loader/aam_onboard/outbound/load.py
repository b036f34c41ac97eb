"""One outbound file into the state: examined first, then loaded in one transaction with the row that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aam_onboard.config import Outbound, Project
from aam_onboard.errors import GuardError
from aam_onboard.outbound.ledger import STAGED, Ledger, ReceivedFile
from aam_onboard.outbound.lines import SAYS, count_tokens, each_member, parsed_lines
from aam_onboard.outbound.unpack import Text
from aam_onboard.warehouse.duckdb import reader

# Of the DuckDB that examines, before the warehouse's own has anything to do.
_MEMORY = "512MB"


@dataclass(frozen=True)
class Examined:
    """What the lines of a file are like. `users`: IDs of sound lines, each once; `once`: no ID stands twice."""

    parsed: str
    settings: Outbound
    lines: int
    users: int
    once: bool
    memberships: int
    removals: int
    rejected: int
    reasons: dict[str, int]

    def members(self, name: str) -> str:
        """The query of one of the two lists."""
        return each_member(self.parsed, name, self.settings, sound=self.rejected == 0)


def examine(text: Path, project: Project, settings: Outbound, found: Text) -> Examined:
    """Read the lines once, and count. Lines that are no text count as rejected."""
    id_type = project.rules.id_types[id_type_of(project, settings)]
    parsed = parsed_lines(text, settings, id_type)
    members, removed = (count_tokens(name, settings) for name in ("members", "removed"))
    with reader(text.parent, _MEMORY) as duckdb:
        duckdb.execute(
            "create temp table seen as select hash(user_id) as user_hash, reason,"
            f" case when reason is null then {members} end::uinteger as members,"
            f" case when reason is null then {removed} end::uinteger as removed from ({parsed}) as parsed"
        )
        counts = duckdb.execute(
            "select count(*) filter (reason is null), coalesce(sum(members), 0)::bigint,"
            " coalesce(sum(removed), 0)::bigint from seen"
        ).fetchone()
        # in a statement of its own, which goes to disk where memory ends
        distinct = duckdb.execute(
            "select count(*) from (select user_hash from seen where reason is null group by user_hash)"
        ).fetchone()
        reasons = dict(
            duckdb.execute(
                "select reason, count(*) from seen where reason is not null group by reason order by 2 desc, 1"
            ).fetchall()
        )
    assert counts is not None  # noqa: S101  # an aggregate has a row
    assert distinct is not None  # noqa: S101
    (sound, memberships, removals), [users] = counts, distinct
    for reason, _ in found.unreadable:
        reasons[reason] = reasons.get(reason, 0) + 1
    rejected = sum(reasons.values())
    return Examined(
        parsed, settings, sound + rejected, users, sound == users, memberships, removals, rejected, reasons
    )


def id_type_of(project: Project, settings: Outbound) -> str:
    """The type of the IDs in the lines."""
    dpid = settings.user_dpid
    source = project.vars.data_sources.get(dpid)
    return project.rules.global_id_type(dpid) or (source.id_type if source else "dpuuid")


def guard_lines(file: ReceivedFile, examined: Examined) -> None:
    """Raise GuardError where so many lines are rejected that the settings must be wrong."""
    limit = examined.settings.max_rejected
    if not examined.lines or examined.rejected / examined.lines <= limit:
        return
    reason = max(examined.reasons, key=lambda name: examined.reasons[name])
    raise GuardError(
        f"{file.name}: {examined.rejected:,} of {examined.lines:,} lines rejected"
        f" ({examined.rejected / examined.lines:.0%}), more than max_rejected {limit:.0%},"
        f" {examined.reasons[reason]:,} of them as {reason} ({SAYS[reason]}); mend vars.outbound.{file.outbound}, or"
        " pass it with --force"
    )


def load(
    ledger: Ledger,
    file: ReceivedFile,
    examined: Examined,
    text: Text,
    record: Callable[[], None],
    *,
    force: bool,
) -> None:
    """Apply a file, with its row and what else `record` writes, or nothing of it.

    Raises GuardError when a full would end more memberships than it may.
    """
    warehouse = ledger.warehouse
    is_first = file.status == "applied" and file.mode == "full" and ledger.is_new()
    with warehouse.transaction():
        before = 0 if is_first or file.mode == "iter" or file.status == "late" else ledger.members()
        ledger.add_file(file)
        _keep_rejected(ledger, file, examined, text)
        record()
        if file.status == "late":
            return
        if file.mode == "iter":
            _load_iter(ledger, file, examined)
        elif is_first and examined.once and examined.settings.kind != "items":
            warehouse.load(
                ledger.place("received_memberships"),
                f"select {file.file_id}::integer as since_file, {file.file_id}::integer as last_file, *"
                f" from ({examined.members('members')}) as members",
            )
        else:
            ledger.stage()
            warehouse.load((STAGED,), examined.members("members"))
            warehouse.load(
                (STAGED,),
                "select user_id, null::varchar as token, null::boolean as is_trait, null::timestamptz as since"
                f" from ({examined.parsed}) as parsed where reason is null",
            )
            ledger.apply_full(file)
            if not force:
                guard_shrink(file, examined.settings, ledger.ended_by(file.file_id), before)


def _load_iter(ledger: Ledger, file: ReceivedFile, examined: Examined) -> None:
    for name, is_member in (("members", "true"), ("removed", "false")):
        ledger.warehouse.load(
            ledger.place("received_statements"),
            f"select {file.file_id}::integer as file_id, *, {is_member} as is_member"
            f" from ({examined.members(name)}) as said",
        )
    ledger.apply_statements(file)


def _keep_rejected(ledger: Ledger, file: ReceivedFile, examined: Examined, text: Text) -> None:
    if examined.rejected > len(text.unreadable):
        ledger.warehouse.load(
            ledger.place("rejected_lines"),
            f"select {file.file_id}::integer as file_id, reason, line from ({examined.parsed}) as parsed"
            " where reason is not null",
        )
    for reason, line in text.unreadable:
        ledger.add_rejected(file, reason, line)


def guard_shrink(file: ReceivedFile, settings: Outbound, ended: int, before: int, what: str = "") -> None:
    """Raise GuardError where a full ends too large a share of the memberships."""
    if not before or ended / before <= settings.max_shrink:
        return
    raise GuardError(
        f"{what or file.name}: {ended:,} of {before:,} memberships would end ({ended / before:.0%}), more than"
        f" max_shrink {settings.max_shrink:.0%} of vars.outbound.{file.outbound}; look whether Audience Manager sent"
        f" all, or pass it: aam receive --select {file.outbound} --force"
    )
