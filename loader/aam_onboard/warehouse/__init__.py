"""A warehouse: small results as rows, exports as a stream of Arrow record batches, statements in a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aam_onboard.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from aam_onboard.config import WarehouseSettings
    from aam_onboard.encryption import Encryption
    from aam_onboard.executors import Check
    from aam_onboard.files import Part

# Between the texts of a set, as the macro separator() has it; and in SQL.
SEPARATOR = "\x1f"
SQL_SEPARATOR = "chr(31)"

T = TypeVar("T")
R = TypeVar("R")


class Warehouse(Protocol):
    """What the loader needs of a warehouse, and what is the same in all. Parameters stand in SQL as $1, $2, …

    Every method raises DeliveryError when the warehouse fails, in its own words.
    """

    name: str
    row_id: str
    """What a row of a table is known by, as long as a transaction lasts."""
    in_executors: bool = False
    """Whether write_parts has others write the files, who examine them, too: it gives all of them at the end."""

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """A small result, one dict a row."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """One statement."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside take effect together, or none does."""
        self.execute("begin")
        try:
            yield
        except BaseException:
            self.execute("rollback")
            raise
        self.execute("commit")

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """A result of any size in constant memory; other statements may run meanwhile."""

    def load(self, table: Sequence[str], query: str) -> None:
        """Append to a table what a query of DuckDB's makes of files of this machine; no row passes through Python.

        `table`: schema and name, or the name alone of a temporary one. The query names the columns that it fills. It is
        part of the transaction that is open, and the planner knows of it.
        """

    def difference(self, texts: str, others: str) -> str:
        """SQL: the set of the texts in one set that another one does not hold; '' for none.

        A set is a text with SEPARATOR between, each once; `others` may hold some twice, or be ''.
        """

    def is_among(self, places: str) -> str:
        """SQL: whether a row of a table is one of those that a query knows by their row_id."""
        return f"{self.row_id} in ({places})"

    def parts_of(self, rows: int) -> list[str]:
        """SQL conditions on `user_id` that part the users of so many rows: those of one may be gathered in memory."""
        return ["true"]

    def hold(self, tables: Sequence[str]) -> None:
        """Within a transaction: nobody else changes rows of these tables until its end.

        Raises LockedError when somebody does just now.
        """

    def builder(self) -> str | None:
        """Which dbt is at work in the warehouse, for people; None: nobody is."""

    def has_table(self, schema: str, table: str) -> bool:
        """Whether a table or view is there."""
        sql = (
            "select 1 as there from information_schema.tables"
            " where table_catalog = current_database() and table_schema = $1 and table_name = $2"
        )
        return bool(self.rows(sql, [schema, table]))

    def columns(self, schema: str, table: str) -> list[str]:
        """The names of a table's columns; none where it is not there."""
        sql = (
            "select cast(column_name as text) as name from information_schema.columns"
            " where table_catalog = current_database()"
            " and lower(table_schema) = lower($1) and lower(table_name) = lower($2)"
        )
        return [row["name"] for row in self.rows(sql, [schema, table])]

    def write_parts(
        self,
        sql: str,
        parameters: Sequence[object],
        directory: Path,
        *,
        split_bytes: int,
        max_plain_bytes: int,
        encryption: Encryption | None,
        check: Check | None,
        expected_lines: int,
        on_progress: Callable[[int, int], None],
    ) -> Iterator[Part]:
        """Write the lines of a query to files of a directory, as files.write_parts does.

        `check`: what they are examined as, where that is not for the caller to do (`in_executors`).
        """
        from aam_onboard.files import write_parts

        return write_parts(
            self.stream(sql, parameters),
            directory,
            split_bytes=split_bytes,
            max_plain_bytes=max_plain_bytes,
            encryption=encryption,
            expected_lines=expected_lines,
            on_progress=on_progress,
        )

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """What `work` makes of each item, in their order: by the executors, where there are some (`in_executors`)."""
        return [work(item) for item in items]

    def close(self) -> None:
        """Let go of the warehouse."""


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A small result as dicts, its times in UTC.

    For a time with a zone pyarrow itself would import pandas, where that is installed: a fifth of a second.
    """
    import pyarrow as pa

    zoned = [one.name for one in table.schema if pa.types.is_timestamp(one.type) and one.type.tz]
    for name in zoned:
        column = table.column(name)
        plain = pa.timestamp(column.type.unit)
        # not a cast, which would import what computes
        column = pa.chunked_array([chunk.view(plain) for chunk in column.chunks], plain)
        table = table.set_column(table.column_names.index(name), name, column)
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in zoned:
            row[name] = row[name] and row[name].replace(tzinfo=timezone.utc)
    return rows


def quoted(*names: str) -> str:
    """A name as SQL takes it, each part exactly as it is written: `"aam_state"."deliveries"`."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def open_warehouse(name: str, settings: WarehouseSettings, *, read_only: bool = False) -> Warehouse:
    """Connect to the dbt target `name`.

    Raises LockedError when another process has the DuckDB file, ConfigError when there is no such file or server, or
    the server refuses the credentials.
    """
    if settings.type == "duckdb":
        from aam_onboard.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(name, settings, read_only=read_only)
    if settings.type == "spark":
        from aam_onboard.warehouse.spark import SparkWarehouse

        return SparkWarehouse(name, settings)
    from aam_onboard.warehouse.postgres import PostgresWarehouse

    return PostgresWarehouse(name, settings)


def beside_others(settings: WarehouseSettings) -> AbstractContextManager[None]:
    """Held by who only looks, before the warehouse is opened; raises LockedError when that is not possible now."""
    if settings.type == "duckdb":
        from aam_onboard.warehouse.duckdb import shared_lock

        return shared_lock(settings.path)
    return nullcontext()


def lock_feeds(name: str, settings: WarehouseSettings, feeds: Sequence[str]) -> AbstractContextManager[None]:
    """Hold the feeds for this process alone; raises LockedError that names the holder and since when.

    To be taken before the warehouse is opened: an open DuckDB file would be in the way of the dbt of another run.
    """
    if settings.type == "duckdb":
        from aam_onboard.warehouse.duckdb import file_lock

        return file_lock(settings.path)
    if settings.type == "spark":
        from aam_onboard.files import make_private_folder
        from aam_onboard.warehouse.duckdb import file_lock

        folder, remedy = Path(settings.lock).parent, "check the disk, or set spool_dir"
        try:
            make_private_folder(folder)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be made: {error.strerror or error}; {remedy}") from None
        return file_lock(settings.lock, remedy)
    from aam_onboard.warehouse.postgres import advisory_locks

    return advisory_locks(name, settings, feeds)
