"""A delivery's files: made of the outbox's lines in the spool, named, and checked before they leave."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from aam_onboard import state
from aam_onboard.errors import MissingTableError
from aam_onboard.executors import Check
from aam_onboard.filenames import FileName, IdSyncName, InboundName
from aam_onboard.running import Run
from aam_onboard.spool import spool_of
from aam_onboard.state import Batch, Delivery, DeliveryFile

if TYPE_CHECKING:
    from aam_onboard.config import Project
    from aam_onboard.files import Part


def made_files(run: Run, delivery: Delivery) -> Iterator[DeliveryFile]:
    """Export the batch's lines, a file at a time; only files of a split delivery are numbered."""
    limits = run.project.vars.limits
    run.options.on_progress(delivery.feed, "expected", delivery.lines, 0)
    # what is encrypted is examined as plain text
    name = delivery.file_root if run.encryption else f"{delivery.file_root}.gz"
    parts = run.warehouse.write_parts(
        *_lines(run, delivery),
        spool_of(run, delivery.delivery_id),
        split_bytes=min(limits.split_bytes, limits.max_compressed_bytes),
        max_plain_bytes=limits.max_plain_bytes,
        encryption=run.encryption,
        check=Check(name, run.project.rules) if _checks(run) else None,
        expected_lines=delivery.lines,
        on_progress=lambda lines, size: run.options.on_progress(delivery.feed, "written", lines, size),
    )
    day = datetime.now(timezone.utc).date()
    with _torn_where_missing(run):
        for number, part in enumerate(parts, start=1):
            yield _file(run, delivery, part, day, split=number if number > 1 or part.more else None)


def _lines(run: Run, delivery: Delivery) -> tuple[str, list[str]]:
    """The query of the batch's lines, as write_parts takes them, and its parameters.

    Of this batch alone, for another may be built meanwhile.
    """
    if delivery.kind == "data":
        file_lines = state.table(run.project, "file_lines")
        sql = f"select line, lines from {file_lines} where feed = $1 and batch_id = $2"
    else:
        id_sync_lines = state.table(run.project, "id_sync_lines")
        sql = (
            f"select ids || chr(10) as line, 1 as lines from {id_sync_lines}"
            " where id_sync = $1 and batch_id = $2"
        )
    return sql, [delivery.feed, delivery.batch_id]


@contextmanager
def _torn_where_missing(run: Run) -> Iterator[None]:
    try:
        yield
    except MissingTableError as error:
        raise state.torn(run.warehouse, str(error)) from None


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
    return file_name(run.project, of.feed, of.mode, timestamp, split, extension)


def file_name(
    project: Project,
    feed: str,
    mode: Literal["sync", "overwrite"],
    timestamp: int,
    split: int | None,
    extension: Literal["gz", "gpg"],
) -> FileName:
    """The name of a file of a feed or ID sync; only files of a split delivery are numbered."""
    sync = project.vars.id_syncs.get(feed)
    if sync:
        return IdSyncName(sync.prefix, tuple(sync.dpids), timestamp, split, extension)
    settings = project.vars.feeds[feed]
    return InboundName(
        dpid=settings.dpid,
        timestamp=timestamp,
        mode=mode,
        target_dpid=settings.target_dpid,
        split=split,
        extension=extension,
    )


def file_root(run: Run, of: Batch | Delivery) -> Callable[[int], str]:
    """What the names of all files of a delivery begin with, for a timestamp."""
    return lambda timestamp: str(_file_name(run, of, timestamp, None)).rpartition(".")[0]


def check_before_upload(run: Run, file: DeliveryFile) -> None:
    """Raise CheckFailedError for a file that Audience Manager would refuse; an encrypted one nobody here can read."""
    from aam_onboard.check import check_file, require_ok

    if _checks(run) and not run.encryption and not run.warehouse.in_executors:
        require_ok(check_file(Path(file.spool_path), file.name, run.project.rules))


def check_before_encryption(run: Run, delivery: Delivery) -> None:
    """Check what will be encrypted, in a reading of its own, so that plain text touches no disk."""
    if not (_checks(run) and run.encryption) or run.warehouse.in_executors:
        return
    from aam_onboard.check import check_text, require_ok
    from aam_onboard.files import BatchText

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with _torn_where_missing(run):
            yield cast(BinaryIO, BatchText(run.warehouse.stream(*_lines(run, delivery))))

    rules = run.project.rules
    # all parts are read as one
    limits = rules.limits.model_copy(update={"max_plain_bytes": sys.maxsize})
    require_ok(check_text(opened, delivery.file_root, rules.model_copy(update={"limits": limits})))


def _checks(run: Run) -> bool:
    return run.project.vars.check if run.options.check is None else run.options.check
