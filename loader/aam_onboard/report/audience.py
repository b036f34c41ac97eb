"""The sections about what it is for: who is reached, traits, Adobe's answers, what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

from aam_onboard.report.charts import Series, Step
from aam_onboard.report.figures import Figures, Row
from aam_onboard.report.parts import (
    Mark,
    Meter,
    Section,
    Table,
    TableRow,
    bars_over_time,
    hours,
    listed,
    number,
    row_of,
    series_by,
    sums,
    text,
    when,
)

if TYPE_CHECKING:
    from aam_onboard.config import Project


def reach(figures: Figures, project: Project) -> Section:
    """Users whose ID Audience Manager knows, and those whose it can't."""
    section = Section(
        "reach",
        "Reach",
        "Audience Manager skips what is sent for an ID that no ID sync has brought together with a device; on a"
        " cross-device data source it keeps it.",
        "Nothing was delivered yet whose reach could be told.",
    )
    if figures.reach:
        rows = [
            row_of(
                row, _source(project, row["dpid"]), number(row["users"]),
                "not known" if row["synced_users"] is None else number(row["synced_users"]),
                None if row["synced_users"] is None else _share(row["synced_users"] / (row["users"] or 1)),
            )
            for row in figures.reach
        ]  # fmt: skip
        heads = ["Feed", "Destination", "Data source", "#Users", "#IDs synced", "#Share"]
        section.tables.append(listed("Users whose ID is synced", heads, rows, "report_reach"))
    if figures.mismatches:
        rows = [
            TableRow(
                [
                    _source(project, row["dpid"]), row["kind"].replace("_", " "), number(row["users"]),
                    _share(row["share"]),
                ]
            )
            for row in figures.mismatches
        ]  # fmt: skip
        heads = ["Data source", "What differs", "#Users", "#Share of all"]
        caption = "Users out of reach, for the site spells their ID otherwise"
        section.tables.append(listed(caption, heads, rows, "id_mismatch_summary"))
    if figures.captures:
        series = series_by(figures, figures.captures, "id_sync", "captures")
        section.pictures.append(bars_over_time(figures, series, f"IDs captured by {figures.step.word}"))
    return section


def traits(figures: Figures) -> Section:
    """Who has which trait, as it was sent."""
    section = Section(
        "traits",
        "Traits",
        "Users of each signal as it was sent. Audience Manager's own count comes out lower, by IDs that it does not"
        " know.",
        "No trait has been sent yet.",
    )
    of_traits = [row for row in figures.traits if row["signal_key"] in ("d_sid", "ic")]
    if of_traits:
        heads = ["Trait", "ID or code", "Feed", "Destination", "#Users"]
        section.tables.append(_by_users("Traits by users", heads, of_traits, _trait_name))
    if figures.never_sent:
        rows = [
            TableRow([text(row["trait_name"]), text(row["signal_value"]), row["destination"]], None, row["destination"])
            for row in figures.never_sent
        ]  # fmt: skip
        caption = "Onboarded traits that nobody has from us"
        section.tables.append(listed(caption, ["Trait", "ID", "Destination"], rows, "report_traits"))
    of_keys = [row for row in figures.traits if row["signal_key"] not in ("d_sid", "ic")]
    if of_keys:
        heads = ["Key", "Value", "Feed", "Destination", "#Users"]
        section.tables.append(_by_users("Key-values by users", heads, of_keys, itemgetter("signal_key")))
    if figures.unused_keys:
        rows = [
            row_of(row, text(row["signal_key"]), number(row["n_values"]), number(row["users"]))
            for row in figures.unused_keys
        ]
        caption = "Keys that no trait rule names"
        heads = ["Feed", "Destination", "Key", "#Values", "#Users of the largest"]
        section.tables.append(listed(caption, heads, rows, "report_traits"))
    return section


def _trait_name(row: Row) -> str:
    return row["trait_name"] or ("" if row["signal_key"] == "ic" else "not in the taxonomy")


def _by_users(caption: str, heads: list[str], signals: list[Row], name: Callable[[Row], str]) -> Table:
    most = max(row["users"] for row in signals)
    rows = [
        TableRow(
            [
                text(name(row)), text(row["signal_value"]), row["feed"], row["destination"],
                Meter(number(row["users"]), row["users"], most),
            ],
            row["feed"], row["destination"],
        )
        for row in signals
    ]  # fmt: skip
    return listed(caption, heads, rows, "report_traits")


def receipts(figures: Figures) -> Section:
    """What Adobe says of the files."""
    section = Section(
        "receipts",
        "Receipts",
        "What Adobe says of the files, beside our own counts. A receipt is of a job, which may read several files.",
        "No receipt has been read. Keep the mails that Adobe sends after each file, and give them to `aam receipts`.",
    )
    if not figures.receipts:
        return section
    counters = {
        "stored": ("users", ["stored_records"]),
        "no matching ID": ("kept", ["no_matching_aam_id"]),
        "no trait realized": ("kind4", ["no_trait_realized"]),
        "invalid or malformed": ("failed", ["format_errors", "invalid_aam_id"]),
    }
    series = [
        Series(name, colour, sums(figures, figures.receipts, partial(_counted, counters=of)))
        for name, (colour, of) in counters.items()
    ]
    title = f"Records by {figures.step.word}, as Adobe's receipts count them"
    section.pictures.append(bars_over_time(figures, series, title))
    rows = [
        TableRow(
            [
                _day(row["day"]), text(row["feeds"] or "not ours"), number(row["files"]), number(row["our_lines"]),
                number(row["records_received"]), number(row["stored_records"]),
                _share((row["stored_records"] or 0) / row["records_received"]) if row["records_received"] else None,
                number(row["total_unused_signals"]),
            ],
            _only_feed(row),
        )
        for row in reversed(figures.receipts)
    ]  # fmt: skip
    heads = [
        "Day", "Feeds", "#Files", "#Our lines", "#Received", "#Stored", "#Share stored", "#Signals that no trait uses",
    ]  # fmt: skip
    section.tables.append(listed("Receipts and our own counts", heads, rows, "report_receipts", 60))
    if figures.differences:
        rows = [
            TableRow(
                [
                    _day(row["day"]), text(row["feeds"] or "not ours"), row["kind"].replace("_", " "),
                    number(row["ours"]), number(row["theirs"]), number(row["difference"]),
                ],
                _only_feed(row),
            )
            for row in figures.differences
        ]  # fmt: skip
        heads = ["Day", "Feeds", "What differs", "#Expected", "#Adobe says", "#Difference"]
        section.tables.append(listed("What is not as expected", heads, rows, "receipt_differences", 60))
    return section


def outbound(figures: Figures, project: Project) -> Section:
    """What came back."""
    section = Section(
        "outbound",
        "Outbound",
        "What came back from Audience Manager: batches, the days that lack one, and the size of segments.",
        "No outbound file has been received; `aam receive` fetches them once `vars.outbound` says from where.",
    )
    if figures.outbound:
        series = series_by(figures, figures.outbound, "outbound", "users")
        title = f"Users in outbound files by {figures.step.word}"
        section.pictures.append(bars_over_time(figures, series, title))
        rows = [
            TableRow(
                [
                    text(row["outbound"]), when(row["made_at"]), row["mode"], text(row["status"]), _gap(row, project),
                    number(row["received_files"]), number(row["users"]), number(row["memberships"]),
                    number(row["removals"]), number(row["rejected"]),
                ]
            )
            for row in reversed(figures.outbound)
        ]  # fmt: skip
        heads = [
            "From", "Made", "Mode", "Status", "#After", "#Files", "#Users", "#Memberships", "#Removals", "#Rejected",
        ]  # fmt: skip
        section.tables.append(listed("Batches received", heads, rows, "report_outbound", 60))
    if figures.segments:
        most = max(row["users"] for row in figures.segments)
        has_names = any(row["segment_name"] for row in figures.segments)
        rows = [
            TableRow(
                [
                    *([text(row["segment_name"] or "not in the taxonomy")] if has_names else []),
                    text(row["token"]), "trait" if row["is_trait"] else "segment",
                    text(row["outbound"]), Meter(number(row["users"]), row["users"], most),
                ]
            )
            for row in figures.segments
        ]  # fmt: skip
        heads = [*(["Segment or trait"] if has_names else []), "ID or alias", "Kind", "From", "#Users"]
        section.tables.append(listed("Segments and traits by users", heads, rows, "report_segments"))
    if figures.outbound_differences:
        rows = [
            TableRow(
                [
                    text(row["outbound"]), text(row["name"]), when(row["sent_at"]), text(_KINDS[row["kind"]]),
                    number(row["theirs"]), number(row["ours"]),
                ]
            )
            for row in figures.outbound_differences
        ]  # fmt: skip
        heads = ["From", "File", "Sent", "What differs", "#Records sent", "#Came"]
        caption = "Files not as Audience Manager says"
        section.tables.append(listed(caption, heads, rows, "outbound_differences"))
    return section


_KINDS = {"never_came": "never came", "not_sent": "could not be delivered", "records": "other records"}


def _gap(row: Row, project: Project) -> Mark | str:
    """The time since the batch before, marked where one or more are missing in between."""
    after, settings = row["hours_after_last"], project.vars.outbound.get(row["outbound"])
    is_gap = after is not None and settings is not None and after >= 1.5 * settings.every_hours
    return Mark(hours(after), "warn") if is_gap else hours(after)


def _counted(row: Row, counters: Sequence[str]) -> float:
    return sum(row[counter] or 0 for counter in counters)


def _only_feed(row: Row) -> str | None:
    """What the filter knows a receipt by: its feed, where it is of one."""
    feeds = row["feeds"]
    return feeds if feeds and ", " not in feeds else None


def _day(day: date) -> Mark:
    return Mark(Step("day").said(day), "when")


def _share(share: float) -> Meter:
    return Meter(f"{share:.1%}" if share < 0.1 else f"{share:.0%}", share, 1)


def _source(project: Project, dpid: int) -> str:
    return f"{project.data_source_name(dpid)} ({dpid})"
