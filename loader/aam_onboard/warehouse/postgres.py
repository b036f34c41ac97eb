"""PostgreSQL by ADBC: COPY in binary straight into Arrow."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from aam_onboard.errors import (
    AamError,
    ConfigError,
    DeliveryError,
    LockedError,
    MissingTableError,
    without_values,
)
from aam_onboard.warehouse import SQL_SEPARATOR, Warehouse, quoted, rows_of
from aam_onboard.warehouse.duckdb import reader

if TYPE_CHECKING:
    import pyarrow as pa

    from aam_onboard.config import PostgresSettings

# Bytes of a record batch that the driver aims at.
BATCH_BYTES = 2 * 1024 * 1024
# Rows of a record batch that is loaded: what the socket takes at once, so that the server stores it while the driver
# encodes the next one; with more, each waits for the other, and a load takes twice as long.
LOAD_ROWS = 512
# The first half of an advisory lock's key marks it as ours; the second half is the feed.
LOCK_CLASS = 0x41414D
# An open connection of this process to each server: the driver asks for the types that the server knows only for the
# first, and to clone it takes a twentieth of the time.
_OPEN: WeakValueDictionary[str, Any] = WeakValueDictionary()
# How often to look for a dbt before saying that there is none.
BUILDER_LOOKS = 5
# Errors that callers tell apart: undefined_table, lock_not_available.
_KINDS: dict[str, type[AamError]] = {"42P01": MissingTableError, "55P03": LockedError}


class PostgresWarehouse(Warehouse):
    """A PostgreSQL database."""

    row_id = "ctid"

    def __init__(self, name: str, settings: PostgresSettings) -> None:
        self.name = name
        self._place = f"{settings.host}:{settings.port}/{settings.dbname}"
        self._settings = settings
        self._conninfo = _conninfo(settings)
        self._connection = self._connect()
        _OPEN.setdefault(self._conninfo, self._connection)
        [found] = self.rows("select current_setting('server_encoding') as encoding")
        if found["encoding"] != "UTF8":
            self.close()
            raise ConfigError(
                f"warehouse {self._place}: the database is in {found['encoding']}, but files and rules are in UTF-8;"
                " use one made with `create database … encoding 'UTF8' template template0`"
            )

    def _connect(self) -> Any:
        import adbc_driver_manager
        import adbc_driver_postgresql.dbapi

        for attempt in range(self._settings.retries + 1):
            time.sleep(attempt**2 if attempt > 1 else 0)  # as patient as dbt: the first time at once
            try:
                if first := _OPEN.get(self._conninfo):
                    connection = first.adbc_clone()
                    connection.adbc_connection.set_autocommit(True)
                else:
                    connection = adbc_driver_postgresql.dbapi.connect(self._conninfo, autocommit=True)
                break
            except adbc_driver_manager.Error as error:
                failure = ConfigError(f"warehouse {self._place}: {_first_line(error)}; see profiles.yml")
        else:
            raise failure
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute("set time zone 'UTC'")
                # several processes build lines, or look up what is received: to hand a row on costs less than that,
                # whatever the planner thinks
                cursor.execute("set parallel_tuple_cost = 0")
                if self._settings.role:
                    cursor.execute(
                        f"set role {self._settings.role}"
                    )  # as dbt writes it: quoted where the profile does
        except adbc_driver_manager.Error as error:
            connection.close()
            raise ConfigError(f"warehouse {self._place}: {_first_line(error)}; see profiles.yml") from None
        return connection

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        with self._clear_errors(), closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, _bound(parameters))
            return rows_of(cursor.fetch_arrow_table())

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """See Warehouse."""
        with self._clear_errors(), closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, _bound(parameters))

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """See Warehouse: on a connection of its own, since a COPY occupies it until the last row.

        COPY takes no parameters; with some, the driver would fetch all rows before it gives the first.
        """
        with (
            self._clear_errors(),
            closing(self._connect()) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            cursor.execute(_with_literals(sql, parameters))
            yield from cursor.fetch_record_batch()

    def load(self, table: Sequence[str], query: str) -> None:
        """See Warehouse: DuckDB reads, COPY in binary writes."""
        with (
            tempfile.TemporaryDirectory(prefix="aam-load-") as folder,
            reader(Path(folder), "512MB") as duckdb,
        ):
            batches = duckdb.sql(query).to_arrow_reader(LOAD_ROWS)
            more: dict[str, Any] = {"db_schema_name": table[0]} if len(table) > 1 else {"temporary": True}
            with self._clear_errors(), closing(self._connection.cursor()) as cursor:
                cursor.adbc_ingest(table[-1], batches, mode="append", **more)
        # in its own time PostgreSQL does so a minute later, and until then takes the table for an empty one
        self.execute(f"analyze {quoted(*table)}")

    def difference(self, texts: str, others: str) -> str:
        """See Warehouse."""
        one, many = (
            f"string_to_array({texts}, {SQL_SEPARATOR})",
            f"string_to_array({others}, {SQL_SEPARATOR})",
        )
        without_many = f"select x from unnest({one}) as x where x <> all ({many})"
        # most often one of them is a single text, which takes a fifth of the time
        return (
            f"case when position({SQL_SEPARATOR} in {others}) = 0"
            f" then array_to_string(array_remove({one}, {others}), {SQL_SEPARATOR})"
            f" when position({SQL_SEPARATOR} in {texts}) = 0"
            f" then case when {texts} = any ({many}) then '' else {texts} end"
            f" else array_to_string(array({without_many}), {SQL_SEPARATOR}) end"
        )

    def is_among(self, places: str) -> str:
        """See Warehouse: each row is fetched from its place; for a join, all rows of the table would be read."""
        return f"ctid = any (array({places}))"

    def hold(self, tables: Sequence[str]) -> None:
        """See Warehouse. After a large build PostgreSQL tidies the tables up; it gives way to us within a second."""
        self.execute("set local lock_timeout = '5s'")
        self.execute(f"lock table {', '.join(tables)} in share mode")
        self.execute("set local lock_timeout = 0")

    def builder(self) -> str | None:
        """See Warehouse: by the application name that dbt gives its connections, of which it has none at moments."""
        for _ in range(BUILDER_LOOKS):
            found = self.rows(
                "select pid, to_char(backend_start, 'YYYY-MM-DD\"T\"HH24:MI:SSOF') as since from pg_stat_activity"
                " where datname = current_database() and application_name like 'dbt%' order by backend_start limit 1"
            )
            for row in found:
                return f"server process {row['pid']}, since {row['since']}"
            time.sleep(0.1)
        return None

    def close(self) -> None:
        """See Warehouse."""
        if _OPEN.get(self._conninfo) is self._connection:
            del _OPEN[self._conninfo]
        self._connection.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        import adbc_driver_manager
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:  # what an error between two record batches becomes
            raise DeliveryError(f"warehouse {self._place}: {without_values(_first_line(error))}") from None
        except adbc_driver_manager.Error as error:
            message = f"warehouse {self._place}: {without_values(_first_line(error))}"
            raise _KINDS.get(error.sqlstate or "", DeliveryError)(message) from None


@contextmanager
def advisory_locks(name: str, settings: PostgresSettings, feeds: Sequence[str]) -> Iterator[None]:
    """A lock a feed, on a connection of its own, which ends with the process. Raises LockedError with the holder."""
    warehouse = PostgresWarehouse(name, settings)
    try:
        holder = f"aam {socket.gethostname()} process {os.getpid()}"
        warehouse.rows("select set_config('application_name', $1, false)", [holder[:63]])
        for feed in feeds:
            sql = f"select pg_try_advisory_lock({LOCK_CLASS}, hashtext($1)) as is_ours"
            if warehouse.rows(sql, [feed]) != [{"is_ours": True}]:
                raise LockedError(f"feed {feed} is in use by another run{_holder(warehouse, feed)}")
        yield
    finally:
        warehouse.close()


def _holder(warehouse: Warehouse, feed: str) -> str:
    found = warehouse.rows(
        "select application_name as name, to_char(backend_start, 'YYYY-MM-DD\"T\"HH24:MI:SSOF') as since"
        " from pg_locks inner join pg_stat_activity using (pid)"
        f" where locktype = 'advisory' and granted and classid = {LOCK_CLASS}"
        " and pg_locks.database = (select oid from pg_database where datname = current_database())"
        " and objid::bigint = (hashtext($1)::bigint & 4294967295)",
        [feed],
    )
    who = "".join(f" ({row['name']}, since {row['since']})" for row in found[:1])
    return f"{who}; wait for it, or stop it"


def _conninfo(settings: PostgresSettings) -> str:
    """libpq's `key='value'` form: it takes socket folders and any password as they are."""
    search_path = (settings.search_path or "").replace(" ", "\\ ")
    values = {
        "host": settings.host,
        "port": str(settings.port),
        "user": settings.user,
        "password": settings.password,
        "dbname": settings.dbname,
        "sslmode": settings.sslmode,
        "sslcert": settings.sslcert,
        "sslkey": settings.sslkey,
        "sslrootcert": settings.sslrootcert,
        "connect_timeout": str(settings.connect_timeout),
        "keepalives_idle": str(settings.keepalives_idle or ""),
        "options": search_path and f"-c search_path={search_path}",
        "application_name": settings.application_name,
        "client_encoding": "UTF8",  # whatever PGCLIENTENCODING says: Arrow's texts are UTF-8
    }
    quoted = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in values.items() if value}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


def _bound(parameters: Sequence[object]) -> list[object] | None:
    """Parameters as the driver may have them: with a time zone in one it would end the transaction that is open.

    The session's zone is UTC.
    """
    return [
        value.astimezone(timezone.utc).replace(tzinfo=None)
        if isinstance(value, datetime) and value.tzinfo is not None
        else value
        for value in parameters
    ] or None


def _with_literals(sql: str, parameters: Sequence[object]) -> str:
    """The statement with its parameters written into it, as PostgreSQL reads texts; quoted names stay as they are."""

    def literal(place: re.Match[str]) -> str:
        if place[1] is None:
            return place[0]
        value = str(parameters[int(place[1]) - 1])
        return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

    return re.sub(r'"[^"]*"|\$([0-9]+)', literal, sql)


def _first_line(error: Exception) -> str:
    """The server's own words, without the driver's prefix, query and codes."""
    text = str(error).strip()
    for line in text.splitlines():
        if "ERROR:" in line or "FATAL:" in line:
            return line[line.index("ERROR:" if "ERROR:" in line else "FATAL:") :]
    return text.splitlines()[0] if text else type(error).__name__
