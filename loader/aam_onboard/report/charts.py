"""Pictures of figures: Vega-Lite draws them as SVG, which needs no script, prints, and obeys a strict page.

A picture holds numbers and dates only, no text from data; its colours are names that the page's style gives a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal
from xml.etree import ElementTree

from markupsafe import Markup

# What Vega-Lite draws in, and the class that the page's style gives a colour of its own in light and dark.
_COLOURS = {
    "sent": "#000001",
    "removed": "#000002",
    "kept": "#000003",
    "users": "#000004",
    "failed": "#000005",
    "grid": "#00000a",
    "axis": "#00000b",
    "text": "#00000c",
    **{f"kind{place}": f"#0000f{place}" for place in range(8)},
}
_CLASSES = {colour: name for name, colour in _COLOURS.items()}
KINDS = 7  # colours that colour-blind people can tell apart; what comes after them is one more, `kind7`

Size = Literal["wide", "narrow", "small"]
# width and height of the plot itself, in pixels: the page shows wide or narrow, whichever fits; small always fits
_SIZES: Mapping[Size, tuple[int, int]] = {"wide": (1010, 190), "narrow": (280, 170), "small": (268, 84)}


@dataclass(frozen=True)
class Step:
    """The length of time that one bar stands for."""

    word: Literal["day", "week", "month"]

    def start(self, day: date) -> date:
        """The first day of the step that a day is in; weeks begin on Monday."""
        if self.word == "day":
            return day
        return day - timedelta(days=day.weekday()) if self.word == "week" else day.replace(day=1)

    def next(self, start: date) -> date:
        """The first day of the following step."""
        return self.start(start + timedelta(days={"day": 1, "week": 7, "month": 31}[self.word]))

    def all(self, first: date, last: date) -> list[date]:
        """Every step from that of `first` to that of `last`."""
        steps = [self.start(first)]
        while self.next(steps[-1]) <= last:
            steps.append(self.next(steps[-1]))
        return steps

    def said(self, start: date) -> str:
        """A step for people: 25 Nov 2026 · Nov 2026."""
        return f"{start:%b %Y}" if self.word == "month" else f"{start.day} {start:%b %Y}"


@dataclass(frozen=True)
class Series:
    """One figure over time. `below`: it is drawn downwards."""

    name: str
    colour: str
    values: Mapping[date, float]
    below: bool = False


def bars(series: Sequence[Series], steps: Sequence[date], step: Step, size: Size) -> Markup:
    """Stacked bars, one a step. A bar that dwarfs all others is cut off at the top, with its figure written there."""
    cut = cut_off(series, steps)
    rows: list[dict[str, Any]] = []
    over: list[dict[str, Any]] = []
    for start in steps:
        up, down = 0.0, 0.0
        # a gap between the bars, for they touch otherwise
        first, last = _ms(start), _ms(step.next(start))
        first, last = first + (last - first) * 0.1, last - (last - first) * 0.1
        for one in series:
            value = one.values.get(start, 0)
            if not value:
                continue
            begin = down if one.below else up
            end = begin - value if one.below else begin + value
            up, down = (up, end) if one.below else (end, down)
            says = f"{step.said(start)}: {value:,.0f} {one.name}"
            if begin < (cut or end + 1):
                y2 = min(end, cut or end)
                rows.append({"x": first, "x2": last, "y": begin, "y2": y2, "c": one.colour, "says": says})
        if cut and up > cut:
            is_left = start < steps[len(steps) // 2]
            over.append({"x": first if is_left else last, "n": f"{up:,.0f} ↑", "left": is_left})
    y: dict[str, Any] = {"field": "y", "type": "quantitative", "axis": _y_axis(size)}
    lowest = min((row["y2"] for row in rows), default=0)
    if cut:
        y["scale"] = {"domain": [min(lowest, 0), cut], "nice": False}
    elif not rows:
        y["scale"] = {"domain": [0, 1]}
    with_words = size != "small" and len(steps) <= 100
    layer: list[dict[str, Any]] = [
        {
            "data": {"values": rows},
            "mark": {"type": "bar", "aria": with_words},
            "encoding": {
                "x": _x(steps, step, size),
                "x2": {"field": "x2"},
                "y": y,
                "y2": {"field": "y2"},
                "color": _colour(series),
                **({"description": {"field": "says"}} if with_words else {}),
            },
        },
    ]
    if over:
        layer.append(
            {
                "data": {"values": over},
                "mark": {
                    "type": "text", "baseline": "bottom", "dy": -3, "fontSize": 11, "color": _COLOURS["text"],
                    "align": {"expr": "datum.left ? 'left' : 'right'"}, "aria": False,
                },
                "encoding": {
                    "x": {"field": "x", "type": "temporal"},
                    "y": {"value": 0},
                    "text": {"field": "n"},
                },
            }
        )  # fmt: skip
    return _draw({"layer": layer}, size)


def lines(series: Sequence[Series], steps: Sequence[date], step: Step, size: Size) -> Markup:
    """Lines over time, from 0; a step without a figure has that of the step before."""
    rows = []
    for one in series:
        value: float | None = None
        for start in steps:
            value = one.values.get(start, value)
            if value is not None:
                rows.append({"x": _ms(start), "y": value, "c": one.colour})
        if value is not None:  # until the end of the last step
            rows.append({"x": _ms(step.next(steps[-1])), "y": value, "c": one.colour})
    encoding = {
        "x": _x(steps, step, size),
        "y": {"field": "y", "type": "quantitative", "axis": _y_axis(size), "scale": {"zero": True}},
        "color": _colour(series),
    }
    mark = {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "aria": False}
    return _draw({"data": {"values": rows}, "mark": mark, "encoding": encoding}, size)


def columns(figures: Sequence[tuple[str, float, str]], size: Size) -> Markup:
    """A bar for each of a few words of ours: word, figure, colour; the figure stands above it."""
    rows = [
        {"w": word, "n": n, "t": f"{n:,.0f}" if n else "", "c": colour, "says": f"{word}: {n:,.0f}"}
        for word, n, colour in figures
    ]
    words = [word for word, _, _ in figures]
    x = {
        "field": "w", "type": "nominal", "sort": words,
        "axis": {"title": None, "labelAngle": 0, "domain": True, "ticks": False, "labelLimit": 120, "labelPadding": 8},
    }  # fmt: skip
    y = {"field": "n", "type": "quantitative", "axis": _y_axis(size)}
    colours = [Series(word, colour, {}) for word, _, colour in figures]
    text = {"type": "text", "baseline": "bottom", "dy": -4, "color": _COLOURS["text"], "aria": False}
    layer = [
        {
            "mark": {"type": "bar", "width": {"band": 0.6}},
            "encoding": {
                "x": x, "y": y, "color": _colour(colours), "description": {"field": "says"},
            },
        },
        {"mark": text, "encoding": {"x": x, "y": y, "text": {"field": "t"}}},
    ]  # fmt: skip
    return _draw({"data": {"values": rows}, "layer": layer}, size)


def cut_off(series: Sequence[Series], steps: Sequence[date]) -> float | None:
    """Where bars are cut off, when one or two are many times as high as the next; None: none is."""
    tops = (sum(one.values.get(start, 0) for one in series if not one.below) for start in steps)
    highest = sorted((top for top in tops if top), reverse=True)
    for place in (1, 2):
        if len(highest) > place + 1 and highest[place - 1] > 6 * highest[place]:
            return highest[place] * 1.25
    return None


def _ms(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp() * 1000


def _x(steps: Sequence[date], step: Step, size: Size) -> dict[str, Any]:
    days = (steps[-1] - steps[0]).days
    labels = {"wide": 14, "narrow": 4, "small": 3}[size]
    every = next((n for n in (1, 2, 7, 14) if len(steps) <= n * labels), -(-len(steps) // labels))
    # the label of a day stands below the middle of its bar, others where the bar begins
    shift = 43_200_000 if step.word == "day" else 0
    axis = {
        "title": None, "grid": False, "format": "%b %Y" if days > 200 else "%-d %b", "tickSize": 4,
        "values": [_ms(start) + shift for start in steps[::-1][::every]], "labelOverlap": True, "labelSeparation": 8,
    }  # fmt: skip
    scale = {"type": "utc", "domain": [_ms(steps[0]), _ms(step.next(steps[-1]))], "nice": False}
    return {"field": "x", "type": "temporal", "axis": axis, "scale": scale}


def _y_axis(size: Size) -> dict[str, Any]:
    count = {"wide": 4, "narrow": 4, "small": 2}[size]
    short = "datum.value >= 1e6 || datum.value <= -1e6 ? format(datum.value / 1e6, ',~r') + ' M' : "
    # a removal is drawn downwards, and is no negative number
    expression = "datum.value % 1 ? '' : replace(" + short + "format(datum.value, ',~f'), '\u2212', '')"
    return {
        "title": None, "tickCount": count, "tickMinStep": 1, "domain": False, "ticks": False, "labelPadding": 6,
        "labelExpr": expression, "minExtent": 44 if size != "small" else 38,
    }  # fmt: skip


def _colour(series: Sequence[Series]) -> dict[str, Any]:
    names = list(dict.fromkeys(one.colour for one in series))
    scale = {"domain": names, "range": [_COLOURS[name] for name in names]}
    return {"field": "c", "type": "nominal", "legend": None, "scale": scale}


def _draw(spec: dict[str, Any], size: Size) -> Markup:
    import vl_convert

    width, height = _SIZES[size]
    axis = {
        "gridColor": _COLOURS["grid"], "domainColor": _COLOURS["axis"], "tickColor": _COLOURS["axis"],
        "labelColor": _COLOURS["text"], "labelFontSize": 11, "aria": False,
    }  # fmt: skip
    config = {"view": {"stroke": None}, "axis": axis, "font": "sans-serif"}
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json", "background": None, "width": width,
        "height": height, "padding": {"left": 2, "right": 12, "top": 16, "bottom": 2}, "config": config, **spec,
    }  # fmt: skip
    return _tidied(vl_convert.vegalite_to_svg(whole, vl_version="6.4", allowed_base_urls=[]))


_KEPT = {
    "d", "fill", "stroke", "transform", "x1", "x2", "y1", "y2", "text-anchor", "font-size", "stroke-width",
    "viewBox",
}  # fmt: skip
_NUMBER = re.compile(r"-?[0-9]+\.[0-9]+")


def _tidied(svg: str) -> Markup:
    """The drawing with classes for colours, and without what a page doesn't need: half its size."""
    root = ElementTree.fromstring(svg)  # noqa: S314  # our own renderer's
    _tidy(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return Markup(text)  # noqa: S704  # serialised from a tree, each text escaped


def _tidy(element: ElementTree.Element) -> None:
    element.tag = element.tag.rpartition("}")[2]
    says = element.get("aria-label") if element.tag == "path" else None
    colour = element.get("fill", "none")
    line = element.get("stroke", "none")
    attributes = {name: value for name, value in element.attrib.items() if name in _KEPT}
    classes = []
    if colour in _CLASSES:
        classes.append("f-" + _CLASSES[colour])
        del attributes["fill"]
    if line in _CLASSES:
        classes.append("s-" + _CLASSES[line])
        del attributes["stroke"]
    if attributes.get("transform") == "translate(0,0)":
        del attributes["transform"]
    for name in ("d", "transform"):
        if name in attributes:
            attributes[name] = _NUMBER.sub(
                lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), attributes[name]
            )
    if classes:
        attributes["class"] = " ".join(classes)
    element.attrib.clear()
    element.attrib.update(attributes)
    for child in list(element):
        drawn = child.get("display") != "none" and child.get("class") not in ("background", "foreground")
        if not drawn:
            element.remove(child)
            continue
        _tidy(child)
        if child.tag == "g" and not len(child):
            element.remove(child)
    if says and not len(element):
        ElementTree.SubElement(element, "title").text = says
