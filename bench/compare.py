"""Store against store: accuracy on paired seeds, speed over rounds, and what is only in one."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .errors import BenchError
from .margin import unpaired_change
from .report.formats import markdown_table, plain, text_table
from .report.tables import Cell, Column, Table
from .results import ResultStore
from .statistics import Estimate, geometric_interval, paired_difference, ratio_of_rounds

METRICS = {"test_error": "points of test error"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """What is compared: a store, or the rows of one commit in it."""

    store: str
    commit: str | None

    def __str__(self) -> str:
        return self.store if self.commit is None else f"{self.store}@{self.commit}"


@dataclass(frozen=True)
class Compared:
    """A variant, with the same settings on both sides.

    Attributes:
        what: A metric's name, or a timed mode.
        unit: Of the change.
        base: Mean of the first side.
        head: Mean of the second.
        change: Difference of a metric over shared seeds, or ratio of times, with 95 % interval.
        paired: Whether the seeds or rounds are shared.
    """

    study: str
    variant: str
    what: str
    unit: str
    base: float
    head: float
    change: Estimate
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """What two stores say of the same variants; `only` names what one of them lacks."""

    base: Side
    head: Side
    compared: tuple[Compared, ...]
    only_base: tuple[str, ...]
    only_head: tuple[str, ...]
    notes: tuple[str, ...]


def side(text: str) -> tuple[Side, list[Row]]:
    """A side from `STORE` or `STORE@COMMIT`, and its good rows.

    Raises:
        BenchError: The store has nothing, or nothing of this commit.
    """
    location, at, commit = text.rpartition("@")
    location, commit = (location, commit) if at else (text, "")
    rows = [r for r in ResultStore(location).read().table.to_pylist() if r["status"] == "done"]
    if not rows:
        raise BenchError(f"compare: store {location} has no good attempt")
    if not commit:
        return Side(location, None), rows
    known = {commit_of(row) for row in rows} - {""}
    mine = [row for row in rows if commit_of(row).startswith(commit)]
    if not mine:
        there = ", ".join(sorted(c[:10] for c in known)) or "none"
        raise BenchError(f"compare: store {location} has no commit `{commit}`; it has {there}")
    return Side(location, commit), mine


def compare(base: tuple[Side, Sequence[Row]], head: tuple[Side, Sequence[Row]]) -> Comparison:
    """Compare what both sides have: same study, variant, settings and device."""
    sides = [_by_variant(rows) for _, rows in (base, head)]
    compared: list[Compared] = []
    notes: list[str] = []
    for key in sides[0]:
        if key in sides[1]:
            ours, theirs = sides[0][key], sides[1][key]
            compared += _metrics(key, ours, theirs) + _times(key, ours, theirs, notes)
    only_base, only_head = (
        tuple(f"{k[0]}: {k[1]}" for k in a if k not in b) for a, b in (sides, sides[::-1])
    )
    told = tuple(dict.fromkeys(notes))
    return Comparison(base[0], head[0], tuple(compared), only_base, only_head, told)


def commit_of(row: Row) -> str:
    """The commit of the code that made a row; empty where none is known."""
    return json.loads(row["environment"]).get("commit") or ""


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
                if metric["name"] == name
            }
            for rows in (base, head)
        )
        change = paired_difference(theirs, ours)
        if change:
            before, after = (sum(side.values()) / len(side) for side in (ours, theirs))
            row = Compared(key[0], key[1], name, unit, before, after, change, True)
            compared.append(row)
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
        paired = ratio_of_rounds(ours[place], theirs[place])
        before, after = (geometric_interval(list(s[place].values())).mean for s in (ours, theirs))
        change = paired or _unpaired(ours[place], theirs[place])
        if not paired:
            notes.append(
                f"{key[0]}: {key[1]}: not timed side by side, so what the machine did in between "
                "is in the ratio of times; `stn-bench check` times both"
            )
        side_by_side = paired is not None
        row = Compared(
            key[0], key[1], place[1], "times as long", before, after, change, side_by_side
        )
        compared.append(row)
    return compared


def _unpaired(base: Mapping[Any, float], head: Mapping[Any, float]) -> Estimate:
    """Ratio of times of rounds that were not side by side, with Welch's interval."""
    logs = [[math.log(seconds) for seconds in arm.values()] for arm in (base, head)]
    if min(map(len, logs)) < 2:
        means = [sum(arm) / len(arm) for arm in logs]
        return Estimate(math.exp(means[1] - means[0]), None, None, 1)
    return unpaired_change(*logs).ratio


def _rounds(rows: Sequence[Row]) -> dict[tuple[str, str], dict[tuple[str, int], float]]:
    """Median seconds by machine and mode, then by run and round."""
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for row in rows:
        if row["phase"] != "timing":
            continue
        cpu = json.loads(row["environment"]).get("cpu")
        machine = f"{row['device_name']}, {cpu}, {row['threads']}, {row['protocol']}"
        blocks: dict[str, list[float]] = {}
        for sample in row["timings"]:
            if not sample["warmup"]:
                seconds = sample["seconds"] / sample["iterations"]
                blocks.setdefault(sample["mode"], []).append(seconds)
        for mode, values in blocks.items():
            place = found.setdefault((machine, mode), {})
            place[row["run_id"], row["round"] or 0] = median(values)
    return found


def text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    return "\n".join([text_table(_table(comparison)), *_words(comparison)])


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    words = "\n".join(f"- {plain(line)}" for line in _words(comparison))
    title = f"### {plain(str(comparison.head))} against {plain(str(comparison.base))}"
    return "\n\n".join([title, markdown_table(_table(comparison)), words]) + "\n"


def as_json(comparison: Comparison) -> str:
    """The comparison as JSON."""
    return json.dumps(dataclasses.asdict(comparison), indent=1, ensure_ascii=False)


def _words(comparison: Comparison) -> list[str]:
    lines = [f"only in {comparison.base}: {name}" for name in comparison.only_base]
    lines += [f"only in {comparison.head}: {name}" for name in comparison.only_head]
    lines += comparison.notes
    return lines or ["Both have the same variants."]


def _table(comparison: Comparison) -> Table:
    headings = ("variant", "what", str(comparison.base), str(comparison.head), "change [95 %]", "n")
    columns = tuple(Column(h, (h,), number=i > 1) for i, h in enumerate(headings))
    rows = []
    for row in comparison.compared:
        change = row.change
        bounds = "" if change.low is None else f" [{change.low:+.4g}, {change.high:+.4g}]"
        if row.unit == "times as long":
            bounds = bounds.replace("+", "")
            mean = f"{change.mean:.4g} times as long"
            values = (f"{1e3 * row.base:.4g} ms", f"{1e3 * row.head:.4g} ms")
        else:
            mean, values = f"{change.mean:+.4g}", (f"{row.base:.4g}", f"{row.head:.4g}")
        words = (f"{row.study}: {row.variant}", row.what, *values, mean + bounds)
        cells = [Cell(word, (word,)) for word in words]
        rows.append((*cells, Cell(str(change.n), (str(change.n),))))
    return Table("comparison", columns, tuple(rows))
