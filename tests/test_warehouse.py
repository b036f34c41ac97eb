"""How a warehouse is opened, locked and read: rows of any width, in memory that stays flat."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from conftest import Engine

from aam_onboard.config import DuckDBSettings, PostgresSettings
from aam_onboard.config.profile import SparkSettings
from aam_onboard.errors import ConfigError, DeliveryError, LockedError, MissingTableError, without_values
from aam_onboard.warehouse import Warehouse, lock_feeds
from aam_onboard.warehouse import duckdb as duckdb_warehouse
from aam_onboard.warehouse.duckdb import (
    BATCH_BYTES,
    KEEP_BYTES,
    MEMORY_LIMIT,
    VECTOR_ROWS,
    DuckDBWarehouse,
    file_lock,
    shared_lock,
)
from aam_onboard.warehouse.postgres import PostgresWarehouse


def make_lines(path: Path, rows: int, line: str) -> DuckDBWarehouse:
    with duckdb.connect(path) as connection:
        connection.execute(
            f"create table lines as select {line} as line, 1 as lines from range({rows}) as r (i)"
        )
    return DuckDBWarehouse("test", DuckDBSettings(type="duckdb", path=str(path)), read_only=True)


def test_an_export_keeps_little_of_what_it_has_read(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    warehouse = make_lines(path, 2_000_000, "sha256(cast(i as varchar)) || chr(10)")
    sizes = [(batch.num_rows, batch.nbytes) for batch in warehouse.stream("select line, lines from lines")]
    assert sum(rows for rows, _ in sizes) == 2_000_000
    assert max(size for _, size in sizes) < 2 * BATCH_BYTES
    assert kept_of_the_file(warehouse) < 2 * KEEP_BYTES < path.stat().st_size
    [limit] = warehouse.rows("select current_setting('memory_limit') as found")
    assert limit["found"].startswith("762")  # MiB in 800 megabytes
    warehouse.close()


def kept_of_the_file(warehouse: DuckDBWarehouse) -> int:
    [kept] = warehouse.rows(
        "select sum(memory_usage_bytes) as bytes from duckdb_memory() where tag = 'BASE_TABLE'"
    )
    return int(kept["bytes"])


class Recorded:
    """A connection, and what it was told to execute."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.statements: list[str] = []

    def execute(self, sql: str, *more: object) -> object:
        self.statements.append(sql)
        return self.connection.execute(sql, *more)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


def test_an_export_leaves_memory_to_queries_that_need_it(tmp_path: Path) -> None:
    warehouse = make_lines(tmp_path / "w.duckdb", 1_000_000, "sha256(cast(i as varchar)) || chr(10)")
    warehouse.execute("create temp table held as select md5(cast(i as varchar)) from range(1000000) as r (i)")
    warehouse._connection = recorded = Recorded(warehouse._connection)  # type: ignore[assignment]
    assert sum(batch.num_rows for batch in warehouse.stream("select line, lines from lines")) == 1_000_000
    limits = [int(sql.split("'")[1].split()[0]) for sql in recorded.statements if " bytes'" in sql]
    assert limits
    assert min(limits) > 20_000_000 + KEEP_BYTES  # what the temporary table takes, and room
    assert recorded.statements[-1].endswith(f"= '{MEMORY_LIMIT}'")
    warehouse.close()


@pytest.mark.parametrize("line_bytes", [3_200, 96_000])
def test_long_lines_are_read_few_at_a_time(tmp_path: Path, line_bytes: int) -> None:
    rows = 300_000_000 // line_bytes
    line = f"repeat(md5(cast(i as varchar)), {line_bytes // 32}) || chr(10)"
    warehouse = make_lines(tmp_path / "w.duckdb", rows, line)
    read = [batch.num_rows for batch in warehouse.stream("select line, lines from lines")]
    assert sum(read) == rows
    assert max(read) <= VECTOR_ROWS
    warehouse.close()


@pytest.fixture
def postgres(postgres_host: str) -> Iterator[PostgresWarehouse]:
    settings = {"type": "postgres", "host": postgres_host, "user": "postgres", "dbname": "postgres"}
    warehouse = PostgresWarehouse("test", PostgresSettings.model_validate(settings))
    yield warehouse
    warehouse.close()


def test_postgresql_gives_rows_while_it_makes_them(postgres: PostgresWarehouse) -> None:
    text = "it's \\ $1"
    query = "select concat($1, i, chr(10)) as line, 1 as lines from generate_series(1, 3000000) as r (i) where i <> $2"
    rows = postgres.stream(query, [text, 7])
    first = next(rows)
    assert first.column(0)[6].as_py() == f"{text}8\n"
    under_way = (
        "select count(*) as n from pg_stat_activity where state = 'active' and query like 'COPY (select con%'"
    )
    assert postgres.rows(under_way) == [{"n": 1}]
    assert first.num_rows + sum(batch.num_rows for batch in rows) == 2_999_999
    assert postgres.rows(under_way) == [{"n": 0}]


@pytest.fixture
def warehouse(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """An empty one of either engine."""
    if engine == "postgres":
        yield request.getfixturevalue("postgres")
        return
    path = tmp_path / "w.duckdb"
    duckdb.connect(path).close()
    with closing(DuckDBWarehouse("test", DuckDBSettings(type="duckdb", path=str(path)))) as found:
        yield found


# A person's data in what a database says: it would enter logs and the state for good.
QUOTING = {
    "select cast(x as integer) as n from (values ('jane\"s @example.com')) as t (x)": "integer|INT32",
    "select cast(x as integer) as n from (values ('jane' || chr(10) || '@example.com')) as t (x)": "integer|string",
    "select cast(x as integer) as n from (values (cast('4915112345678' as bigint))) as t (x)": "out of range",
    "select cast(x as date) as n from (values ('jane@example.com')) as t (x)": "date",
    "select cast(x as date) as n from (values ('4915-13-12')) as t (x)": "date",
}


def test_an_error_tells_no_value(engine: Engine, warehouse: Warehouse) -> None:
    for sql, said in QUOTING.items():
        for read in (warehouse.rows, lambda asked: list(warehouse.stream(asked))):
            with pytest.raises(DeliveryError, match=said) as caught:
                read(sql)
            assert not re.search("jane|example|4915", str(caught.value)), caught.value
    # also in the midst of a stream, where Arrow speaks instead of the database
    numbers = "range(3000000)" if engine == "duckdb" else "generate_series(1, 3000000)"
    text = "case when i = 2900000 then 'jane@example.com' else '1' end"
    late = f"select cast({text} as integer) as n from {numbers} as r (i)"
    with pytest.raises(DeliveryError, match=r"integer|INT32") as caught:
        list(warehouse.stream(late))
    assert "jane" not in str(caught.value)
    # names are told
    with pytest.raises(MissingTableError, match="trait_rows"):
        warehouse.rows("select * from inbound.trait_rows")


@pytest.mark.parametrize(
    "message",
    [
        'relation "inbound.trait_rows" does not exist',
        'column "user_id" of relation "x" does not exist',
        'duplicate key value violates unique constraint "deliveries_pkey"',
        'Referenced column "y" not found in FROM clause!',
        'Cannot open file "/srv/w.duckdb": Permission denied',
        'syntax error at or near "form"',
        "it can't be",
    ],
)
def test_an_error_tells_names(message: str) -> None:
    assert without_values(message) == message


@pytest.mark.parametrize(
    "message",
    [
        'Constraint Error: Duplicate key "user_id: jane" violates primary key constraint.',
        "ung\u00fcltige Eingabesyntax f\u00fcr Typ integer: \u201ejane\u201c",
        'invalid input syntax for type integer: "ja"ne" of "jane"',
        'invalid input syntax for type integer: "jane',
        "Could not convert string 'jane' to INT32",
    ],
)
def test_an_error_tells_no_value_whatever_quotes_it(message: str) -> None:
    assert "ja" not in without_values(message) and "(\u2026)" in without_values(message)


def test_a_run_waits_for_those_who_look(tmp_path: Path) -> None:
    """`aam plan` and `aam status` read beside each other, and a run's dbt finds the file free."""
    path = str(tmp_path / "w.duckdb")
    with shared_lock(path):  # nobody has ever run: nothing to wait for
        pass
    begun, done = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        with file_lock(path):
            done.set()

    with file_lock(path):
        pass
    running = threading.Thread(target=run)
    with shared_lock(path), shared_lock(path):
        running.start()
        begun.wait()
        assert not done.wait(0.2)
    assert done.wait(30)
    running.join()


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_a_lock_that_can_not_be_made_names_the_setting_of_its_place(engine: str, tmp_path: Path) -> None:
    (tmp_path / "w.lock").mkdir()
    settings = (
        DuckDBSettings(type="duckdb", path=str(tmp_path / "w"))
        if engine == "duckdb"
        else SparkSettings(type="spark", method="session", lock=str(tmp_path / "w"))
    )
    place = {
        "duckdb": "check `path` of the target in profiles.yml",
        "spark": "check the disk, or set spool_dir",
    }
    says = f"{tmp_path}/w.lock cannot be made: Is a directory; {place[engine]}"
    with pytest.raises(ConfigError, match=re.escape(says)), lock_feeds("test", settings, ["crm"]):
        pass


def test_who_looks_does_not_wait_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "w.duckdb")
    with file_lock(path):
        for lock in (shared_lock, file_lock):
            with (
                pytest.raises(LockedError, match=rf"in use by .*run .aam, process {os.getpid()}, since 2"),
                lock(path),
            ):
                pass
    monkeypatch.setattr(duckdb_warehouse, "WAIT_SECONDS", 0)
    with (
        shared_lock(path),
        pytest.raises(LockedError, match="`aam plan` or `aam status`; wait for it"),
        file_lock(path),
    ):
        pass


def test_times_are_read_as_times_of_utc(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        "select n, case when n < 3 then timestamp with time zone '2026-03-01 14:00:00.25+02' end as at,"
        " timestamp '2026-03-01 14:00:00' as plain from (select 1 as n union all select 2 union all select 3) as n"
        " order by n"
    )
    at = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=timezone.utc)
    assert rows == [
        {"n": n, "at": at if n < 3 else None, "plain": datetime(2026, 3, 1, 14)} for n in (1, 2, 3)
    ]
    assert rows[0]["at"].tzinfo == timezone.utc
    assert warehouse.rows("select current_timestamp as at where false") == []


def test_a_transaction_with_times_takes_effect_whole_or_not_at_all(warehouse: Warehouse) -> None:
    """PostgreSQL's driver ends the open transaction itself where a parameter has a time zone."""
    at = datetime(2026, 7, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    warehouse.execute("create table times (happened_at timestamp with time zone)")
    with pytest.raises(ZeroDivisionError), warehouse.transaction():
        warehouse.execute("insert into times values ($1)", [at])
        assert warehouse.rows("select happened_at from times where happened_at <= $1", [at]) == [
            {"happened_at": at}
        ]
        raise ZeroDivisionError
    assert warehouse.rows("select happened_at from times") == []
    warehouse.execute("drop table times")


def test_a_database_that_is_not_in_utf_8_is_refused(postgres_host: str) -> None:
    settings = {"type": "postgres", "host": postgres_host, "user": "postgres"}
    server = PostgresWarehouse("test", PostgresSettings.model_validate({**settings, "database": "postgres"}))
    server.execute(
        "create database in_latin1 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
    )
    with pytest.raises(
        ConfigError, match=r"in_latin1: the database is in LATIN1.*encoding 'UTF8' template template0"
    ):
        PostgresWarehouse("test", PostgresSettings.model_validate({**settings, "dbname": "in_latin1"}))
    server.execute("drop database in_latin1 with (force)")
    server.close()


def test_postgresql_is_opened_as_the_profile_says(
    postgres_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    settings = {
        "type": "postgres", "host": postgres_host, "user": "postgres", "pass": "any", "database": "postgres",
        "role": '"A Role"', "search_path": 'one, "two words"', "keepalives_idle": 30, "application_name": "nightly",
        "sslcert": None, "sslmode": "disable", "retries": 0,
    }  # fmt: skip
    server = PostgresWarehouse("test", PostgresSettings.model_validate({**settings, "role": None}))
    server.execute('create role "A Role"')
    warehouse = PostgresWarehouse("test", PostgresSettings.model_validate(settings))
    for rows in (
        warehouse.rows,
        lambda sql: [row for batch in warehouse.stream(sql) for row in batch.to_pylist()],
    ):
        asked = ("search_path", "role", "application_name", "client_encoding")
        columns = ", ".join(f"current_setting('{name}') as {name}" for name in asked)
        assert rows(f"select {columns}, 'Zoë \u3000' as text") == [
            {
                "search_path": 'one, "two words"', "role": "A Role", "application_name": "nightly",
                "client_encoding": "UTF8", "text": "Zoë \u3000",
            }
        ]  # fmt: skip
    warehouse.close()
    server.execute('drop role "A Role"')
    server.close()
    with pytest.raises(ConfigError, match=r'role "A Role" does not exist.*profiles\.yml'):
        PostgresWarehouse("test", PostgresSettings.model_validate(settings))


def test_duckdb_is_opened_as_the_profile_says(tmp_path: Path) -> None:
    """Views need when they are read what they needed when dbt made them."""
    path, other = tmp_path / "w.duckdb", tmp_path / "other.duckdb"
    with duckdb.connect(other) as connection:
        connection.execute("create schema inbound")
        connection.execute("create table inbound.batches as select 'other' as place")
    with duckdb.connect(path) as connection:
        connection.execute(f"attach '{other}' as sources")
        connection.execute(
            "create view v as select place, current_setting('null_order') as nulls from sources.inbound.batches"
        )
    settings = {
        "type": "duckdb", "path": str(path), "extensions": ["parquet", "json"],
        "config_options": {"allow_unsigned_extensions": True}, "settings": {"null_order": "nulls_first"},
        "attach": [{"path": str(other), "alias": "sources"}], "retries": {"connect_attempts": 2},
        "threads": 2, "keep_open": True, "disable_transactions": True, "external_root": "x",
    }  # fmt: skip
    secret = {"type": "s3", "key_id": "one", "secret": "not to be shown"}
    assert "not to be shown" not in repr(DuckDBSettings.model_validate({**settings, "secrets": [secret]}))
    warehouse = DuckDBWarehouse("test", DuckDBSettings.model_validate(settings), read_only=True)
    expected = [{"place": "other", "nulls": "NULLS_FIRST"}]
    assert warehouse.rows("select * from v") == expected
    assert [row for batch in warehouse.stream("select * from v") for row in batch.to_pylist()] == expected
    assert not warehouse.has_table("inbound", "batches")  # an attached database's is not ours
    warehouse.close()
    # dbt builds into an attached database where `database` names it
    settings = {**settings, "database": "sources"}
    warehouse = DuckDBWarehouse("test", DuckDBSettings.model_validate(settings))
    assert warehouse.has_table("inbound", "batches")
    assert warehouse.rows("select place from inbound.batches") == [{"place": "other"}]
    warehouse.close()
    with pytest.raises(ConfigError, match=r"profiles\.yml: .*'database' property must be set to 'w'"):
        DuckDBWarehouse("test", DuckDBSettings.model_validate({**settings, "database": "nobody"}))
