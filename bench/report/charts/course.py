"""Charts of what went on: learning curves, the blocks that were timed, the time line of a run."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..findings import Curve, Distribution, Findings, Span
from ..tables import MODES, number
from .chart import DASHES, SCHEMA, Chart, layer, short_labels, tooltip
from .comparisons import COLOURED

MINUTE = 60.0


def curves(findings: Findings) -> list[Chart]:
    """A chart a quantity: the mean over seeds, and a band from the lowest to the highest.

    What is 0 all the time, as the share of collapsed transformers should be, has none.
    """
    moved = (c for c in findings.curves if any(c.low) or any(c.high))
    names = list(dict.fromkeys(curve.name for curve in moved))
    names.sort(key=lambda name: (not name.endswith("_error"), name))
    return [_curve_chart(findings, name) for name in names]


def _curve_chart(findings: Findings, name: str) -> Chart:
    drawn, left_out = _foremost(findings, [c for c in findings.curves if c.name == name])
    labels = short_labels([curve.variant for curve in drawn])
    trials = {row.variant: ", ".join(row.trials[:5]) for row in findings.rows}
    values = [
        {
            "label": labels[c.variant], "variant": c.variant, "step": step, "mean": mean,
            "low": low, "high": high, "seeds": len(c.seeds), "trials": trials.get(c.variant, ""),
            "value": f"{number(mean, 3)} [{number(low, 3)}, {number(high, 3)}]",
        }
        for c in drawn
        for step, mean, low, high in zip(c.steps, c.mean, c.low, c.high, strict=True)
    ]  # fmt: skip
    order = [labels[curve.variant] for curve in drawn]
    title = name.replace("_", " ")
    x = {"field": "step", "type": "quantitative", "title": "training step"}
    unit = ", %" if name.endswith("_error") else ""
    y = {"field": "mean", "type": "quantitative", "title": title + unit, "scale": {"zero": False}}
    legend = {"symbolType": "stroke", "symbolOpacity": 1, "symbolSize": 400}
    kind = {"field": "label", "type": "nominal", "title": None, "scale": {"domain": order}}
    kind["legend"] = legend
    dashes = {**kind, "scale": {"domain": order, "range": list(DASHES[: len(order)])}}
    note = "Mean over seeds; the band is from the lowest seed to the highest."
    if left_out:
        note += f" The baselines and the best are drawn; {left_out} more variants are in the table."
    return Chart(
        f"curve_{name}",
        f"{title.capitalize()} while training",
        note,
        {
            "$schema": SCHEMA,
            "height": 260,
            "data": {"values": values},
            "encoding": {"x": x},
            "layer": [
                {
                    "mark": {"type": "area", "opacity": 0.18},
                    "encoding": {
                        "color": kind,
                        "y": {**y, "field": "low"},
                        "y2": {"field": "high"},
                    },
                },
                {"mark": "line", "encoding": {"y": y, "color": kind, "strokeDash": dashes}},
                {
                    "mark": {"type": "point", "size": 36},
                    "encoding": {
                        "y": y,
                        "color": kind,
                        **tooltip(
                            {"variant": "", "step": "", "value": "", "seeds": "", "trials": ""}
                        ),
                    },
                },
            ],
        },
        in_markdown=name.endswith(("_error", "_loss")),
    )


def _foremost(findings: Findings, found: Sequence[Curve]) -> tuple[list[Curve], int]:
    """As many curves as there are colours: the baselines, then those with the best score."""
    if len(found) <= COLOURED:
        return list(found), 0
    sign = -1 if findings.measure is not None and findings.measure.higher_is_better else 1
    place = {
        row.variant: (not row.is_baseline, sign * row.score.mean if row.score else float("inf"))
        for row in findings.rows
    }
    best = sorted(found, key=lambda c: place.get(c.variant, (True, float("inf"))))[:COLOURED]
    return [c for c in found if c in best], len(found) - len(best)


def distributions(findings: Findings) -> list[Chart]:
    """A chart a mode: the quantiles of the blocks of every timed process."""
    labels = short_labels([row.variant for row in findings.rows])
    made = []
    for mode in findings.modes:
        found = [d for d in findings.distributions if d.mode == mode]
        if not found:
            continue
        values = [_blocks(labels, d) for d in found]
        processes = Counter(d.variant for d in found)
        words = MODES.get(mode, mode.replace("_", " "))
        y = {
            "field": "label", "type": "nominal", "title": None,
            "sort": [labels[row.variant] for row in findings.rows],
        }  # fmt: skip
        offset = {"yOffset": {"field": "process", "type": "nominal"}}
        x = {"type": "quantitative", "title": f"{words}, ms", "scale": {"zero": False}}
        shown = tooltip({
            "variant": "", "round ": "", "median": "", "middle half": "", "blocks": "", "flags": "",
            "trial": "", "run": "",
        })  # fmt: skip
        common = {"y": y, **offset, **shown}
        made.append(Chart(
            f"blocks_{mode}",
            f"Blocks of the {words}",
            "One line a process: dot at the median of its blocks, bar over the middle half, line "
            "from the 5 % to the 95 % quantile. The process is the unit of all intervals.",
            {
                "$schema": SCHEMA,
                "height": sum(10 + 10 * lines for lines in processes.values()),
                "data": {"values": values},
                "layer": [
                    {"mark": {"type": "rule", "style": "whisker"},
                     "encoding": {**common, "x": {**x, "field": "q5"}, "x2": {"field": "q95"}}},
                    {"mark": {"type": "rule", "style": "box"},
                     "encoding": {**common, "x": {**x, "field": "q25"}, "x2": {"field": "q75"}}},
                    {"mark": {"type": "point", "style": "median"},
                     "encoding": {**common, "x": {**x, "field": "q50"}}},
                ],
            },
        ))  # fmt: skip
    return made


def _blocks(labels: dict[str, str], found: Distribution) -> dict[str, Any]:
    q5, q25, q50, q75, q95 = found.quantiles
    flags = ", ".join(f"{name} {count}" for name, count in found.flags.items()) or "none"
    return {
        "label": labels[found.variant], "variant": found.variant,
        "process": f"{found.run_id} {found.round}",
        "q5": q5, "q25": q25, "q50": q50, "q75": q75, "q95": q95, "round ": str(found.round + 1),
        "median": f"{number(q50, 3)} ms", "middle half": f"{number(q25, 3)} to {number(q75, 3)} ms",
        "blocks": found.blocks, "flags": flags, "trial": found.trial_id, "run": found.run_id,
    }  # fmt: skip


def time_line(findings: Findings) -> Chart | None:
    """Every attempt on the line of the device that made it."""
    if not findings.spans:
        return None
    runs = {run: i + 1 for i, run in enumerate(dict.fromkeys(s.run_id for s in findings.spans))}
    unit, size = (
        ("minutes", MINUTE) if max(map(_end, findings.spans)) > 3 * MINUTE else ("seconds", 1)
    )
    values = [_span(span, runs, size) for span in findings.spans]
    y = {"field": "lane", "type": "nominal", "title": None, "sort": None}
    x = {"field": "start", "type": "quantitative", "title": f"{unit} since the run began"}
    shown = tooltip({
        "variant": "", "seed": "", "phase": "", "round ": "", "attempt": "", "took": "",
        "outcome": "", "trial": "",
    })  # fmt: skip
    bar = {"type": "bar", "height": {"band": 0.72}, "cornerRadius": 1}
    place = {"x": x, "x2": {"field": "end"}, "y": y, **shown}
    phases = list(dict.fromkeys(span.phase for span in findings.spans))
    color = {"field": "phase", "type": "nominal", "title": None, "sort": phases}
    failed = [v for v in values if v["failed"]]
    cross = {"type": "text", "text": "×", "style": "cross", "align": "left", "dx": 2}
    layers = [
        *layer([v for v in values if not v["failed"]], bar, {**place, "color": color}),
        *layer(failed, {**bar, "style": "failure"}, place),
        *layer(failed, cross, {"x": x, "y": y}),
    ]
    return Chart(
        "time_line",
        "Time line of the runs",
        "One line a place on a device; one bar an attempt. Grey with × failed.",
        {
            "$schema": SCHEMA,
            "height": 22 * len({value["lane"] for value in values}),
            "layer": layers,
        },
        in_markdown=False,
    )


def _end(span: Span) -> float:
    return span.start + span.seconds


def _span(span: Span, runs: dict[str, int], size: float) -> dict[str, Any]:
    run = f"run {runs[span.run_id]} · " if len(runs) > 1 else ""
    return {
        "lane": f"{run}{span.device} · {span.lane + 1}", "start": span.start / size,
        "end": _end(span) / size, "failed": span.status == "failed", "phase": span.phase,
        "variant": span.variant, "seed": str(span.seed), "attempt": str(span.attempt),
        "round ": "–" if span.round is None else str(span.round + 1),
        "took": f"{number(span.seconds)} s", "outcome": span.kind or span.status,
        "trial": span.trial_id,
    }  # fmt: skip
