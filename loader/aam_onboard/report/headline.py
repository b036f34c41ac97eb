"""What a person wants to know first: is all well, and if not, what needs me?"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Literal

from aam_onboard.outbound.batches import gaps
from aam_onboard.report.figures import Figures, Row

if TYPE_CHECKING:
    from aam_onboard.config import Project


@dataclass(frozen=True)
class Need:
    """One thing that a person has to do, or to look at; `section` is where the page tells more."""

    tone: Literal["bad", "warn"]
    says: str
    do: str
    section: str
    feed: str | None = None
    destination: str | None = None


@dataclass(frozen=True)
class Headline:
    """The state in one word for the page's colour, a sentence, and all that needs somebody, the gravest first."""

    tone: Literal["good", "warn", "bad", "new"]
    says: str
    more: str
    needs: list[Need]


_SHOWN_PROBLEM = 300  # characters


def headline(figures: Figures, project: Project) -> Headline:
    """The page's first sentence, and what needs a person."""
    needs = [
        *_last_run(figures),
        *_open_deliveries(figures),
        *_late_files(figures, project),
        *_silence(figures),
        *_more_kept_back(figures),
        *_forced(figures),
        *_unreachable(figures, project),
        *_receipts(figures),
        *_no_batch(figures, project),
        *_not_as_the_api_says(figures),
    ]
    needs.sort(key=lambda need: need.tone)  # bad before warn
    delivered = [row for row in figures.last if row["status"] == "delivered"]
    if not figures.last:
        return Headline(
            "new",
            "Nothing has been delivered yet",
            "The models are built; this is what is left to do.",
            needs,
        )
    feeds = len({row["feed"] for row in figures.last})
    places = sorted({row["destination"] for row in figures.last})
    more = f"{_count(feeds, 'feed')} to {_listed(places)}"
    if delivered:
        last = max(row["started_at"] for row in delivered)
        more += f"; the last delivery began on {moment(last)}"
    if any(need.tone == "bad" for need in needs):
        return Headline("bad", "Something needs you now", more + ".", needs)
    if needs:
        says = f"Deliveries go out; {_count(len(needs), 'thing')} {'needs' if len(needs) == 1 else 'need'} a look"
        return Headline("warn", says, more + ".", needs)
    return Headline("good", "All is well", more + ". Nothing needs you.", needs)


def _last_run(figures: Figures) -> list[Need]:
    run = next((run for run in figures.runs if run["outcome"] not in ("running", "done")), None)
    if run is None or run is not next((run for run in figures.runs if run["outcome"] != "running"), None):
        return []
    said = {
        "stopped": "A guard stopped the last run",
        "misconfigured": "The last run could not begin: a setting is wrong",
        "interrupted": "The last run was interrupted",
        "killed": "The last run came to no end",
    }.get(run["outcome"], "The last run failed")
    do = {
        "stopped": "Look at `aam plan`; mend the data, or pass the guard with --force-feed.",
        "misconfigured": "Mend the setting that it names, then run again.",
    }.get(run["outcome"], "Run again; what is open is finished first, and nothing is lost.")
    reason = f": {clipped(run['reason'], _SHOWN_PROBLEM)}" if run["reason"] else ""
    return [Need("bad", f"{said}, {moment(run['started_at'])}{reason}", do, "runs")]


def _open_deliveries(figures: Figures) -> list[Need]:
    found = []
    for row in figures.last:
        where = f"{row['feed']} to {row['destination']}"
        why = f": {clipped(row['reason'], _SHOWN_PROBLEM)}" if row["reason"] else ""
        if row["status"] in ("failed", "exporting", "uploading"):
            said = "failed" if row["status"] == "failed" else "came to no end"
            found.append(
                Need(
                    "bad", f"The last delivery of {where} {said}{why}", "The next `aam run` finishes it.",
                    "deliveries", row["feed"], row["destination"],
                )
            )  # fmt: skip
        elif row["status"] == "abandoned":
            found.append(
                Need(
                    "warn", f"The last delivery of {where} was given up{why}",
                    "The next `aam run` sends what is missing.", "deliveries", row["feed"], row["destination"],
                )
            )  # fmt: skip
    return found


def _late_files(figures: Figures, project: Project) -> list[Need]:
    hours = project.vars.not_picked_up_hours
    late: dict[str, list[Row]] = {}
    for row in figures.waiting:
        if figures.now - row["changed_at"] > timedelta(hours=hours):
            late.setdefault(row["destination"], []).append(row)
    return [
        Need(
            "warn",
            f"{_count(sum(row['waiting_files'] for row in rows), 'file')} at {destination}"
            f" {'waits' if sum(row['waiting_files'] for row in rows) == 1 else 'wait'} for more than {hours:g} hours,"
            f" the oldest since {moment(min(row['changed_at'] for row in rows))}",
            "Look again with `aam status --refresh`; ask Adobe whether the partner name and data source are set up.",
            "pick-up",
            destination=destination,
        )
        for destination, rows in sorted(late.items())
    ]


def _silence(figures: Figures) -> list[Need]:
    """No run for three times as long as runs are apart, and no less than a day."""
    times = sorted(run["started_at"] for run in figures.runs)
    if len(times) < 4:
        return []
    usual = median(later - earlier for earlier, later in pairwise(times))
    since = figures.now - times[-1]
    if since < max(3 * usual, timedelta(hours=26)):
        return []
    return [
        Need(
            "warn",
            f"No run since {moment(times[-1])}",
            "Look whether the scheduler still runs `aam run`.",
            "runs",
        )
    ]


def _more_kept_back(figures: Figures) -> list[Need]:
    """Feeds that keep back twice as much as a week ago, and at least a hundred rows more."""
    now: dict[tuple[str, str], int] = defaultdict(int)
    before: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in figures.kept_back:
        now[row["feed"], row["destination"]] += row["rows"]
    for row in figures.kept_back_before:
        before[row["feed"], row["destination"]].append(row["rows"])
    found = []
    for (feed, destination), rows in now.items():
        usual = median(before[feed, destination]) if before[feed, destination] else rows
        if rows >= max(2 * usual, usual + 100):
            found.append(
                Need(
                    "warn",
                    f"Of {feed}, {rows:,} rows are kept back; {usual:,.0f} were usual",
                    f"`aam plan --rejected {feed}` shows some, and why.",
                    "kept-back", feed, destination,
                )
            )  # fmt: skip
    return found


def _forced(figures: Figures) -> list[Need]:
    since = figures.now - timedelta(days=7)
    return [
        Need(
            "warn",
            f"{row['feed']} went past a guard by force on {moment(row['started_at'])}:"
            f" {row['signals_removed']:,} signals removed of {_count(row['users'], 'user')}",
            "Look whether that was meant.",
            "feeds", row["feed"], row["destination"],
        )
        for row in figures.forced
        if row["started_at"] > since
    ]  # fmt: skip


def _unreachable(figures: Figures, project: Project) -> list[Need]:
    shares: dict[int, list[Row]] = {}
    for row in figures.mismatches:
        shares.setdefault(row["dpid"], []).append(row)
    return [
        Need(
            "warn",
            f"{_count(sum(row['users'] for row in rows), 'user')} of {project.data_source_name(dpid)}"
            f" ({sum(row['share'] for row in rows):.0%}) can't be reached: the site spells their ID otherwise",
            "Mend the spelling on the site or in the CRM; the model id_mismatches has each.",
            "reach",
        )
        for dpid, rows in shares.items()
        if sum(row["share"] for row in rows) >= 0.05
    ]


_OFF_BY_A_FEW = 10  # records: Audience Manager's own sums are off by so many


def _receipts(figures: Figures) -> list[Need]:
    since = figures.now.date() - timedelta(days=7)
    found = {
        row["receipt_id"]
        for row in figures.differences
        if row["day"] > since and (row["kind"] != "stored_records" or abs(row["difference"]) > _OFF_BY_A_FEW)
    }
    if not found:
        return []
    says = f"{_count(len(found), 'receipt')} of Adobe {'is' if len(found) == 1 else 'are'} not as expected"
    return [Need("warn", says, "The section on receipts says in what.", "receipts")]


@dataclass(frozen=True)
class _Made:
    """A batch of outbound files."""

    mode: str
    status: str
    made_at: datetime


def _no_batch(figures: Figures, project: Project) -> list[Need]:
    """Days of which no outbound batch came, since the last whole full."""
    of: dict[str, list[_Made]] = defaultdict(list)
    for row in figures.outbound:
        of[row["outbound"]].append(_Made(row["mode"], row["status"], row["made_at"]))
    needs = []
    for name, batches in sorted(of.items()):
        settings = project.vars.outbound.get(name)
        missing = gaps(batches, settings.every_hours, figures.now) if settings else []
        if missing:
            days = [f"{at.day} {at:%b}" for at in missing]
            shown = ", ".join(days if len(days) < 6 else [days[0], "…", days[-1]])
            says = f"No outbound batch of {name} came for {shown}"
            do = "What changed then is missing until the next full one: ask Adobe for it, who keep it for 8 days."
            needs.append(Need("warn", says, do, "outbound"))
    return needs


def _not_as_the_api_says(figures: Figures) -> list[Need]:
    """Outbound files that Audience Manager says it sent, and that are not here as it says."""
    count = len(figures.outbound_differences)
    says = f"{_count(count, 'outbound file')} {'is' if count == 1 else 'are'} not as Audience Manager says"
    do = "Look whether something takes files away before they are received, or ask Adobe for them anew."
    return [Need("warn", says, do, "outbound")] if count else []


def clipped(text: str, length: int) -> str:
    """The beginning of a text that may be of any length."""
    return text if len(text) <= length else text[: length - 1] + "…"


def moment(when: object) -> str:
    """A time for people: 25 Nov 2026, 03:12 UTC."""
    if not isinstance(when, datetime):
        return ""
    utc = when.astimezone(timezone.utc)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
