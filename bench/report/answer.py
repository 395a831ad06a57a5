"""What a study found: the rows of its trials put together, compared, and nothing said yet."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..ledger import Account
from ..results.arrow import records, where
from ..results.choice import best_attempts
from ..statistics import Estimate, mean_interval, paired_difference, ratio_of_rounds, t_test
from ..study import Study, Variant
from .attempts import environments, spans, trial_rows
from .curves import curves
from .effects import corrected, effects
from .findings import Difference, Findings, Measure, Speed, VariantRow
from .timings import Process, distributions, processes, speeds

PREFERRED = "test_error"
UNITS = {"percent": ("%", "points")}
NARROW = [
    "trial_id", "phase", "attempt", "status", "failure", "failure_kind", "device", "device_name",
    "run_id", "host", "started_at", "seconds", "environment", "round", "file",
]  # fmt: skip


def findings(study: Study, state: Account, table: pa.Table, command: str) -> Findings:
    """Put the rows of a store in the order of a study's variants, and compare them.

    Args:
        study: The study.
        state: Its account against the store.
        table: All rows of the store that were measured as the study asks.
        command: What makes the report again.
    """
    trials = {trial.trial_id: trial for trial in study.trials(state.device)}
    mine = where(table, "trial_id", trials)
    attempts = records(mine, NARROW)
    chosen = best_attempts(mine)
    good = where(chosen, "status", {"done"})
    variant_of = {trial_id: trial.variant for trial_id, trial in trials.items()}
    judged = _measure(good)
    metrics = _metrics(good)
    scores, not_finite = _scores(study, trials, metrics, judged)
    timed = processes(good)
    rows = _rows(study, trials, scores, metrics, timed)
    rows = corrected(
        rows, lambda r: r.difference, lambda r, d: dataclasses.replace(r, difference=d)
    )
    rows = _front(_compared(rows), judged)
    by_trial = {
        t: {k: v for k, v, phase in found if phase == "accuracy"} for t, found in metrics.items()
    }
    return Findings(
        study=study,
        device=state.device,
        measure=judged,
        rows=tuple(rows),
        points=tuple(dict.fromkeys(row.point for row in rows)),
        comparisons=sum(row.difference is not None for row in rows),
        effects=effects(study.variants, scores),
        curves=curves(good, variant_of),
        distributions=distributions(timed, variant_of),
        trials=trial_rows(
            trials.values(), attempts, state, by_trial, judged.name if judged else None
        ),
        spans=spans(attempts, trials),
        not_finite=not_finite,
        counts=state.counts,
        environments=environments(attempts),
        seconds={
            phase: float(sum(row["seconds"] for row in attempts if row["phase"] == phase))
            for phase in ("accuracy", "timing")
        },
        command=command,
    )


def _measure(table: pa.Table) -> Measure | None:
    """What the trials are judged by: the test error, or else a task's first metric."""
    accuracy = where(table, "phase", {"accuracy"})
    firsts: dict[str, dict[str, Any]] = {}
    for found in accuracy.column("metrics").to_pylist():
        for metric in found[:1] + [m for m in found if m["name"] == PREFERRED]:
            firsts[metric["name"]] = metric
    if not firsts:
        return None
    metric = firsts.get(PREFERRED) or next(iter(firsts.values()))
    unit, points = UNITS.get(metric["unit"], (metric["unit"], metric["unit"]))
    title = metric["name"].replace("_", " ")
    return Measure(metric["name"], title, unit, points, metric["higher_is_better"])


Metrics = Mapping[str, list[tuple[str, float, str]]]


def _metrics(table: pa.Table) -> Metrics:
    """By trial all its metrics: name, value, phase; of timing once a round."""
    found: dict[str, list[tuple[str, float, str]]] = {}
    for row in table.select(["trial_id", "phase", "metrics"]).to_pylist():
        found.setdefault(row["trial_id"], []).extend(
            (m["name"], m["value"], row["phase"]) for m in row["metrics"]
        )
    return found


def _scores(
    study: Study, trials: Mapping[str, Any], metrics: Metrics, measure: Measure | None
) -> tuple[dict[str, dict[int, float]], tuple[str, ...]]:
    """By variant the measure by seed, and the trials whose measure is not finite."""
    scores: dict[str, dict[int, float]] = {v.name: {} for v in study.variants}
    not_finite = []
    for trial_id, trial in trials.items():
        for name, value, phase in metrics.get(trial_id, []):
            if measure is None or name != measure.name or phase != "accuracy":
                continue
            if math.isfinite(value):
                scores[trial.variant][trial.seed] = value
            else:
                not_finite.append(trial_id)
    return scores, tuple(not_finite)


def _rows(
    study: Study,
    trials: Mapping[str, Any],
    scores: Mapping[str, Mapping[int, float]],
    metrics: Metrics,
    timed: Sequence[Process],
) -> list[VariantRow]:
    ids: dict[str, list[str]] = {v.name: [] for v in study.variants}
    for trial_id, trial in trials.items():
        ids[trial.variant].append(trial_id)
    by_trial: dict[str, list[Process]] = {}
    for process in timed:
        by_trial.setdefault(process.trial_id, []).append(process)
    points = _points(study.variants)
    return [_row(v, points[v.name], ids[v.name], scores, metrics, by_trial) for v in study.variants]


def _row(
    variant: Variant,
    point: str,
    ids: list[str],
    scores: Mapping[str, Mapping[int, float]],
    metrics: Metrics,
    by_trial: Mapping[str, list[Process]],
) -> VariantRow:
    ours, base = scores[variant.name], variant.baseline
    compared = base is not None and base != variant.name
    estimate = paired_difference(ours, scores.get(base or "", {})) if compared else None
    values: dict[str, list[float]] = {}
    for trial_id in ids:
        for name, value, _ in metrics.get(trial_id, []):
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    timed = [process for trial_id in ids for process in by_trial.get(trial_id, [])]
    return VariantRow(
        variant=variant.name,
        point=point,
        arm=variant.arm or variant.name,
        baseline=base,
        scores=ours,
        score=mean_interval(list(ours.values())) if ours else None,
        difference=Difference(estimate, t_test(estimate), None) if estimate else None,
        metrics={name: mean_interval(found) for name, found in values.items()},
        speeds=speeds(timed, (variant.train or {}).get("batch_size")),
        flags=dict(sum((Counter(p.flags) for p in timed), Counter())),
        blocks=sum(len(p.ms) for p in timed),
        published=variant.published,
        on_front=False,
        trials=tuple(ids),
    )


def _points(variants: Sequence[Variant]) -> dict[str, str]:
    """The label of the point of each variant: the axes along which nothing is compared.

    Those are the axes that every variant shares with its baseline; where nothing is compared, there
    is one point.
    """
    by_name = {v.name: v for v in variants}
    pairs = [(v, by_name[v.baseline]) for v in variants if v.baseline in by_name]
    outer = [
        axis
        for axis in dict.fromkeys(a for v in variants for a in v.point)
        if pairs and all(v.point.get(axis) == base.point.get(axis) for v, base in pairs)
    ]
    several = [a for a in outer if len({v.point.get(a) for v in variants}) > 1]
    return {
        v.name: ", ".join(f"{a}={v.point[a]}" for a in several if a in v.point) for v in variants
    }


def _compared(rows: Sequence[VariantRow]) -> list[VariantRow]:
    """The rows with each mode's time over the baseline's, and Holm's correction mode by mode."""
    by_name = {row.variant: row for row in rows}
    result = list(rows)
    for mode in dict.fromkeys(mode for row in rows for mode in row.speeds):
        for i, row in enumerate(result):
            base = by_name.get(row.baseline or "")
            if mode in row.speeds and base and not row.is_baseline and mode in base.speeds:
                ratio = ratio_of_rounds(base.speeds[mode].rounds, row.speeds[mode].rounds)
                result[i] = _with_ratio(row, mode, ratio and Difference(ratio, _p(ratio), None))
        result = corrected(
            result,
            lambda row, mode=mode: row.speeds[mode].ratio if mode in row.speeds else None,
            lambda row, ratio, mode=mode: _with_ratio(row, mode, ratio),
        )
    return result


def _p(ratio: Estimate) -> float | None:
    """Of the test that a ratio is 1, which is made on its logarithm."""
    mean, low, high = (
        None if v is None else math.log(v) for v in (ratio.mean, ratio.low, ratio.high)
    )
    return t_test(Estimate(mean or 0.0, low, high, ratio.n))


def _with_ratio(row: VariantRow, mode: str, ratio: Difference | None) -> VariantRow:
    speed: Speed = dataclasses.replace(row.speeds[mode], ratio=ratio)
    return dataclasses.replace(row, speeds={**row.speeds, mode: speed})


def _front(rows: Sequence[VariantRow], measure: Measure | None) -> list[VariantRow]:
    """The rows, those marked that no other row of their point beats in accuracy and in speed."""
    sign = -1 if measure and measure.higher_is_better else 1
    places = {
        row.variant: (row.point, sign * row.score.mean, row.speeds["train_step"].ms.mean)
        for row in rows
        if row.score is not None and "train_step" in row.speeds
    }
    by_point: dict[str, np.ndarray] = {
        point: np.array([place[1:] for place in places.values() if place[0] == point])
        for point in {place[0] for place in places.values()}
    }

    def beaten(point: str, *place: float) -> bool:
        others, mine = by_point[point], np.array(place)
        return bool(((others <= mine).all(axis=1) & (others < mine).any(axis=1)).any())

    return [
        dataclasses.replace(
            row, on_front=row.variant in places and not beaten(*places[row.variant])
        )
        for row in rows
    ]
