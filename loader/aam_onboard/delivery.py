"""The promise: what the state says is delivered is at the destination, whole; what is not there will be sent.

A delivery goes `exporting` → `uploading` → `delivered`, each step recorded before it is taken. Its files are made in
the spool, checked, uploaded and proven; only then does one statement move the delivered state. Whatever happens
before leaves the state as it was. What a killed run left behind is finished by the next one: from the spool when it is
whole, else exported anew under a new timestamp, never a mixture of both.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from aam_onboard import state
from aam_onboard.config import Project
from aam_onboard.destinations import CannotListError, Stored
from aam_onboard.destinations.common import sha256_of
from aam_onboard.errors import AamError, ConfigError, DeliveryError, GuardError, MissingTableError
from aam_onboard.filenames import FileName, IdSyncName, InboundName, picked_up_names
from aam_onboard.state import Batch, Delivery, DeliveryFile

if TYPE_CHECKING:
    import pyarrow as pa

    from aam_onboard.check import FileReport
    from aam_onboard.destinations import Destination, DestinationSettings
    from aam_onboard.encryption import Encryption
    from aam_onboard.files import Part
    from aam_onboard.warehouse import Warehouse

log = logging.getLogger("aam")

# Files that are checked and uploaded while the next one is written. S3 sends the parts of each in parallel too.
UPLOADS_AT_ONCE = 2
# [amazon-s3]
KEPT_AT_DESTINATION = timedelta(days=30)

_Sending = dict[str, tuple[DeliveryFile, "Future[float]"]]


class CheckFailedError(DeliveryError):
    """A file that Audience Manager would refuse; it was not sent."""


def no_progress(feed: str, step: Literal["expected", "written", "sent"], lines: int, size: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Options:
    """What a run is told. `check` None: as the project says."""

    full: bool = False
    check: bool | None = None
    force: bool = False
    force_feeds: tuple[str, ...] = ()
    # feed, written | sent, lines, bytes since the last call; `sent` may come from another thread. First of a feed,
    # expected and the lines of all.
    on_progress: Callable[[str, Literal["expected", "written", "sent"], int, int], None] = no_progress

    def forces(self, feed: str) -> bool:
        """Whether the feed may pass its guards."""
        return self.force or feed in self.force_feeds


@dataclass(frozen=True)
class Run:
    """Where a run delivers from and to, all open, and what it was told."""

    project: Project
    warehouse: Warehouse
    destination: Destination
    settings: DestinationSettings
    encryption: Encryption | None = None
    options: Options = field(default_factory=Options)

    @property
    def spool(self) -> Path:
        """The folder of files on their way; another dbt target has another, for its deliveries may be named alike."""
        return self.project.root / self.project.vars.spool_dir / self.warehouse.name


@dataclass(frozen=True)
class Outcome:
    """What became of one feed's delivery in this run."""

    delivery: Delivery
    files: list[DeliveryFile]


@dataclass
class Report:
    """The outcomes of a run, and the errors that stopped feeds; the run's exit code is the gravest one's.

    `kept_back`: feeds of which nothing was sent though something changed, for none of it may be.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    errors: list[AamError] = field(default_factory=list)
    kept_back: list[str] = field(default_factory=list)

    def add(self, feed: str, outcome_of: Callable[[], Outcome | None]) -> None:
        """One feed's outcome, or the error that stopped that feed only."""
        try:
            outcome = outcome_of()
        except AamError as error:
            self.errors.append(FeedError.of(feed, error))
        else:
            self.outcomes += [outcome] if outcome else []

    @property
    def exit_code(self) -> int:
        """0 done · 1 a delivery failed · 2 configuration · 3 a guard stopped it."""
        codes = {error.exit_code for error in self.errors}
        return next((code for code in (1, 2, 4, 3) if code in codes), 0)


def guard_verdict(project: Project, batch: Batch, reasons: Mapping[str, int] | None = None) -> list[str]:
    """What the feed's guards say against a batch, with figures; empty when it may go. The cause comes first.

    Against `max_rejected`: rejected rows of all rows, with the commonest of the `reasons` (rejected rows of each) ·
    `max_first`: users of a first delivery · `max_removed`: removed of the delivered signals · `max_shrink`: users who
    lost all signals. An upstream table that came up empty must never erase an audience.
    """
    guards = project.guards_of(batch.feed)
    commonest = _commonest(project, reasons or {})

    def past(what: str, count: int, of: int, limit: float, name: str) -> list[str]:
        if not of or count / of <= limit:
            return []
        return [f"{count:,} of {of:,} {what} ({count / of:.0%}), more than {name} {limit:.0%}"]

    rejected = past("rows rejected", batch.rejected, batch.input_rows, guards.max_rejected, "max_rejected")
    against = [f"{line}{commonest}" for line in rejected]
    is_data = batch.kind == "data"  # ID pairs are never withdrawn
    if is_data and batch.users_before and not batch.users_total:
        # whatever the shares allow
        why = f"no row of the feed may be sent{'' if rejected else commonest}"
        empty = "the feed came up empty" if not batch.rejected else why
        against.append(f"{empty}: all {batch.users_before:,} users would lose their signals")
    if batch.base_delivery_id is None and batch.users > guards.max_first:
        against.append(f"first delivery of {batch.users:,} users, more than max_first {guards.max_first:,}")
    against += past(
        "signals removed", batch.signals_removed, batch.signals_before, guards.max_removed, "max_removed"
    )
    if is_data:
        lost = batch.users_before - batch.users_total
        against += past("users lost", lost, batch.users_before, guards.max_shrink, "max_shrink")
    return against


def _commonest(project: Project, reasons: Mapping[str, int]) -> str:
    """The reason of most rejected rows and what to make of it, as the end of a message."""
    if not reasons:
        return ""
    reason = max(reasons, key=lambda name: reasons[name])
    return f", {reasons[reason]:,} of them as {reason} ({project.rules.says(reason)})"


def refusal_of_full(project: Project, batch: Batch) -> ConfigError | None:
    """Why a batch of a full build must not be sent; `--full` may have been asked of other feeds alone."""
    if batch.is_full and batch.kind == "data":
        try:
            project.require_full_possible(
                [batch.feed], "the last build is full (`aam run`, or `dbt build`, builds changes)"
            )
        except ConfigError as error:
            return error
    return None


def deliver(run: Run, feeds: Sequence[str]) -> Report:
    """Finish what is open, then deliver the built batches of `feeds`, ID syncs first.

    One feed's failure stops that feed only. All errors are in the report, beside what was delivered in spite of them;
    a ConfigError when there is no whole build to deliver, or when it was made for something else; a LockedError while
    dbt is building one.
    """
    report = finish_open(run, feeds)
    stopped = {error.feed for error in report.errors if isinstance(error, FeedError)}
    try:
        batches = state.read_batches(run.warehouse, run.project, feeds)
        _require_built_for(run, batches)
        state.require_whole_build(run.warehouse, run.project, batches)
    except AamError as error:
        report.errors.append(error)
        return report
    reasons = state.rejected_reasons(run.warehouse, run.project)
    for batch in batches:
        if batch.feed not in stopped:
            report.add(batch.feed, partial(_deliver_batch, run, batch, reasons.get(batch.feed, {}), report))
    return report


def finish_open(run: Run, feeds: Sequence[str]) -> Report:
    """Bring interrupted and failed deliveries of `feeds` to an end; nothing new is begun."""
    report = Report()
    open_deliveries = state.read_deliveries(
        run.warehouse, run.project, destination=run.destination.name, feeds=feeds, statuses=state.OPEN
    )
    for delivery in reversed(open_deliveries):
        report.add(delivery.feed, partial(_finish, run, delivery))
    return report


def abandon(run: Run, delivery_id: str) -> Delivery:
    """Give an open delivery up: take back what of it lies at the destination, and leave the state as it was.

    What may have been processed already is remembered: the next delivery sends whatever those users should have.
    Raises ConfigError for a delivery that is not there or not open.
    """
    delivery = state.find_delivery(run.warehouse, run.project, delivery_id)
    if delivery is None:
        raise ConfigError(f"no delivery {delivery_id}; `aam status` lists them")
    if delivery.status not in state.OPEN:
        raise ConfigError(f"delivery {delivery_id} is {delivery.status}; only an open one can be abandoned")
    if delivery.destination != run.destination.name:
        raise ConfigError(
            f"delivery {delivery_id} goes to {delivery.destination}; add `--to {delivery.destination}`"
        )
    _give_up(run, delivery, "abandoned by hand")
    abandoned = state.find_delivery(run.warehouse, run.project, delivery_id)
    return abandoned or delivery


class FeedError(AamError):
    """An error that stopped one feed."""

    feed: str

    @classmethod
    def of(cls, feed: str, error: AamError) -> FeedError:
        """The error with the feed's name before it and its exit code kept."""
        named = cls(f"feed {feed}: {error}")
        named.feed = feed
        named.exit_code = error.exit_code
        return named


def require_full(batches: Sequence[Batch]) -> None:
    """Raise ConfigError when `--full` is asked of a build of changes."""
    if not all(batch.is_full for batch in batches):
        raise ConfigError(
            "the last build holds changes only; run `aam run --full`, or `dbt build --vars 'full: true'`"
        )


def _require_built_for(run: Run, batches: Sequence[Batch]) -> None:
    name = run.destination.name
    for batch in batches:
        if batch.destination != name:
            raise ConfigError(
                f"the last build is for destination {batch.destination}, not {name}: each destination has its own"
                f" delivered state; run `aam run --to {name}`, or `dbt build --vars 'destination: {name}'`"
            )
        feed = run.project.vars.feeds.get(batch.feed)
        changed_mode = feed is not None and batch.mode != feed.mode and not batch.is_full
        if changed_mode or batch.dpids != ",".join(map(str, run.project.dpids_of(batch.feed))):
            raise ConfigError(
                f"feed {batch.feed} was built as {batch.mode} for DPIDs {batch.dpids}, which dbt_project.yml has"
                " changed since; run `aam run`, or `dbt build`"
            )
    if run.options.full:
        require_full(batches)


def _deliver_batch(run: Run, batch: Batch, reasons: Mapping[str, int], report: Report) -> Outcome | None:
    last = state.last_delivered(run.warehouse, run.project, batch.destination, batch.feed)
    if last and last.batch_id == batch.batch_id:
        return None
    base = last.delivery_id if last else None
    if base != batch.base_delivery_id:
        raise ConfigError(
            f"the build is older than delivery {base}, so its changes are not those of today;"
            " run `aam run`, or `dbt build` and `aam deliver`"
        )
    refusal = refusal_of_full(run.project, batch)
    if refusal:
        raise refusal
    # also of a batch without lines: that all its rows were kept back is no success
    against = guard_verdict(run.project, batch, reasons)
    forced = bool(against) and run.options.forces(batch.feed)
    if against and not forced:
        raise GuardError(
            f"{'; '.join(against)}; look at `aam plan`, then mend the data, change the feed's guard,"
            f" or send it with --force-feed {batch.feed}"
        )
    if not batch.lines:
        why = _kept_back(run.project, batch, reasons)
        if why:
            log.warning("%s", f"feed {batch.feed}: {why}")
            report.kept_back.append(batch.feed)
        return None
    if last:
        forced = _mind_the_order(run, last, batch) or forced
    delivery = state.begin(run.warehouse, run.project, batch, _file_root(run, batch), forced=forced)
    log.info(
        "exporting",
        extra={"fields": {"delivery": delivery.delivery_id, "feed": batch.feed, "lines": batch.lines}},
    )
    return _export_and_send(run, delivery)


def _kept_back(project: Project, batch: Batch, reasons: Mapping[str, int]) -> str:
    """Why there is nothing to send of a feed though it is not as it was delivered; empty when it is."""
    if not batch.input_rows:
        return "nothing to send, its model gives no rows"
    see = f"see `aam plan --rejected {batch.feed}`"
    if batch.rejected >= batch.input_rows:
        return (
            f"nothing to send, all {batch.rejected:,} rows are kept back{_commonest(project, reasons)}; {see}"
        )
    staying = reasons.get("not_withdrawable_by_sync", 0)
    if staying:
        says = project.rules.says("not_withdrawable_by_sync")
        return f"nothing to send, {staying:,} signals are gone but {says}; {see}"
    return ""


def _mind_the_order(run: Run, last: Delivery, batch: Batch) -> bool:
    """Audience Manager processes files in any order [amazon-s3]: two that contradict must not wait together.

    Returns whether that was passed by force. Where the destination does not tell what is there, nobody can know.
    """
    if run.settings.type == "directory" or batch.kind == "id_sync":
        return False  # nobody picks files up there; ID pairs contradict nothing
    files = state.read_files(run.warehouse, run.project, last.delivery_id)
    unseen = [file for file in files if file.status == "uploaded" and file.picked_up_at is None]
    if not unseen:
        return False
    users = state.opposite_users(run.warehouse, run.project, last, batch)
    if not users:
        return False
    try:
        waiting = [file for file in unseen if _whereabouts(run, file) == "waiting"]
    except CannotListError as error:
        log.info("%s", f"feed {batch.feed}: whether earlier files were picked up can't be known: {error}")
        return False
    if not waiting:
        return False
    message = (
        f"{waiting[0].name} is not picked up yet and says the opposite of this delivery for {users:,} users;"
        " Audience Manager may process them in any order"
    )
    held = run.project.vars.on_unprocessed == "hold"
    if held and not run.options.forces(batch.feed):
        raise GuardError(
            f"{message}; deliver again once it is picked up, or send it with --force-feed {batch.feed}"
        )
    log.warning("%s", f"feed {batch.feed}: {message}")
    return held


def _export_and_send(run: Run, delivery: Delivery) -> Outcome:
    """Make the files, and send each while the next is made; then commit."""
    began = time.monotonic()
    spool = run.spool / delivery.delivery_id
    made = 0
    begun = threading.Event()
    try:
        if run.encryption and _checks(run):
            _check_before_encryption(run, delivery)
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="upload") as pool:
            sending: _Sending = {}
            try:
                for file in _made_files(run, delivery, spool):
                    state.add_file(run.warehouse, run.project, delivery, file)
                    made += file.lines
                    sending[file.name] = file, pool.submit(_send, run, delivery.feed, file, begun.set)
                    _record_sent(run, delivery, sending)
                if made != delivery.lines:
                    raise DeliveryError(
                        f"{made:,} lines were exported where the build counted {delivery.lines:,}:"
                        " the outbox was built anew meanwhile; run `aam run`"
                    )
                state.move(run.warehouse, run.project, delivery, "uploading")
                _record_sent(run, delivery, sending, wait=True)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return _commit(run, delivery, time.monotonic() - began)
    except AamError as error:
        # part of an export is of no use to the next run, and the disk may be full
        _fail(run, delivery, error, keep_spool=made == delivery.lines, sent=begun.is_set())
        raise


def _commit(run: Run, delivery: Delivery, seconds: float) -> Outcome:
    state.move(run.warehouse, run.project, delivery, "delivered", uncertain=False, seconds=seconds)
    if not run.project.vars.keep_days:
        shutil.rmtree(run.spool / delivery.delivery_id, ignore_errors=True)
    outcome = _outcome(run, delivery)
    size = sum(file.bytes for file in outcome.files)
    fields: dict[str, Any] = {"delivery": delivery.delivery_id, "feed": delivery.feed, "rows": delivery.lines}
    fields |= {"bytes": size, "seconds": round(seconds, 3), "files": len(outcome.files)}
    log.info("delivered", extra={"fields": fields})
    return outcome


def _outcome(run: Run, delivery: Delivery) -> Outcome:
    now = state.find_delivery(run.warehouse, run.project, delivery.delivery_id) or delivery
    files = state.read_files(run.warehouse, run.project, delivery.delivery_id)
    return Outcome(now, [file for file in files if file.status != "superseded"])


def _fail(
    run: Run, delivery: Delivery, error: AamError, *, keep_spool: bool = True, sent: bool = True
) -> None:
    """Record a failure, if the warehouse still answers; else the delivery stands open, which the next run finishes.

    `sent`: whether an upload has begun. What never left is not uncertain, so no build takes it back.
    """
    if isinstance(error, CheckFailedError) or not keep_spool:
        shutil.rmtree(run.spool / delivery.delivery_id, ignore_errors=True)
    try:
        before = state.read_files(run.warehouse, run.project, delivery.delivery_id)
        sent = sent or any(file.status == "superseded" for file in before)
        uncertain = None if sent else False
        state.move(run.warehouse, run.project, delivery, "failed", reason=str(error), uncertain=uncertain)
    except AamError as second:
        log.error("%s", f"delivery {delivery.delivery_id} failed, and that could not be recorded: {second}")


def _lines(run: Run, delivery: Delivery) -> Iterator[pa.RecordBatch]:
    """The batch's lines, as write_parts takes them; of this batch alone, for another may be built meanwhile."""
    if delivery.kind == "data":
        file_lines = state.table(run.project, "file_lines")
        sql = f"select line, lines from {file_lines} where feed = $1 and batch_id = $2"
    else:
        id_sync_lines = state.table(run.project, "id_sync_lines")
        sql = (
            f"select ids || chr(10) as line, 1 as lines from {id_sync_lines}"
            " where id_sync = $1 and batch_id = $2"
        )
    try:
        yield from run.warehouse.stream(sql, [delivery.feed, delivery.batch_id])
    except MissingTableError as error:
        raise state.torn(run.warehouse, str(error)) from None


def _made_files(run: Run, delivery: Delivery, spool: Path) -> Iterator[DeliveryFile]:
    """Export the batch's lines, a file at a time; only files of a split delivery are numbered."""
    from aam_onboard.files import write_parts

    limits = run.project.vars.limits
    run.options.on_progress(delivery.feed, "expected", delivery.lines, 0)
    parts = write_parts(
        _lines(run, delivery),
        spool,
        split_bytes=min(limits.split_bytes, limits.max_compressed_bytes),
        max_plain_bytes=limits.max_plain_bytes,
        encryption=run.encryption,
        expected_lines=delivery.lines,
        on_progress=lambda lines, size: run.options.on_progress(delivery.feed, "written", lines, size),
    )
    day = datetime.now(timezone.utc).date()
    for number, part in enumerate(parts, start=1):
        yield _file(run, delivery, part, day, split=number if number > 1 or part.more else None)


def _file(run: Run, delivery: Delivery, part: Part, day: date, split: int | None) -> DeliveryFile:
    name = str(_file_name(run, delivery, delivery.file_timestamp, split))
    key = run.settings.key(day, name)
    spooled = part.path.with_name(name)
    part.path.rename(spooled)
    return DeliveryFile(
        delivery_id=delivery.delivery_id,
        name=name,
        object_key=key,
        uri=run.destination.uri(key),
        status="uploading",
        spool_path=str(spooled),
        split=split or 1,
        lines=part.lines,
        bytes=part.bytes,
        plain_bytes=part.plain_bytes,
        sha256=part.sha256,
    )


def _file_name(run: Run, of: Batch | Delivery, timestamp: int, split: int | None) -> FileName:
    extension: Literal["gz", "gpg"] = "gpg" if run.encryption else "gz"
    sync = run.project.vars.id_syncs.get(of.feed)
    if sync:
        return IdSyncName(sync.prefix, tuple(sync.dpids), timestamp, split, extension)
    feed = run.project.vars.feeds[of.feed]
    return InboundName(
        dpid=feed.dpid,
        timestamp=timestamp,
        mode=of.mode,
        target_dpid=feed.target_dpid,
        split=split,
        extension=extension,
    )


def _file_root(run: Run, of: Batch | Delivery) -> Callable[[int], str]:
    """What the names of all files of a delivery begin with, for a timestamp."""
    return lambda timestamp: str(_file_name(run, of, timestamp, None)).rpartition(".")[0]


def _send(run: Run, feed: str, file: DeliveryFile, begun: Callable[[], None] = lambda: None) -> float:
    """Check and upload one file from the spool; returns seconds. Runs in a thread: it touches no warehouse.

    `begun` is called when the check is passed and the upload begins.
    """
    began = time.monotonic()
    path = Path(file.spool_path)
    if not run.encryption and _checks(run):
        _check(run, file, path)
    begun()
    run.destination.put(
        _part(file), file.object_key, on_bytes=lambda size: run.options.on_progress(feed, "sent", 0, size)
    )
    return time.monotonic() - began


def _part(file: DeliveryFile) -> Part:
    from aam_onboard.files import Part

    return Part(Path(file.spool_path), file.lines, file.bytes, file.plain_bytes, file.sha256)


def _checks(run: Run) -> bool:
    return run.project.vars.check if run.options.check is None else run.options.check


def _check(run: Run, file: DeliveryFile, path: Path) -> None:
    from aam_onboard.check import check_file

    _require_ok(check_file(path, file.name, run.project.rules))


def _check_before_encryption(run: Run, delivery: Delivery) -> None:
    """Check the lines in a reading of their own: encrypted, nobody here could, and plain text touches no disk."""
    from aam_onboard.check import check_text
    from aam_onboard.files import BatchText

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield cast(BinaryIO, BatchText(_lines(run, delivery)))

    rules = run.project.rules
    # all parts are read as one
    limits = rules.limits.model_copy(update={"max_plain_bytes": sys.maxsize})
    _require_ok(check_text(opened, delivery.file_root, rules.model_copy(update={"limits": limits})))


def _require_ok(report: FileReport) -> None:
    if not report.ok:
        first = report.errors[0]
        # No sample of a line: it is a person's data, and this is written down for good.
        found = f"line {first.line}: {first.reason}" if first.line else f"{first.reason}, {first.sample}"
        says = f" ({report.says[first.reason]})" if first.reason in report.says else ""
        raise CheckFailedError(
            f"{report.file} was not sent, Audience Manager would refuse it: {found}{says};"
            " mend the rows, or the rule in vars.rules that let them through, and run `aam run`"
        )


def _record_sent(run: Run, delivery: Delivery, sending: _Sending, *, wait: bool = False) -> None:
    """Record the uploads that are done, or all of them; raises the error of one that failed."""
    for name, (file, future) in list(sending.items()):
        if wait or future.done():
            state.mark_uploaded(run.warehouse, run.project, delivery, file, future.result())
            del sending[name]


def _finish(run: Run, delivery: Delivery) -> Outcome | None:
    """Bring one open delivery to an end: commit it, or give it up so that the next build sends what is missing."""
    files = [
        file
        for file in state.read_files(run.warehouse, run.project, delivery.delivery_id)
        if file.status != "superseded"
    ]
    log.info("finishing", extra={"fields": {"delivery": delivery.delivery_id, "feed": delivery.feed}})
    if delivery.kind == "data" and delivery.mode == "overwrite":
        # another feed may have come since
        run.project.require_full_possible(
            [delivery.feed],
            f"open delivery {delivery.delivery_id} is an overwrite (`--abandon {delivery.delivery_id}` gives it up)",
        )
    complete = bool(files) and sum(file.lines for file in files) == delivery.lines
    if complete and all(_can_be_sent(run, file) for file in files):
        return _send_again(run, delivery, files)
    if delivery.status == "failed" or not _still_built(run, delivery):
        _give_up(run, delivery, delivery.reason or "its spool was not whole and the outbox was built anew")
        return None
    for file in files:
        _take_back(run, file)
    shutil.rmtree(run.spool / delivery.delivery_id, ignore_errors=True)
    return _export_and_send(
        run, state.restart(run.warehouse, run.project, delivery, _file_root(run, delivery))
    )


def _send_again(run: Run, delivery: Delivery, files: Sequence[DeliveryFile]) -> Outcome:
    began = time.monotonic()
    try:
        state.move(run.warehouse, run.project, delivery, "uploading", uncertain=True)
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="upload") as pool:
            waiting = [file for file in files if not _at_destination(run, file)]
            sending: _Sending = {
                file.name: (file, pool.submit(_send, run, delivery.feed, file)) for file in waiting
            }
            _record_sent(run, delivery, sending, wait=True)
        for file in files:
            if file.status != "uploaded" and file not in waiting:
                state.mark_uploaded(run.warehouse, run.project, delivery, file, 0.0)
        return _commit(run, delivery, time.monotonic() - began)
    except AamError as error:
        _fail(run, delivery, error)
        raise


def _can_be_sent(run: Run, file: DeliveryFile) -> bool:
    """Whether the file is there, or could be put there from the spool: whole, and its key not taken by another."""
    stored = _stored(run, file)
    if stored:
        return _is_ours(stored, file)
    return _seen_picked_up(run, file) or _spooled_whole(file)


def _at_destination(run: Run, file: DeliveryFile) -> bool:
    """Whether the very file stands there, or stood there and has been picked up since."""
    stored = _stored(run, file)
    return _is_ours(stored, file) if stored else _seen_picked_up(run, file)


def _stored(run: Run, file: DeliveryFile) -> Stored | None:
    """What stands under the file's key; None also where the destination won't tell: an upload finds out."""
    try:
        return run.destination.head(file.object_key)
    except CannotListError:
        return None


def _is_ours(stored: Stored, file: DeliveryFile) -> bool:
    return stored.bytes == file.bytes and stored.checksum in (None, file.sha256)


def _spooled_whole(file: DeliveryFile) -> bool:
    path = Path(file.spool_path)
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return sha256_of(path) == file.sha256


def _still_built(run: Run, delivery: Delivery) -> bool:
    try:
        [batch] = state.read_batches(run.warehouse, run.project, [delivery.feed])
    except ConfigError:
        return False  # the last build did not know the feed
    return batch.batch_id == delivery.batch_id


def _give_up(run: Run, delivery: Delivery, reason: str) -> None:
    """Take back what lies at the destination.

    The delivery stays `uncertain`, for a part may have been read before: whatever it said is sent again as it is then.
    Not so where no file was made: then nothing has left.
    """
    files = state.read_files(run.warehouse, run.project, delivery.delivery_id)
    for file in files:
        if file.status != "superseded":
            _take_back(run, file)
    log.warning("%s", f"delivery {delivery.delivery_id} is abandoned: {reason}")
    uncertain = None if files else False
    state.move(run.warehouse, run.project, delivery, "abandoned", reason=reason, uncertain=uncertain)
    shutil.rmtree(run.spool / delivery.delivery_id, ignore_errors=True)


def _take_back(run: Run, file: DeliveryFile) -> None:
    """Remove a file from the destination, where that is allowed and the file is ours."""
    try:
        stored = _stored(run, file)
        if stored is None or _is_ours(stored, file):
            run.destination.delete(file.object_key)  # also what an interrupted upload left
    except AamError as error:
        log.warning("%s", f"{file.uri} could not be taken back: {error}")


def refresh_picked_up(run: Run) -> list[DeliveryFile]:
    """Look for `.processed` beside or in place of each delivered file, and record when it was seen [amazon-s3].

    Returns the files that wait though older than `not_picked_up_hours`; a directory's never are picked up. Files of
    more than 30 days ago are passed over: Audience Manager keeps them no longer. Raises CannotListError.
    """
    late = []
    hours = run.project.vars.not_picked_up_hours
    now = datetime.now(timezone.utc)
    for delivery in state.read_deliveries(
        run.warehouse, run.project, destination=run.destination.name, statuses=("delivered",)
    ):
        for file in state.read_files(run.warehouse, run.project, delivery.delivery_id):
            age = now - (file.uploaded_at or delivery.changed_at)
            if file.status != "uploaded" or file.picked_up_at is not None or age > KEPT_AT_DESTINATION:
                continue
            if _whereabouts(run, file) == "waiting" and age > timedelta(hours=hours):
                late.append(file)
    return [] if run.settings.type == "directory" else late


def _seen_picked_up(run: Run, file: DeliveryFile) -> bool:
    """Whether Audience Manager was seen to have renamed the file; False also where the destination won't tell."""
    try:
        return _whereabouts(run, file) == "picked up"
    except CannotListError:
        return False


def _whereabouts(run: Run, file: DeliveryFile) -> Literal["waiting", "picked up", "gone"]:
    """What has become of a file that stood at the destination; records when it was picked up. Raises CannotListError.

    Once read, it has another name [amazon-s3], or is gone, as by FTP; on S3 it goes after 30 days, read or not.
    """
    folder = file.object_key.removesuffix(file.name)
    there = {
        stored.key: stored for stored in run.destination.list(folder + file.name.partition(".")[0] + ".")
    }
    for name in picked_up_names(file.name):
        if folder + name in there:
            seen = there[folder + name].modified or datetime.now(timezone.utc)
            state.mark_picked_up(run.warehouse, run.project, file.name, seen)
            return "picked up"
    return "waiting" if file.object_key in there else "gone"


def sweep_spool(run: Run) -> None:
    """Remove spool folders of deliveries that ended longer than `keep_days` ago."""
    keep = timedelta(days=run.project.vars.keep_days)
    if not run.spool.is_dir():
        return
    for folder in run.spool.iterdir():
        # one that the warehouse does not know may be on its way from another warehouse
        delivery = state.find_delivery(run.warehouse, run.project, folder.name)
        if delivery is None or delivery.status not in ("delivered", "abandoned"):
            continue
        if datetime.now(timezone.utc) - delivery.changed_at > keep:
            shutil.rmtree(folder, ignore_errors=True)


def not_picked_up(project: Project, file: DeliveryFile) -> str:
    """The warning about a file that waits too long."""
    return (
        f"{file.name} lies at the destination for more than {project.vars.not_picked_up_hours:g} hours and is not"
        " picked up; ask Adobe whether the partner name and data source are set up for inbound files"
    )
