"""The table of trials, each with every attempt at it: what the numbers of a page lead to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from ...results.arrow import records
from ..attempts import commit_in_words
from ..findings import Findings
from ..tables import Table, number, trials_table

# What a page says of an attempt; all of it is small, however long the training was.
COLUMNS = [
    "trial_id", "phase", "round", "attempt", "status", "failure", "failure_kind", "traceback",
    "device", "device_name", "threads", "host", "run_id", "started_at", "seconds", "environment",
    "deterministic", "file",
]  # fmt: skip

EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Attempted:
    """One attempt in words."""

    title: str
    facts: str
    failure: str
    traceback: str
    file: str


@dataclass(frozen=True)
class Trials:
    """The table of trials; for each row its id, its variant's place and its attempts."""

    table: Table
    ids: Sequence[str]
    groups: Sequence[int]
    attempts: Sequence[Sequence[Attempted]]


def trials(findings: Findings, table: pa.Table) -> Trials:
    """All trials of a study with the attempts that `table`, a store's rows, has at them."""
    place = {row.variant: i for i, row in enumerate(findings.rows)}
    made: dict[str, list[dict[str, Any]]] = {}
    for row in records(table, COLUMNS):
        made.setdefault(row["trial_id"], []).append(row)
    return Trials(
        trials_table(findings),
        [trial.trial_id for trial in findings.trials],
        [place[trial.variant] for trial in findings.trials],
        [
            [_attempted(row) for row in sorted(made.get(trial.trial_id, []), key=_order)]
            for trial in findings.trials
        ],
    )


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["phase"], row["started_at"], row["file"])


def _attempted(row: Mapping[str, Any]) -> Attempted:
    facts = json.loads(row["environment"])
    title = row["phase"]
    if row["round"] is not None:
        title += f", round {row['round'] + 1}"
    if row["attempt"] > 1:
        title += f", attempt {row['attempt']}"
    parts = [
        f"{EPOCH + timedelta(microseconds=row['started_at']):%Y-%m-%d %H:%M:%S} UTC",
        f"{number(row['seconds'], 1)} s",
        f"{row['host']}, {row['device_name'] or row['device']}, threads {row['threads']}",
        f"run {row['run_id']}",
        f"commit {commit_in_words(facts)}",
    ]
    if not row["deterministic"]:
        parts.append("a kernel was not deterministic")
    kind = (row["failure_kind"] or "").replace("_", " ")
    failure = ": ".join(part for part in (kind, row["failure"]) if part)
    return Attempted(title, " · ".join(parts), failure, row["traceback"] or "", row["file"])
