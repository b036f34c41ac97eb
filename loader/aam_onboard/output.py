"""What a person sees: tables, progress and log lines; JSON for scripts.

All of it goes out here, and here what comes from data loses its power over a terminal: each cell, line and JSON text
is escaped as it leaves, so that no caller need think of it.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from aam_onboard.check import CheckReport
    from aam_onboard.config import Project
    from aam_onboard.doctor import Finding
    from aam_onboard.forget import Known
    from aam_onboard.init import Change
    from aam_onboard.plan import FeedPlan
    from aam_onboard.receipts import Reading
    from aam_onboard.receive import Received, ReceiveResult
    from aam_onboard.rules import Rules
    from aam_onboard.running import Outcome, RunResult
    from aam_onboard.state import Delivery, DeliveryFile
    from aam_onboard.strays import Stray
    from aam_onboard.why import Answer


class LogFormat(str, Enum):
    """How log lines are written."""

    text = "text"
    json = "json"


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return shown(f"{_clock(record)} {level}{record.getMessage()} {fields}".rstrip())


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"at": _clock(record), "level": record.levelname.lower(), "message": record.getMessage()}
        return _json_text(entry | getattr(record, "fields", {}))


class _StderrHandler(logging.Handler):
    """Writes to what stderr is at that moment: while a bar is drawn, to the console that draws it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def _clock(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(text: str) -> str:
    """Text that does nothing to a terminal: what is not printable stands there as `\\x1b`, `\\u202e` or `\\n`.

    Among it are escape sequences, C1 controls and the marks that turn the direction of writing. Letters of all scripts
    stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def _json_text(value: object, indent: int | None = None) -> str:
    """JSON in which letters of all scripts stand as they are, and what is not printable as its escape."""

    def escaped(found: re.Match[str]) -> str:
        letter = found[0]
        if letter.isprintable():
            return letter
        return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else json.dumps(letter)[1:-1]

    text = json.dumps(value, ensure_ascii=False, default=str, indent=indent)
    return re.sub(r"[^\n -~]", escaped, text)


_log_format = LogFormat.text


def start_logging(log_format: LogFormat) -> None:
    """Log lines of `aam` go to stderr, one a line."""
    global _log_format  # noqa: PLW0603  # one process, one log
    _log_format = log_format
    handler = _StderrHandler()
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
        sys.stderr.write(f"aam: {shown(line)}\n")


def say(message: str) -> None:
    """One line on stdout."""
    sys.stdout.write(shown(message) + "\n")


# the colours that dbt gives to what is well, failed or to be minded
_COLOURS = re.compile(r"(\x1b\[(?:0|3[1-6])m)")


def pass_on(line: str) -> None:
    """A line of dbt's own output, on stderr; on a terminal in its colours."""
    parts = _COLOURS.split(line.rstrip("\r\n"))
    parts[0::2] = map(shown, parts[0::2])
    if not sys.stderr.isatty():
        del parts[1::2]
    sys.stderr.write("".join(parts) + "\n")


@contextmanager
def progress() -> Iterator[Callable[[str, Literal["expected", "written", "sent"], int, int], None]]:
    """On a terminal, a bar for the feed under way: lines of all, lines a second, bytes sent. Else the log tells.

    While it is drawn, all else that goes to stderr is written above it.
    """
    from aam_onboard.running import no_progress

    if not sys.stderr.isatty() or _log_format is LogFormat.json:
        yield no_progress
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    columns = [
        TextColumn("{task.description}", table_column=Column(no_wrap=True), markup=False),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        *(
            TextColumn(f"{{task.fields[{name}]}}", justify="right", table_column=Column(no_wrap=True))
            for name in ("lines", "rate", "sent")
        ),
    ]
    bar = Progress(*columns, console=Console(stderr=True), transient=True, expand=True, redirect_stdout=False)
    sizes: dict[str, int] = {}
    lock = threading.Lock()

    def update(feed: str, step: Literal["expected", "written", "sent"], lines: int, size: int) -> None:
        with lock:
            if feed not in sizes:  # they go one after the other
                for task in bar.tasks:
                    bar.update(task.id, visible=False)
                bar.add_task(shown(feed), total=None, lines="", rate="", sent="")
                sizes[feed] = 0
                bar.start()  # not before: dbt writes to the terminal, too
            task = bar.tasks[list(sizes).index(feed)]
            if step == "expected":
                bar.update(task.id, total=lines, completed=0)
            elif step == "sent":
                sizes[feed] += size
                bar.update(task.id, sent=f"{decimal(sizes[feed])} sent")
            else:
                bar.update(task.id, advance=lines)
                speed = task.finished_speed or task.speed
                bar.update(
                    task.id, lines=f"{task.completed:,.0f} lines", rate=f"{speed:,.0f}/s" if speed else ""
                )

    try:
        yield update
    finally:
        bar.stop()


def print_json(value: object) -> None:
    """JSON on stdout, for scripts."""
    sys.stdout.write(_json_text(value, indent=2) + "\n")


_Rows = Sequence[Sequence[object]]
_GAP = 2  # between columns
_LEAST_FOLDED = 16  # characters of a column that may be broken anywhere


def table(
    title: str,
    columns: Sequence[str],
    rows: _Rows,
    *,
    numbers: Collection[str] = (),
    wraps: Collection[str] = (),
    folds: Collection[str] = (),
    narrow: _Rows | None = None,
) -> None:
    """A table that fits: as wide as it needs to be off a terminal, and never wider than one.

    `numbers`: columns that stand on the right. Those in `wraps` may be broken between words, those in `folds` anywhere,
    the others never: where they don't fit, `narrow`, the same rows with shorter cells, is tried, and if that is too
    wide as well, each row is printed as a paragraph. A cell that is a list has a line for each.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    room = Console().width if sys.stdout.isatty() else 1 << 20
    console = Console(width=room, soft_wrap=not sys.stdout.isatty(), highlight=False)
    console.print()
    console.print(Text(shown(title), style="italic"))
    heads = [column.replace(" ", "\n") if column in numbers else column for column in columns]
    for some in (rows, narrow or rows):
        cells = [[_cell(cell) for cell in row] for row in some]
        widths, least = [], []
        for column, head, texts in zip(columns, heads, zip(*cells, strict=True), strict=True):
            lines = [line for text in (head, *texts) for line in text.split("\n")]
            widths.append(max(map(cell_len, lines)))
            words = max(cell_len(word) for line in lines for word in line.split(" "))
            breaks = {True: words if column in wraps else widths[-1], column in folds: _LEAST_FOLDED}[True]
            least.append(min(widths[-1], breaks))
        gaps = _GAP * (len(columns) - 1)
        if sum(least) + gaps <= room:
            break
    else:
        for row in rows:
            _print_paragraph(console, room, columns, [_cell(cell) for cell in row])
        return
    while sum(widths) + gaps > room:
        over = [place for place in range(len(columns)) if widths[place] > least[place]]
        widths[max(over, key=widths.__getitem__)] -= 1
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column, head, width in zip(columns, heads, widths, strict=True):
        on_right = column in numbers
        table.add_column(
            head, justify="right" if on_right else "left", width=width, overflow="fold", vertical="top"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "\n".join(map(_cell, value))
    return f"{value:,}" if isinstance(value, int) else shown(str(value))


def _print_paragraph(console: Console, room: int, columns: Sequence[str], row: Sequence[str]) -> None:
    """A row whose table would be too wide: its first cell, and below it the others with their names."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(row[0]))
    lines: list[str] = []
    for column, cell in zip(columns[1:], row[1:], strict=True):
        if "\n" in cell:
            lines += cell.split("\n")
        elif cell:
            longer = f"{lines[-1]} · {column} {cell}" if lines else ""
            if longer and cell_len(longer) <= room - 2:
                lines[-1] = longer
            else:
                lines.append(f"{column} {cell}")
    console.print(Padding(Text("\n".join(lines), overflow="fold"), (0, 0, 0, 2)))


def show_init(changes: Sequence[Change], next_commands: Sequence[str]) -> None:
    """What was done, a line a file, and what to call next."""
    for change in changes:
        head, *rest = change.what.splitlines() or [""]
        say(f"{change.kind:<8}  {change.path}{': ' if head else ''}{head}")
        for line in rest:
            say(f"          {line}")
    say("")
    say("Next:")
    for command in next_commands:
        say(f"  {command}")


def show_findings(findings: Iterable[Finding], as_json: bool) -> bool:
    """What `aam doctor` has found, a line each as it is found; whether nothing is to do."""
    seen = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            say(f"{finding.verdict:<8}  {finding.about}: {finding.says}")
    to_do = sum(finding.verdict == "to do" for finding in seen)
    if as_json:
        print_json({"ok": not to_do, "findings": [finding.to_json() for finding in seen]})
    else:
        say("")
        say(f"{to_do} to do." if to_do else "All is well.")
    return not to_do


def show_plan(
    project: Project,
    plans: list[FeedPlan],
    mismatches: list[dict[str, Any]],
    strays: list[Stray],
    moved: str,
    as_json: bool,
) -> None:
    """The plan: a row a feed, then the rejected rows by reason, then the IDs that match nobody.

    `strays` and `moved`: what stops every delivery, and so comes last.
    """
    if as_json:
        found = {"feeds": [plan.to_json() for plan in plans], "id_mismatches": mismatches}
        print_json(found | {"strays": [stray.to_json() for stray in strays], "moved": moved or None})
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
    numbers = ("users", "added", "removed", "unchanged", "rejected")
    dpids = [" → ".join(map(str, project.dpids_of(plan.batch.feed))) for plan in plans]
    narrow = [(row[0], dpid, *row[2:]) for row, dpid in zip(rows, dpids, strict=True)]
    table(f"Plan for {destination}", columns, rows, numbers=numbers, wraps=("guard",), narrow=narrow)
    synced = [(plan.batch.feed, f"{plan.synced:.1%}") for plan in plans if plan.synced is not None]
    if synced:
        table(
            "Users whom an ID sync has delivered; others are skipped",
            ("feed", "share"),
            synced,
            numbers=("share",),
        )
    reasons: dict[str, dict[str, int]] = {}
    for plan in plans:
        for reason, count in plan.rejected.items():
            reasons.setdefault(reason, {})[plan.batch.feed] = count
    if reasons:
        rejected = [
            (reason, sum(by_feed.values()), project.rules.says(reason), ", ".join(by_feed))
            for reason, by_feed in sorted(reasons.items(), key=lambda item: -sum(item[1].values()))
        ]
        table(
            "Rejected rows",
            ("reason", "rows", "what is wrong", "feeds"),
            rejected,
            numbers=("rows",),
            wraps=("what is wrong", "feeds"),
        )
    letter_cases = [
        (
            plan.batch.feed,
            found["part"],
            found["key"],
            ", ".join(f"{s} {n:,}" for s, n in found["spellings"].items()),
        )
        for plan in plans
        for found in plan.letter_cases
    ]
    if letter_cases:
        table(
            "Spelled in more than one letter case",
            ("feed", "part", "key", "spellings and their rows"),
            letter_cases,
            wraps=("spellings and their rows",),
        )
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
        table(
            "Users who can't be reached: their ID is spelled otherwise on the site (IDs match exactly)",
            ("data source", "difference", "users", "share"),
            mismatch_rows,
            numbers=("users", "share"),
            wraps=("data source", "difference"),
        )
    for reason in [stray.says for stray in strays] + ([moved] if moved else []):
        say(f"Nothing will be delivered: {reason}.")


def show_rejected(rules: Rules, feed: str, samples: list[dict[str, Any]], as_json: bool) -> None:
    """Samples of a feed's rejected rows."""
    if as_json:
        print_json({"feed": feed, "rejected": samples})
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
    table(
        f"Rejected rows of {feed}, up to ten a reason",
        ("reason", "user_id", "key", "value", "what is wrong"),
        rows,
        wraps=("what is wrong",),
        folds=("user_id", "key", "value"),
    )


def show_answer(rules: Rules, answer: Answer, as_json: bool) -> None:
    """What is known of one user: signals with where they are, then the deliveries that named the user."""
    if as_json:
        print_json(answer.to_json())
        return
    if not answer.knows:
        say(f"Nothing is known of {answer.user_id} in feed {answer.feed}.")
        return
    there = {
        (one.signal_key, one.signal_value): "" for one in (*answer.model, *answer.delivered, *answer.possible)
    }
    for name, signals in (("may be at", answer.possible), ("at", answer.delivered)):
        for one in signals:
            key = one.signal_key, one.signal_value
            there[key] = f"{there[key]}, {name} {one.destination}".removeprefix(", ")
    kept_back = {(one.signal_key, one.signal_value): one.reason for one in (*answer.model, *answer.kept_back)}
    there |= {key: "" for key in kept_back if key not in there}
    says = {(one.signal_key, one.signal_value) for one in answer.model}
    rows = [
        (
            repr(key),
            repr(value),
            "yes" if (key, value) in says else "no",
            there[key, value] or "nowhere",
            rules.says(kept_back[key, value] or "") if kept_back.get((key, value)) else "",
        )
        for key, value in sorted(there, key=repr)
    ]
    table(
        f"{answer.user_id} in {answer.feed}",
        ("key", "value", "in the model", "delivered", "kept back, for"),
        rows,
        wraps=("delivered", "kept back, for"),
        folds=("key", "value"),
    )
    if answer.deliveries:
        table(
            "Deliveries that named the user",
            ("delivery", "began", "status", "added", "removed", "files"),
            [
                (
                    sent.delivery_id,
                    f"{sent.started_at:%Y-%m-%d %H:%M}",
                    sent.status,
                    ", ".join(sent.added),
                    ", ".join(sent.removed),
                    [file["name"] for file in sent.files],
                )
                for sent in answer.deliveries
            ],
            folds=("added", "removed"),
        )


def show_forgetting(known: Known, as_json: bool) -> None:
    """What will be withdrawn of a person and what can't be."""
    if as_json:
        print_json(known.to_json())
        return
    person = known.person
    if not known.is_known:
        say(f"Nothing is known of {person.user_id} of data source {person.dpid}: there is nothing to forget.")
        return
    if known.lying:
        table(
            f"{person.user_id} of data source {person.dpid}",
            ("feed", "destination", "is withdrawn", "stays"),
            [(one.feed, one.destination, one.withdrawn, one.staying) for one in known.lying],
        )
    asked = f" (asked for at {known.requested_at:%Y-%m-%d %H:%M} UTC)" if known.requested_at else ""
    if known.waits_for:
        waits = ", ".join(known.waits_for)
        say(
            f"With the next delivery to {waits}, all that can be is withdrawn; then the ID is forgotten here"
            f" too{asked}."
        )
    else:
        say(f"Nothing is left to withdraw; with the next run, the ID is forgotten here too{asked}.")
    if known.received:
        say(
            f"{known.received:,} rows of outbound files go then, too; Audience Manager may send the ID again."
        )
    if any(one.staying for one in known.lying):
        say(
            "What stays at Audience Manager no file takes back (ID pairs, key-values of sync feeds): ask Adobe to"
            " delete it, or let it expire."
        )
    if known.models:
        say(
            f"Delete the person where they come from, too, for these models name them: {', '.join(known.models)}."
        )
    if known.pairs:
        say("ID pairs name these with it; forget them too, if they are nobody else's:")
        for pair in known.pairs:
            say(f"  aam forget {shlex.quote(pair.user_id)} --dpid {pair.dpid}")


def show_receipts(readings: Sequence[Reading], as_json: bool) -> None:
    """What receipts tell of each job."""
    found = [(reading, reading.receipt) for reading in readings if reading.receipt]
    if as_json:
        told = [
            {
                "receipt_id": receipt.receipt_id,
                "read_from": reading.where,
                "is_new": reading.is_new,
                "files": list(receipt.files),
                "job_started_at": receipt.job_started_at,
                "job_ended_at": receipt.job_ended_at,
                **receipt.counters,
            }
            for reading, receipt in found
        ]
        not_read = [
            {"read_from": reading.where, "problem": reading.problem}
            for reading in readings
            if not reading.receipt
        ]
        print_json({"receipts": told, "not_read": not_read})
        return
    if not found:
        say("No receipt.")
        return
    columns = ("job ended (UTC)", "records received", "no matching AAM ID", "stored records", "files")
    rows = [
        (
            f"{receipt.job_ended_at:%Y-%m-%d %H:%M}" if receipt.job_ended_at else "",
            *(
                receipt.counters.get(name, "")
                for name in ("records_received", "no_matching_aam_id", "stored_records")
            ),
            [address.rpartition("/")[2] for address in receipt.files],
        )
        for _, receipt in found
    ]
    table("Receipts of Audience Manager", columns, rows, numbers=columns[1:-1], folds=("files",))
    new = sum(reading.is_new for reading, _ in found)
    say(
        f"{new:,} of {len(found):,} are new; the model receipt_differences says where they differ from what was sent."
    )


def show_result(result: RunResult, as_json: bool) -> None:
    """What a run delivered: a row a file."""
    if as_json:
        came = {"received": result.received.to_json()} if result.received else {}
        print_json({"deliveries": [_delivery_json(outcome) for outcome in result.outcomes], **came})
        return
    if result.received:
        show_received(result.received, as_json=False)
    if not result.outcomes:
        if result.kept_back:
            say(f"Nothing to deliver; the warnings say what keeps {', '.join(result.kept_back)} back.")
        elif not result.errors:
            say("Nothing to deliver: nothing has changed since the last delivery.")
        return
    rows = [
        (outcome.delivery.feed, outcome.delivery.status, file.lines, file.bytes, file.name)
        for outcome in result.outcomes
        for file in outcome.files
    ]
    title = f"Delivered to {result.outcomes[0].delivery.destination}"
    table(title, ("feed", "status", "lines", "bytes", "file"), rows, numbers=("lines", "bytes"))


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
        print_json(report.as_dict())
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
    table("Audience Manager would report", columns, rows, numbers=columns[1:-1])
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
                table(
                    f"{file.file}: {title} ({total}), the first of each",
                    ("line", "reason", "sample", "what is wrong"),
                    samples,
                    wraps=("what is wrong",),
                    folds=("sample",),
                )


def show_received(result: ReceiveResult, as_json: bool) -> None:
    """What came back: a row a file, then what is waited for."""
    if as_json:
        print_json(result.to_json())
        return
    if result.files:
        rows = [
            (
                file.outbound,
                file.name,
                file.mode,
                f"{file.made_at:%Y-%m-%d %H:%M}",
                "would be" if result.dry_run else file.status,
                *(
                    ("", "", "", "")
                    if result.dry_run
                    else (file.users, file.memberships, file.removals, file.rejected)
                ),
            )
            for file in result.files
        ]
        numbers = ("users", "members", "removals", "rejected")
        columns = ("outbound", "file", "mode", "made (UTC)", "received", *numbers)
        table("Received", columns, rows, numbers=numbers, folds=("file",))
    elif not result.errors:
        say("Nothing new to receive.")
    for one in result.waiting:
        say(f"{one.root} waits for {one.waits_for}.")
    if result.differences:
        from aam_onboard.outbound.history import says_difference

        table(
            "Not as Audience Manager's API says",
            ("outbound", "file", "sent (UTC)", "what"),
            [
                (
                    one.outbound,
                    one.name,
                    f"{one.sent_at:%Y-%m-%d %H:%M}" if one.sent_at else "",
                    says_difference(one),
                )
                for one in result.differences
            ],
            folds=("file",),
        )


def show_status(
    stories: list[tuple[Delivery, list[DeliveryFile]]],
    received: Mapping[str, Received],
    as_json: bool,
) -> None:
    """Deliveries, the latest first, with their files; then what came back of each outbound destination."""
    if as_json:
        found: dict[str, Any] = {"deliveries": [_story_json(delivery, files) for delivery, files in stories]}
        if received:
            found["received"] = {name: one.to_json() for name, one in received.items()}
        print_json(found)
        return
    if received:
        _show_received_status(received)
    if not stories:
        say("No delivery yet.")
        return
    rows = [
        (
            delivery.delivery_id,
            delivery.destination,
            delivery.status,
            f"{delivery.changed_at:%Y-%m-%d %H:%M}",
            delivery.users,
            delivery.signals_added,
            delivery.signals_removed,
            [delivery.reason or "forced past a guard"] * bool(delivery.reason or delivery.forced)
            + [f"{file.name} {_file_status(file)}" for file in files],
        )
        for delivery, files in stories
    ]
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
    table("Deliveries", columns, rows, numbers=("users", "added", "removed"), wraps=("note, files",))


def _show_received_status(received: Mapping[str, Received]) -> None:
    rows = []
    for name, one in received.items():
        last = one.last
        notes = [f"nothing for {', '.join(f'{at:%Y-%m-%d}' for at in one.gaps)}"] if one.gaps else []
        if last and last.status not in ("whole", "late"):
            notes.append("not proven whole" if last.status == "open" else "not whole")
        if one.differences:
            notes.append(f"files not as the API says: {len(one.differences):,}")
        made = f"{last.made_at:%Y-%m-%d %H:%M}" if last else "never"
        rows.append((name, last.mode if last else "", made, one.memberships, notes))
    columns = ("outbound", "last batch", "made (UTC)", "memberships", "note")
    table("Received", columns, rows, numbers=("memberships",), wraps=("note",))


def _file_status(file: DeliveryFile) -> str:
    return f"picked up {file.picked_up_at:%Y-%m-%d %H:%M}" if file.picked_up_at else file.status


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
