"""The page: a template makes one HTML file of the sections, whole in itself and locked against all else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from aam_onboard.output import shown
from aam_onboard.report import audience, sections
from aam_onboard.report.charts import Step
from aam_onboard.report.figures import Figures
from aam_onboard.report.headline import headline, moment

if TYPE_CHECKING:
    from aam_onboard.config import Project

_TEMPLATES = Path(__file__).parent / "templates"


def render(figures: Figures, project: Project, target: str, version: str) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.filters["with_code"] = _with_code
    style, script = (
        (_TEMPLATES / name).read_text(encoding="utf-8").strip() for name in ("page.css", "page.js")
    )
    return environment.get_template("page.html.j2").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704  # files of our own
        script=Markup(script),  # noqa: S704
        project=project.name,
        target=target,
        version=version,
        headline=headline(figures, project),
        tiles=_tiles(figures),
        sections=[
            sections.deliveries(figures),
            sections.feeds(figures),
            sections.kept_back(figures, project),
            sections.pick_up(figures),
            audience.reach(figures, project),
            audience.traits(figures),
            audience.receipts(figures),
            audience.outbound(figures, project),
            sections.runs(figures),
        ],
        feeds=sorted({row["feed"] for row in figures.last}),
        destinations=sorted({row["destination"] for row in figures.last}),
        made=moment(figures.now),
        period=f"{Step('day').said(figures.first)} to {Step('day').said(figures.now.date())}",
        is_anonymous=figures.samples is None,
    )


def _finalized(value: object) -> object:
    """What is not printable stands as its escape: no text turns the direction of the page's."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return shown(value)


def _with_code(text: str) -> Markup:
    """A text in which `commands` are set as such."""
    parts = shown(text).split("`")
    if len(parts) % 2 == 0:  # one of them is somebody's own
        return escape(shown(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def _policy(style: str, script: str) -> str:
    """Nothing from anywhere: only this style and this script, by their digests."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none';"
        " form-action 'none'; require-trusted-types-for 'script'"
    )


def _tiles(figures: Figures) -> list[tuple[str, str, str]]:
    """Label, figure, and a word about it."""
    sent = sum(row["signals_added"] + row["signals_removed"] for row in figures.sent)
    users = max((row["users_total"] for row in figures.last if row["kind"] == "data"), default=0)
    kept = sum(row["rejected"] for row in figures.last)
    waiting = sum(row["waiting_files"] for row in figures.waiting)
    pick_up = "nobody picks files up there" if not figures.pick_up else "all were picked up"
    known = [row for row in figures.reach if row["synced_users"] is not None]
    known_users = sum(row["users"] for row in known)
    synced = sum(row["synced_users"] for row in known)
    traits = {row["signal_value"] for row in figures.traits if row["signal_key"] == "d_sid"}
    idle = {row["signal_value"] for row in figures.never_sent} - traits
    return [
        ("Users", f"{users:,}", "of the largest feed, after its last delivery"),
        ("Signals and ID pairs", f"{sent:,}", "sent in this time, added and removed"),
        ("Rows kept back", f"{kept:,}", "in the last deliveries"),
        ("Files waiting", f"{waiting:,}", "not yet picked up" if waiting else pick_up),
        (
            "IDs synced",
            f"{synced / known_users:.0%}" if known_users else "?",
            f"{synced:,} of {known_users:,} users" if known_users else "no ID sync tells",
        ),
        ("Traits in use", f"{len(traits):,}", f"of {len(traits | idle):,} onboarded"),
    ]
