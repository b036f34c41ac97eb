"""The sections about what it is for: who is reached, traits, Adobe's answers, what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aam_onboard.report.charts import KINDS, Series
from aam_onboard.report.figures import Figures
from aam_onboard.report.parts import (
    Meter,
    Section,
    TableRow,
    as_it_is,
    bars_over_time,
    by_step,
    listed,
    number,
    of_all,
    row_of,
    text,
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
        names = sorted({row["id_sync"] for row in figures.captures})
        series = []
        for place, name in enumerate(names):
            rows_of = [row | {"feed": name} for row in figures.captures if row["id_sync"] == name]
            captured = of_all(by_step(figures, rows_of, lambda row: row["captures"]))
            series.append(Series(name, f"kind{min(place, KINDS)}", captured))
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
        most = max(row["users"] for row in of_traits)
        rows = [
            TableRow(
                [
                    text(row["trait_name"] or ("" if row["signal_key"] == "ic" else "not in the taxonomy")),
                    text(row["signal_value"]), row["feed"], row["destination"],
                    Meter(number(row["users"]), row["users"], most),
                ],
                row["feed"], row["destination"],
            )
            for row in of_traits
        ]  # fmt: skip
        heads = ["Trait", "ID or code", "Feed", "Destination", "#Users"]
        section.tables.append(listed("Traits by users", heads, rows, "report_traits"))
    if figures.never_sent:
        rows = [
            TableRow([text(row["trait_name"]), text(row["signal_value"]), row["destination"]], None, row["destination"])
            for row in figures.never_sent
        ]  # fmt: skip
        caption = "Onboarded traits that nobody has from us"
        section.tables.append(listed(caption, ["Trait", "ID", "Destination"], rows, "report_traits"))
    of_keys = [row for row in figures.traits if row["signal_key"] not in ("d_sid", "ic")]
    if of_keys:
        most = max(row["users"] for row in of_keys)
        rows = [
            TableRow(
                [
                    text(row["signal_key"]), text(row["signal_value"]), row["feed"], row["destination"],
                    Meter(number(row["users"]), row["users"], most),
                ],
                row["feed"], row["destination"],
            )
            for row in of_keys
        ]  # fmt: skip
        heads = ["Key", "Value", "Feed", "Destination", "#Users"]
        section.tables.append(listed("Key-values by users", heads, rows, "report_traits"))
    return section


def receipts(figures: Figures) -> Section:
    """What Adobe says of the files."""
    section = Section(
        "receipts",
        "Receipts",
        "What Adobe says of the files, beside our own counts.",
        "No receipt has been read. Keep the mails that Adobe sends after each file, and give them to `aam receipts`.",
    )
    if figures.receipts:
        section.tables.append(
            as_it_is("Receipts and our own counts", figures.receipts, "receipt_differences")
        )
    return section


def outbound(figures: Figures) -> Section:
    """What came back."""
    section = Section(
        "outbound",
        "Outbound",
        "What came back from Audience Manager: batches, the days that lack one, and the size of segments.",
        "No outbound file has been received.",
    )
    if figures.outbound:
        section.tables.append(as_it_is("Batches received", figures.outbound, "report_outbound"))
    if figures.segments:
        section.tables.append(as_it_is("Segments by size", figures.segments, "report_segments"))
    return section


def _share(share: float) -> Meter:
    return Meter(f"{share:.1%}" if share < 0.1 else f"{share:.0%}", share, 1)


def _source(project: Project, dpid: int) -> str:
    return f"{project.data_source_name(dpid)} ({dpid})"
