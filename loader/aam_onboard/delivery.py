"""The promise: what the state says is delivered is at the destination, whole; what is not there will be sent.

A delivery goes `exporting` → `uploading` → `delivered`, each step recorded before it is taken. Its files are made in
the spool, checked, uploaded and proven; only then does one statement move the delivered state. Whatever happens
before leaves the state as it was. What a killed run left behind is finished by the next one: from the spool when it is
whole, else exported anew under a new timestamp, never a mixture of both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_onboard import forget, history, state, strays
from aam_onboard.destinations import CannotListError, SpreadingDestination, Stored
from aam_onboard.errors import AamError, CheckFailedError, ConfigError, DeliveryError, GuardError
from aam_onboard.export import check_before_encryption, check_before_upload, file_root, made_files
from aam_onboard.guards import guard_verdict, refusal_of_full, require_full, why_nothing_is_sent
from aam_onboard.pickup import mind_the_order, seen_picked_up
from aam_onboard.running import FeedError, Outcome, Run, RunResult
from aam_onboard.spool import empty_spool, is_spooled_whole
from aam_onboard.state import Batch, Delivery, DeliveryFile

if TYPE_CHECKING:
    from aam_onboard.files import Part

log = logging.getLogger("aam")

# Files that are checked and uploaded while the next one is written. S3 sends the parts of each in parallel too.
UPLOADS_AT_ONCE = 2

_Sending = dict[DeliveryFile, "Future[float]"]


def deliver(run: Run, feeds: Sequence[str]) -> RunResult:
    """Finish what is open, then deliver the built batches of `feeds`, ID syncs first.

    One feed's failure stops that feed only. All errors are in the result, beside what was delivered in spite of them;
    a ConfigError when there is no whole build to deliver, or when it was made for something else; a LockedError while
    dbt is building one.
    """
    result = finish_open(run, feeds)
    stopped = {error.feed for error in result.errors if isinstance(error, FeedError)}
    try:
        strays.require_none(run)
        batches = state.read_batches(run.warehouse, run.project, feeds)
        _require_built_for(run, batches)
        state.require_whole_build(run.warehouse, run.project, batches)
        forget.refuse_earlier_batches(run, batches)
    except AamError as error:
        result.errors.append(error)
        return result
    reasons = state.rejected_reasons(run.warehouse, run.project)
    history.keep_rejected(run.warehouse, run.project, batches, reasons)
    result.rejected = {batch.feed: batch.rejected for batch in batches}
    for batch in batches:
        if batch.feed not in stopped:
            result.add(batch.feed, partial(_deliver_batch, run, batch, reasons.get(batch.feed, {}), result))
    state.count_deliveries(run.warehouse, run.project)
    forget.settle(run)
    return result


def finish_open(run: Run, feeds: Sequence[str]) -> RunResult:
    """Bring interrupted and failed deliveries of `feeds` to an end; nothing new is begun."""
    result = RunResult()
    open_deliveries = state.read_deliveries(
        run.warehouse, run.project, destination=run.destination.name, feeds=feeds, statuses=state.OPEN
    )
    for delivery in reversed(open_deliveries):
        result.add(delivery.feed, partial(_finish, run, delivery))
    return result


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


def _deliver_batch(run: Run, batch: Batch, reasons: Mapping[str, int], result: RunResult) -> Outcome | None:
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
        if run.project.vars.retired:
            return None
        why = why_nothing_is_sent(run.project, batch, reasons)
        if why:
            log.warning("%s", f"feed {batch.feed}: {why}")
            result.kept_back.append(batch.feed)
        return None
    if last:
        forced = mind_the_order(run, last, batch) or forced
    delivery = state.begin(
        run.warehouse, run.project, batch, file_root(run, batch), place=run.place, forced=forced
    )
    log.info(
        "exporting",
        extra={"fields": {"delivery": delivery.delivery_id, "feed": batch.feed, "lines": batch.lines}},
    )
    return _export_and_send(run, delivery)


def _export_and_send(run: Run, delivery: Delivery) -> Outcome:
    """Make the files, and send each while the next is made; then commit."""
    began = time.monotonic()
    made = 0
    begun = threading.Event()
    try:
        check_before_encryption(run, delivery)
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="upload") as pool:
            sending: _Sending = {}
            try:
                files = made_files(run, delivery)
                # each is sent while the next is made; but where all are there at once, so are they recorded
                for group in [list(files)] if run.warehouse.in_executors else ([file] for file in files):
                    state.add_files(run.warehouse, run.project, delivery, group)
                    made += sum(file.lines for file in group)
                    sending |= _begin_sending(run, pool, delivery.feed, group, begun.set)
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
        empty_spool(run, delivery.delivery_id)
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
        empty_spool(run, delivery.delivery_id)
    try:
        before = state.read_files(run.warehouse, run.project, delivery.delivery_id)
        sent = sent or any(file.status == "superseded" for file in before)
        uncertain = None if sent else False
        state.move(run.warehouse, run.project, delivery, "failed", reason=str(error), uncertain=uncertain)
    except AamError as second:
        log.error("%s", f"delivery {delivery.delivery_id} failed, and that could not be recorded: {second}")


def _begin_sending(
    run: Run,
    pool: ThreadPoolExecutor,
    feed: str,
    files: Sequence[DeliveryFile],
    begun: Callable[[], None] = lambda: None,
) -> _Sending:
    """Have files sent, each by a thread, or all by the executors that made them, where the destination knows how."""
    destination = run.destination
    if (
        run.warehouse.in_executors
        and isinstance(destination, SpreadingDestination)
        and destination.spreads([_part(file) for file in files])
    ):
        all_sent = pool.submit(_send_spread, run, destination, feed, files, begun)
        return dict.fromkeys(files, all_sent)
    return {file: pool.submit(_send, run, feed, file, begun) for file in files}


def _send_spread(
    run: Run,
    destination: SpreadingDestination,
    feed: str,
    files: Sequence[DeliveryFile],
    begun: Callable[[], None],
) -> float:
    """As `_send`, for all files at once, which those have checked that made them."""
    began = time.monotonic()
    begun()
    destination.put_by(
        [(_part(file), file.object_key) for file in files],
        run.warehouse.each,
        on_bytes=lambda size: run.options.on_progress(feed, "sent", 0, size),
    )
    return time.monotonic() - began


def _send(run: Run, feed: str, file: DeliveryFile, begun: Callable[[], None]) -> float:
    """Check and upload one file from the spool; returns seconds. Runs in a thread: it touches no warehouse.

    `begun` is called when the check is passed and the upload begins.
    """
    began = time.monotonic()
    check_before_upload(run, file)
    begun()
    run.destination.put(
        _part(file), file.object_key, on_bytes=lambda size: run.options.on_progress(feed, "sent", 0, size)
    )
    return time.monotonic() - began


def _part(file: DeliveryFile) -> Part:
    from aam_onboard.files import Part

    return Part(Path(file.spool_path), file.lines, file.bytes, file.plain_bytes, file.sha256)


def _record_sent(run: Run, delivery: Delivery, sending: _Sending, *, wait: bool = False) -> None:
    """Record the uploads that are done, or all of them as they come; raises the error of one that failed."""
    while sending:
        if wait:
            wait_for(sending.values(), return_when=FIRST_COMPLETED)
        done = {file: sending.pop(file) for file in list(sending) if sending[file].done()}
        sent = {file: future.result() for file, future in done.items() if future.exception() is None}
        if sent:
            state.mark_uploaded(run.warehouse, run.project, delivery, sent)
        for future in done.values():
            future.result()
        if not wait:
            return


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
    empty_spool(run, delivery.delivery_id)
    return _export_and_send(
        run, state.restart(run.warehouse, run.project, delivery, file_root(run, delivery))
    )


def _send_again(run: Run, delivery: Delivery, files: Sequence[DeliveryFile]) -> Outcome:
    began = time.monotonic()
    try:
        state.move(run.warehouse, run.project, delivery, "uploading", uncertain=True)
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="upload") as pool:
            waiting = [file for file in files if not _at_destination(run, file)]
            _record_sent(run, delivery, _begin_sending(run, pool, delivery.feed, waiting), wait=True)
        there = {file: 0.0 for file in files if file.status != "uploaded" and file not in waiting}
        if there:
            state.mark_uploaded(run.warehouse, run.project, delivery, there)
        return _commit(run, delivery, time.monotonic() - began)
    except AamError as error:
        _fail(run, delivery, error)
        raise


def _can_be_sent(run: Run, file: DeliveryFile) -> bool:
    """Whether the file is there, or could be put there from the spool: whole, and its key not taken by another."""
    stored = _stored(run, file)
    if stored:
        return _is_ours(stored, file)
    return seen_picked_up(run, file) or is_spooled_whole(file)


def _at_destination(run: Run, file: DeliveryFile) -> bool:
    """Whether the very file stands there, or stood there and has been picked up since."""
    stored = _stored(run, file)
    return _is_ours(stored, file) if stored else seen_picked_up(run, file)


def _stored(run: Run, file: DeliveryFile) -> Stored | None:
    """What stands under the file's key; None also where the destination won't tell: an upload finds out."""
    try:
        return run.destination.head(file.object_key)
    except CannotListError:
        return None


def _is_ours(stored: Stored, file: DeliveryFile) -> bool:
    return stored.bytes == file.bytes and stored.checksum in (None, file.sha256)


def _still_built(run: Run, delivery: Delivery) -> bool:
    try:
        [batch] = state.read_batches(run.warehouse, run.project, [delivery.feed])
    except ConfigError:
        return False  # the last build did not know the feed
    today = tuple(run.project.dpids_of(delivery.feed))
    return batch.batch_id == delivery.batch_id and strays.dpids_of(delivery) in (None, today)


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
    empty_spool(run, delivery.delivery_id)


def _take_back(run: Run, file: DeliveryFile) -> None:
    """Remove a file from the destination, where that is allowed and the file is ours."""
    try:
        stored = _stored(run, file)
        if stored is None or _is_ours(stored, file):
            run.destination.delete(file.object_key)  # also what an interrupted upload left
    except AamError as error:
        log.warning("%s", f"{file.uri} could not be taken back: {error}")
