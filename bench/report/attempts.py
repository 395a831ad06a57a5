"""What became of each trial, and when and where every attempt was made."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..ledger import Account
from ..study import Trial
from .findings import Span, TrialRow

STATES = ("done", "failed", "running", "missing")


def trial_rows(
    trials: Iterable[Trial],
    attempts: Sequence[Mapping[str, Any]],
    state: Account,
    metrics: Mapping[str, Mapping[str, float]],
    measure: str | None,
) -> tuple[TrialRow, ...]:
    """A row a trial, in the study's order; a failure is shown until it has been made good."""
    status = {trial_id: name for name in STATES for trial_id in getattr(state, name)}
    made: dict[str, list[Mapping[str, Any]]] = {}
    for row in attempts:
        made.setdefault(row["trial_id"], []).append(row)
    rows = []
    for trial in trials:
        mine = sorted(made.get(trial.trial_id, []), key=lambda row: row["started_at"])
        failed = [row for row in mine if row["failure_kind"]]
        shown = failed[-1] if failed and status[trial.trial_id] != "done" else None
        values = dict(metrics.get(trial.trial_id, {}))
        rows.append(
            TrialRow(
                trial_id=trial.trial_id,
                variant=trial.variant,
                seed=trial.seed,
                status=status[trial.trial_id],
                attempts=len(mine),
                score=values.pop(measure, None) if measure else None,
                metrics=values,
                seconds=float(sum(row["seconds"] for row in mine)),
                kind=shown["failure_kind"] if shown else None,
                failure=shown["failure"] if shown else None,
            )
        )
    return tuple(rows)


def spans(attempts: Iterable[Mapping[str, Any]], trials: Mapping[str, Trial]) -> tuple[Span, ...]:
    """Every attempt, run by run; side by side ones of a device stand in lanes of their own."""
    rows = sorted(attempts, key=lambda row: (row["started_at"], row["file"]))
    zero: dict[str, Any] = {}
    lanes: dict[tuple[str, str], list[float]] = {}
    found = []
    for row in rows:
        begun = zero.setdefault(row["run_id"], row["started_at"])
        start = (row["started_at"] - begun) / 1e6
        device = f"{row['host']}: {row['device_name'] or row['device']}"
        ends = lanes.setdefault((row["run_id"], device), [])
        lane = next((i for i, end in enumerate(ends) if end <= start), len(ends))
        ends[lane : lane + 1] = [start + row["seconds"]]
        trial = trials[row["trial_id"]]
        found.append(
            Span(
                trial_id=row["trial_id"],
                variant=trial.variant,
                seed=trial.seed,
                phase=row["phase"],
                round=row["round"],
                attempt=row["attempt"],
                status=row["status"],
                kind=row["failure_kind"],
                run_id=row["run_id"],
                device=device,
                lane=lane,
                start=start,
                seconds=row["seconds"],
            )
        )
    return tuple(found)


def environments(attempts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Each distinct place and state of the code that rows came from, as a line."""
    lines: dict[str, None] = {}
    seen: set[tuple[str, ...]] = set()
    for row in sorted(attempts, key=lambda row: row["started_at"]):
        place = (row["device"], row["device_name"], row["environment"])
        if place in seen:
            continue
        seen.add(place)
        facts = json.loads(row["environment"])
        packages = ", ".join(f"{k} {v}" for k, v in facts["packages"].items())
        lines[
            f"{row['device']} ({row['device_name'] or facts['cpu']}, {facts['cpus']} CPUs), "
            f"Python {facts['python']}, {packages}; "
            f"commit {commit_in_words(facts)}"
        ] = None
    return tuple(lines)


def commit_in_words(facts: Mapping[str, Any]) -> str:
    """How the commit in a row's environment begins, and whether the code was changed since."""
    return (facts["commit"] or "unknown")[:12] + (" with changes" if facts["dirty"] else "")
