"""Rows of attempts as pandas frames: a row a trial, or a row a point."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from .arrow import items
from .choice import KEYS, best_attempts
from .schema import step_seconds

IDENTITY = ["trial_id", "study", "variant", "seed"]
ROUND = ["round", "run_id"]


def trials(table: pa.Table, of: Iterable[Any] | None) -> pd.DataFrame:
    """One row a trial; the columns are those of `ResultStore.trials`."""
    names = None if of is None else {t.trial_id: {k: getattr(t, k) for k in IDENTITY} for t in of}
    attempts: dict[str, list[dict[str, Any]]] = {}
    for attempt in best_attempts(table.drop_columns(["pictures", "curves"])).to_pylist():
        if names is None or attempt["trial_id"] in names:
            attempts.setdefault(attempt["trial_id"], []).append(attempt)
    rows = [_trial(one) | (names[i] if names else {}) for i, one in attempts.items()]
    frame = pd.DataFrame(rows, columns=None if rows else [*IDENTITY, *STATUS])
    return frame.sort_values(["study", "variant", "seed"], ignore_index=True)


STATUS = ["status", "attempt", "failure"]


def _trial(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a trial; of rounds of timing, medians."""
    failure = next((a["failure"] for a in attempts if a["status"] == "failed"), None)
    missing = set(attempts[-1]["phases"]) - {a["phase"] for a in attempts}
    row: dict[str, Any] = {k: attempts[-1][k] for k in IDENTITY}
    row["status"] = "failed" if failure is not None else "unfinished" if missing else "done"
    row["attempt"] = max(a["attempt"] for a in attempts)
    row["failure"], row["device"] = failure, attempts[-1]["device"]
    numbers: dict[str, list[float]] = {}
    for attempt in attempts:
        seconds = f"{attempt['phase']}_seconds"
        row[seconds] = row.get(seconds, 0.0) + attempt["seconds"]
        found = {m["name"]: m["value"] for m in attempt["metrics"]} | timing_summary(attempt)
        for name, value in found.items():
            numbers.setdefault(name, []).append(value)
    return row | {name: float(pd.Series(v).median()) for name, v in numbers.items()}


def timing_summary(attempt: dict[str, Any]) -> dict[str, float]:
    """Median milliseconds of each timed mode, and images a second of the training step."""
    by_mode = step_seconds(attempt["timings"])
    summary = {f"{mode}_ms": 1e3 * float(pd.Series(v).median()) for mode, v in by_mode.items()}
    if "train_step_ms" in summary:
        batch = json.loads(attempt["settings"])["train"]["batch_size"]
        summary["train_images_per_s"] = 1e3 * batch / summary["train_step_ms"]
    return summary


def rounds(table: pa.Table) -> pd.DataFrame:
    """One row a mode of a round of timing; the columns are those of `ResultStore.rounds`."""
    rows = []
    for attempt in best_attempts(table.drop_columns(["pictures"])).to_pylist():
        by_mode: dict[str, list[dict[str, Any]]] = {}
        for sample in attempt["timings"]:
            if not sample["warmup"]:
                by_mode.setdefault(sample["mode"], []).append(sample)
        identity = {k: attempt[k] for k in (*IDENTITY, *ROUND)}
        for mode, samples in by_mode.items():
            seconds = pd.Series([s["seconds"] / s["iterations"] for s in samples])
            shares = {f"p{q}": float(seconds.quantile(q / 100)) for q in PERCENTILES}
            flagged = sum(bool(s["flags"]) for s in samples)
            rows.append(
                {**identity, "mode": mode, **shares, "samples": len(samples), "flagged": flagged}
            )
    columns = [*IDENTITY, *ROUND, "mode", *(f"p{q}" for q in PERCENTILES), "samples", "flagged"]
    return pd.DataFrame(rows, columns=columns)


PERCENTILES = (5, 10, 25, 50, 75, 90, 95)


def long(table: pa.Table, column: str) -> pd.DataFrame:
    """The structs of `column`, a row each, with the identity of their trial, or of its round."""
    identity = [*IDENTITY, *ROUND] if column == "timings" else IDENTITY
    kept = dict.fromkeys([*KEYS, *identity, column])
    chosen = best_attempts(table.select(list(kept)))
    rows, structs = items(chosen, column)
    whose = chosen.select(identity).to_pandas().iloc[rows].reset_index(drop=True)
    return pd.concat([whose, pa.Table.from_struct_array(structs).to_pandas()], axis=1)
