"""Rows of two arms → findings: a verdict for every cell, and one for all of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..margin import (
    LOOKS,
    Change,
    Robust,
    Verdict,
    detectable,
    geometric_mean,
    overall,
    paired_change,
    robust,
    rounds_needed,
    verdicts,
)
from ..statistics import Estimate, mean_interval
from ..study.schema import Gates
from .rows import NOT_TIMED, Cell, Machine, Row, arm_of, cells, machine_of, metrics, variant_of


@dataclass(frozen=True)
class CellFinding:
    """What a check says of one cell.

    Attributes:
        verdict: PASS, REGRESSION, INCONCLUSIVE or MISSING.
        reason: Why, where the numbers alone do not say it.
        ratio: Head's time over base's, with its 95 % interval by itself.
        detectable: The slowdown that these rounds find with probability 0.8, as a share.
        robust: The Hodges-Lehmann estimate, and whether it agrees.
        gated: Whether calibration found that it can be gated here; None: there was none.
        flagged: Share of blocks that something disturbed.
    """

    cell: str
    verdict: Verdict
    reason: str = ""
    ratio: Estimate | None = None
    detectable: float | None = None
    robust: Robust | None = None
    gated: bool | None = None
    flagged: float = 0.0

    @property
    def rounds(self) -> int:
        """How many rounds say so."""
        return self.ratio.n if self.ratio else 0


@dataclass(frozen=True)
class Findings:
    """What a check says: of what, against what, cell by cell and in all."""

    study: str
    base: str
    head: str
    machine: Machine | None
    margin: float
    cells: tuple[CellFinding, ...]
    verdict: Verdict
    mean: Estimate | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What is compared: a study's variants, the names of both states of the code, the margins."""

    study: str
    base: str
    head: str
    variants: tuple[str, ...]
    gates: Gates


@dataclass(frozen=True)
class Noise:
    """The noise floor of a cell: base against itself.

    Attributes:
        deviation: Standard deviation of a round's logarithm of the ratio.
        rounds: How many rounds it was measured with.
        needed: Rounds that find twice the margin with probability 0.8; None: no look does.
        detectable: The slowdown that the last look finds with probability 0.8, as a share.
    """

    cell: str
    deviation: float
    rounds: int
    needed: int | None
    detectable: float


def noise(rows: Sequence[Row], margin: float) -> list[Noise]:
    """The noise floor of every cell from rows of `calibrate`, of one run or several.

    Rounds are taken about their own run's mean.
    """
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row["run_id"], []).append(row)
    squares: dict[str, list[float]] = {}
    counts: dict[str, list[int]] = {}
    for run in runs.values():
        for name, cell in cells(run, ("a", "b")).items():
            if len(cell.logs) >= 2:
                change = paired_change(list(cell.logs.values()))
                squares.setdefault(name, []).append(change.deviation**2 * change.df)
                counts.setdefault(name, []).append(change.rounds)
    found = []
    for name, parts in squares.items():
        df = sum(n - 1 for n in counts[name])
        deviation = math.sqrt(sum(parts) / df)
        needed = rounds_needed(deviation, margin)
        least = detectable(deviation, LOOKS[-1], margin)
        found.append(Noise(name, deviation, sum(counts[name]), needed, least))
    return found


def judge(
    question: Question, rows: Sequence[Row], floor: Sequence[Noise] = (), notes: Sequence[str] = ()
) -> Findings:
    """The findings of a run of `base` and `head` side by side.

    Args:
        question: What was to be compared.
        rows: All rows of the run.
        floor: Noise of this machine, from calibration.
        notes: What else is to be said.
    """
    found = cells(rows, ("base", "head"))
    have = {name: set(cell.logs) for name, cell in found.items()}
    lacking = lacks(rows, found, have, question.variants)
    changes = {
        name: paired_change(list(cell.logs.values()))
        for name, cell in found.items()
        if name not in lacking and len(cell.logs) >= 2
    }
    return conclude(question, rows, found, changes, lacking, floor, notes)


def conclude(
    question: Question,
    rows: Sequence[Row],
    found: Mapping[str, Cell],
    changes: Mapping[str, Change],
    lacking: Mapping[str, str],
    floor: Sequence[Noise] = (),
    notes: Sequence[str] = (),
) -> Findings:
    """Findings of changes, by the margin test, and MISSING for what lacks."""
    margin = question.gates.throughput.share
    told = _concluded(changes, found, margin, floor)
    told += [CellFinding(name, "MISSING", why) for name, why in lacking.items()]
    told = _with_quality(rows, question.gates, told)
    ungated = [cell.cell for cell in told if cell.gated is False]
    gated = {name: change for name, change in changes.items() if name not in ungated}
    return Findings(
        question.study,
        question.base,
        question.head,
        machine_of(rows[0]) if rows else None,
        margin,
        tuple(told),
        overall({cell.cell: cell.verdict for cell in told}, ungated),
        geometric_mean(gated),
        tuple(notes),
    )


def _concluded(
    changes: Mapping[str, Change], found: Mapping[str, Cell], margin: float, floor: Sequence[Noise]
) -> list[CellFinding]:
    decided = verdicts(changes, margin)
    gated = {cell.cell: cell.needed is not None for cell in floor}
    findings = []
    for name, cell in found.items():
        if name not in changes:
            continue
        change, can = changes[name], gated.get(name)
        verdict: Verdict = decided[name]
        reason = ""
        if can is False and verdict != "REGRESSION":
            verdict, reason = "INCONCLUSIVE", "cannot be gated here: too noisy, says calibrate"
        enough = change.rounds >= LOOKS[0]
        findings.append(
            CellFinding(
                name,
                verdict,
                reason,
                change.ratio,
                detectable(change.deviation, change.rounds, margin) if enough else None,
                robust(change, verdict, margin),
                can,
                cell.flagged,
            )
        )
    return findings


def lacks(
    rows: Sequence[Row],
    found: Mapping[str, Cell],
    have: Mapping[str, set[int]],
    wanted: Sequence[str],
) -> dict[str, str]:
    """Cells without data in every round, and why.

    Args:
        rows: Of the run.
        found: Its cells.
        have: The rounds in which a cell can be compared.
        wanted: The variants that were to be measured.
    """
    lacking: dict[str, str] = {}
    rounds = {row["round"] for row in rows}
    for variant in wanted:
        mine = [row for row in rows if row["variant"] == variant]
        failed = [row for row in mine if row["status"] != "done"]
        told = [row for row in failed if row["failure"] != NOT_TIMED] or failed
        names = [name for name in found if variant_of(name) == variant]
        if not names:
            lacking[variant] = _why(told[0]) if told else "was not measured"
        for name in names:
            if told:
                lacking[name] = _why(told[0])
            elif have.get(name, set()) != rounds:
                timed = any(found[name].seconds.values())
                lacking[name] = "has rounds without data" if timed else "only one arm has it"
    return lacking


def _why(row: Row) -> str:
    return f"{arm_of(row)}, round {row['round'] + 1}: {row['failure']}"


def _with_quality(
    rows: Sequence[Row], gates: Gates, findings: Sequence[CellFinding]
) -> list[CellFinding]:
    """The same findings, REGRESSION where numerics or accuracy fell beyond their margin.

    A speed-up that was paid for with them is void.
    """
    fallen = {
        **fell(metrics(rows, "test_error"), gates.test_error.margin, "test error", " points"),
        **fell(metrics(rows, "numeric_error"), gates.numerics.margin, "error", "", factor=2.0),
    }
    result = []
    for finding in findings:
        verdict, why = fallen.get(variant_of(finding.cell), (None, ""))
        if verdict and finding.verdict != "MISSING":
            ratio = finding.ratio
            faster = ratio is not None and ratio.high is not None and ratio.high < 1
            reason = f"the speed-up is void: {why}" if faster else why
            finding = replace(finding, verdict=verdict, reason=reason)
        result.append(finding)
    return result


def fell(
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    margin: float,
    what: str,
    unit: str,
    factor: float = 1.0,
) -> dict[str, tuple[Verdict, str]]:
    """The verdict on variants whose error in head fell behind, and why.

    REGRESSION where it is more than `factor` times base's and a margin, MISSING where head tells
    none. One round is enough where both arms are exact; over several the 95 % interval of the
    paired difference has to lie beyond the margin.
    """
    found: dict[str, tuple[Verdict, str]] = {}
    for variant, arms in values.items():
        base, head = arms.get("base", {}), arms.get("head", {})
        shared = sorted(base.keys() & head.keys())
        if base and not head:
            found[variant] = "MISSING", f"head's {what} is no longer told"
        if not shared:
            continue
        grown = mean_interval([head[n] - factor * base[n] for n in shared])
        if not (grown.mean <= margin) and not (grown.low is not None and grown.low <= margin):
            was, now = (sum(by[n] for n in shared) / len(shared) for by in (base, head))
            why = f"{what} grew from {was:.3g} to {now:.3g}{unit}, beyond the margin {margin:g}"
            found[variant] = "REGRESSION", why
    return found


def decided(found: Findings) -> bool:
    """Whether more rounds would change nothing: each cell that can be gated has its verdict."""
    return all(cell.verdict != "INCONCLUSIVE" or cell.gated is False for cell in found.cells)
