"""What a study found, as numbers: a row a variant, and what the statistics let one say of it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..ledger import Account
from ..results.frames import timing_summary
from ..statistics import Estimate, mean_interval, paired_difference, ratio_of_rounds
from ..study import Study, Variant
from ..study.schema import Published

METRIC = "test_error"


@dataclass(frozen=True)
class VariantRow:
    """One variant: its error over seeds, its difference to the baseline, its size and its speed."""

    variant: str
    baseline: str | None
    errors: Mapping[int, float]
    error: Estimate | None
    difference: Estimate | None
    parameters: int | None
    train_step_ms: float | None
    forward_ms: float | None
    images_per_s: float | None
    step_ratio: Estimate | None
    published: tuple[Published, ...]


@dataclass(frozen=True)
class Findings:
    """All that a report says, before it is put into words, tables and charts."""

    study: Study
    rows: tuple[VariantRow, ...]
    curves: pd.DataFrame
    failures: tuple[tuple[str, int, str], ...]
    counts: Mapping[str, int]
    environments: tuple[str, ...]
    seconds: Mapping[str, float]


def findings(
    study: Study, device: str, trials: pd.DataFrame, curves: pd.DataFrame,
    attempts: list[dict[str, Any]], state: Account,
) -> Findings:  # fmt: skip
    """Put the rows of a store in the order of a study's variants."""
    by_id = {row["trial_id"]: row for row in trials.to_dict("records")}
    wanted = study.trials(device)
    cells: dict[str, list[tuple[int, dict[str, Any]]]] = {v.name: [] for v in study.variants}
    for trial in wanted:
        if trial.trial_id in by_id:
            cells[trial.variant].append((trial.seed, by_id[trial.trial_id]))
    errors = {name: _by_seed(rows, METRIC) for name, rows in cells.items()}
    names = {trial.trial_id: trial for trial in wanted}
    kept = curves.loc[curves["trial_id"].isin(list(names))].copy()
    kept["variant"] = [names[i].variant for i in kept["trial_id"]]
    kept["seed"] = [names[i].seed for i in kept["trial_id"]]
    mine = [row for row in attempts if row["trial_id"] in names]
    steps: dict[str, dict[tuple[str, int], float]] = {name: {} for name in cells}
    for row in mine:
        if (step := timing_summary(row).get("train_step_ms")) is not None:
            steps[names[row["trial_id"]].variant][row["run_id"], row["round"]] = step
    return Findings(
        study=study,
        rows=tuple(_row(v, cells[v.name], errors, steps) for v in study.variants),
        curves=kept,
        failures=tuple(
            (names[row["trial_id"]].variant, names[row["trial_id"]].seed, str(row["failure"]))
            for row in trials.to_dict("records")
            if row["trial_id"] in names and row["status"] == "failed"
        ),
        counts=state.counts,
        environments=_environments(mine),
        seconds={
            phase: float(sum(row["seconds"] for row in mine if row["phase"] == phase))
            for phase in ("accuracy", "timing")
        },
    )


def _row(
    variant: Variant,
    cells: list[tuple[int, dict[str, Any]]],
    errors: Mapping[str, Mapping[int, float]],
    steps: Mapping[str, Mapping[tuple[str, int], float]],
) -> VariantRow:
    ours, base = errors[variant.name], variant.baseline
    compared = base is not None and base != variant.name and base in errors
    parameters = _first(cells, "parameters")
    return VariantRow(
        variant=variant.name,
        baseline=base,
        errors=ours,
        error=mean_interval(list(ours.values())) if ours else None,
        difference=paired_difference(ours, errors[base]) if compared and base else None,
        parameters=None if parameters is None else int(parameters),
        train_step_ms=_first(cells, "train_step_ms"),
        forward_ms=_first(cells, "forward_ms"),
        images_per_s=_first(cells, "train_images_per_s"),
        step_ratio=(
            ratio_of_rounds(steps[base], steps[variant.name]) if compared and base else None
        ),
        published=tuple(p for p in variant.published if p.metric == METRIC),
    )


def _by_seed(cells: list[tuple[int, dict[str, Any]]], column: str) -> dict[int, float]:
    return {seed: row[column] for seed, row in cells if not _absent(row.get(column))}


def _first(cells: list[tuple[int, dict[str, Any]]], column: str) -> float | None:
    return next((row[column] for _, row in cells if not _absent(row.get(column))), None)


def _absent(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _environments(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Each distinct place and state of the code that rows came from, as a line."""
    lines = []
    for row in sorted(rows, key=lambda row: row["started_at"]):
        facts = json.loads(row["environment"])
        commit = (facts["commit"] or "unknown commit")[:12] + (
            " with changes" if facts["dirty"] else ""
        )
        packages = ", ".join(f"{k} {v}" for k, v in facts["packages"].items())
        line = (
            f"{row['device']} ({row['device_name'] or facts['cpu']}, {facts['cpus']} CPUs), "
            f"Python {facts['python']}, {packages}; commit {commit}"
        )
        if line not in lines:
            lines.append(line)
    return tuple(lines)
