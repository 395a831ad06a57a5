"""Rows of attempts as pandas frames: a row a trial, or a row a point."""

import json
from typing import Any

import pandas as pd
import pyarrow as pa

IDENTITY = ["trial_id", "study", "variant", "seed"]


def best_attempts(table: pa.Table) -> list[dict[str, Any]]:
    """Of each phase of each trial the newest good attempt, or else the newest failure.

    An attempt that its run's death cut short says nothing of a trial, and is left out.
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in table.to_pylist():
        key = (row["trial_id"], row["phase"])
        if row["failure_kind"] == "interrupted":
            continue
        if key not in best or _rank(row) > _rank(best[key]):
            best[key] = row
    return [best[key] for key in sorted(best)]


def _rank(row: dict[str, Any]) -> tuple:
    good = row["status"] == "done"
    return (
        good,
        row["attempt"],
        row["started_at"],
        row["file"],
    )


def trials(table: pa.Table) -> pd.DataFrame:
    """One row a trial; the columns are those of `ResultStore.trials`."""
    rows: dict[str, dict[str, Any]] = {}
    for attempt in best_attempts(table):
        row = rows.setdefault(
            attempt["trial_id"],
            {**{k: attempt[k] for k in IDENTITY}, "status": "done", "attempt": 0, "failure": None},
        )
        row["attempt"] = max(row["attempt"], attempt["attempt"])
        row["device"] = attempt["device"]
        if attempt["status"] == "failed" and row["status"] == "done":
            row["status"] = "failed"
            row["failure"] = attempt["failure"]
        row |= {m["name"]: m["value"] for m in attempt["metrics"]}
        row |= {f"{attempt['phase']}_seconds": attempt["seconds"]}
        row |= timing_summary(attempt)
    frame = pd.DataFrame(list(rows.values()), columns=None if rows else [*IDENTITY, *STATUS])
    return frame.sort_values(["study", "variant", "seed"], ignore_index=True)


STATUS = ["status", "attempt", "failure"]


def timing_summary(attempt: dict[str, Any]) -> dict[str, float]:
    """Median milliseconds of each timed mode, and images a second of the training step."""
    by_mode: dict[str, list[float]] = {}
    for sample in attempt["timings"]:
        if not sample["warmup"]:
            by_mode.setdefault(sample["mode"], []).append(sample["seconds"] / sample["iterations"])
    summary = {f"{mode}_ms": 1e3 * float(pd.Series(v).median()) for mode, v in by_mode.items()}
    if "train_step_ms" in summary:
        batch = json.loads(attempt["settings"])["train"]["batch_size"]
        summary["train_images_per_s"] = 1e3 * batch / summary["train_step_ms"]
    return summary


def long(table: pa.Table, column: str) -> pd.DataFrame:
    """The structs of `column`, a row each, with the identity of their trial."""
    fields = [field.name for field in table.schema.field(column).type.value_type]
    rows = [
        {**{k: attempt[k] for k in IDENTITY}, **item}
        for attempt in best_attempts(table)
        for item in attempt[column]
    ]
    return pd.DataFrame(rows, columns=[*IDENTITY, *fields])
