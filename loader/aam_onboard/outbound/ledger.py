"""What has been received, as the warehouse's tables of the state tell, and how a file changes it.

Every function is one statement, or statements of the caller's transaction. SQL that all engines have.

Statements are applied in the order of the times in the names, whenever they arrive: what a later file has said of a
user and token stands.

A row of `received_memberships` is a user with a set of tokens that came, were last said and went together: after a
first full, all that a user has. A file that says something of some of them alone parts the row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Literal

from aam_onboard import state
from aam_onboard.config import Project
from aam_onboard.outbound.names import Mode
from aam_onboard.warehouse import SQL_SEPARATOR, Warehouse

TABLES = (
    "received_files",
    "received_batches",
    "received_memberships",
    "received_statements",
    "rejected_lines",
)
STAGED = "aam_staged"
SAID = "aam_said"
FOUND = "aam_found"
DIFFERING = "aam_differing"
NO_FILES = "null"  # a list in SQL in which nothing is
_OF_ONE = "there.user_id = said.user_id and there.is_trait = said.is_trait"


@dataclass(frozen=True)
class ReceivedFile:
    """A row of `received_files`."""

    file_id: int
    outbound: str
    destination_id: int
    dpid: int
    mode: Mode
    made_at: datetime
    root: str
    name: str
    output: str
    uri: str
    bytes: int
    lines: int
    md5: str
    users: int
    memberships: int
    removals: int
    rejected: int
    status: Literal["applied", "late"]
    forced: bool
    received_at: datetime


@dataclass(frozen=True)
class ReceivedBatch:
    """A row of `received_batches`."""

    outbound: str
    root: str
    mode: Mode
    made_at: datetime
    files: int | None
    status: Literal["open", "whole", "partial", "late"]
    ended_memberships: int
    forced: bool
    changed_at: datetime


def _columns(kind: type[ReceivedFile] | type[ReceivedBatch]) -> str:
    return ", ".join(field.name for field in fields(kind))


def _joined(tokens: str) -> str:
    """SQL, an aggregate: tokens or sets as one set; null for none."""
    return f"string_agg({tokens}, {SQL_SEPARATOR})"


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(timezone.utc)


class Ledger:
    """What has been received of one outbound destination."""

    def __init__(self, warehouse: Warehouse, project: Project, outbound: str) -> None:
        self.warehouse = warehouse
        self.outbound = outbound
        self._project = project
        self.tables = {name: state.table(project, name) for name in TABLES}

    def place(self, name: str) -> tuple[str, str]:
        """Schema and name of a table."""
        return self._project.relations.place(name)

    def add_rejected(self, file: ReceivedFile, reason: str, line: str) -> None:
        """Keep a line that is no text."""
        state.insert(
            self.warehouse,
            self.tables["rejected_lines"],
            {"file_id": file.file_id, "reason": reason, "line": line},
        )

    def files(self) -> dict[str, ReceivedFile]:
        """The files received, by their names."""
        sql = f"select {_columns(ReceivedFile)} from {self.tables['received_files']} where outbound = $1"
        return {row["name"]: ReceivedFile(**row) for row in self.warehouse.rows(sql, [self.outbound])}

    def batches(self) -> dict[str, ReceivedBatch]:
        """The batches of which something was received, by their roots."""
        sql = f"select {_columns(ReceivedBatch)} from {self.tables['received_batches']} where outbound = $1"
        return {row["root"]: ReceivedBatch(**row) for row in self.warehouse.rows(sql, [self.outbound])}

    def next_file_id(self) -> int:
        """A number that no file of any destination has."""
        [row] = self.warehouse.rows(f"select max(file_id) as last from {self.tables['received_files']}")
        return int(row["last"] or 0) + 1

    def last_full(self) -> datetime | None:
        """When the last full was made of which something was applied."""
        [row] = self.warehouse.rows(
            f"select max(made_at) as last from {self.tables['received_files']}"
            " where outbound = $1 and mode = 'full' and status = 'applied'",
            [self.outbound],
        )
        last: datetime | None = row["last"]
        return last

    def add_file(self, file: ReceivedFile) -> None:
        """Record a file; of the transaction that applies it."""
        state.insert(self.warehouse, self.tables["received_files"], vars(file))

    def set_batch(self, batch: ReceivedBatch) -> None:
        """Record a batch, or what it is now."""
        self.warehouse.execute(
            f"delete from {self.tables['received_batches']} where outbound = $1 and root = $2",
            [self.outbound, batch.root],
        )
        state.insert(self.warehouse, self.tables["received_batches"], vars(batch))

    def members(self) -> int:
        """How many memberships there are now."""
        return self._count(f"until_file is null and since_file in ({self._file_ids()})")

    def is_new(self) -> bool:
        """Whether nothing has ever been applied, so that there is nothing to compare with."""
        sql = f"select 1 from {self.tables['received_files']} where outbound = $1 and status = 'applied' limit 1"
        return not self.warehouse.rows(sql, [self.outbound])

    def ended_by(self, file_id: int) -> int:
        """How many memberships a file has ended."""
        return self._count(f"until_file = {file_id}")

    def _count(self, condition: str) -> int:
        size = f"length(tokens) - length(replace(tokens, {SQL_SEPARATOR}, '')) + 1"  # no set is empty
        [row] = self.warehouse.rows(
            f"select cast(coalesce(sum({size}), 0) as bigint) as n"
            f" from {self.tables['received_memberships']} where {condition}"
        )
        return int(row["n"])

    def stage(self) -> None:
        """An empty table of this connection's for what a full says; '' as tokens: a user who has none."""
        self.warehouse.execute(f"drop table if exists {STAGED}")
        self.warehouse.execute(
            f"create temporary table {STAGED}"
            " (user_id text, tokens text, is_trait boolean, since timestamp with time zone)"
        )

    def apply_full(self, file: ReceivedFile, *, is_once: bool) -> None:
        """Let the staged users have what is staged of them, and nothing else.

        `is_once`: a user has one staged row; else a row is staged for each token, and some perhaps twice.
        """
        for part in self.warehouse.parts_of(file.users if is_once else file.memberships):
            self._apply_full(file, part, is_once=is_once)
        self.warehouse.execute(f"analyze {self.tables['received_memberships']}")

    def _apply_full(self, file: ReceivedFile, part: str, *, is_once: bool) -> None:
        memberships = self.tables["received_memberships"]
        listed = f"select user_id from {STAGED} where {part}"
        said = of_users = (
            f"select user_id, tokens, is_trait, since from {STAGED} where {part} and tokens <> ''"
        )
        if not is_once:
            self._make(
                SAID,
                f"select user_id, {_joined('tokens')} as tokens, is_trait, since"
                f" from (select user_id, tokens, is_trait, max(since) as since from ({said}) as each"
                " group by user_id, tokens, is_trait) as each group by user_id, is_trait, since",
            )
            said = f"select * from {SAID}"
            of_users = f"select user_id, {_joined('tokens')} as tokens, is_trait from {SAID} group by user_id, is_trait"
        before = self._file_ids("made_at <= $2 and file_id <> $3", file.made_at, file.file_id)
        same = (
            f"{memberships}.user_id = said.user_id and {memberships}.is_trait = said.is_trait"
            f" and {memberships}.tokens = said.tokens and {memberships}.until_file is null"
        )
        if before != NO_FILES:
            # most users have what they had, and no set need be looked into
            self.warehouse.execute(
                f"update {memberships} set last_file = {file.file_id} from ({of_users}) as said"
                f" where {same} and last_file in ({before})"
            )
            self._make(
                DIFFERING,
                f"select {self.warehouse.row_id} as place, * from {memberships}"
                f" where until_file is null and last_file in ({before}) and {part}",
            )
            removed = self.warehouse.difference("there.tokens", "coalesce(said.tokens, '')")
            self._find(
                f"select there.*, true as is_older, there.tokens as members, {removed} as removed"
                f" from (select * from {DIFFERING} where user_id in ({listed})) as there"
                f" left join ({of_users}) as said on {_OF_ONE}"
            )
            self._split(file)
        self._make(
            DIFFERING,
            f"select * from ({said}) as said where not exists (select 1 from {memberships} where {same}"
            f" and {self._is_own()})",
        )
        differing = f"select user_id from {DIFFERING}"
        self._begin(file, f"select * from {DIFFERING}", self._now(differing), part)

    def apply_statements(self, file: ReceivedFile, *, is_once: bool) -> None:
        """Let users be in and out of what an iter says, where no later one says otherwise. `is_once`: as apply_full."""
        for part in self.warehouse.parts_of(file.users if is_once else file.memberships + file.removals):
            self._apply_statements(file, part, is_once=is_once)

    def _apply_statements(self, file: ReceivedFile, part: str, *, is_once: bool) -> None:
        of_file = f"{self.tables['received_statements']} where file_id = {file.file_id} and {part}"
        said = f"select user_id, members as tokens, is_trait, since from {of_file} and members <> ''"
        of_users = f"select user_id, is_trait, members, removed from {of_file}"
        if not is_once:
            # who is said to be in and out is out
            self._make(
                SAID,
                "select user_id, tokens, is_trait, max(since) as since, max(is_removed) = 0 as is_member from"
                " (select user_id, members || removed as tokens, is_trait, since,"
                f" case when removed = '' then 0 else 1 end as is_removed from {of_file}) as each"
                " group by user_id, tokens, is_trait",
            )
            said = (
                f"select user_id, {_joined('tokens')} as tokens, is_trait, since from {SAID} where is_member"
                " group by user_id, is_trait, since"
            )
            of_users = (
                f"select user_id, is_trait, coalesce({_joined('case when is_member then tokens end')}, '') as members,"
                f" coalesce({_joined('case when not is_member then tokens end')}, '') as removed from {SAID}"
                " group by user_id, is_trait"
            )
        before = self._file_ids("made_at <= $2", file.made_at)
        self._find(
            f"select there.*, there.last_file in ({before}) as is_older, said.members, said.removed"
            f" from ({self._now(f'select user_id from {of_file}')}) as there"
            f" inner join ({of_users}) as said on {_OF_ONE}"
        )
        self._split(file)
        self._begin(file, said, f"select * from {FOUND}", part)

    def count_absent(self, batch: ReceivedBatch) -> int:
        """How many memberships there are of users whom a whole full does not list."""
        others = self._files_of_others(batch)
        if others == NO_FILES:  # only it has said anything yet: no row need be read
            return 0
        return self._count(f"until_file is null and last_file in ({others})")

    def end_absent(self, batch: ReceivedBatch, file_id: int) -> None:
        """End those."""
        memberships = self.tables["received_memberships"]
        self.warehouse.execute(
            f"update {memberships} set until_file = {file_id}"
            f" where until_file is null and last_file in ({self._files_of_others(batch)})"
        )

    def _files_of_others(self, batch: ReceivedBatch) -> str:
        """The files of earlier batches: a membership that one of them was the last to say is not in this one."""
        return self._file_ids("made_at <= $2 and root <> $3", batch.made_at, batch.root)

    def forget_statements(self, before: datetime) -> None:
        """Statements of before a full decide nothing any more."""
        files = self._file_ids("made_at <= $2", before)
        self.warehouse.execute(f"delete from {self.tables['received_statements']} where file_id in ({files})")

    def _make(self, table: str, query: str, *, is_joined: bool = True) -> None:
        """A table of this connection's, anew."""
        self.warehouse.execute(f"drop table if exists {table}")
        self.warehouse.execute(f"create temporary table {table} as {query}")
        if is_joined:
            self.warehouse.execute(f"analyze {table}")

    def _is_own(self) -> str:
        """Of this destination alone; a user may have the same token from another."""
        return f"since_file in ({self._file_ids()})"

    def _now(self, users: str) -> str:
        """What some users have now, from one reading of the largest table.

        It is asked for the users first, by the one key that tells most, and then for the rest of a row: `offset 0`
        keeps PostgreSQL from doing all at once. Without parameters PostgreSQL shares the reading among processes.
        """
        of_users = (
            f"select {self.warehouse.row_id} as place, * from {self.tables['received_memberships']}"
            f" where user_id in ({users}) offset 0"
        )
        return f"select * from ({of_users}) as of_users where until_file is null and {self._is_own()}"

    def _find(self, there: str) -> None:
        """FOUND: rows `there`, with the parts of their sets: of which a file says nothing, that stay, that went.

        It says that `members` stay, if they are there, and that `removed` went.
        """
        self._make(
            FOUND,
            "select place, is_older, user_id, tokens, is_trait, since, since_file, last_file, rest,"
            f" {self._taken('stays', 'members', 'rest')} as kept, {self._taken('tokens', 'removed', 'stays')} as gone"
            f" from (select *, {self.warehouse.difference('stays', 'members')} as rest"
            f" from (select *, {self.warehouse.difference('tokens', 'removed')} as stays from ({there}) as there"
            " offset 0) as there offset 0) as there",
            is_joined=False,
        )

    def _taken(self, tokens: str, others: str, left: str) -> str:
        """SQL: which of the others a set held, of which those are left that it did not take."""
        return (
            f"case when {left} = {tokens} then '' when position({SQL_SEPARATOR} in {others}) = 0 then {others}"
            f" else {self.warehouse.difference(tokens, left)} end"
        )

    def _split(self, file: ReceivedFile) -> None:
        """Let the rows found be as many rows as their sets have parts, with what the file says of each."""
        memberships, this = self.tables["received_memberships"], file.file_id
        changed = "is_older and (kept <> '' or gone <> '')"
        parts = " union all ".join(
            f"select user_id, {part}, is_trait, since, since_file, {last_file}, {until_file} from {FOUND}"
            f" where {changed} and {part} <> ''"
            for part, last_file, until_file in (
                ("rest", "last_file", "cast(null as integer)"),
                ("kept", this, "null"),
                ("gone", "last_file", this),
            )
        )
        self.warehouse.execute(
            f"insert into {memberships} (user_id, tokens, is_trait, since, since_file, last_file, until_file) {parts}"
        )
        self.warehouse.execute(
            f"delete from {memberships} where {self.warehouse.is_among(f'select place from {FOUND} where {changed}')}"
        )

    def _begin(self, file: ReceivedFile, said: str, there: str, part: str) -> None:
        """Begin memberships of what is said, but of those that are there, and of what a later file has removed."""
        later = self._file_ids("made_at > $2 and status = 'applied'", file.made_at)
        each = (
            f"select user_id, is_trait, tokens from ({there}) as there union all select user_id, is_trait, removed"
            f" from {self.tables['received_statements']} where file_id in ({later}) and {part} and removed <> ''"
        )
        had = (
            f"select user_id, is_trait, {_joined('tokens')} as tokens from ({each}) as each"
            " group by user_id, is_trait"
        )
        self.warehouse.execute(
            f"insert into {self.tables['received_memberships']}"
            " (user_id, tokens, is_trait, since, since_file, last_file)"
            f" select user_id, tokens, is_trait, since, {file.file_id}, {file.file_id}"
            " from (select said.user_id, said.is_trait, said.since, case when there.tokens is null then said.tokens"
            f" when there.tokens = said.tokens then '' else {self.warehouse.difference('said.tokens', 'there.tokens')}"
            f" end as tokens from ({said}) as said left join ({had}) as there on {_OF_ONE} offset 0) as fresh"
            " where tokens <> ''"
        )

    def _file_ids(self, condition: str = "true", *parameters: object) -> str:
        """The numbers of this destination's files, as a list in SQL; never an empty one."""
        found = self.warehouse.rows(
            f"select file_id from {self.tables['received_files']} where outbound = $1 and {condition}",
            [self.outbound, *parameters],
        )
        return ", ".join(str(row["file_id"]) for row in found) or NO_FILES
