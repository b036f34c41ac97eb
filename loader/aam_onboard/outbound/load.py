"""One outbound file into the state: examined first, then loaded in one transaction with the row that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aam_onboard.config import Outbound, Project
from aam_onboard.errors import GuardError
from aam_onboard.outbound.ledger import STAGED, Ledger, ReceivedFile
from aam_onboard.outbound.lines import SAYS, each_member, listed_lines, names_twice, parsed_lines, user_sets
from aam_onboard.outbound.unpack import Text
from aam_onboard.warehouse.duckdb import reader

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Of the DuckDB that examines, before the warehouse's own has anything to do.
_MEMORY = "512MB"


@dataclass(frozen=True)
class Examined:
    """What the lines of a file are like.

    `users`: IDs of sound lines, each once; `users_once`: no ID stands twice; `tokens_once`: no list names one twice.
    """

    parsed: str
    settings: Outbound
    lines: int
    users: int
    users_once: bool
    tokens_once: bool
    memberships: int
    removals: int
    rejected: int
    reasons: dict[str, int]

    @property
    def is_once(self) -> bool:
        """Whether a line says all of its user, as one set."""
        return self.users_once and self.settings.kind != "items"

    def members(self, name: str) -> str:
        """The query of one of the two lists, a row a token."""
        return each_member(self.parsed, name, self.settings, sound=self.rejected == 0, once=self.tokens_once)

    def sets(self, *, some: bool = True, **columns: str) -> str:
        """The query of columns with the lists, a row a user, where `is_once`; `some`: without those who have none."""
        sound = self.rejected == 0
        return user_sets(self.parsed, columns, self.settings, sound=sound, once=self.tokens_once, some=some)


class Examiner:
    """Reads the lines once, piece by piece, and counts, beside whoever unpacks the next piece."""

    def __init__(self, duckdb: DuckDBPyConnection, project: Project, settings: Outbound) -> None:
        self._duckdb, self._settings = duckdb, settings
        self._id_type = project.rules.id_types[id_type_of(project, settings)]
        self._beside = ThreadPoolExecutor(2)
        self._examined: list[Future[None]] = []
        reasons = ", ".join(f"'{reason}'" for reason in SAYS)
        duckdb.execute(
            "create table seen (user_hash ubigint, members uinteger, removed uinteger, has_twice boolean,"
            f" reason enum ({reasons}))"
        )

    def add(self, piece: Path) -> None:
        """Examine a piece, beside what the caller does next."""
        self._examined.append(self._beside.submit(self._examine, piece))

    def _examine(self, piece: Path) -> None:
        parsed = parsed_lines([piece], self._settings, self._id_type)
        twice = " or ".join(names_twice(name, self._settings) for name in ("members", "removed"))
        with self._duckdb.cursor() as cursor:
            cursor.execute(
                "insert into seen select case when reason is null then hash(user_id) end, len(members), len(removed),"
                f" {twice}, reason from ({listed_lines(parsed, self._settings)}) as listed"
            )

    def end(self, text: Text) -> Examined:
        """What the whole text is like. Lines that are no text count as rejected."""
        for piece in self._examined:
            piece.result()
        [(sound, memberships, removals, has_twice)] = self._duckdb.execute(
            "select count(*), coalesce(sum(members), 0)::bigint, coalesce(sum(removed), 0)::bigint,"
            " coalesce(bool_or(has_twice), false) from seen where reason is null"
        ).fetchall()
        # in a statement of its own, which goes to disk where memory ends; a condition takes it as long again
        [(users,)] = self._duckdb.execute("select count(distinct user_hash) from seen").fetchall()
        reasons = dict(
            self._duckdb.execute(
                "select reason, count(*) from seen where reason is not null group by reason order by 2 desc, 1"
            ).fetchall()
        )
        for reason, _ in text.unreadable:
            reasons[reason] = reasons.get(reason, 0) + 1
        rejected = sum(reasons.values())
        return Examined(
            parsed_lines(text.pieces, self._settings, self._id_type),
            self._settings,
            lines=sound + rejected,
            users=users,
            users_once=sound == users,
            tokens_once=not has_twice,
            memberships=memberships,
            removals=removals,
            rejected=rejected,
            reasons=reasons,
        )

    def close(self) -> None:
        """Wait for what is under way."""
        self._beside.shutdown(cancel_futures=True)


@contextmanager
def examiner(folder: Path, project: Project, settings: Outbound) -> Iterator[Examiner]:
    """An examiner of one file; what finds no room in memory goes to the folder."""
    with reader(folder, _MEMORY) as duckdb, closing(Examiner(duckdb, project, settings)) as examining:
        yield examining


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
        elif is_first and examined.is_once:
            warehouse.load(
                ledger.place("received_memberships"),
                f"select {file.file_id}::integer as since_file, {file.file_id}::integer as last_file, *"
                f" from ({examined.sets(tokens='members')}) as sets",
            )
        else:
            ledger.stage()
            if examined.is_once:
                warehouse.load((STAGED,), examined.sets(some=False, tokens="members"))
            else:
                warehouse.load(
                    (STAGED,),
                    f"select * rename (token as tokens) from ({examined.members('members')}) as members",
                )
                warehouse.load(
                    (STAGED,),
                    f"select user_id, '' as tokens from ({examined.parsed}) as parsed where reason is null",
                )
            ledger.apply_full(file, is_once=examined.is_once)
            if not force:
                guard_shrink(file, examined.settings, ledger.ended_by(file.file_id), before)


def _load_iter(ledger: Ledger, file: ReceivedFile, examined: Examined) -> None:
    if examined.is_once:
        said = examined.sets(members="members", removed="removed")
    else:
        # a token is a set, too
        said = " union all by name ".join(
            f"select * rename (token as {column}), '' as {other} from ({examined.members(column)}) as said"
            for column, other in (("members", "removed"), ("removed", "members"))
        )
    ledger.warehouse.load(
        ledger.place("received_statements"),
        f"select {file.file_id}::integer as file_id, * from ({said}) as said",
    )
    ledger.apply_statements(file, is_once=examined.is_once)


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
