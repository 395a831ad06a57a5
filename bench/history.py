"""Throughput over commits, as a ratio to the reference cell, and where it changed.

The reference cell computes with torch alone, nothing of this project: what it gains or loses is the
machine's. A cell's throughput over that of the reference, taken in the same process, is the code's.
"""

import dataclasses
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .errors import BenchError
from .report.formats import text_table
from .report.tables import Table, number_column, text_cell, text_column
from .results.schema import step_seconds
from .statistics import Estimate, geometric_interval

REFERENCE = "reference"
# A change is confirmed by so many commits after it.
CONFIRMED = 3
PENALTY = 4.0

Row = Mapping[str, Any]
COLUMNS = [
    "study", "variant", "phase", "status", "device_name", "threads", "protocol", "round",
    "run_id", "started_at", "settings", "environment", "timings",
]  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A commit: throughput of a cell over that of the reference, with its interval over rounds."""

    commit: str
    ratio: Estimate
    seconds: float


@dataclass(frozen=True)
class Step:
    """A change of level: the first commit that has it, by how much, and whether it is confirmed."""

    commit: str
    factor: float
    confirmed: bool


@dataclass(frozen=True)
class CellHistory:
    """A cell over commits, oldest first."""

    cell: str
    machine: str
    points: tuple[Point, ...]
    steps: tuple[Step, ...]


def history(rows: Sequence[Row], study: str, order: Sequence[str] = ()) -> list[CellHistory]:
    """The history of a study, by cell and machine.

    Args:
        rows: Of a store, of which only `COLUMNS` are needed.
        study: Its name.
        order: Commits, oldest first, as git has them; others follow by when they were measured.

    Raises:
        BenchError: The store has nothing of it, or nothing of its reference cell.
    """
    mine = [r for r in rows if r["study"] == study and r["phase"] == "timing"]
    mine = [row for row in mine if row["status"] == "done"]
    if not mine:
        raise BenchError(f"history: the store has no timings of study `{study}`")
    if not any(_is_reference(row) for row in mine):
        raise BenchError(
            f"history: study `{study}` has no reference cell: a variant with `workload: reference`"
        )
    place = {commit: i for i, commit in enumerate(order)}
    times: dict[tuple[str, str], dict[str, dict[Any, float]]] = {}
    references: dict[Any, float] = {}
    first: dict[str, Any] = {}
    for row in mine:
        environment = json.loads(row["environment"])
        commit = _commit(environment)
        machine = (
            f"{row['device_name']}, {environment.get('cpu')}, {row['threads']} threads, "
            f"protocol {row['protocol']}"
        )
        process = (row["run_id"], row["round"], environment.get("arm", "head"), commit)
        first[commit] = min(first.get(commit, row["started_at"]), row["started_at"])
        for mode, blocks in step_seconds(row["timings"]).items():
            seconds = median(blocks)
            if _is_reference(row):
                references[process] = seconds
            else:
                cell = times.setdefault((machine, f"{row['variant']} [{mode}]"), {})
                cell.setdefault(commit, {})[process] = seconds
    found = []
    for (machine, cell), by_commit in times.items():
        known = sorted(
            by_commit, key=lambda c: (place.get(c.partition("+")[0], math.inf), first[c])
        )
        points = []
        for commit in known:
            ratios = [references[p] / s for p, s in by_commit[commit].items() if p in references]
            if ratios:
                seconds = median(by_commit[commit].values())
                points.append(Point(commit, geometric_interval(ratios), seconds))
        found.append(CellHistory(cell, machine, tuple(points), steps(points)))
    return found


def steps(points: Sequence[Point]) -> tuple[Step, ...]:
    """Where the level of a cell changes: ends of the pieces that fit its logarithm best."""
    logs = [math.log(point.ratio.mean) for point in points]
    ends = [*pieces(logs, _noise(points)), len(points)]
    found = []
    for before, start, end in zip([0, *ends], ends, ends[1:], strict=False):
        factor = math.exp(np.mean(logs[start:end]) - np.mean(logs[before:start]))
        found.append(Step(points[start].commit, float(factor), end - start >= CONFIRMED))
    return tuple(found)


def pieces(values: Sequence[float], noise: float) -> list[int]:
    """Where the best piecewise constant fit to values changes its level (Potts' functional).

    It minimises the sum of squares in units of the noise, plus a penalty for each change of
    `PENALTY` times the logarithm of the number of values; exactly, by dynamic programming
    (Friedrich et al., 2008).

    Args:
        values: In order.
        noise: Standard deviation of a value about its level.

    Example:
        >>> pieces([0.0, 0.1, 0.0, 1.0, 1.1, 1.0], 0.1)
        [3]
    """
    count = len(values)
    if count < 2:
        return []
    data = np.asarray(values, dtype=float)
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (data, data**2))
    penalty = PENALTY * math.log(count) * max(noise, 1e-12) ** 2
    best, start = np.zeros(count + 1), np.zeros(count + 1, dtype=int)
    best[0] = -penalty
    for end in range(1, count + 1):
        i = np.arange(end)
        error = squares[end] - squares[i] - (sums[end] - sums[i]) ** 2 / (end - i)
        total = best[:end] + penalty + error
        start[end] = int(np.argmin(total))
        best[end] = total[start[end]]
    changes, end = [], count
    while (end := int(start[end])) > 0:
        changes.append(end)
    return changes[::-1]


def _noise(points: Sequence[Point]) -> float:
    """Standard deviation of a point about its level: from neighbours, or from rounds if larger.

    The median of distances of neighbours is moved little by the few that lie across a change.
    """
    logs = np.log([point.ratio.mean for point in points])
    between = (
        float(np.median(np.abs(np.diff(logs)))) / (0.6745 * math.sqrt(2)) if len(logs) > 1 else 0
    )
    within = [
        (math.log(p.ratio.high) - math.log(p.ratio.low)) / 4
        for p in points
        if p.ratio.low is not None and p.ratio.high is not None
    ]
    return max(between, median(within) if within else 0.0)


def commits_in_order(folder: Path) -> list[str]:
    """The commits that led to HEAD of the checkout at `folder`, oldest first; none without git."""
    words = ["git", "-C", str(folder), "rev-list", "--topo-order", "--reverse", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.split()


def text(cells: Sequence[CellHistory]) -> str:
    """The history for a terminal: a table a cell, and its changes in words."""
    parts = []
    for cell in cells:
        columns = (
            text_column("commit"),
            number_column("throughput, to reference [95 %]", "ratio"),
            number_column("ms", "ms"),
            number_column("rounds", "rounds"),
        )
        starts = {step.commit for step in cell.steps}
        rows = []
        for point in cell.points:
            r = point.ratio
            bounds = "" if r.low is None else f" [{r.low:.4g}, {r.high:.4g}]"
            mark = " *" if point.commit in starts else ""
            words = (
                f"{point.commit[:10]}{mark}", f"{r.mean:.4g}{bounds}", f"{1e3 * point.seconds:.4g}",
                str(r.n),
            )  # fmt: skip
            rows.append(tuple(map(text_cell, words)))
        lines = [
            f"{cell.cell} on {cell.machine}",
            text_table(Table("history", columns, tuple(rows))),
        ]
        for step in cell.steps:
            sure = "" if step.confirmed else f", not yet confirmed by {CONFIRMED} commits"
            lines.append(f"{step.commit[:10]}: {100 * (step.factor - 1):+.1f} % throughput{sure}")
        parts.append("\n".join(lines if cell.steps else [*lines, "no change of level"]))
    return "\n\n".join(parts)


def as_json(cells: Sequence[CellHistory]) -> str:
    """The history as JSON."""
    return json.dumps([dataclasses.asdict(cell) for cell in cells], indent=1)


def _is_reference(row: Row) -> bool:
    workload = json.loads(row["settings"]).get("workload") or {}
    return workload.get("name") == REFERENCE


def _commit(environment: Mapping[str, Any]) -> str:
    """A commit, with the hash of what differs from it where something does."""
    commit = environment.get("commit") or "unknown"
    return f"{commit}+{environment['dirty']}" if environment.get("dirty") else commit
