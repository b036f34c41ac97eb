"""Take in what waits in a destination: a job at a time, each one transaction; then its files have another name.

Killed anywhere, it goes on where it was: a job that is written down counts, and its files are only renamed; of one that
is not, nothing is left.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard.filenames import FileName, IdSyncName
from aam_sandbox import data_job, id_sync_job
from aam_sandbox.data_job import DataJob
from aam_sandbox.id_sync_job import IdSyncJob
from aam_sandbox.ids import DEVICES
from aam_sandbox.inbox import PROCESSED, Arrived, Waiting, in_order, look_in
from aam_sandbox.plain import plain_records
from aam_sandbox.receipts import write_receipts
from aam_sandbox.store import COUNTERS, Store
from aam_sandbox.text import BrokenFileError, NoKeyError, as_text, blocks_of, lines_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from aam_onboard.destinations import Destination

SAMPLES = 10  # of each error
_WORKERS = min(4, os.cpu_count() or 1)


@dataclass
class Ingested:
    """What came of it: the jobs, files that were left for a reason, and files that only lacked their new name."""

    jobs: list[int] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


@dataclass
class _Read:
    """A file of a job, and how much was read of it."""

    arrived: Arrived
    number: int = 0
    first_record: int = 0
    lines: int = 0
    problem: str | None = None


class _UnknownError(Exception):
    """A name with a data source that this cannot be; the message is a problem of a job."""


def ingest(
    store: Store,
    inbox: Destination,
    prefix: str = "",
    seed: int | None = None,
) -> Ingested:
    """Take in the files whose keys begin with `prefix`.

    `seed`: see in_order. Raises DeliveryError when the destination fails.
    """
    done = Ingested()
    new = []
    for arrived in look_in(inbox, prefix):
        outcome = store.value(
            "select outcome from job_files where address = ? and bytes = ?", [arrived.address, arrived.bytes]
        )
        if outcome is None:
            new.append(arrived)
        else:
            _put_away(inbox, arrived, outcome)
            done.finished.append(arrived.file)
    write_receipts(store)
    for waiting in in_order(new, seed):
        with _fetched(store, inbox, waiting) as files:
            job_id = _run_job(store, waiting, files, done)
            if job_id is None:
                continue
            for name, outcome in store.connection.execute(
                "select name, outcome from job_files where job_id = ?", [job_id]
            ).fetchall():
                [arrived] = [one for one in waiting.files if one.file == name]
                _put_away(inbox, arrived, outcome)
        write_receipts(store)
        done.jobs.append(job_id)
    return done


def _put_away(inbox: Destination, arrived: Arrived, outcome: str) -> None:
    """Audience Manager renames what it has taken in, and deletes what it could not process [amazon-s3]."""
    if outcome == "deleted":
        inbox.delete(arrived.key)
    else:
        inbox.rename(arrived.key, arrived.key + PROCESSED)


@contextmanager
def _fetched(store: Store, inbox: Destination, waiting: Waiting) -> Iterator[list[Path]]:
    """The files of a job on this machine, as long as it lasts."""
    folder = store.folder / "incoming"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        paths = []
        for number, arrived in enumerate(waiting.files):
            paths.append(folder / str(number))
            if arrived.name is not None:
                inbox.fetch(arrived.key, paths[-1])
        yield paths
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_job(store: Store, waiting: Waiting, paths: list[Path], done: Ingested) -> int | None:
    """One transaction; the job's number, or None when all its files are left."""
    with store.transaction() as connection:
        job_id = int(store.value("select coalesce(max(job_id), 0) + 1 from jobs"))
        started = store.value("select now()::timestamp")
        reads = [_Read(one, problem=one.problem) for one in waiting.files]
        counts: dict[str, int] = {}
        job: DataJob | IdSyncJob | None = None
        try:
            job = _job_of(store, waiting)
        except _UnknownError as error:
            for read in reads:
                read.problem = str(error)
        if job is not None:
            reads = _read(store, job, reads, paths, done)
            if not reads:
                return None
            if any(read.problem is None for read in reads):
                counts = _take_in(store, job)
        _write_down(connection, job_id, waiting.name, reads, counts, started)
        for table in ("records", "samples", "failed"):
            connection.execute(f"drop table if exists temp.{table}")
    return job_id


def _job_of(store: Store, waiting: Waiting) -> DataJob | IdSyncJob | None:
    """None for a name that can't be read. Raises _UnknownError for a data source that it can't name."""
    name = waiting.name
    if name is None:
        return None
    known = {row["dpid"]: row for row in store.rows("select * from data_sources")}

    def source(dpid: int) -> dict[str, Any]:
        if dpid not in known:
            raise _UnknownError(f"there is no data source {dpid}")
        found: dict[str, Any] = known[dpid]
        return found

    if isinstance(name, IdSyncName):
        for dpid in name.dpids:
            source(dpid)
        if name.prefix == "adobe_id" and name.dpids[0] not in DEVICES and set(name.dpids) & set(DEVICES):
            raise _UnknownError(f"the first column holds device IDs, and {name.dpids[0]} has none")
        return IdSyncJob(name, unsynced_stay=bool(source(name.dpids[0])["cross_device"]))
    owner, target = source(name.dpid), source(name.dpid if name.target_dpid is None else name.target_dpid)
    if name.dpid in DEVICES and name.target_dpid is None:
        raise _UnknownError(
            f"{name.dpid} is a global data source, and no other one of the traits stands in the name"
        )
    if not target["owned"]:
        raise _UnknownError(f"data source {target['dpid']} belongs to somebody else")
    by_type = {row["id_type"]: dpid for dpid, row in known.items() if dpid in DEVICES}
    ids = name.dpid if owner["cross_device"] or name.dpid in DEVICES else by_type.get(owner["id_type"])
    return DataJob(name, ids)


def _read(
    store: Store, job: DataJob | IdSyncJob, reads: list[_Read], paths: list[Path], done: Ingested
) -> list[_Read]:
    """Fill `records`; what can't be read leaves nothing there. The files that are not left for want of a key."""
    connection = store.connection
    home = store.value("select gnupg_home from sandbox")
    connection.execute(data_job.RECORDS if isinstance(job, DataJob) else id_sync_job.RECORDS)
    taken: list[_Read] = []
    next_record = 0
    for number, (read, path) in enumerate(zip(reads, paths, strict=True)):
        read.number, read.first_record = number, next_record
        try:
            for_want_of = _read_file(connection, job, read, path, Path(home) if home else None)
        finally:
            next_record += read.lines
        if for_want_of:
            done.left.append((read.arrived.file, for_want_of))
            continue
        if read.problem is None:
            _leave_last_blanks(connection, read)
        if read.problem is not None:
            connection.execute("delete from records where file = ?", [number])
            read.lines = 0
        taken.append(read)
    return taken


def _read_file(
    connection: duckdb.DuckDBPyConnection,
    job: DataJob | IdSyncJob,
    read: _Read,
    path: Path,
    home: Path | None,
) -> str | None:
    """Bring the lines of a file into `records`, up to where it is broken; why it must be left, if so."""
    import numpy as np
    import pyarrow as pa

    for_want_of: list[str] = []

    def batches(pool: ThreadPoolExecutor) -> Iterator[pa.RecordBatch]:
        def numbered(lines: pa.RecordBatch) -> pa.RecordBatch:
            start = read.first_record + read.lines
            read.lines += len(lines)
            file = pa.repeat(pa.scalar(read.number, pa.int32()), len(lines))
            record = pa.array(np.arange(start, start + len(lines)))
            return pa.record_batch([file, record, *lines.columns], schema=_incoming())

        # an error that came out of here would end the transaction
        assert read.arrived.name is not None  # noqa: S101
        waiting: deque[Future[pa.RecordBatch]] = deque()
        try:
            for block in blocks_of(path, read.arrived.name.extension, home):
                waiting.append(pool.submit(_lines, block, may_be_plain=job.may_be_plain))
                if len(waiting) > _WORKERS:
                    yield numbered(waiting.popleft().result())
        except BrokenFileError as error:
            read.problem = str(error)
        except NoKeyError as error:
            for_want_of.append(str(error))
        while waiting:
            yield numbered(waiting.popleft().result())

    with ThreadPoolExecutor(_WORKERS, "ingest") as pool:
        connection.register("incoming", pa.RecordBatchReader.from_batches(_incoming(), batches(pool)))
        connection.execute(f"insert into records {job.records('incoming')}")
        connection.unregister("incoming")
    return for_want_of[0] if for_want_of else None


def _incoming() -> pa.Schema:
    """The lines as `records` of a job takes them: `line`, or `user_id` and `sids` where that is all there is to it.

    `odd`: whether the line may hold NO_TEXT.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("file", pa.int32()),
            ("record", pa.int64()),
            ("line", pa.string()),
            ("odd", pa.bool_()),
            ("user_id", pa.string()),
            ("sids", pa.list_(pa.int64())),
        ]
    )


def _lines(block: bytes, *, may_be_plain: bool) -> pa.RecordBatch:
    """The columns of _incoming from `line` on; runs in a thread, and lets others run meanwhile."""
    import pyarrow as pa

    text, odd = as_text(block)
    columns = _incoming()
    plain = plain_records(text) if may_be_plain and not odd else None
    if plain is not None:
        user_ids, sids = plain
        count, lines = len(user_ids), pa.nulls(len(user_ids), pa.string())
    else:
        lines = lines_of(text)
        count = len(lines)
        user_ids, sids = (pa.nulls(count, columns.field(name).type) for name in ("user_id", "sids"))
    return pa.record_batch([lines, pa.repeat(pa.scalar(odd), count), user_ids, sids], names=columns.names[2:])


def _leave_last_blanks(connection: duckdb.DuckDBPyConnection, read: _Read) -> None:
    """A file may end with blank lines; one that has no other is empty."""
    connection.execute(
        """
        delete from records where file = $1 and reason = 'a blank line' and record > (
            select coalesce(max(record), -1) from records where file = $1 and reason is distinct from 'a blank line'
        )
        """,
        [read.number],
    )
    [[read.lines]] = connection.execute(
        "select count(*) from records where file = ?", [read.number]
    ).fetchall()
    if read.lines == 0:
        read.problem = "the file has no lines"


def _take_in(store: Store, job: DataJob | IdSyncJob) -> dict[str, int]:
    """What the records change, and the receipt's counters."""
    connection = store.connection
    counts = dict.fromkeys([*COUNTERS, "invalid_device_id"], 0)
    counts["records_received"] = counts["records_processed"] = store.value("select count(*) from records")
    if isinstance(job, IdSyncJob):
        id_sync_job.take_in(connection, job)
    else:
        counts |= data_job.take_in(connection, job)
    _pick_samples(connection, job)
    counts |= dict(
        connection.execute(
            "select fault, count(*) from records where fault is not null group by fault"
        ).fetchall()
    )
    lost = ("format_errors", "invalid_aam_id", "invalid_device_id", "no_matching_aam_id", "no_trait_realized")
    counts["stored_records"] = counts["records_received"] - sum(counts[name] for name in lost)
    return counts


def _pick_samples(connection: duckdb.DuckDBPyConnection, job: DataJob | IdSyncJob) -> None:
    """Fill `samples` (file, record, error, reason, line): the first of each error."""
    line = "array_to_string(ids, chr(9))" if isinstance(job, IdSyncJob) else data_job.LINE
    failed = (
        ""
        if isinstance(job, IdSyncJob)
        else """
            union all
            select file, record, 'total_traits_failed_validation', 'trait ' || sid || ' is none of the data source''s',
                line, user_id, sids, signals
            from records inner join (select record, min(sid) as sid from failed group by record) using (record)
            where fault is null or fault in ('no_matching_aam_id', 'no_trait_realized')
        """
    )
    columns = "ids" if isinstance(job, IdSyncJob) else "user_id, sids, signals"
    connection.execute(
        f"""
        create or replace temp table samples as
        with wrong as (
            select file, record, fault as error, reason, line, {columns} from records where fault is not null {failed}
        )
        select file, record, error, reason, coalesce(line, {line}) as line from wrong
        qualify row_number() over (partition by error order by record) <= {SAMPLES}
        """
    )


def _write_down(
    connection: duckdb.DuckDBPyConnection,
    job_id: int,
    name: FileName | None,
    reads: list[_Read],
    counts: dict[str, int],
    started: datetime,
) -> None:
    """The job, its files, and samples of what is wrong in them."""
    problems = [read.problem for read in reads if read.problem]
    kind = "id_sync" if isinstance(name, IdSyncName) else "data"
    dpid, target = None, None
    if isinstance(name, IdSyncName):
        dpid, target = name.dpids[0], name.dpids[-1]
    elif name is not None:
        dpid = name.dpid
        target = name.dpid if name.target_dpid is None else name.target_dpid
    if name is None and not reads[0].arrived.file.lower().startswith("ftp_"):
        kind = "id_sync"
    job = {
        "job_id": job_id,
        "kind": kind,
        "dpid": dpid,
        "target_dpid": target,
        "mode": None if name is None else name.mode,
        "started_at": started,
        "success": len(problems) < len(reads),
        "problem": "; ".join(dict.fromkeys(problems)) or None,
        **{counter: counts.get(counter, 0) for counter in (*COUNTERS, "invalid_device_id")},
    }
    connection.execute(
        f"insert into jobs ({', '.join(job)}, ended_at) values ({', '.join('?' for _ in job)}, now()::timestamp)",
        list(job.values()),
    )
    for read in reads:
        outcome = "deleted" if read.problem else "processed"
        file = read.arrived
        connection.execute(
            "insert into job_files values (?, ?, ?, ?, ?, ?, ?)",
            [job_id, file.file, file.address, file.bytes, read.lines, outcome, read.problem],
        )
        if read.problem:
            connection.execute(
                "insert into job_samples values (?, 'file', ?, null, null, ?)",
                [job_id, file.file, read.problem],
            )
        elif counts:
            connection.execute(
                "insert into job_samples select ?, error, ?, record - ? + 1, line, reason from samples where file = ?",
                [job_id, file.file, read.first_record, read.number],
            )
