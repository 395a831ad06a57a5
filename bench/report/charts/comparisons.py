"""Charts that set variants side by side: scores, differences, accuracy against speed, effects."""

from collections.abc import Mapping
from typing import Any

from ..findings import Findings, VariantRow
from ..tables import MODES, effect_name, interval, number
from .chart import SCHEMA, Chart, Dot, dots, layer, short_labels, tooltip

# More names than this in one picture are told by the mouse alone.
NAMED = 12
COLOURED = 8


def scores(findings: Findings) -> Chart | None:
    """Each seed as a point, the mean with its interval."""
    measure = findings.measure
    lines = [
        Dot(row.variant, row.score, _seeds(findings, row, row.scores))
        for row in findings.rows
        if row.score is not None
    ]
    if measure is None or not lines:
        return None
    better = "right" if measure.higher_is_better else "left"
    return Chart(
        "scores",
        f"{measure.title.capitalize()} of each variant",
        "Blue: mean and 95 % interval over seeds. Orange: one seed. "
        f"{better.capitalize()} is better.",
        dots(lines, f"{measure.title}, {measure.unit}"),
    )


def differences(findings: Findings) -> Chart | None:
    """The forest plot: differences to the baseline, paired by seed."""
    measure = findings.measure
    by_name = {row.variant: row for row in findings.rows}
    lines = []
    for row in findings.rows:
        if row.difference is None or row.baseline is None:
            continue
        base = by_name[row.baseline].scores if row.baseline in by_name else {}
        paired = {seed: v - base[seed] for seed, v in row.scores.items() if seed in base}
        points = _seeds(findings, row, paired)
        lines.append(Dot(row.variant, row.difference.estimate, points, row.difference.tells))
    if measure is None or not lines:
        return None
    return Chart(
        "differences",
        "Difference to the baseline",
        "Mean difference paired by seed, with its 95 % interval; orange: one seed. Grey where the "
        "differences, taken together, do not tell.",
        dots(lines, f"difference of {measure.title}, {measure.points}", reference=0.0),
    )


def time_ratios(findings: Findings) -> Chart | None:
    """Time of the first timed mode over the baseline's, paired by round."""
    for mode in findings.modes[:1]:
        speeds = {r.variant: r.speeds[mode].ratio for r in findings.rows if mode in r.speeds}
        lines = [
            Dot(name, ratio.estimate, strong=ratio.tells)
            for name, ratio in speeds.items()
            if ratio is not None
        ]
        if lines:
            title = f"time of {MODES.get(mode, mode)} over the baseline's"
            return Chart(
                "time_ratios",
                f"What it costs: {title}",
                "Geometric mean over rounds, with its 95 % interval; 1 is as fast as the baseline.",
                dots(lines, title, reference=1.0),
            )
    return None


def accuracy_speed(findings: Findings) -> Chart | None:
    """Score against the time of a step, both with intervals, and the Pareto front."""
    measure, mode = findings.measure, next(iter(findings.modes), None)
    rows = [r for r in findings.rows if r.score is not None and mode in r.speeds]
    if measure is None or mode is None or not rows:
        return None
    labels = short_labels(list(dict.fromkeys(row.arm for row in findings.rows)))
    values = [_place(row, labels, mode) for row in rows]
    x = {
        "field": "ms", "type": "quantitative", "title": f"{MODES.get(mode, mode)}, ms",
        "scale": {"zero": False, "padding": 24},
    }  # fmt: skip
    y = {
        "field": "score", "type": "quantitative", "title": f"{measure.title}, {measure.unit}",
        "scale": {"zero": False, "padding": 24},
    }  # fmt: skip
    shown = tooltip({"variant": "", "score ": "", "time ": "", "trials": ""})
    front = sorted((v for v in values if v["front"]), key=lambda v: (v["point"], v["ms"]))
    high = [v for v in values if v["low"] is not None]
    wide = [v for v in values if v["fast"] is not None]
    whisker = {"type": "rule", "style": "whisker"}
    layers = [
        *layer(
            front if len(front) > 1 else [],
            {"type": "line", "style": "front", "interpolate": "step-after"},
            {"x": x, "y": y, "detail": {"field": "point"}},
        ),
        *layer(
            high, whisker, {"y": {**y, "field": "low"}, "y2": {"field": "high"}, "x": x, **shown}
        ),
        *layer(
            wide, whisker, {"x": {**x, "field": "fast"}, "x2": {"field": "slow"}, "y": y, **shown}
        ),
    ]
    points = [p for p in findings.points if p]
    kind = {"field": "point", "type": "nominal", "title": None, "scale": {"domain": points}}
    by_point = {"color": kind, "shape": kind} if 1 < len(points) <= COLOURED else {}
    place = {"x": x, "y": y, **by_point, **shown}
    for best, style in ((False, "undecided"), (True, "estimate")):
        kept = [v for v in values if v["front"] is best]
        layers += layer(kept, {"type": "point", "style": style}, place)
    if len(values) <= NAMED:
        # A name to the right of a point on the right would leave the picture.
        middle = (min(v["ms"] for v in values) + max(v["ms"] for v in values)) / 2
        for align, dx, side in (
            ("left", 9, [v for v in values if v["ms"] <= middle]),
            ("right", -9, [v for v in values if v["ms"] > middle]),
        ):
            mark = {"type": "text", "align": align, "dx": dx, "dy": -9, "limit": 200}
            layers += layer(side, mark, {"x": x, "y": y, "text": {"field": "arm"}})
    corner = "left and up" if measure.higher_is_better else "left and down"
    return Chart(
        "accuracy_speed",
        "Accuracy against speed",
        f"Bars: 95 % intervals, over seeds and over rounds. Better is {corner}. Dashed: the Pareto "
        "front, where nothing is both faster and more accurate.",
        {"$schema": SCHEMA, "height": 300, "layer": layers},
    )


def effects(findings: Findings) -> list[Chart]:
    """Main effects of the factors that were ablated, then how far one changes with another."""
    measure = findings.measure
    if measure is None:
        return []
    made = []
    for order, name, title, note in (
        (1, "main_effects", "Main effects", "What a level changes against its reference, averaged "
         "over the settings of the other factors."),
        (2, "interactions", "Interactions", "How much one factor's effect changes with the level "
         "of the other: a difference of differences."),
    ):  # fmt: skip
        lines = [
            Dot(effect_name(e), e.difference.estimate, strong=e.difference.tells)
            for e in findings.effects
            if len(e.factors) == order and e.difference is not None
        ]
        if lines:
            axis = f"change of {measure.title}, {measure.points}"
            note += " Paired by seed, 95 % intervals; grey where they do not tell."
            made.append(Chart(name, title, note, dots(lines, axis, reference=0.0)))
    return made


def _place(row: VariantRow, labels: Mapping[str, str], mode: str) -> dict[str, Any]:
    score, ms = row.score, row.speeds[mode].ms
    assert score is not None
    return {
        "arm": labels[row.arm], "variant": row.variant, "point": row.point,
        "front": row.on_front, "score": score.mean, "low": score.low, "high": score.high,
        "ms": ms.mean, "fast": ms.low, "slow": ms.high, "score ": interval(score),
        "time ": f"{interval(ms)} ms", "trials": ", ".join(row.trials[:5]),
    }  # fmt: skip


def _seeds(
    findings: Findings, row: VariantRow, values: Mapping[int, float]
) -> list[tuple[float, dict[str, str]]]:
    ids = {(t.variant, t.seed): t.trial_id for t in findings.trials}
    return [
        (value, {"variant": row.variant, "seed": str(seed), "value ": number(value),
                 "trial": ids.get((row.variant, seed), "")})
        for seed, value in values.items()
    ]  # fmt: skip
