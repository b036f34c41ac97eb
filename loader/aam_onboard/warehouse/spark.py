"""Apache Spark: the engine past one machine, by Spark Connect or with a driver of our own.

The loader's SQL is PostgreSQL's, which sqlglot writes as Spark has it. Spark's plain tables know no UPDATE and no
DELETE, so that the tables of the state are views of one log (see macros/state/materialization_state_table.sql): what
changes them here is appended there, all of a transaction in one file, which is there or not.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aam_onboard.errors import ConfigError, DeliveryError
from aam_onboard.executors import clear_errors, each, export, first_line
from aam_onboard.warehouse import Warehouse, rows_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession
    from sqlglot import exp

    from aam_onboard.config import SparkSettings
    from aam_onboard.encryption import Encryption
    from aam_onboard.executors import Check
    from aam_onboard.files import Part

LOG = "state_log"  # in the schema of the state
MOST_FILES = 200  # of the log: each is opened whenever the state is asked
INSTALL = "install aam-onboard[spark]"
JAVA = "Spark needs Java 17 or later: install it (Debian: openjdk-17-jre-headless), or set JAVA_HOME"
# How a row stands in the log, as macros/state has it.
_OPTIONS = "map('timestampFormat', \"yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX\", 'timeZone', 'UTC')"

# Of what was written of a row: the last writing. The macro last_written says so for dbt.
_LAST_ONE = "max_by(struct(change, place, gone, content), struct(change, place)) as last_one"


@dataclass(frozen=True)
class _Written:
    """A row of a table of the state, as it is written into the log; `content` None: it is gone."""

    table: str
    row_id: str
    content: str | None


_NO_RECEIVING = "aam receive does not run on Spark yet: receive into a target of DuckDB or PostgreSQL"


class SparkWarehouse(Warehouse):
    """A Spark session."""

    in_executors = True
    row_id = "row_id"  # of the log; no statement of ours asks for it here

    def __init__(self, name: str, settings: SparkSettings) -> None:
        self.name = name
        self._session = _open_session(name, settings)
        self._is_remote = "spark.remote" in settings.server_side_parameters
        self._changes: list[_Written] | None = None  # of the transaction that is open
        self._last_change = 0
        # of the log's files; a log that was made before it had any has none
        self._generation: int | None = None

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        return self._rows(_for_spark(sql, parameters))

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        with clear_errors():
            return rows_of(self._session.sql(sql).toArrow())

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """See Warehouse. What changes a row of a table is a change of the state: there is no other to change."""
        from sqlglot import exp

        statement = _parsed(sql)
        if isinstance(statement, exp.Analyze):
            return  # Spark counts the files that it reads
        if not isinstance(statement, exp.Insert | exp.Update | exp.Delete):
            raise DeliveryError(f"aam knows no way to do this on Spark: {type(statement).__name__.lower()}")
        with self.transaction() if self._changes is None else nullcontext():
            if isinstance(statement, exp.Insert):
                self._insert(statement, parameters)
                return
            _fill(statement, parameters)
            parts = self._parts(*_name_of(statement))
            if parts:
                self._change_parts(statement, parts)
            else:
                self._change(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Warehouse. What is changed within is seen by later changes, and by `rows` after the end."""
        self._changes = []
        try:
            yield
            if self._changes:
                self.append(self._changes)
        finally:
            self._changes = None

    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """See Warehouse; but here all of it comes into the driver's memory, so that an export goes by `write_parts`."""
        with clear_errors():
            yield from self._session.sql(_for_spark(sql, parameters)).toArrow().to_batches()

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
        """See Warehouse: by the executors, and none of them before all are whole."""
        return export(
            self._session,
            _for_spark(sql, parameters),
            directory,
            split_bytes=split_bytes,
            max_plain_bytes=max_plain_bytes,
            encryption=encryption,
            check=check,
            expected_lines=expected_lines,
            on_progress=on_progress,
        )

    def each(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See Warehouse."""
        return each(self._session, work, items)

    def load(self, table: Sequence[str], query: str) -> None:
        """See Warehouse."""
        raise ConfigError(_NO_RECEIVING)

    def difference(self, texts: str, others: str) -> str:
        """See Warehouse."""
        raise ConfigError(_NO_RECEIVING)

    def hold(self, tables: Sequence[str]) -> None:
        """See Warehouse: who runs aam has the lock; a dbt of one's own beside it is not seen."""

    def builder(self) -> str | None:
        """See Warehouse."""
        return None

    def has_table(self, schema: str, table: str) -> bool:
        """See Warehouse."""
        with clear_errors():
            return bool(self._session.catalog.tableExists(f"`{schema}`.`{table}`"))

    def columns(self, schema: str, table: str) -> list[str]:
        """See Warehouse."""
        return list(self._types(schema, table))

    def close(self) -> None:
        """See Warehouse. A driver of our own ends: an embedded catalog has one process."""
        with suppress(Exception):
            self._session.stop()
        if not self._is_remote:
            _end_java()

    # --- changes of the state ---------------------------------------------------------------------------------

    def _insert(self, statement: exp.Insert, parameters: Sequence[object]) -> None:
        from sqlglot import exp

        assert self._changes is not None  # noqa: S101  # execute sees to it
        schema, table = _name_of(statement)
        target = statement.this
        columns = (
            [column.name for column in target.expressions]
            if isinstance(target, exp.Schema)
            else self.columns(schema, table)
        )
        for row in statement.expression.expressions:
            given = [_value_of(value, parameters) for value in row.expressions]
            values = dict(zip(columns, given, strict=True))
            self._changes.append(_Written(f"{schema}.{table}", str(uuid.uuid4()), _as_json(values)))

    def _change(self, statement: exp.Update | exp.Delete) -> None:
        """Rows of a table of the state are written anew, or as gone."""
        from sqlglot import exp

        assert self._changes is not None  # noqa: S101  # execute sees to it
        schema, table = _name_of(statement)
        types = self._types(schema, table)
        content = "cast(null as string)"
        if isinstance(statement, exp.Update):
            changed = {one.this.name: one.expression.sql(dialect="spark") for one in statement.expressions}
            fields = ", ".join(f"{changed.get(name, f'`{name}`')} as `{name}`" for name in types)
            content = f"to_json(struct({fields}), {_OPTIONS})"
        where = statement.args["where"].this.sql(dialect="spark") if statement.args.get("where") else "true"
        of_type = ", ".join(f"{name} {type_}" for name, type_ in types.items())
        found = self._rows(
            f"select row_id, {content} as content from (select row_id, found.* from (select row_id,"
            f" from_json(content, {_literal(of_type)}, {_OPTIONS}) as found"
            f" from ({self._last_written(schema, table)}) as written) as rows_of_it) as t where {where}"
        )
        self._changes += [_Written(f"{schema}.{table}", row["row_id"], row["content"]) for row in found]

    def _last_written(self, schema: str, table: str) -> str:
        """The rows of a table of the state, row_id and content, with what this transaction has made of them."""
        written = f"select row_id, gone, content, change, place from `{schema}`.`{LOG}` where name = {_literal(table)}"
        ours = [change for change in self._changes or () if change.table == f"{schema}.{table}"]
        if ours:
            values = ", ".join(
                f"({_literal(change.row_id)}, {str(change.content is None).lower()},"
                f" {'null' if change.content is None else _literal(change.content)}, {(1 << 63) - 1}, {place})"
                for place, change in enumerate(ours)
            )
            written += (
                f" union all select * from values {values} as ours(row_id, gone, content, change, place)"
            )
        return (
            f"select row_id, last_one.content as content from (select row_id, {_LAST_ONE} from ({written}) as written"
            " group by row_id) as rows_of_it where not last_one.gone"
        )

    def append(self, changes: Sequence[_Written]) -> None:
        """All of a transaction, as one file."""
        schemas = {change.table.partition(".")[0] for change in changes}
        if len(schemas) != 1:
            raise DeliveryError(
                f"no transaction may change more than one schema: {', '.join(sorted(schemas))}"
            )
        schema = schemas.pop()
        log = f"`{schema}`.`{LOG}`"
        if not self._last_change:
            self._begin_changes(log, has_generations=bool(self._parts(schema, LOG)))
        self._last_change = max(self._last_change + 1, time.time_ns() // 1000)
        rows = [
            (
                self._last_change,
                place,
                change.table.partition(".")[2],
                change.row_id,
                change.content is None,
                change.content,
                *([] if self._generation is None else [self._generation]),
            )
            for place, change in enumerate(changes)
        ]
        columns = "change bigint, place int, name string, row_id string, gone boolean, content string"
        columns += "" if self._generation is None else ", generation int"
        with clear_errors():
            self._session.createDataFrame(rows, columns).coalesce(1).write.insertInto(log)

    def _begin_changes(self, log: str, *, has_generations: bool) -> None:
        """Look where the log ends, and join its files when they are many. Who changes the state has the lock."""
        generation = "generation" if has_generations else "cast(null as int)"
        [found] = self._rows(
            f"select coalesce(max(change), 0) as last_change, max({generation}) as generation,"
            f" count(distinct _metadata.file_path) as files from {log}"
        )
        self._last_change, self._generation = found["last_change"], found["generation"]
        if self._generation is not None and found["files"] > MOST_FILES:
            self._generation = self._join_files(log, self._generation)

    def _join_files(self, log: str, generation: int) -> int:
        """The last writings of all rows as one file of the next generation, which is returned; the others go.

        Killed in between, it leaves rows that stand there twice, which says nothing else: the last writing is the same.
        """
        with clear_errors():
            self._session.sql(
                f"select last_one.change, last_one.place, name, row_id, last_one.gone, last_one.content,"
                f" {generation + 1} as generation from (select name, row_id, {_LAST_ONE} from {log}"
                " group by name, row_id) as rows_of_the_state"
            ).coalesce(1).write.insertInto(log)
            for older in self._rows(
                f"select distinct generation from {log} where generation <= {generation}"
            ):
                self._drop(log, older["generation"])
        return generation + 1

    def _drop(self, log: str, generation: int) -> None:
        self._session.sql(f"alter table {log} drop if exists partition (generation = {generation})")

    def _change_parts(self, statement: exp.Update | exp.Delete, parts: Sequence[str]) -> None:
        """Whole parts of a ledger, a batch of a feed each, are dropped or renamed; smaller changes can't be made."""
        from sqlglot import exp

        table = ".".join(f"`{name}`" for name in _name_of(statement))
        where = statement.args["where"].this
        asked = {
            column.name
            for column in where.find_all(exp.Column)
            if column.find_ancestor(exp.Select, exp.Where) is statement.args["where"]
        }
        changed = {one.this.name: one.expression for one in statement.expressions}
        if not asked | changed.keys() <= set(parts):
            raise ConfigError(
                f"on Spark, aam can't change single rows of {table.replace('`', '')}, a table of all users: what asks"
                " for it (`aam forget`) runs on DuckDB and PostgreSQL only"
            )
        found = self._rows(
            f"select distinct {', '.join(parts)} from {table} where {where.sql(dialect='spark')}"
        )
        with clear_errors():
            for row in found:
                part = _part(row)
                if isinstance(statement, exp.Delete):
                    self._session.sql(f"alter table {table} drop if exists partition ({part})")
                else:
                    new = row | {name: _value_of(value, ()) for name, value in changed.items()}
                    self._session.sql(
                        f"alter table {table} partition ({part}) rename to partition ({_part(new)})"
                    )

    def _types(self, schema: str, table: str) -> dict[str, str]:
        """Of its columns, by name."""
        with clear_errors():
            fields = self._session.table(f"`{schema}`.`{table}`").schema.fields
        return {field.name: field.dataType.simpleString() for field in fields}

    def _parts(self, schema: str, table: str) -> list[str]:
        """The columns by which a ledger is parted; a table of the log has none."""
        with clear_errors():
            columns = self._session.catalog.listColumns(f"`{schema}`.`{table}`")
        return [column.name for column in columns if column.isPartition]


def _parsed(sql: str) -> exp.Expression:
    import sqlglot
    from sqlglot import exp

    statement = sqlglot.parse_one(sql, read="postgres")
    assert isinstance(statement, exp.Expression)  # noqa: S101  # SQL of our own
    return statement


def _fill(statement: exp.Expression, parameters: Sequence[object]) -> None:
    """Put the parameters of a statement in their places."""
    from sqlglot import exp

    for parameter in list(statement.find_all(exp.Parameter)):
        parameter.replace(exp.convert(parameters[int(parameter.name) - 1]))


def _for_spark(sql: str, parameters: Sequence[object]) -> str:
    """A query of the loader's as Spark has it."""
    from sqlglot import exp

    query = _parsed(sql)
    _fill(query, parameters)
    for collated in list(query.find_all(exp.Collate)):  # texts of Spark are in the order of their bytes
        collated.replace(collated.this)
    text: str = query.sql(dialect="spark")
    return text


def _name_of(statement: exp.Insert | exp.Update | exp.Delete) -> tuple[str, str]:
    from sqlglot import exp

    table = statement.find(exp.Table)
    assert table is not None  # noqa: S101  # it changes one
    return table.db, table.name


def _value_of(expression: exp.Expression, parameters: Sequence[object]) -> object:
    """What a parameter or a literal says."""
    from sqlglot import exp

    if isinstance(expression, exp.Parameter):
        return parameters[int(expression.name) - 1]
    return expression.to_py()


def _as_json(values: dict[str, object]) -> str:
    return json.dumps({name: _in_json(value) for name, value in values.items() if value is not None})


def _in_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else value


def _literal(text: str) -> str:
    from sqlglot import exp

    literal: str = exp.Literal.string(text).sql(dialect="spark")
    return literal


def _part(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_literal(str(value))}" for name, value in values.items())


def _open_session(name: str, settings: SparkSettings) -> SparkSession:
    """A session by Spark Connect, or one with a driver in a Java of this process's.

    Raises ConfigError: pyspark, Java or the server is not there.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise ConfigError(
            f"target {name} is of type spark, whose libraries are not installed: {INSTALL}"
        ) from None
    given = {key: str(value) for key, value in settings.server_side_parameters.items()}
    builder = SparkSession.builder
    remote = given.pop("spark.remote", None)
    if remote:
        _require_reached(name, remote)
        builder = builder.remote(remote)
    else:
        builder = builder.config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false")
        builder = builder.config("spark.sql.catalogImplementation", "hive")
    # PostgreSQL's and Arrow's clock
    for key, value in {**given, "spark.sql.session.timeZone": "UTC"}.items():
        builder = builder.config(key, value)
    try:
        session: SparkSession = builder.getOrCreate()
        session.sql("select 1").collect()
        return session
    except PySparkException as error:
        if "JAVA_GATEWAY_EXITED" in str(error) or not (remote or _has_java()):
            raise ConfigError(f"target {name}: {JAVA}") from None
        where = f"the Spark Connect server {remote}" if remote else "Spark"
        raise ConfigError(
            f"target {name}: {where} does not answer: {first_line(str(error))};"
            " look at server_side_parameters in profiles.yml"
        ) from None


def _require_reached(name: str, remote: str) -> None:
    """Look whether anybody listens there: the client would try for ten minutes."""
    address = urlsplit(remote)
    try:
        with socket.create_connection((address.hostname or "", address.port or 15002), timeout=10):
            pass
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"target {name}: the Spark Connect server {remote.partition(';')[0]} does not answer:"
            f" {getattr(error, 'strerror', None) or error}; look at spark.remote in profiles.yml"
        ) from None


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return bool(shutil.which("java") or (home and (Path(home) / "bin" / "java").exists()))


def _end_java() -> None:
    """End the Java process of a session that has stopped; PySpark would keep it until Python ends."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is None:
        return
    with suppress(Exception):
        gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        with suppress(OSError):
            process.stdin.close()  # which it waits for
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None
