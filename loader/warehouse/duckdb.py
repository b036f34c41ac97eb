"""DuckDB, the embedded default: one file, one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.errors import ConfigError, DeliveryError, LockedError, MissingTableError, without_values
from loader.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from loader.config import DuckDBSettings

# What `settings: {memory_limit: …}` of the profile goes before. Enough for the longest lines; see _let_go, too.
MEMORY_LIMIT = "1GB"
# Of a record batch: large enough for C to do the work, small enough that memory stays flat. DuckDB counts in vectors.
BATCH_BYTES = 1_500_000
VECTOR_ROWS = 2048
MOST_BATCH_ROWS = 20_480
# How much of a file an export may have read before it lets go of that again, and what it may keep.
KEEP_BYTES = 12_000_000


class DuckDBWarehouse(Warehouse):
    """A DuckDB file."""

    def __init__(self, name: str, settings: DuckDBSettings, *, read_only: bool = False) -> None:
        import duckdb

        self.name = name
        self._path = settings.path
        if not Path(settings.path).is_file():
            raise ConfigError(
                f"{settings.path} is not there: nothing has been built; run `aam run` or `dbt build`"
            )
        try:
            config = {"memory_limit": MEMORY_LIMIT, **settings.settings}
            self._memory_limit = config["memory_limit"]
            self._connection = duckdb.connect(settings.path, read_only=read_only, config=config)
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise LockedError(
                    f"{settings.path} is in use by another process{_holder(settings.path)}"
                ) from None
            raise ConfigError(f"{settings.path} cannot be opened: {_first_line(error)}") from None
        except duckdb.Error as error:
            raise ConfigError(f"{settings.path} cannot be opened: {_first_line(error)}") from None
        # PostgreSQL's and Arrow's clock; the session's zone never leaks into a stored time
        self._connection.execute("set timezone = 'UTC'")
        self._connection.execute("set preserve_insertion_order = false")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        with self._clear_errors():
            table = self._connection.sql(sql, params=list(parameters)).to_arrow_table()
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """See Warehouse."""
        with self._clear_errors():
            self._connection.execute(sql, list(parameters))

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """See Warehouse."""
        with self._clear_errors(), self._connection.cursor() as cursor:
            rows = self._rows_a_batch(sql, parameters)
            since = 0
            for batch in cursor.sql(sql, params=list(parameters)).to_arrow_reader(rows):
                yield batch
                since += batch.nbytes
                if since > KEEP_BYTES and rows > VECTOR_ROWS:
                    self._let_go()
                    since = 0

    def has_table(self, schema: str, table: str) -> bool:
        """See Warehouse; DuckDB minds no letter case."""
        sql = "select 1 as there from information_schema.tables where lower(table_schema) = lower($1)"
        return bool(self.rows(f"{sql} and lower(table_name) = lower($2)", [schema, table]))

    def _rows_a_batch(self, sql: str, parameters: Sequence[object]) -> int:
        """As many as make BATCH_BYTES, as far as the first rows tell."""
        first = self._connection.sql(f"from ({sql}) limit 1000", params=list(parameters)).to_arrow_table()
        wanted: int = BATCH_BYTES * len(first) // max(first.nbytes, 1)
        return max(VECTOR_ROWS, min(wanted, MOST_BATCH_ROWS) // VECTOR_ROWS * VECTOR_ROWS)

    def _let_go(self) -> None:
        """Drop what DuckDB has kept of the file: an export reads all once, and memory would grow with the data.

        Only a lower limit makes it do so; it leaves room for what queries need at that moment.
        """
        import duckdb

        others = "select coalesce(sum(memory_usage_bytes), 0) from duckdb_memory() where tag <> 'BASE_TABLE'"
        [[in_use]] = self._connection.execute(others).fetchall()
        with suppress(duckdb.OutOfMemoryException):  # of the file itself, too, much may be in use
            self._connection.execute(f"set memory_limit = '{int(in_use) + KEEP_BYTES} bytes'")
        self._connection.execute(f"set memory_limit = '{self._memory_limit}'")

    def hold(self, tables: Sequence[str]) -> None:
        """See Warehouse: the file has one process."""

    def builder(self) -> str | None:
        """See Warehouse: the file has one process."""
        return None

    def close(self) -> None:
        """See Warehouse."""
        self._connection.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        import duckdb
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:  # what an error between two record batches becomes
            raise DeliveryError(f"warehouse {self._path}: {without_values(_first_line(error))}") from None
        except duckdb.OutOfMemoryException as error:
            raise DeliveryError(
                f"warehouse {self._path}: {_first_line(error)}; set `settings: {{memory_limit: 4GB}}` in profiles.yml"
            ) from None
        except duckdb.Error as error:
            kind = MissingTableError if isinstance(error, duckdb.CatalogException) else DeliveryError
            raise kind(f"warehouse {self._path}: {without_values(_first_line(error))}") from None


@contextmanager
def file_lock(path: str) -> Iterator[None]:
    """Hold `<path>.lock`, and so every feed: no two runs can take turns between dbt's build and the delivery.

    The kernel lets go of it when the process ends, however it ends. Raises LockedError with the holder.
    """
    try:
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{path}.lock cannot be made: {error.strerror}; check `path` of the target in profiles.yml"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(f"{path} is in use by another run{_holder(path)}") from None
        holder = {"pid": os.getpid(), "since": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(path: str) -> str:
    """Who holds the lock file, for people; empty when nobody wrote it."""
    try:
        holder = json.loads(Path(f"{path}.lock").read_text(encoding="utf-8"))
        alive = Path(f"/proc/{holder['pid']}").exists() or not Path("/proc").exists()
        if alive:
            return f" (aam, process {holder['pid']}, since {holder['since']}); wait for it, or stop it"
    except (OSError, ValueError, KeyError):
        pass
    return "; wait for it, or close it"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
