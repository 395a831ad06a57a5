"""Store against store: accuracy on paired seeds, speed over rounds, and what is only in one."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import BenchError
from ..margin import Change, paired_change, unpaired_change
from ..results import ResultStore
from ..results.schema import step_seconds
from ..statistics import Estimate, geometric_interval, holm, paired_difference, t_test

METRICS = {"test_error": "points of test error"}

Row = Mapping[str, Any]
COLUMNS = [
    "study", "variant", "settings", "device", "device_name", "seed", "phase", "status", "threads",
    "protocol", "round", "run_id", "started_at", "environment", "metrics", "timings",
]  # fmt: skip


@dataclass(frozen=True)
class Side:
    """What is compared: a store, or the rows of one commit in it; `corrupt` are files left out."""

    store: str
    commit: str | None
    corrupt: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.store if self.commit is None else f"{self.store}@{self.commit}"


@dataclass(frozen=True)
class Compared:
    """A variant, with the same settings on both sides.

    Attributes:
        what: A metric's name, or a timed mode.
        unit: Of a metric's change; empty where it is a ratio of times.
        base: Mean of the first side, of times in seconds.
        head: Mean of the second.
        change: Difference of a metric over shared seeds, or ratio of times, with 95 % interval.
        paired: Whether the seeds or rounds are shared.
        p: Of the t-test that nothing changed; None where there is no interval.
        p_holm: After Holm's correction for everything compared; words rest on this one.
    """

    study: str
    variant: str
    what: str
    unit: str
    base: float
    head: float
    change: Estimate
    paired: bool
    p: float | None
    p_holm: float | None = None

    @property
    def name(self) -> str:
        """Study and variant."""
        return f"{self.study}: {self.variant}"

    @property
    def timed(self) -> bool:
        """Whether the change is a ratio of times."""
        return not self.unit

    @property
    def tells(self) -> bool:
        """Whether the statistics allow to say that it changed, and in which direction."""
        return self.p_holm is not None and self.p_holm < 0.05


@dataclass(frozen=True)
class Comparison:
    """What two stores say of the same variants; `only` names what one of them lacks.

    `environments` are lines on where and by which code each side was made.
    """

    base: Side
    head: Side
    compared: tuple[Compared, ...]
    only_base: tuple[str, ...]
    only_head: tuple[str, ...]
    notes: tuple[str, ...]
    environments: tuple[str, ...]


def side(text: str) -> tuple[Side, list[Row]]:
    """A side from `STORE` or `STORE@COMMIT`, and its good rows.

    Raises:
        BenchError: The store has nothing, or nothing of this commit.
    """
    location, at, commit = text.rpartition("@")
    location, commit = (location, commit) if at and not Path(text).exists() else (text, "")
    there = ResultStore(location).read(COLUMNS)
    rows = [row for row in there.table.to_pylist() if row["status"] == "done"]
    if not rows:
        raise BenchError(f"compare: store {location} has no good attempt")
    if not commit:
        return Side(location, None, there.corrupt), rows
    known = {commit_of(row) for row in rows} - {""}
    mine = [row for row in rows if commit_of(row).startswith(commit)]
    if not mine:
        there = ", ".join(sorted(c[:10] for c in known)) or "none"
        raise BenchError(f"compare: store {location} has no commit `{commit}`; it has {there}")
    return Side(location, commit, there.corrupt), mine


def compare(base: tuple[Side, Sequence[Row]], head: tuple[Side, Sequence[Row]]) -> Comparison:
    """Compare what both sides have: same study, variant, settings and device."""
    sides = [_by_variant(rows) for _, rows in (base, head)]
    compared: list[Compared] = []
    notes = [
        f"{side}: left out {file}, whose content is not what was written"
        for side, _ in (base, head)
        for file in side.corrupt
    ]
    for key in sides[0]:
        if key in sides[1]:
            ours, theirs = sides[0][key], sides[1][key]
            compared += _metrics(key, ours, theirs) + _times(key, ours, theirs, notes)
    only_base, only_head = (
        tuple(f"{k[0]}: {k[1]}" for k in a if k not in b) for a, b in (sides, sides[::-1])
    )
    made = tuple(dict.fromkeys(_place(side, row) for side, rows in (base, head) for row in rows))
    told = tuple(dict.fromkeys(notes))
    return Comparison(base[0], head[0], _corrected(compared), only_base, only_head, told, made)


def commit_of(row: Row) -> str:
    """The commit of the code that made a row; empty where none is known."""
    return json.loads(row["environment"]).get("commit") or ""


def _place(side: Side, row: Row) -> str:
    device = row["device_name"] or row["device"]
    return f"{side}: {device}; commit {commit_of(row)[:12] or 'unknown'}"


def _corrected(compared: Sequence[Compared]) -> tuple[Compared, ...]:
    """With Holm's correction over all that have a p value, accuracy and times together."""
    given = [row.p for row in compared if row.p is not None]
    adjusted = iter(holm(given))
    return tuple(
        row if row.p is None else dataclasses.replace(row, p_holm=next(adjusted))
        for row in compared
    )


def _by_variant(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], list[Row]]:
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["started_at"]):
        key = (row["study"], row["variant"], row["settings"], row["device"])
        found.setdefault(key, []).append(row)
    return found


def _metrics(
    key: tuple[str, str, str, str], base: Sequence[Row], head: Sequence[Row]
) -> list[Compared]:
    compared = []
    for name, unit in METRICS.items():
        ours, theirs = (
            {
                row["seed"]: metric["value"]
                for row in rows
                if row["phase"] == "accuracy"
                for metric in row["metrics"]
                if metric["name"] == name and math.isfinite(metric["value"])
            }
            for rows in (base, head)
        )
        change = paired_difference(theirs, ours)
        if change:
            before, after = (sum(side.values()) / len(side) for side in (ours, theirs))
            p = t_test(change)
            compared.append(Compared(key[0], key[1], name, unit, before, after, change, True, p))
    return compared


def _times(
    key: tuple[str, str, str, str], base: Sequence[Row], head: Sequence[Row], notes: list[str]
) -> list[Compared]:
    ours, theirs = _rounds(base), _rounds(head)
    machines = [{machine for machine, _ in side} for side in (ours, theirs)]
    if ours and theirs and machines[0].isdisjoint(machines[1]):
        notes.append(f"{key[0]}: {key[1]}: timed on different machines, so times are not compared")
    compared = []
    for place in ours:
        if place not in theirs:
            continue
        shared = [at for at in ours[place] if at in theirs[place]]
        before, after = (geometric_interval(list(s[place].values())).mean for s in (ours, theirs))
        change, p = _ratio(ours[place], theirs[place], shared)
        if not shared:
            notes.append(
                f"{key[0]}: {key[1]}: not timed side by side, so what the machine did in between "
                "is in the ratio of times; `stn-bench check` times both"
            )
        paired = bool(shared)
        compared.append(Compared(key[0], key[1], place[1], "", before, after, change, paired, p))
    return compared


def _ratio(
    base: Mapping[Any, float], head: Mapping[Any, float], shared: Sequence[Any]
) -> tuple[Estimate, float | None]:
    """Ratio of times and its p: paired by the rounds that both have, else by Welch."""
    if shared:
        logs = [math.log(head[at] / base[at]) for at in shared]
        if len(logs) < 2:
            return Estimate(math.exp(logs[0]), None, None, 1), None
        return _tested(paired_change(logs))
    arms = [[math.log(seconds) for seconds in arm.values()] for arm in (base, head)]
    if min(map(len, arms)) < 2:
        means = [sum(arm) / len(arm) for arm in arms]
        return Estimate(math.exp(means[1] - means[0]), None, None, 1), None
    return _tested(unpaired_change(*arms))


def _tested(change: Change) -> tuple[Estimate, float]:
    return change.ratio, min(1.0, 2 * min(change.p_above(0.0), change.p_below(0.0)))


def _rounds(rows: Sequence[Row]) -> dict[tuple[str, str], dict[tuple[str, int], float]]:
    """Median seconds by machine and mode, then by run and round."""
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for row in rows:
        if row["phase"] != "timing":
            continue
        cpu = json.loads(row["environment"]).get("cpu")
        machine = f"{row['device_name']}, {cpu}, {row['threads']}, {row['protocol']}"
        for mode, blocks in step_seconds(row["timings"]).items():
            place = found.setdefault((machine, mode), {})
            place[row["run_id"], row["round"] or 0] = median(blocks)
    return found
