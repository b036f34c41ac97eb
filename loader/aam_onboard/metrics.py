"""Figures of a run for Prometheus' textfile collector, as OpenMetrics text."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aam_onboard.package import package_version

if TYPE_CHECKING:
    from aam_onboard.history import Story
    from aam_onboard.state import Delivery, DeliveryFile

log = logging.getLogger("aam")

_HELP = {
    "aam_info": "The version of aam.",
    "aam_run_start_timestamp_seconds": "When the run began.",
    "aam_run_duration_seconds": "How long the run took.",
    "aam_run_exit_code": "0 done, 1 failed, 2 configuration, 3 a guard stopped it, 4 locked, 130 interrupted.",
    "aam_run_success": "1 for a run that ended with 0.",
    "aam_run_step_seconds": "How long a step of the run took.",
    "aam_run_deliveries": "Deliveries that the run brought to their end.",
    "aam_run_rejected_rows": "Rows kept back.",
    "aam_feed_ok": "0 for a feed that failed or was stopped.",
    "aam_feed_lines": "Lines delivered.",
    "aam_feed_users": "Users in the files delivered.",
    "aam_feed_signals_added": "Signals added.",
    "aam_feed_signals_removed": "Signals taken back.",
    "aam_feed_rejected_rows": "Rows of the feed kept back.",
    "aam_feed_files": "Files delivered.",
    "aam_feed_bytes": "Their bytes.",
    "aam_feed_delivery_seconds": "How long the delivery took.",
    "aam_feed_last_delivery_timestamp_seconds": "When something was last delivered.",
    "aam_feed_waiting_files": "Delivered files that nobody was seen to pick up.",
    "aam_feed_open_deliveries": "Deliveries that have come to no end.",
}
_FEED = {
    "lines": "aam_feed_lines",
    "users": "aam_feed_users",
    "signals_added": "aam_feed_signals_added",
    "signals_removed": "aam_feed_signals_removed",
    "rejected": "aam_feed_rejected_rows",
    "files": "aam_feed_files",
    "bytes": "aam_feed_bytes",
    "seconds": "aam_feed_delivery_seconds",
}


class Sample(NamedTuple):
    """A figure: its name, its labels, its value."""

    name: str
    labels: dict[str, str]
    value: float


def of_run(story: Story) -> list[Sample]:
    """The figures of a run at its end."""
    where = {"command": story.command, "target": story.target, "destination": story.destination}
    figures = story.figures()
    samples = [
        Sample("aam_info", {"version": package_version()}, 1),
        Sample("aam_run_start_timestamp_seconds", where, story.started_at.timestamp()),
        Sample("aam_run_duration_seconds", where, story.seconds or 0),
        Sample("aam_run_exit_code", where, story.exit_code or 0),
        Sample("aam_run_success", where, story.exit_code == 0),
        Sample("aam_run_deliveries", where, len(story.result.outcomes)),
        Sample("aam_run_rejected_rows", where, story.rejected),
    ]
    samples += [Sample("aam_run_step_seconds", where | {"step": name}, n) for name, n in story.steps.items()]
    for feed, found in figures.items():
        labels = where | {"feed": feed}
        samples.append(Sample("aam_feed_ok", labels, found["status"] not in ("failed", "stopped")))
        samples += [Sample(name, labels, found[key]) for key, name in _FEED.items() if key in found]
    return samples


def of_deliveries(stories: Iterable[tuple[Delivery, list[DeliveryFile]]]) -> list[Sample]:
    """What `aam status` shows, by destination and feed."""
    last: dict[tuple[str, str], float] = {}
    waiting: dict[tuple[str, str], int] = {}
    open_: dict[tuple[str, str], int] = {}
    for delivery, files in stories:
        key = delivery.destination, delivery.feed
        is_open = delivery.status in ("exporting", "uploading", "failed")
        open_[key] = open_.get(key, 0) + is_open
        if delivery.status == "delivered":
            last[key] = max(last.get(key, 0), delivery.changed_at.timestamp())
            waits = sum(file.status == "uploaded" and file.picked_up_at is None for file in files)
            waiting[key] = waiting.get(key, 0) + waits
    return [Sample("aam_info", {"version": package_version()}, 1)] + [
        Sample(name, {"destination": destination, "feed": feed}, n)
        for name, found in (
            ("aam_feed_last_delivery_timestamp_seconds", last),
            ("aam_feed_waiting_files", waiting),
            ("aam_feed_open_deliveries", open_),
        )
        for (destination, feed), n in found.items()
    ]


def text_of(samples: Iterable[Sample]) -> str:
    """OpenMetrics text, all of a name together."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    lines = []
    for name, found in by_name.items():
        lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge"]
        for sample in found:
            labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sample.labels.items())
            lines.append(f"{name}{{{labels}}} {float(sample.value)!r}")
    return "\n".join([*lines, "# EOF"]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(path: Path, samples: Iterable[Sample]) -> None:
    """Replace a file in one step, readable for all; a warning where that can't be."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")  # the collector reads *.prom alone
    try:
        unfinished.write_text(text_of(samples), encoding="utf-8")
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError as error:
        log.warning("%s", f"--metrics-file {path} can't be written: {error.strerror or error}")
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
