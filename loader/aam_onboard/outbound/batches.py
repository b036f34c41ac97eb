"""Which outbound files belong together, whether all are there, and which days have none. Nothing is read or changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from aam_onboard.destinations import Stored
from aam_onboard.destinations.settings import ReceiveSettings
from aam_onboard.outbound.control import Control
from aam_onboard.outbound.ledger import ReceivedFile
from aam_onboard.outbound.names import Mode, OutboundName, batch_of_info

# How much later than usual a batch may come [reporting-file-transfer-timeframe].
LATENESS = timedelta(hours=24)


@dataclass(frozen=True)
class Found:
    """An outbound file at an output."""

    name: OutboundName
    stored: Stored

    @property
    def folder(self) -> str:
        """Where it lies, with the slash behind."""
        return self.stored.key.removesuffix(self.name.name)


@dataclass
class FoundBatch:
    """The files at an output whose names begin alike; `infos`: their control files, one as a rule."""

    outbound: str
    root: str
    mode: Mode
    made_at: datetime
    files: list[Found] = field(default_factory=list)
    infos: list[Found] = field(default_factory=list)
    doubled: list[Found] = field(default_factory=list)

    @property
    def order(self) -> tuple[datetime, int, str]:
        """The order in which batches are applied; a full goes before an iter of the same time."""
        return self.made_at, 0 if self.mode == "full" else 1, self.root


def group(found: Iterable[Found]) -> list[FoundBatch]:
    """The batches, in the order in which they are applied.

    A name that is there twice, under several prefixes, counts once: the first key's.
    """
    batches: dict[tuple[str, str], FoundBatch] = {}
    those = sorted(found, key=lambda one: one.stored.key)
    names = [one.name for one in those if not one.name.is_info]
    seen: set[tuple[str, str]] = set()
    for one in those:
        own = [name for name in names if name.outbound == one.name.outbound]
        root = batch_of_info(one.name, own) if one.name.is_info else one.name.root
        mode = one.name.mode if root == one.name.root else ("full" if one.name.mode == "iter" else "iter")
        batch = batches.setdefault(
            (one.name.outbound, root), FoundBatch(one.name.outbound, root, mode, one.name.made_at)
        )
        if (one.name.outbound, one.name.name) in seen:
            batch.doubled.append(one)
            continue
        seen.add((one.name.outbound, one.name.name))
        (batch.infos if one.name.is_info else batch.files).append(one)
    for batch in batches.values():
        batch.files.sort(key=lambda one: (one.name.split or 0, one.name.name))
    return sorted(batches.values(), key=lambda batch: batch.order)


def waits_for(
    batch: FoundBatch,
    control: Control | None,
    received: dict[str, ReceivedFile],
    settings: ReceiveSettings,
    now: datetime,
) -> tuple[str, bool]:
    """What a batch waits for, in words, empty where it is ready; and whether it has waited too long for it."""
    there = {one.name.name: one.stored for one in batch.files}
    times = [one.stored.modified for one in (*batch.files, *batch.infos) if one.stored.modified is not None]
    if control is None:
        settled = timedelta(minutes=settings.settled_minutes)
        if times and now - max(times) < settled:
            return f"its .info, or {settings.settled_minutes:g} minutes without a change", False
        return "", False
    missing = [one.name for one in control.files if one.name not in there and one.name not in received]
    growing = [
        one.name
        for one in control.files
        if one.name in there and one.bytes is not None and there[one.name].bytes < one.bytes
    ]
    overdue = bool(times) and now - min(times) > timedelta(hours=settings.max_wait_hours)
    if missing or growing:
        said = ", ".join([*missing, *(f"the rest of {name}" for name in growing)][:3])
        more = len(missing) + len(growing) - 3
        return said + (f" and {more} more" if more > 0 else ""), overdue
    if len(control.files) < control.count:
        return f"{control.count - len(control.files)} files that its .info counts but does not name", overdue
    return "", False


class Made(Protocol):
    """What gaps are told by of a batch."""

    @property
    def mode(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def made_at(self) -> datetime: ...  # noqa: D102


def gaps(batches: Sequence[Made], every_hours: float, now: datetime) -> list[datetime]:
    """Times at which a batch should have been made and was not, since the last whole full, which heals all before it.

    A batch may come late, and the next one with it on the same day: two make good for a day without.
    """
    every = timedelta(hours=every_hours)
    fulls = [one.made_at for one in batches if one.mode == "full" and one.status == "whole"]
    since = max(fulls, default=datetime.min.replace(tzinfo=now.tzinfo))
    times = sorted({one.made_at for one in batches if one.made_at >= since})
    missing: list[datetime] = []
    for earlier, later in pairwise(times):
        count = round((later - earlier) / every)
        if count == 0 and missing and later - missing[-1] < 2 * every:
            missing.pop()
        missing += [earlier + number * every for number in range(1, count)]
    if times:
        late = int((now - times[-1] - LATENESS) / every)
        missing += [times[-1] + number * every for number in range(1, late + 1)]
    return missing
