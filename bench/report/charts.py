"""Charts as SVG: Vega-Lite drawn by vl-convert, from the same findings as the tables."""

import json
from collections.abc import Mapping
from typing import Any

from .findings import Findings

WIDTH = 480
LABEL = 40
BLUE, ORANGE, GREY = "#1f6fb4", "#d8720c", "#8a8a8a"


def charts(findings: Findings) -> dict[str, str]:
    """SVG text by file name; a chart that has nothing to show is left out."""
    specs = {
        "test_error.svg": _errors(findings),
        "accuracy_speed.svg": _accuracy_speed(findings),
        "learning_curves.svg": _curves(findings),
    }
    return {name: _svg(spec) for name, spec in specs.items() if spec is not None}


def _svg(spec: Mapping[str, Any]) -> str:
    import vl_convert

    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "white",
        "config": {
            "font": "sans-serif",
            "axis": {"grid": True, "gridColor": "#eee", "labelLimit": 0},
        },
        **spec,
    }
    return vl_convert.vegalite_to_svg(json.dumps(whole))


def _labels(findings: Findings) -> dict[str, str]:
    """Names short enough for an axis, and still distinct (Vega would cut an emoji in two)."""
    labels: dict[str, str] = {}
    for name in (row.variant for row in findings.rows):
        short = name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
        labels[name] = short if short not in labels.values() else f"{short} ({len(labels) + 1})"
    return labels


def _errors(findings: Findings) -> dict[str, Any] | None:
    """Each seed as a point, the mean as a bar with its interval."""
    rows, measure = [row for row in findings.rows if row.score is not None], findings.measure
    if not rows or measure is None:
        return None
    labels = _labels(findings)
    order = [labels[row.variant] for row in rows]
    points = [{"variant": labels[r.variant], "error": e} for r in rows for e in r.scores.values()]
    means = [
        {
            "variant": labels[r.variant],
            "error": r.score.mean,
            "low": r.score.low,
            "high": r.score.high,
        }
        for r in rows
        if r.score
    ]
    y = {"field": "variant", "type": "nominal", "sort": order, "title": None}
    title = f"{measure.title}, {measure.unit} (points: seeds; bar: mean and 95 % interval)"
    x = {"field": "error", "type": "quantitative", "title": title}
    return {
        "width": WIDTH,
        "height": {"step": 34},
        "layer": [
            {
                "data": {"values": [m for m in means if m["low"] is not None]},
                "mark": {"type": "rule", "strokeWidth": 2, "color": BLUE},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "data": {"values": means},
                "mark": {"type": "tick", "thickness": 3, "size": 18, "color": BLUE},
                "encoding": {"y": y, "x": x},
            },
            {
                "data": {"values": points},
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 30,
                    "opacity": 0.6,
                    "color": ORANGE,
                },
                "encoding": {"y": y, "x": x},
            },
        ],
    }


def _accuracy_speed(findings: Findings) -> dict[str, Any] | None:
    """Error against the time of a training step; down and to the left is better."""
    labels = _labels(findings)
    values = [
        {
            "variant": labels[r.variant], "step": r.speeds["train_step"].ms.mean,
            "error": r.score.mean, "low": r.score.low, "high": r.score.high,
        }
        for r in findings.rows
        if r.score is not None and "train_step" in r.speeds
    ]  # fmt: skip
    if not values:
        return None
    x = {"field": "step", "type": "quantitative", "title": "training step, ms"}
    y = {"field": "error", "type": "quantitative", "title": "test error, %"}
    return {
        "width": WIDTH,
        "height": 240,
        "data": {"values": values},
        "layer": [
            {
                "transform": [{"filter": "datum.low !== null"}],
                "mark": {"type": "rule", "color": GREY},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": BLUE},
                "encoding": {"x": x, "y": y},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"x": x, "y": y, "text": {"field": "variant"}},
            },
        ],
    }


def _curves(findings: Findings) -> dict[str, Any] | None:
    """Test error while training: a line a variant, the band from the lowest to the highest seed."""
    kept = [c for c in findings.curves if findings.measure and c.name == findings.measure.name]
    if not kept:
        return None
    labels = _labels(findings)
    values = [
        {"variant": labels[c.variant], "step": step, "mean": mean, "min": low, "max": high}
        for c in kept
        for step, mean, low, high in zip(c.steps, c.mean, c.low, c.high, strict=True)
    ]
    x = {"field": "step", "type": "quantitative", "title": "training step"}
    y = {"field": "mean", "type": "quantitative", "title": "test error, % (band: all seeds)"}
    order = [labels[row.variant] for row in findings.rows]
    color = {"field": "variant", "type": "nominal", "sort": order, "title": None}
    return {
        "width": WIDTH,
        "height": 240,
        "data": {"values": values},
        "encoding": {"x": x, "color": color},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.2},
                "encoding": {"y": {**y, "field": "min"}, "y2": {"field": "max"}},
            },
            {"mark": {"type": "line", "point": True}, "encoding": {"y": y}},
        ],
    }
