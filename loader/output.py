"""What a person sees: tables, progress and log lines; JSON for scripts."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from loader.check import CheckReport
    from loader.config import Project, Rules
    from loader.delivery import Outcome, Report
    from loader.plan import FeedPlan
    from loader.state import Delivery, DeliveryFile


class LogFormat(str, Enum):
    """How log lines are written."""

    text = "text"
    json = "json"


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{_clock(record)} {level}{record.getMessage()} {fields}".rstrip()


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"at": _clock(record), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(entry | getattr(record, "fields", {}), ensure_ascii=False, default=str)


def _clock(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


_log_format = LogFormat.text


def start_logging(log_format: LogFormat) -> None:
    """Log lines of `aam` go to stderr, one a line."""
    global _log_format  # noqa: PLW0603  # one process, one log
    _log_format = log_format
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format is LogFormat.json else _TextFormatter())
    logger = logging.getLogger("aam")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def complain(message: str) -> None:
    """One error, one line on stderr."""
    line = " ".join(message.splitlines())
    if _log_format is LogFormat.json:
        logging.getLogger("aam").error("%s", line)
    else:
        sys.stderr.write(f"aam: {line}\n")


def say(message: str) -> None:
    """One line on stdout."""
    sys.stdout.write(message + "\n")


@contextmanager
def progress() -> Iterator[Callable[[str, Literal["written", "sent"], int, int], None]]:
    """On a terminal, a line a feed with rows and bytes as they go; else nothing: the log tells."""
    from loader.delivery import no_progress

    if not sys.stderr.isatty() or _log_format is LogFormat.json:
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[lines]:,} lines"),
        TextColumn("{task.fields[written]:,} bytes of text"),
        TextColumn("{task.fields[sent]:,} bytes sent"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def update(feed: str, step: Literal["written", "sent"], lines: int, size: int) -> None:
            if feed not in tasks:
                tasks[feed] = bar.add_task(feed, total=None, lines=0, written=0, sent=0)
            fields = bar.tasks[bar.task_ids.index(tasks[feed])].fields
            counts: dict[str, Any] = {"lines": fields["lines"] + lines, step: fields[step] + size}
            bar.update(tasks[feed], **counts)

        yield update


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str, indent=2) + "\n")


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Collection[str] = ()
) -> None:
    """A Rich table; columns named in `numbers` stand on the right. As wide as it needs to be off a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        on_right = column in numbers
        table.add_column(column, justify="right" if on_right else "left", no_wrap=on_right, overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)


def show_plan(
    project: Project, plans: list[FeedPlan], mismatches: list[dict[str, Any]], as_json: bool
) -> None:
    """The plan: a row a feed, then the rejected rows by reason, then the IDs that match nobody."""
    if as_json:
        _print_json({"feeds": [plan.to_json() for plan in plans], "id_mismatches": mismatches})
        return
    rows = [
        (
            plan.batch.feed,
            plan.data_source,
            plan.batch.mode,
            plan.batch.users,
            plan.batch.signals_added,
            plan.batch.signals_removed,
            plan.batch.signals_unchanged,
            plan.batch.rejected,
            "delivered" if plan.delivered else "; ".join(plan.guard) or "ok",
        )
        for plan in plans
    ]
    columns = ("feed", "data source", "mode", "users", "added", "removed", "unchanged", "rejected", "guard")
    destination = plans[0].batch.destination if plans else "-"
    _table(f"Plan for {destination}", columns, rows, ("users", "added", "removed", "unchanged", "rejected"))
    reasons: dict[str, dict[str, int]] = {}
    for plan in plans:
        for reason, count in plan.rejected.items():
            reasons.setdefault(reason, {})[plan.batch.feed] = count
    if reasons:
        rejected = [
            (reason, sum(by_feed.values()), project.rules.says(reason), ", ".join(by_feed))
            for reason, by_feed in sorted(reasons.items(), key=lambda item: -sum(item[1].values()))
        ]
        _table("Rejected rows", ("reason", "rows", "what is wrong", "feeds"), rejected, ("rows",))
    if mismatches:
        mismatch_rows = [
            (
                project.data_source_name(int(found["dpid"])),
                found["kind"],
                found["users"],
                f"{found['share']:.1%}",
            )
            for found in mismatches
        ]
        _table(
            "Users who can't be reached: their ID is spelled otherwise on the site (IDs match exactly)",
            ("data source", "difference", "users", "share"),
            mismatch_rows,
            ("users", "share"),
        )


def show_rejected(rules: Rules, feed: str, samples: list[dict[str, Any]], as_json: bool) -> None:
    """Samples of a feed's rejected rows."""
    if as_json:
        _print_json({"feed": feed, "rejected": samples})
        return
    rows = [
        (
            row["reason"],
            repr(row["user_id"]),
            repr(row["signal_key"]),
            repr(row["signal_value"]),
            rules.says(row["reason"]),
        )
        for row in samples
    ]
    _table(
        f"Rejected rows of {feed}, up to ten a reason",
        ("reason", "user_id", "key", "value", "what is wrong"),
        rows,
    )


def show_report(report: Report, as_json: bool) -> None:
    """What a run delivered: a row a file."""
    if as_json:
        _print_json({"deliveries": [_delivery_json(outcome) for outcome in report.outcomes]})
        return
    if not report.outcomes:
        if not report.errors:
            say("Nothing to deliver: the destination has everything already.")
        return
    rows = [
        (outcome.delivery.feed, outcome.delivery.status, file.lines, file.bytes, file.uri)
        for outcome in report.outcomes
        for file in outcome.files
    ]
    _table("Delivered", ("feed", "status", "lines", "bytes", "file"), rows, ("lines", "bytes"))


def _delivery_json(outcome: Outcome) -> dict[str, Any]:
    delivery = outcome.delivery
    return {
        "delivery_id": delivery.delivery_id,
        "feed": delivery.feed,
        "mode": delivery.mode,
        "status": delivery.status,
        "destination": delivery.destination,
        "files": [
            {"name": f.name, "uri": f.uri, "lines": f.lines, "bytes": f.bytes, "sha256": f.sha256}
            for f in outcome.files
        ],
    }


def show_check(report: CheckReport, as_json: bool) -> None:
    """What Audience Manager would report of the files, in its words."""
    if as_json:
        _print_json(report.as_dict())
        return
    columns = (
        "file",
        "records received",
        "format errors",
        "invalid AAM ID",
        "invalid device ID",
        "traits failed validation",
        "warnings",
        "stored records",
        "verdict",
    )
    rows = [
        (
            file.file,
            file.records_received,
            file.format_errors,
            file.invalid_aam_id,
            file.invalid_device_id,
            file.traits_failed_validation,
            file.warnings,
            file.stored_records,
            "ok" if file.ok else "refused" if not file.stored_records else "refused in part",
        )
        for file in report.files
    ]
    _table("Audience Manager would report", columns, rows, columns[1:-1])
    for file in report.files:
        for title, problems, counts in (
            ("errors", file.errors, file.reasons),
            ("warnings", file.warning_samples, file.warning_reasons),
        ):
            samples = [
                (
                    "-" if found.line is None else found.line,
                    found.reason,
                    found.sample,
                    file.says.get(found.reason, ""),
                )
                for found in problems
            ]
            if samples:
                total = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
                _table(
                    f"{file.file}: {title} ({total}), the first of each",
                    ("line", "reason", "sample", "what is wrong"),
                    samples,
                )


def show_status(stories: list[tuple[Delivery, list[DeliveryFile]]], as_json: bool) -> None:
    """Deliveries, the latest first, with their files."""
    if as_json:
        _print_json({"deliveries": [_story_json(delivery, files) for delivery, files in stories]})
        return
    if not stories:
        say("No delivery yet.")
        return
    rows: list[tuple[object, ...]] = []
    for delivery, files in stories:
        note = delivery.reason or ("forced past a guard" if delivery.forced else "")
        head = (delivery.delivery_id, delivery.destination, delivery.status)
        when = f"{delivery.changed_at:%Y-%m-%d %H:%M}"
        rows.append((*head, when, delivery.users, delivery.signals_added, delivery.signals_removed, note))
        for file in files:
            picked = f"picked up {file.picked_up_at:%Y-%m-%d %H:%M}" if file.picked_up_at else ""
            rows.append(("", "", f"  {file.status}", "", "", "", "", f"{file.name} {picked}".rstrip()))
    columns = (
        "delivery",
        "destination",
        "status",
        "changed (UTC)",
        "users",
        "added",
        "removed",
        "note, files",
    )
    _table("Deliveries", columns, rows, ("users", "added", "removed"))


def _story_json(delivery: Delivery, files: list[DeliveryFile]) -> dict[str, Any]:
    return {
        "delivery_id": delivery.delivery_id,
        "feed": delivery.feed,
        "mode": delivery.mode,
        "destination": delivery.destination,
        "status": delivery.status,
        "reason": delivery.reason,
        "forced": delivery.forced,
        "users": delivery.users,
        "signals_added": delivery.signals_added,
        "signals_removed": delivery.signals_removed,
        "rejected": delivery.rejected,
        "started_at": delivery.started_at.isoformat(),
        "changed_at": delivery.changed_at.isoformat(),
        "files": [
            {
                "name": file.name,
                "uri": file.uri,
                "status": file.status,
                "lines": file.lines,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "uploaded_at": file.uploaded_at.isoformat() if file.uploaded_at else None,
                "picked_up_at": file.picked_up_at.isoformat() if file.picked_up_at else None,
            }
            for file in files
        ],
    }
