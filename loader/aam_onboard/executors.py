"""Files made, and sent, in Spark's executors by the same function as here; the driver only counts and names them.

Each task writes the lines of its partition to files of their own, in a folder that driver and executors reach, has
them checked, and sends home a row a file: the manifest. A task may be killed at any time and be tried again elsewhere,
and when Spark's side of it dies, it may take the end of its input for the end of its rows. So what lies in the folder
proves nothing: a file counts when its row came home, which Spark lets happen once a partition, and what no row names
goes.

Spark is used through a session and `mapInArrow` alone, so that it may as well be one of Spark Connect.
"""

from __future__ import annotations

import pickle
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from aam_onboard import errors
from aam_onboard.errors import AamError, ConfigError, DeliveryError, MissingTableError, without_values

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from aam_onboard.encryption import Encryption
    from aam_onboard.files import Part
    from aam_onboard.rules import Rules

T = TypeVar("T")
R = TypeVar("R")

# Fewer lines are not worth a file of their own.
LEAST_LINES = 500_000
# Bytes of text that are checked at a time before they are encrypted.
CHECKED_AT_ONCE = 32 << 20

_MANIFEST = {
    "partition": "bigint",
    "attempt": "bigint",
    "host": "string",
    "name": "string",
    "lines": "bigint",
    "bytes": "bigint",
    "plain_bytes": "bigint",
    "sha256": "string",
    "error": "string",  # the class of one that no second try would mend, and what it says
    "says": "string",
}
_MADE = {"number": "bigint", "made": "binary", "error": "string", "says": "string"}
# A file that keeps tasks from beginning after another has met such an error, and the error of theirs.
_STOP = "stop"
_STOPPED = "Stopped"


@dataclass(frozen=True)
class Check:
    """What a file is examined as before it counts."""

    name: str  # of a delivery in one file: it says of which feed and mode the lines are
    rules: Rules


def export(
    session: SparkSession,
    sql: str,
    folder: Path,
    *,
    split_bytes: int,
    max_plain_bytes: int,
    encryption: Encryption | None = None,
    check: Check | None = None,
    expected_lines: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Part]:
    """Write the lines of a query to files in `folder`, and yield those, one series, when all are written and proven.

    The query's first column holds text, all lines of one user in one value, its second the number of lines, as
    `files.write_parts` takes them. A partition makes a file, or several where it exceeds a limit of `write_parts`.
    Partitions are those that Spark makes of the query, which it bounds by size; so many are joined that a file has
    LEAST_LINES on average, when `expected_lines` says how many there are. `check`: the files, or before they are
    encrypted their lines, must pass it. `on_progress` is called with the lines and plain bytes of each file.

    Whatever ends the work early leaves nothing but the files that were yielded. What a killed export has left in
    `folder` under a temporary name is removed first, so only one may work there at a time.

    Raises CheckFailedError: Audience Manager would refuse a file; MissingTableError; ConfigError: an executor does not
    reach the folder or has no aam_onboard, speculative execution is on; DeliveryError: Spark failed, a line is null or
    unended, a file is not what its task said.
    """
    folder = folder.absolute()
    with clear_errors():
        _require_no_speculation(session)
    attempt = _new_attempt(folder)
    try:
        task = _Task(str(attempt), split_bytes, max_plain_bytes, encryption, check)
        for part in _proven(attempt, _run(session, sql, task, expected_lines)):
            path = folder / part.path.name
            part.path.rename(path)
            if not part.more:
                _remove(attempt)
            if on_progress:
                on_progress(part.lines, part.plain_bytes)
            yield replace(part, path=path)
    finally:
        _remove(attempt)


def each(session: SparkSession, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `work` makes of each item, in their order; each is a task of its own, which may be tried again.

    An error of ours is raised as it is here; raises DeliveryError and ConfigError as `export` does.
    """
    if not items:
        return []
    count = len(items)
    with clear_errors():
        rows = session.range(0, count, 1, count).mapInArrow(
            partial(_each, work, tuple(items)), _schema(_MADE)
        )
        found = sorted(rows.collect(), key=lambda row: row.number)
    for row in found:
        if row.error:
            raise _error_of(row)
    if [row.number for row in found] != list(range(count)):
        raise DeliveryError(f"Spark did {len(found)} of {count} things; run `aam run` again")
    return [pickle.loads(row.made) for row in found]  # noqa: S301  # of our own tasks


@contextmanager
def clear_errors() -> Iterator[None]:
    """Errors of Spark as one line, without Java's stack and without values: logs keep no person's data."""
    from pyspark.errors import PySparkException
    from pyspark.logger import PySparkLogger

    kinds: tuple[type[Exception], ...] = (PySparkException, ConnectionError)
    with suppress(ImportError):  # the client of Spark Connect alone has no Java beside it
        from py4j.protocol import Py4JError

        kinds += (Py4JError,)
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True  # they say on stderr what is raised anyway
    try:
        yield
    except kinds as error:
        raise _plain_error(error) from None


def _plain_error(error: Exception) -> AamError:
    from pyspark.errors import PySparkException

    text = str(error)
    if isinstance(error, PySparkException) and error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND":
        return MissingTableError(f"Spark: {first_line(text)}")
    missing = re.search(r"No module named '([^']+)'", text)
    if missing:
        return ConfigError(
            f"Spark's executors have no Python package {missing[1].partition('.')[0]}: install aam-onboard, as it is"
            " here, on every node for the Python that PYSPARK_PYTHON names, or send it along by spark.archives"
            " (docs/spark.md)"
        )
    if isinstance(error, ConnectionError) or type(error).__name__ == "Py4JNetworkError":
        return DeliveryError(
            "Spark: the driver's Java process has ended; see its log, and run `aam run` again"
        )
    return DeliveryError(f"Spark: {without_values(first_line(text))}")


def first_line(text: str) -> str:
    """What went wrong at last: of Python's traceback the end, of Java's the beginning."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        return next(line for line in reversed(lines) if not line.startswith(("at ", "Driver stacktrace")))
    told = [line for line in lines if not line.startswith("An error occurred while calling")]
    return re.sub(r"^: ([a-z]\w*\.)+\w+: ", "", (told or lines or ["unknown error"])[0])


def _require_no_speculation(session: SparkSession) -> None:
    if str(session.conf.get("spark.speculation", "false")).lower() == "true":
        raise ConfigError(
            "spark.speculation is true: Spark would make files twice and throw half of them away; set it to false"
        )


def _new_attempt(folder: Path) -> Path:
    """A folder for the files of this export alone, so that late tasks of a killed one are never among them."""
    from aam_onboard.files import UNFINISHED, make_private_folder

    try:
        make_private_folder(folder)
        for left in folder.glob(UNFINISHED):
            _remove(left)
        attempt = folder / UNFINISHED.replace("*", uuid.uuid4().hex)
        attempt.mkdir(mode=0o700)
    except OSError as error:
        raise DeliveryError(
            f"{folder} can't be written ({error.strerror or error}): check the disk, or set spool_dir."
        ) from None
    return attempt


def _remove(path: Path) -> None:
    if path.is_dir():
        for _ in range(3):  # a task that Spark has given up may still be at work in it
            shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _run(session: SparkSession, sql: str, task: _Task, expected_lines: int) -> list[Any]:
    """The manifest. Collected at once: a second action would make the files a second time."""
    tag = Path(task.folder).name
    with clear_errors():
        session.addTag(tag)
        try:
            lines = session.sql(sql)
            if expected_lines:
                lines = lines.coalesce(max(1, expected_lines // LEAST_LINES))
            return list(lines.mapInArrow(partial(_write, task), _schema(_MANIFEST)).collect())
        except BaseException:
            with suppress(Exception):
                session.interruptTag(tag)
            raise
        finally:
            with suppress(Exception):
                session.removeTag(tag)


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in columns.items())


def _error_of(row: Any) -> AamError:
    """The error that a task has sent home."""
    error: AamError = getattr(errors, row.error, DeliveryError)(row.says)
    return error


def _proven(attempt: Path, manifest: Sequence[Any]) -> list[Part]:
    """The files that the manifest names, by partition, when all are there as their tasks said.

    Their SHA-256 is compared where they are read next, by the destination.
    """
    from aam_onboard.files import Part

    failed = sorted((row for row in manifest if row.error), key=lambda row: row.error == _STOPPED)
    if failed:
        raise _error_of(failed[0])
    rows = sorted(manifest, key=lambda row: row.partition)
    if len({(row.partition, row.attempt) for row in rows}) != len({row.partition for row in rows}):
        raise DeliveryError("Spark counted two attempts at one partition; run `aam run` again")
    for row in rows:
        try:
            size = (attempt / row.name).stat().st_size
        except OSError as error:
            size = -1
            why = error.strerror or str(error)
        if size != row.bytes:
            found = why if size < 0 else f"{size:,} bytes here, {row.bytes:,} there"
            raise DeliveryError(
                f"a file that executor host {row.host} has written is not the same here ({found}):"
                f" {attempt.parent} must be one storage for the driver and all executors; set spool_dir"
            )
    return [
        Part(
            attempt / row.name,
            row.lines,
            row.bytes,
            row.plain_bytes,
            row.sha256,
            more=number < len(rows),
        )
        for number, row in enumerate(rows, start=1)
    ]


# --- in the executors ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """What a task is told."""

    folder: str
    split_bytes: int
    max_plain_bytes: int
    encryption: Encryption | None
    check: Check | None


def _write(task: _Task, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Write one partition, and give a row of the manifest for each file that is whole and has passed its check.

    An error of ours would be the same the next time: it goes home as a row, or Spark would try the task three times
    more. Any other error is Spark's to handle.
    """
    from pyspark import TaskContext

    from aam_onboard.check import check_file, require_ok
    from aam_onboard.files import write_parts

    context = TaskContext.get()
    assert context is not None  # noqa: S101
    row = partial(
        _row,
        _MANIFEST,
        partition=context.partitionId(),
        attempt=context.taskAttemptId(),
        host=socket.gethostname(),
    )
    folder, check = Path(task.folder), task.check
    lines = _begun(folder, batches)
    if check and task.encryption:
        lines = _passed(check, lines)
    try:
        parts = write_parts(
            lines,
            folder,
            split_bytes=task.split_bytes,
            max_plain_bytes=task.max_plain_bytes,
            encryption=task.encryption,
            threads=context.cpus(),
        )
        for part in parts:
            if check and not task.encryption:
                require_ok(check_file(part.path, check.name, check.rules))
            yield row(
                name=part.path.name,
                lines=part.lines,
                bytes=part.bytes,
                plain_bytes=part.plain_bytes,
                sha256=part.sha256,
            )
    except _StoppedError as error:
        yield row(error=_STOPPED, says=str(error))
    except AamError as error:
        with suppress(OSError):
            (folder / _STOP).touch()
        yield row(error=type(error).__name__, says=str(error))


def _row(columns: Mapping[str, str], **values: object) -> pa.RecordBatch:
    import pyarrow as pa

    kinds = {"bigint": pa.int64(), "string": pa.string(), "binary": pa.binary()}
    arrays = [pa.array([values.get(name)], kinds[kind]) for name, kind in columns.items()]
    return pa.RecordBatch.from_arrays(arrays, list(columns))


def _each(
    work: Callable[[Any], object], items: Sequence[Any], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column(0).to_pylist():  # numbers of things, not of lines
            row = partial(_row, _MADE, number=number)
            try:
                yield row(made=pickle.dumps(work(items[number])))
            except AamError as error:
                yield row(error=type(error).__name__, says=str(error))


class _StoppedError(DeliveryError):
    """Another task has met an error that ends the export."""


def _begun(folder: Path, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, when this executor sees the folder that the driver has made a moment ago: no other has its name."""
    try:
        there = folder.is_dir()
    except OSError:
        there = False
    if not there:
        raise ConfigError(
            f"executor host {socket.gethostname()} does not see {folder.parent} as the driver does: spool_dir must be"
            " on a storage that the driver and all executors have under the same path, as the same user"
        )
    if (folder / _STOP).exists():
        raise _StoppedError("a task met an error and was killed before it could tell; run `aam run` again")
    yield from batches


def _passed(check: Check, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, some megabytes at a time after they have passed the check: plain text touches no disk."""
    limits = check.rules.limits.model_copy(update={"max_plain_bytes": sys.maxsize})
    rules = check.rules.model_copy(update={"limits": limits})
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(some.nbytes for some in held) >= CHECKED_AT_ONCE:
            _require_passed(check.name, rules, held)
            yield from held
            held = []
    _require_passed(check.name, rules, held)
    yield from held


def _require_passed(name: str, rules: Rules, batches: Sequence[pa.RecordBatch]) -> None:
    from aam_onboard.check import check_text, require_ok
    from aam_onboard.files import BatchText

    def opened() -> BinaryIO:
        return cast(BinaryIO, BatchText(batches))

    if any(batch.num_rows for batch in batches):
        require_ok(check_text(opened, name, rules))
