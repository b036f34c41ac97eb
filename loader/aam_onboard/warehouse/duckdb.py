"""DuckDB, the embedded default: one file, one process at a time."""

from __future__ import annotations

import copy
import fcntl
import importlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard.errors import ConfigError, DeliveryError, LockedError, MissingTableError, without_values
from aam_onboard.warehouse import SQL_SEPARATOR, Warehouse, quoted, rows_of

if TYPE_CHECKING:
    import pyarrow as pa
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from duckdb import DuckDBPyConnection

    from aam_onboard.config import DuckDBSettings

# What `settings: {memory_limit: …}` of the profile goes before. Enough for the longest lines, and with Python and what
# DuckDB does not count less than a gigabyte; see _let_go, too.
MEMORY_LIMIT = "800MB"
# Of a record batch: large enough for C to do the work, small enough that memory stays flat. DuckDB counts in vectors.
BATCH_BYTES = 1_500_000
VECTOR_ROWS = 2048
MOST_BATCH_ROWS = 20_480
# How much of a file an export may have read before it lets go of that again, and what it may keep.
KEEP_BYTES = 12_000_000
# Rows of sets that are gathered at once: some 250 bytes each.
MOST_GATHERED = 1_500_000
# How long a run waits for those who only look: `aam plan` and `aam status`.
WAIT_SECONDS = 60


def require_file(path: str) -> None:
    """Raise ConfigError where no dbt has made the file yet."""
    if not Path(path).is_file():
        raise ConfigError(f"{path} is not there: nothing has been built; run `aam run` or `dbt build`")


class DuckDBWarehouse(Warehouse):
    """A DuckDB file."""

    row_id = "rowid"

    def __init__(self, name: str, settings: DuckDBSettings, *, read_only: bool = False) -> None:
        import duckdb

        self.name = name
        self._path = settings.path
        require_file(settings.path)
        self._settings = {"memory_limit": MEMORY_LIMIT, **settings.settings}
        self._memory_limit = self._settings["memory_limit"]
        self._credentials = _dbts_credentials(settings)
        try:
            self._connection = _connect(settings, read_only)
            self._prepare()
            self._begin_session(self._connection)
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise LockedError(
                    f"{settings.path} is in use by another process{holder(str(error))}"
                ) from None
            raise ConfigError(f"{settings.path} cannot be opened: {_first_line(error)}") from None
        except duckdb.Error as error:
            raise ConfigError(f"{settings.path} cannot be opened: {_first_line(error)}") from None

    def _prepare(self) -> None:
        """As dbt-duckdb prepares its connection: what a view needs at its build, it needs when it is read."""
        if self._credentials is None:
            return
        import duckdb
        from dbt.adapters.duckdb.environments import Environment

        for extension in self._credentials.extensions or []:
            found = {"name": extension} if isinstance(extension, str) else extension
            try:
                self._connection.load_extension(found["name"])
            except duckdb.Error:  # dbt installs each time; who has it needs no network
                self._connection.install_extension(found["name"], repository=found.get("repo"))
                self._connection.load_extension(found["name"])
        for secret in self._credentials.secrets_sql():
            self._connection.execute(secret)
        for filesystem in self._credentials.filesystems or []:
            more = dict(filesystem)
            fsspec = importlib.import_module("fsspec")  # the user's to install, as dbt-duckdb has it
            self._connection.register_filesystem(fsspec.filesystem(more.pop("fs"), **more))
        for plugin in Environment.initialize_plugins(self._credentials).values():
            plugin.configure_connection(self._connection)
        for attachment in self._credentials.attach or []:
            self._connection.execute(attachment.to_sql())

    def _begin_session(self, connection: DuckDBPyConnection) -> None:
        """What holds for one cursor only."""
        for name, value in self._settings.items():
            text = str(value).replace("'", "''")
            connection.execute(f"set {name} = '{text}'")
        if self._credentials:
            connection.execute('use "' + self._credentials.database.replace('"', '""') + '"')
        # PostgreSQL's and Arrow's clock; the session's zone never leaks into a stored time
        connection.execute("set timezone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        with self._clear_errors():
            table = self._connection.sql(sql, params=list(parameters)).to_arrow_table()
        return rows_of(table)

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """See Warehouse."""
        with self._clear_errors():
            self._connection.execute(sql, list(parameters))

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """See Warehouse."""
        with self._clear_errors(), self._connection.cursor() as cursor:
            self._begin_session(cursor)
            rows = self._rows_a_batch(sql, parameters)
            since = 0
            for batch in cursor.sql(sql, params=list(parameters)).to_arrow_reader(rows):
                yield batch
                since += batch.nbytes
                if since > KEEP_BYTES and rows > VECTOR_ROWS:
                    self._let_go()
                    since = 0

    def load(self, table: Sequence[str], query: str) -> None:
        """See Warehouse."""
        self.execute(f"insert into {quoted(*table)} by name {query}")

    def difference(self, texts: str, others: str) -> str:
        """See Warehouse."""
        return (
            f"coalesce(array_to_string(list_filter(string_split({texts}, {SQL_SEPARATOR}), lambda x:"
            f" not list_contains(string_split({others}, {SQL_SEPARATOR}), x)), {SQL_SEPARATOR}), '')"
        )

    def parts_of(self, rows: int) -> list[str]:
        """See Warehouse: what an aggregate gathers of texts does not go to disk where memory ends."""
        count = rows // MOST_GATHERED + 1
        return [f"hash(user_id) % {count} = {part}" for part in range(count)] if count > 1 else ["true"]

    def has_table(self, schema: str, table: str) -> bool:
        """See Warehouse; DuckDB minds no letter case."""
        sql = (
            "select 1 as there from information_schema.tables where table_catalog = current_database()"
            " and lower(table_schema) = lower($1) and lower(table_name) = lower($2)"
        )
        return bool(self.rows(sql, [schema, table]))

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
def reader(folder: Path, memory: str = MEMORY_LIMIT) -> Iterator[DuckDBPyConnection]:
    """A DuckDB that only reads files; what finds no room in its memory goes to the folder."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(folder),
        "preserve_insertion_order": "false",
    }
    try:
        with duckdb.connect(config=config) as connection:
            connection.execute("set timezone = 'UTC'")
            yield connection
    except duckdb.Error as error:
        raise DeliveryError(f"DuckDB, which reads the file: {without_values(_first_line(error))}") from None


def _connect(settings: DuckDBSettings, read_only: bool) -> DuckDBPyConnection:
    """Open the file, as often and as patiently as the profile's `retries` say."""
    import duckdb

    for attempt in range(settings.retries.connect_attempts - 1):
        try:
            return duckdb.connect(settings.path, read_only=read_only, config=settings.config_options)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            time.sleep(2**attempt)
    return duckdb.connect(settings.path, read_only=read_only, config=settings.config_options)


def _dbts_credentials(settings: DuckDBSettings) -> DuckDBCredentials | None:
    """dbt-duckdb's reading of what it is to prepare; None when the profile asks for nothing of the kind.

    Raises ConfigError in dbt's words.
    """
    if not settings.by_dbt:
        return None
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt_common.exceptions import DbtBaseException

    given = copy.deepcopy({**settings.by_dbt, "path": settings.path, "schema": "main"})
    sys.path.extend(path for path in given.pop("module_paths", []) if path not in sys.path)
    try:
        DuckDBCredentials.validate(given)
        return DuckDBCredentials.from_dict(given)
    except (DbtBaseException, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(getattr(error, "msg", error)).split())
        raise ConfigError(f"profiles.yml: the target of {settings.path}: {reason}") from None


@contextmanager
def file_lock(path: str, remedy: str = "check `path` of the target in profiles.yml") -> Iterator[None]:
    """Hold `<path>.lock`, and so every feed: no two runs can take turns between dbt's build and the delivery.

    `remedy`: what to do where that file can't be made. The kernel lets go of it when the process ends, however it ends.
    Raises LockedError with the holder.
    """
    try:
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}.lock cannot be made: {error.strerror}; {remedy}") from None
    try:
        _wait_for_readers(handle, path)
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        ours = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(ours).encode(), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def shared_lock(path: str) -> Iterator[None]:
    """Look at the warehouse beside others who look; a run waits for the end of it, so that its dbt finds the file free.

    Raises LockedError with the holder when a run is under way. Where no run has made the lock file, or nobody lets us
    read it, there is none to wait for us.
    """
    try:
        handle = os.open(f"{path}.lock", os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        if not _lock(handle, fcntl.LOCK_SH, path):
            raise LockedError(f"{path} is in use by a run{_run_under_way(path)}")
        yield
    finally:
        os.close(handle)


def _wait_for_readers(handle: int, path: str) -> None:
    """Take the lock. Raises LockedError when another run has it, or those who look don't come to an end."""
    until = time.monotonic() + WAIT_SECONDS
    while not _lock(handle, fcntl.LOCK_EX, path):
        if not _lock(handle, fcntl.LOCK_SH, path):  # not even to look beside it: it is a run
            raise LockedError(f"{path} is in use by another run{_run_under_way(path)}")
        fcntl.flock(handle, fcntl.LOCK_UN)
        if time.monotonic() > until:
            raise LockedError(f"{path} is in use by `aam plan` or `aam status`; wait for it, or stop it")
        time.sleep(0.02)


def _lock(handle: int, kind: int, path: str) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConfigError(
            f"{path}.lock cannot be locked: {error.strerror}; it must be on a storage that knows locks"
        ) from None
    return True


def holder(error: str) -> str:
    """Who has the file, as DuckDB's error says, for people: any program, of which our lock file knows nothing."""
    found = re.search(r"held in (?P<program>.*?) ?\(PID (?P<pid>[0-9]+)\)( by user (?P<user>[^ .]+))?", error)
    if not found:
        return "; wait for it, or close it"
    user = f" of user {found['user']}" if found["user"] else ""
    return f" ({Path(found['program']).name or 'a program'}, process {found['pid']}{user}); wait for it, or close it"


def _run_under_way(path: str) -> str:
    """Which run holds the lock file, for people."""
    try:
        holder = json.loads(Path(f"{path}.lock").read_text(encoding="utf-8"))
        elsewhere = holder.get("host", socket.gethostname()) != socket.gethostname()
        where = f" on {holder['host']}" if elsewhere else ""
        if elsewhere or Path(f"/proc/{holder['pid']}").exists() or not Path("/proc").exists():
            return f" (aam, process {holder['pid']}{where}, since {holder['since']}); wait for it, or stop it"
    except (OSError, ValueError, KeyError):
        pass
    return "; wait for it, or stop it"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
