"""What has been received, as the warehouse's tables of the state tell, and how a file changes it.

Every function is one statement, or statements of the caller's transaction. SQL that all engines have.

Statements are applied in the order of the times in the names, whenever they arrive: what a later file has said of a
user and token stands.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Literal

from aam_onboard import state
from aam_onboard.config import Project
from aam_onboard.outbound.names import Mode
from aam_onboard.warehouse import Warehouse

TABLES = (
    "received_files",
    "received_batches",
    "received_memberships",
    "received_statements",
    "rejected_lines",
)
STAGED = "aam_staged"
FOUND = "aam_found"
NO_FILES = "null"  # a list in SQL in which nothing is
_SAME = "there.user_id = said.user_id and there.token = said.token and there.is_trait = said.is_trait"


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
        # of this destination alone; a user may have the same token from another
        self._own_files = f"(select file_id from {self.tables['received_files']} where outbound = $1)"

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
        [row] = self.warehouse.rows(
            f"select count(*) as n from {self.tables['received_memberships']}"
            f" where until_file is null and since_file in ({self._file_ids()})"
        )
        return int(row["n"])

    def is_new(self) -> bool:
        """Whether nothing has ever been applied, so that there is nothing to compare with."""
        sql = f"select 1 from {self.tables['received_files']} where outbound = $1 and status = 'applied' limit 1"
        return not self.warehouse.rows(sql, [self.outbound])

    def ended_by(self, file_id: int) -> int:
        """How many memberships a file has ended."""
        [row] = self.warehouse.rows(
            f"select count(*) as n from {self.tables['received_memberships']} where until_file = $1",
            [file_id],
        )
        return int(row["n"])

    def stage(self) -> None:
        """An empty table of this connection's for what a full says; a row without a token: a user who has none."""
        self.warehouse.execute(f"drop table if exists {STAGED}")
        self.warehouse.execute(
            f"create temporary table {STAGED}"
            " (user_id text, token text, is_trait boolean, since timestamp with time zone)"
        )

    def apply_full(self, file: ReceivedFile) -> None:
        """Let the staged users have what is staged of them, and nothing else."""
        memberships = self.tables["received_memberships"]
        same = f"staged.user_id = {memberships}.user_id and staged.token = {memberships}.token"
        same += f" and staged.is_trait = {memberships}.is_trait"
        self.warehouse.execute(
            f"update {memberships} set until_file = {file.file_id}"
            f" where until_file is null and last_file in {self._files_before()}"
            f" and exists (select 1 from {STAGED} as listed where listed.user_id = {memberships}.user_id)"
            f" and not exists (select 1 from {STAGED} as staged where {same})",
            [self.outbound, file.made_at],
        )
        self.warehouse.execute(
            f"update {memberships} set last_file = {file.file_id}"
            f" where until_file is null and last_file in {self._files_before()}"
            f" and exists (select 1 from {STAGED} as staged where {same})",
            [self.outbound, file.made_at],
        )
        said = (
            f"select user_id, token, is_trait, max(since) as since from {STAGED} where token is not null"
            " group by user_id, token, is_trait"
        )
        # asked for by what is said: to keep all that is there would take much memory
        there = (
            f"select there.user_id, there.token, there.is_trait from {memberships} as there"
            f" inner join ({said}) as said on {_SAME}"
            f" where there.until_file is null and there.since_file in {self._own_files}"
        )
        self._insert(file, said, there)
        self.warehouse.execute(f"analyze {memberships}")

    def apply_statements(self, file: ReceivedFile) -> None:
        """Let users be in and out of what an iter says, where no later one says otherwise."""
        memberships, statements = self.tables["received_memberships"], self.tables["received_statements"]
        said = (
            "select user_id, token, is_trait, max(since) as since, min(case when is_member then 1 else 0 end) as is_in"
            f" from {statements} where file_id = {file.file_id} group by user_id, token, is_trait"
        )
        before = self._file_ids("made_at <= $2", file.made_at)
        # What there is of it, by one reading of the largest table: it is asked for the few users first, by the one key
        # that tells most; `offset 0` keeps PostgreSQL from doing all at once. In a statement without parameters
        # PostgreSQL shares the reading among processes.
        of_users = (
            f"select {self.warehouse.row_id} as place, user_id, token, is_trait, last_file from {memberships}"
            f" where until_file is null and since_file in ({self._file_ids()})"
            f" and user_id in (select said.user_id from {statements} as said where said.file_id = {file.file_id})"
            " offset 0"
        )
        self.warehouse.execute(f"drop table if exists {FOUND}")
        self.warehouse.execute(
            f"create temporary table {FOUND} as"
            f" select there.place, there.last_file in ({before}) as is_older, said.is_in, said.user_id, said.token,"
            f" said.is_trait from ({of_users}) as there inner join ({said}) as said on {_SAME}"
        )
        self.warehouse.execute(f"analyze {FOUND}")
        self.warehouse.execute(
            f"update {memberships} set"
            f" until_file = case when found.is_in = 0 then {file.file_id} end,"
            f" last_file = case when found.is_in = 1 then {file.file_id} else last_file end"
            f" from {FOUND} as found"
            f" where {memberships}.{self.warehouse.row_id} = found.place and found.is_older"
        )
        self._insert(
            file,
            f"select user_id, token, is_trait, since from ({said}) as said where is_in = 1",
            f"select user_id, token, is_trait from {FOUND}",
        )

    def count_absent(self, batch: ReceivedBatch) -> int:
        """How many memberships there are of users whom a whole full does not list."""
        others = self._files_of_others(batch)
        if others == NO_FILES:  # only it has said anything yet: no row need be read
            return 0
        [row] = self.warehouse.rows(
            f"select count(*) as n from {self.tables['received_memberships']}"
            f" where until_file is null and last_file in ({others})"
        )
        return int(row["n"])

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
        self.warehouse.execute(
            f"delete from {self.tables['received_statements']} where file_id in {self._files_before()}",
            [self.outbound, before],
        )

    def _insert(self, file: ReceivedFile, said: str, there: str) -> None:
        """Begin memberships of what is said, but of those that are there, and of what a later file has said."""
        self.warehouse.execute(
            f"insert into {self.tables['received_memberships']}"
            " (user_id, token, is_trait, since, since_file, last_file)"
            f" select said.user_id, said.token, said.is_trait, said.since, {file.file_id}, {file.file_id}"
            f" from ({said}) as said left join ({there}) as there on {_SAME} where there.user_id is null"
            f" and not exists (select 1 from {self.tables['received_statements']} as there where {_SAME}"
            f" and there.file_id in {self._files_after()})",
            [self.outbound, file.made_at],
        )

    def _file_ids(self, condition: str = "true", *parameters: object) -> str:
        """The numbers of this destination's files, as a list in SQL; never an empty one."""
        found = self.warehouse.rows(
            f"select file_id from {self.tables['received_files']} where outbound = $1 and {condition}",
            [self.outbound, *parameters],
        )
        return ", ".join(str(row["file_id"]) for row in found) or NO_FILES

    def _files_before(self) -> str:
        return f"(select file_id from {self.tables['received_files']} where outbound = $1 and made_at <= $2)"

    def _files_after(self) -> str:
        return (
            f"(select file_id from {self.tables['received_files']}"
            " where outbound = $1 and made_at > $2 and status = 'applied')"
        )
