"""What all charts share: a chart, its colours, its labels, and a row of dots with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...statistics import Estimate
from ..tables import interval

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
LABEL = 40

# Okabe and Ito's colours, told apart by every kind of colour vision; darkened or lightened until
# each has a contrast of 3 : 1 with its page.
LIGHT = ("#0072b2", "#d55e00", "#00835e", "#b8559a", "#8a6d00", "#2f8fc4", "#6a4fc0", "#666666")
DARK = ("#56b4e9", "#ff9248", "#2fcf9f", "#f0a3cc", "#e8d44d", "#9bd3f7", "#b7a6ff", "#bdbdbd")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [10, 4], [1, 3], [12, 3, 3, 3])


@dataclass(frozen=True)
class Chart:
    """A chart without width and colours, which the page gives it.

    Attributes:
        name: Stem of its file.
        title: What it shows, as a heading.
        note: How to read it, in a sentence or two.
        spec: Vega-Lite; all of its data are in it.
        in_markdown: Whether it also becomes an SVG file beside the Markdown.
    """

    name: str
    title: str
    note: str
    spec: Mapping[str, Any]
    in_markdown: bool = True


@dataclass(frozen=True)
class Dot:
    """One line of a chart of dots: an estimate, and the single values that it is made of.

    `label` is its whole name, which the axis shortens; `points` are pairs of a value and the words
    that name it under the mouse.
    """

    label: str
    estimate: Estimate
    points: Sequence[tuple[float, Mapping[str, str]]] = ()
    strong: bool = True


def theme(*, dark: bool) -> dict[str, Any]:
    """Vega's configuration for a light page or a dark one."""
    ink, soft, line = ("#e8e8e8", "#b4b4b4", "#3a3f46") if dark else ("#1a1a1a", "#555", "#e3e3e3")
    colours = DARK if dark else LIGHT
    text = {"labelColor": ink, "titleColor": soft, "titleFontWeight": "normal"}
    return {
        "font": "system-ui, sans-serif",
        "background": None,
        "view": {"stroke": None},
        "axis": {
            **text, "gridColor": line, "domainColor": line, "tickColor": line, "labelFontSize": 12,
            "titleFontSize": 12, "titlePadding": 8, "labelPadding": 6, "domain": False,
        },
        "axisY": {"ticks": False},
        "legend": {
            **text, "orient": "bottom", "labelFontSize": 12, "symbolType": "circle", "columns": 2,
            "labelLimit": 320, "symbolStrokeWidth": 2.5,
        },
        "range": {"category": list(colours)},
        "point": {"filled": True, "size": 60},
        "line": {"strokeWidth": 2.25},
        "text": {"color": ink, "fontSize": 12},
        "style": {
            "estimate": {"color": colours[0], "size": 90, "opacity": 1},
            "undecided": {"color": soft, "size": 90, "opacity": 1},
            "interval": {"color": colours[0], "strokeWidth": 2.5, "strokeCap": "round"},
            "undecided-interval": {"color": soft, "strokeWidth": 2.5, "strokeCap": "round"},
            "seed": {"color": colours[1], "size": 34, "opacity": 0.75},
            "reference": {"color": soft, "strokeDash": [5, 4], "strokeWidth": 1.5},
            "front": {"color": colours[2], "strokeWidth": 2, "strokeDash": [6, 4]},
            "whisker": {"color": soft, "strokeWidth": 1.5},
            "box": {"color": colours[0], "strokeWidth": 7, "opacity": 0.55},
            "median": {"color": ink, "size": 30, "opacity": 1},
            "failure": {"fill": line, "stroke": soft},
            "cross": {"color": ink, "fontSize": 14, "fontWeight": "bold"},
        },
    }  # fmt: skip


def short_labels(names: Sequence[str]) -> dict[str, str]:
    """Names short enough for an axis, and still distinct."""
    labels: dict[str, str] = {}
    for name in names:
        short = name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
        labels[name] = short if short not in labels.values() else f"{short} ({len(labels) + 1})"
    return labels


def tooltip(words: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a datum that are shown under the mouse."""
    return {"tooltip": [{"field": key, "type": "nominal", "title": key} for key in words]}


def layer(
    values: Sequence[Mapping[str, Any]], mark: Mapping[str, Any], encoding: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Marks at values that are its own, as a list of one layer; no layer where there are none."""
    return [{"data": {"values": values}, "mark": mark, "encoding": encoding}] if values else []


def dots(
    lines: Sequence[Dot], title: str, reference: float | None = None, places: int = 2
) -> dict[str, Any]:
    """A line a label: the estimate as a dot with its interval, single values behind it.

    Estimates that tell something are in colour, the others grey; under the mouse they are told to
    so many places.
    """
    labels = short_labels([line.label for line in lines])
    y = {"field": "label", "type": "nominal", "title": None, "sort": list(labels.values())}
    x = {"type": "quantitative", "title": title, "scale": {"zero": False}}
    estimates = [
        {
            "label": labels[line.label], "value": line.estimate.mean, "low": line.estimate.low,
            "high": line.estimate.high, "strong": line.strong, "of": line.label,
            "estimate": interval(line.estimate, places),
        }
        for line in lines
    ]  # fmt: skip
    singles = [
        {"label": labels[line.label], "value": value, **words}
        for line in lines
        for value, words in line.points
    ]
    named = next((words for line in lines for _, words in line.points), {})
    shown = tooltip({"of": "", "estimate": ""})
    line = [] if reference is None else [{"value": reference}]
    layers = [
        *layer(line, {"type": "rule", "style": "reference"}, {"x": {**x, "field": "value"}}),
        *layer(
            singles,
            {"type": "point", "style": "seed", "yOffset": 7},
            {"y": y, "x": {**x, "field": "value"}, **tooltip(named)},
        ),
    ]
    for strong, dot, rule in (
        (True, "estimate", "interval"),
        (False, "undecided", "undecided-interval"),
    ):
        kept = [each for each in estimates if each["strong"] is strong]
        between = [each for each in kept if each["low"] is not None]
        ends = {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}, **shown}
        layers += layer(between, {"type": "rule", "style": rule}, ends)
        place = {"y": y, "x": {**x, "field": "value"}, **shown}
        layers += layer(kept, {"type": "point", "style": dot}, place)
    return {"$schema": SCHEMA, "height": 30 * len(lines), "layer": layers}
