"""The sections about what leaves: deliveries, their files, feeds, rows kept back, runs."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Literal

from aam_onboard.report import charts
from aam_onboard.report.charts import KINDS, Series
from aam_onboard.report.figures import Figures, Row
from aam_onboard.report.parts import (
    MOST_BY_STEP,
    Card,
    Mark,
    Meter,
    Picture,
    Section,
    Table,
    TableRow,
    bars_over_time,
    by_step,
    hours,
    kind,
    last_of_step,
    listed,
    number,
    of_all,
    pair_of,
    row_of,
    seconds,
    status,
    sums,
    text,
    total,
    when,
)

if TYPE_CHECKING:
    from aam_onboard.config import Project

_CARDS = 24  # feeds and destinations with pictures of their own; more stand in the table


def deliveries(figures: Figures) -> Section:
    """What was sent and what was kept back, over time."""
    word = figures.step.word
    section = Section(
        "deliveries",
        "Deliveries",
        f"What was sent and what was kept back, by {word}: signals added and removed, and of an ID sync its pairs. A"
        " row stays kept back until it is mended where it comes from, so of each"
        f" {word}, those of the last delivery count.",
        "Nothing was delivered in this time. `aam plan` shows what a delivery would send, `aam run` sends it.",
    )
    if not figures.sent:
        return section
    sent = by_step(figures, figures.sent, lambda row: row["signals_added"] + row["signals_removed"])
    kept = last_of_step(figures, figures.sent, "rejected")
    places = sorted({row["destination"] for row in figures.sent})
    for place in [None, *(places if 1 < len(places) <= 4 else [])]:
        series = [
            Series("sent", "sent", of_all(sent, place)),
            Series("kept back", "kept", of_all(kept, place)),
        ]
        title = "All feeds" if place is None else f"All feeds to {place}"
        says = f"Bars by {word}; {total(series[0].values)} sent in all."
        section.pictures.append(bars_over_time(figures, series, title, says, place))
    counted = by_step(figures, figures.sent, lambda row: row["deliveries"])
    rows = [
        TableRow(
            [figures.step.said(start), *pair_of(last),
             *(number(of.get(pair_of(last), {}).get(start)) for of in (counted, sent, kept))],
            *pair_of(last),
        )
        for start in reversed(figures.steps)
        for last in figures.last
        if start in counted.get(pair_of(last), {})
    ]  # fmt: skip
    heads = [word.capitalize(), "Feed", "Destination", "#Deliveries", "#Sent", "#Kept back"]
    caption = f"Deliveries by {word}, feed and destination"
    section.tables.append(
        listed(caption, heads, rows, "report_deliveries", MOST_BY_STEP, is_folded=True),
    )
    return section


def pick_up(figures: Figures) -> Section:
    """How soon files were picked up, and which wait."""
    section = Section(
        "pick-up",
        "Picked up",
        "How soon Audience Manager took the files, as the last `aam status --refresh` has seen it.",
        "No delivery was to a place where files are picked up. From others, `aam status --refresh` learns what was.",
    )
    if not figures.pick_up:
        return section
    words = ["< 1 h", "1-4 h", "4-12 h", "12-24 h", "> 24 h"]
    times = {row["place"]: row["deliveries"] for row in figures.pick_up_times}
    columns = [(word, times.get(place, 0), "sent") for place, word in enumerate(words)]
    columns.append(("waiting", len(figures.waiting), "kept"))
    title = "Deliveries by time until picked up"
    section.pictures.append(
        Picture(
            title=title,
            says=f"{title}: " + ", ".join(f"{word} {number(n)}" for word, n, _ in columns),
            narrow=charts.columns(columns, "narrow"),
            wide=charts.columns(columns, "wide"),
            table=Table(
                title, ["Time", "#Deliveries"], [TableRow([word, number(n)]) for word, n, _ in columns]
            ),
            is_of_all=True,
        )
    )
    rows = [
        row_of(
            row, number(row["files"]), number(row["waiting"]), hours(row["median_hours"]),
            hours(row["slowest_hours"]),
        )
        for row in figures.pick_up
    ]  # fmt: skip
    heads = ["Feed", "Destination", "#Files", "#Waiting", "#Usual time", "#Slowest"]
    section.tables.append(listed("Files by feed and destination", heads, rows, "report_deliveries"))
    if figures.waiting:
        rows = [
            row_of(row, row["delivery_id"], number(row["waiting_files"]), when(row["changed_at"]))
            for row in sorted(figures.waiting, key=lambda row: row["changed_at"])
        ]
        heads = ["Feed", "Destination", "Delivery", "#Files", "Since"]
        section.tables.append(listed("Waiting to be picked up", heads, rows, "report_deliveries", 50))
    return section


def feeds(figures: Figures) -> Section:
    """Each feed at each destination."""
    word = figures.step.word
    section = Section(
        "feeds",
        "Feeds",
        "What deliveries added, removed and kept back, and the users that each feed has since. Of an ID sync, all are"
        " pairs of IDs.",
        "No feed has been delivered yet.",
        legend=[("added", "sent"), ("removed", "removed"), ("kept back", "kept"), ("users", "users")],
    )
    if not figures.last:
        return section
    users, kept = (last_of_step(figures, figures.sent, name) for name in ("users_total", "rejected"))
    added = by_step(figures, figures.sent, lambda row: row["signals_added"])
    removed = by_step(figures, figures.sent, lambda row: row["signals_removed"])
    for last in _with_pictures(figures):
        feed, destination = pair = pair_of(last)
        what = "users" if last["kind"] == "data" else "ID pairs"
        facts = [
            (what, number(last["users_total"])),
            ("added", total(added.get(pair, {}))),
            ("removed", total(removed.get(pair, {}))),
            ("kept back", number(last["rejected"])),
        ]
        changes = [
            Series("added", "sent", added.get(pair, {})),
            Series("removed", "removed", removed.get(pair, {})),
            Series("kept back", "kept", kept.get(pair, {})),
        ]
        levels = [Series(what, "users", users.get(pair, {}))]
        time = (figures.steps, figures.step)
        pictures = [
            Picture(
                "", f"{feed} to {destination}: added, removed and kept back by {word}",
                charts.bars(changes, *time, "small"),
            ),
            Picture(
                what[0].upper() + what[1:], f"{feed} to {destination}: {what} over time",
                charts.lines(levels, *time, "small"),
            ),
        ]  # fmt: skip
        section.cards.append(Card(feed, destination, kind(last), status(last), facts, pictures))
    rows = [
        row_of(
            last, kind(last), number(last["users_total"]), total(added.get(pair_of(last), {})),
            total(removed.get(pair_of(last), {})), number(last["rejected"]), status(last),
        )
        for last in figures.last
    ]  # fmt: skip
    heads = [
        "Feed", "Destination", "Kind", "#Users or pairs", "#Added", "#Removed", "#Kept back", "Last delivery",
    ]  # fmt: skip
    section.tables.append(listed("Feeds by destination", heads, rows, "report_deliveries"))
    if figures.forced:
        rows = [
            row_of(
                row, when(row["started_at"]), number(row["users"]), number(row["signals_removed"]),
                number(row["rejected"]),
            )
            for row in figures.forced
        ]  # fmt: skip
        heads = ["Feed", "Destination", "When", "#Users", "#Signals removed", "#Rows kept back"]
        section.tables.append(listed("Guards passed by force", heads, rows, "report_deliveries"))
    return section


def kept_back(figures: Figures, project: Project) -> Section:
    """Rows kept back by reason, what to do about them, and samples."""
    section = Section(
        "kept-back",
        "Kept back",
        "Rows that break a rule of Audience Manager's leave in no file. Mend them where they come from;"
        " `aam plan --rejected FEED` shows some.",
        "No row was kept back in this time.",
    )
    if figures.rejected:
        _rejected_by_reason(section, figures, project)
    if figures.samples:
        rows = [
            TableRow(
                [row["feed"], row["reason"], text(row["user_id"]), text(row["signal_key"]), text(row["signal_value"])],
                row["feed"],
            )
            for row in figures.samples
        ]  # fmt: skip
        heads = ["Feed", "Reason", "User ID", "Key", "Value"]
        caption = "Samples, ten at most of each feed and reason"
        section.tables.append(listed(caption, heads, rows, "rejected_rows", is_folded=len(rows) > 20))
    return section


def _rejected_by_reason(section: Section, figures: Figures, project: Project) -> None:
    word = figures.step.word
    by_reason: dict[str, dict[date, float]] = defaultdict(dict)
    for row in figures.rejected:
        by_reason[row["reason"]][row["day"]] = row["rows"]
    reasons = sorted(by_reason, key=lambda reason: (-max(by_reason[reason].values()), reason))
    named = reasons if len(reasons) <= KINDS else reasons[: KINDS - 1]
    series = [Series(reason, f"kind{place}", by_reason[reason]) for place, reason in enumerate(named)]
    if len(named) < len(reasons):
        others: dict[date, float] = defaultdict(float)
        for reason in reasons[len(named) :]:
            for start, rows_then in by_reason[reason].items():
                others[start] += rows_then
        series.append(Series("others", f"kind{KINDS}", others))
    section.pictures.append(bars_over_time(figures, series, f"Rows kept back by reason and {word}"))
    most = max((row["rows"] for row in figures.kept_back), default=1)
    rows = [
        TableRow(
            [
                row["reason"], *pair_of(row), Meter(number(row["rows"]), row["rows"], most),
                text(project.rules.says(row["reason"])),
            ],
            *pair_of(row),
        )
        for row in figures.kept_back
    ]  # fmt: skip
    heads = ["Reason", "Feed", "Destination", "#Rows", "What it means, and what to do"]
    section.tables.append(listed("Kept back by the last build", heads, rows, "report_rejected"))


def runs(figures: Figures) -> Section:
    """Each run, how it ended, and where its time went."""
    section = Section(
        "runs",
        "Runs",
        "Each run of the command, how it ended and how long it took.",
        "No run is recorded yet; those from now on are.",
    )
    if not figures.runs:
        return section
    tones: dict[str, Literal["good", "warn", "bad", "plain"]] = {
        "done": "good", "stopped": "warn", "running": "plain",
    }  # fmt: skip
    series = []
    for name, colour, of in (
        ("done", "users", ("good", "plain")), ("stopped by a guard", "kept", ("warn",)),
        ("not well", "failed", ("bad",)),
    ):  # fmt: skip
        ended_so = [run for run in figures.runs if tones.get(run["outcome"], "bad") in of]
        if counted := sums(figures, ended_so, lambda _: 1):
            series.append(Series(name, colour, counted))
    title = f"Runs by {figures.step.word} and how they ended"
    section.pictures.append(bars_over_time(figures, series, title))
    if table := _slowest_steps(figures.runs[:50]):
        section.tables.append(table)
    rows = [
        TableRow(
            [
                when(run["started_at"]), f"aam {run['command']}",
                Mark(run["outcome"], tones.get(run["outcome"], "bad")), seconds(run["seconds"]),
                number(run["deliveries"]), number(run["lines"]), text(run["reason"]),
            ]
        )
        for run in figures.runs
    ]  # fmt: skip
    heads = ["Began", "Command", "Ended", "#Seconds", "#Deliveries", "#Lines", "Why"]
    section.tables.append(listed("The last runs", heads, rows, "report_runs", 30))
    return section


def _with_pictures(figures: Figures) -> list[Row]:
    """The last deliveries of those that had any in this time; of too many, the largest."""
    delivered = {pair_of(row) for row in figures.sent}
    found = [row for row in figures.last if pair_of(row) in delivered]
    largest = {pair_of(row) for row in sorted(found, key=lambda row: -row["users_total"])[:_CARDS]}
    return [row for row in found if pair_of(row) in largest]


def _slowest_steps(some: list[Row]) -> Table | None:
    steps: dict[str, list[float]] = defaultdict(list)
    for run in some:
        for name, length in (json.loads(run["steps"]) if run["steps"] else {}).items():
            steps[name].append(float(length))
    if not steps:
        return None
    usual = {name: sum(times) / len(times) for name, times in steps.items()}
    most = max(usual.values()) or 1
    rows = [
        TableRow([text(name), Meter(seconds(usual[name]), usual[name], most), seconds(max(steps[name]))])
        for name in sorted(usual, key=lambda name: -usual[name])
    ]
    caption = f"The slowest steps of the last {len(some):,} runs"
    return listed(caption, ["Step", "#On average", "#Slowest"], rows, "report_runs", 30)
