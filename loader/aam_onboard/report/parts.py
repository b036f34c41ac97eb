"""What the sections of the page are made of: pictures, tables, cells, and figures by step of time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from aam_onboard.report import charts
from aam_onboard.report.charts import KINDS, Series
from aam_onboard.report.figures import LISTED, Figures, Row
from aam_onboard.report.headline import clipped, moment

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_BY_STEP = 600  # rows of a table of figures by day
_TEXT = 160  # characters of one text from data


@dataclass(frozen=True)
class Mark:
    """A word with a colour and a sign of its own; `when`: a time, which is not broken."""

    says: str
    tone: Literal["good", "warn", "bad", "plain", "when"]


@dataclass(frozen=True)
class Meter:
    """A figure with a bar beside it, as long as its share of `most`."""

    says: str
    value: float
    most: float

    @property
    def percent(self) -> str:
        """The length of the bar."""
        return f"{100 * self.value / (self.most or 1):.1f}"


Cell = str | Mark | Meter | None


@dataclass(frozen=True)
class TableRow:
    """Cells, and what the filters know it by; None: it is of all."""

    cells: Sequence[Cell]
    feed: str | None = None
    destination: str | None = None


@dataclass(frozen=True)
class Table:
    """`heads`: those that begin with # stand over figures. `more`: what is left out. `is_folded`: opened by a click."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[TableRow]
    more: str = ""
    is_folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture, what it says in words, and the table of its figures. `wide` None: the narrow one fits everywhere.

    `is_of_all`: of all feeds, so that a filter hides it.
    """

    title: str
    says: str
    narrow: Markup
    wide: Markup | None = None
    legend: Sequence[tuple[str, str]] = ()
    table: Table | None = None
    note: str = ""
    feed: str | None = None
    destination: str | None = None
    is_of_all: bool = False


@dataclass(frozen=True)
class Card:
    """A feed at a destination at a glance: its pictures and latest figures."""

    feed: str
    destination: str
    kind: str
    status: Mark
    facts: Sequence[tuple[str, Cell]]
    pictures: Sequence[Picture]


@dataclass
class Section:
    """`empty`: what to say, and do, where there is nothing to show. `legend`: of all cards."""

    id: str
    title: str
    says: str
    empty: str
    pictures: list[Picture] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    legend: Sequence[tuple[str, str]] = ()

    @property
    def has_something(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.pictures or self.cards or self.tables)


# By feed and destination: a figure by the first day of its step.
ByStep = dict[tuple[str, str], dict[date, float]]


def sums(figures: Figures, rows: Iterable[Row], value: Callable[[Row], float]) -> dict[date, float]:
    """The sum of each step."""
    found: dict[date, float] = {}
    for row in rows:
        start = figures.step.start(row["day"])
        found[start] = found.get(start, 0) + value(row)
    return found


def by_step(figures: Figures, rows: Iterable[Row], value: Callable[[Row], float]) -> ByStep:
    """The sum of each step, by feed and destination."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[pair_of(row)].append(row)
    return {pair: sums(figures, of_pair, value) for pair, of_pair in found.items()}


def series_by(figures: Figures, rows: Sequence[Row], name: str, value: str) -> list[Series]:
    """A series of sums for each name in a column."""
    return [
        Series(
            one,
            f"kind{min(place, KINDS)}",
            sums(figures, (row for row in rows if row[name] == one), itemgetter(value)),
        )
        for place, one in enumerate(sorted({row[name] for row in rows}))
    ]


def last_of_step(figures: Figures, rows: Iterable[Row], name: str) -> ByStep:
    """The figure of each step's last day. Rows come in the order of days."""
    found: ByStep = defaultdict(dict)
    for row in rows:
        found[pair_of(row)][figures.step.start(row["day"])] = row[name]
    return found


def of_all(of: ByStep, destination: str | None = None) -> dict[date, float]:
    """The sum of all feeds, of one destination or of all."""
    found: dict[date, float] = {}
    for (_, place), values in of.items():
        if destination in (None, place):
            for start, n in values.items():
                found[start] = found.get(start, 0) + n
    return found


def pair_of(row: Row) -> tuple[str, str]:
    """Feed and destination."""
    return row["feed"], row["destination"]


def row_of(row: Row, *cells: Cell) -> TableRow:
    """A table's row of the feed and destination of `row`, which stand before the cells."""
    return TableRow([row["feed"], row["destination"], *cells], *pair_of(row))


def bars_over_time(
    figures: Figures, series: Sequence[Series], title: str, says: str = "", destination: str | None = None
) -> Picture:
    """Bars of all feeds, to one destination or to all, with the table of their figures."""
    narrow, wide = (
        charts.bars(series, figures.steps, figures.step, "narrow"),
        charts.bars(series, figures.steps, figures.step, "wide"),
    )
    rows = [
        TableRow([figures.step.said(start), *(number(one.values.get(start, 0)) for one in series)])
        for start in reversed(figures.steps)
        if any(one.values.get(start) for one in series)
    ]
    heads = [figures.step.word.capitalize(), *(f"#{one.name}" for one in series)]
    note = ""
    if charts.cut_off(series, figures.steps):
        note = "A bar that dwarfs the others is cut off at the top; its figure stands above it."
    return Picture(
        title=title,
        says=f"{title}. {says}".rstrip(),
        narrow=narrow,
        wide=wide,
        legend=[(one.name, one.colour) for one in series],
        table=Table(title, heads, rows[:MOST_BY_STEP], left_out(len(rows) - MOST_BY_STEP, "")),
        note=note,
        destination=destination,
        is_of_all=destination is None,
    )


def listed(
    caption: str, heads: Sequence[str], rows: Sequence[TableRow], model: str, most: int = LISTED, *, more: int = 0,
    is_folded: bool = False,
) -> Table:  # fmt: skip
    """A table of at most so many rows, which names the model that has the others; `more`: those not even read."""
    return Table(caption, heads, rows[:most], left_out(len(rows) - most + more, model), is_folded)


def left_out(rows: int, model: str) -> str:
    """What to say of rows that a table does not show."""
    if rows <= 0:
        return ""
    return f"{rows:,} more: see the model `{model}`." if model else f"{rows:,} earlier ones are left out."


def number(value: Any) -> str:
    """A count, or nothing."""
    return "" if value is None else f"{value:,.0f}"


def total(values: Mapping[date, float]) -> str:
    """The sum of all steps."""
    return number(sum(values.values()))


def text(value: object) -> str:
    """A text from data, of bounded length."""
    return "" if value is None else clipped(str(value), _TEXT)


def hours(value: float | None) -> str:
    """A length of time of minutes or hours."""
    if value is None:
        return ""
    return f"{value * 60:.0f} min" if value < 1 else f"{value:.1f} h"


def seconds(value: float | None) -> str:
    """A length of time of seconds."""
    return "" if value is None else f"{value:,.1f} s"


def when(value: object) -> Mark:
    """A time that is not broken over two lines."""
    return Mark(moment(value), "when")


def kind(row: Row) -> str:
    """What kind of feed a delivery was of."""
    return "ID sync" if row["kind"] == "id_sync" else f"{row['mode']} feed"


def status(row: Row) -> Mark:
    """What became of a delivery."""
    tone: Literal["good", "warn", "bad"] = "good"
    if row["status"] != "delivered":
        tone = "warn" if row["status"] == "abandoned" else "bad"
    return Mark(f"{row['status']} {moment(row['started_at'])}", tone)
