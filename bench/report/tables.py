"""Findings as tables: each number is rounded once, here, and is the same in every format."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..statistics import Estimate
from .findings import Difference, Effect, Findings, TrialRow, VariantRow

NONE = "–"
MEGABYTE = 1e6


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place.

    Attributes:
        text: For people, with a true minus sign.
        plain: For programs, a text for each of the column's `parts`; empty where there is none.
    """

    text: str
    plain: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """The first number of it, to sort by; None where it has none."""
        try:
            return float(self.plain[0])
        except (IndexError, ValueError):
            return None


@dataclass(frozen=True)
class Column:
    """A column: its heading for people, and for programs a name for each part of its cells."""

    heading: str
    parts: tuple[str, ...]
    number: bool = True


@dataclass(frozen=True)
class Table:
    """Cells in rows; `name` is that of its file."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def headers(self) -> tuple[str, ...]:
        """The headings."""
        return tuple(column.heading for column in self.columns)


def number(value: float | None, places: int = 2) -> str:
    """A number, with a true minus sign; a dash where there is none."""
    return NONE if value is None else _minus(f"{value:,.{places}f}")


def interval(estimate: Estimate | None, places: int = 2) -> str:
    """`mean [low, high]`; the mean alone where there is no interval."""
    if estimate is None:
        return NONE
    if estimate.low is None:
        return number(estimate.mean, places)
    return f"{number(estimate.mean, places)} {bounds(estimate, places)}"


def bounds(estimate: Estimate, places: int = 2) -> str:
    """`[low, high]`."""
    return f"[{number(estimate.low, places)}, {number(estimate.high, places)}]"


def text_column(name: str) -> Column:
    """A column of words, which is called the same for people and for programs."""
    return Column(name, (name,), number=False)


def number_column(heading: str, name: str) -> Column:
    """A column of single numbers."""
    return Column(heading, (name,))


def interval_column(heading: str, name: str) -> Column:
    """A column of numbers with their intervals."""
    return Column(heading, (name, f"{name}_low", f"{name}_high"))


def text_cell(text: str) -> Cell:
    """Words, the same for people and for programs; a dash where there are none."""
    return Cell(text or NONE, (text,))


def number_cell(value: float | None, places: int = 2) -> Cell:
    """A number to so many places."""
    return Cell(number(value, places), ("" if value is None else f"{value:.{places}f}",))


def interval_cell(estimate: Estimate | None, places: int = 2) -> Cell:
    """An estimate with its interval, each to so many places."""
    parts = (estimate.mean, estimate.low, estimate.high) if estimate else (None, None, None)
    return Cell(
        interval(estimate, places),
        tuple("" if part is None else f"{part:.{places}f}" for part in parts),
    )


def variants_table(findings: Findings) -> Table:
    """One row a variant: accuracy, difference, published figure, speed and size beside each other.

    A column that would be empty in every row is left out.
    """
    found = [_variant_cells(findings, row) for row in findings.rows]
    kept = [
        column
        for column in dict.fromkeys(column for cells in found for column in cells)
        if column.parts[0] in ALWAYS or any(any(c[column].plain) for c in found if column in c)
    ]
    empty = {column: Cell(NONE, ("",) * len(column.parts)) for column in kept}
    rows = tuple(tuple(cells.get(c, empty[c]) for c in kept) for cells in found)
    return Table("variants", tuple(kept), rows)


ALWAYS = ("variant", "seeds")


def _variant_cells(findings: Findings, row: VariantRow) -> Mapping[Column, Cell]:
    measure = findings.measure
    cells: dict[Column, Cell] = {text_column("variant"): text_cell(row.variant)}
    if len(findings.points) > 1:
        cells[text_column("point")] = text_cell(row.point)
    if measure is not None:
        unit, title = measure.unit, measure.title
        cells[number_column("seeds", "seeds")] = number_cell(len(row.scores), 0)
        cells[interval_column(f"{title}, {unit} [95 %]", measure.name)] = interval_cell(row.score)
        cells[interval_column(f"difference to baseline, {measure.points} [95 %]", "difference")] = (
            Cell("baseline", ("", "", ""))
            if row.is_baseline
            else interval_cell(row.difference and row.difference.estimate)
        )
        if findings.comparisons > 1:
            cells[number_column("p (Holm)", "p_holm")] = _p(row.difference)
        for name in ("best_validation_error", "validation_error"):
            heading = f"{name.replace('_', ' ')}, % [95 %]"
            cells[interval_column(heading, name)] = interval_cell(row.metrics.get(name))
        figures = [p for p in row.published if p.metric == measure.name]
        cells[Column(f"published, {unit}", ("published", "published_source"))] = Cell(
            ", ".join(f"{_minus(f'{p.value:g}')} ({p.source})" for p in figures) or NONE,
            ("; ".join(f"{p.value:g}" for p in figures), "; ".join(p.source for p in figures)),
        )
    for mode in findings.modes:
        speed, words = row.speeds.get(mode), MODES.get(mode, mode.replace("_", " "))
        cells[interval_column(f"{words}, ms [95 %]", f"{mode}_ms")] = interval_cell(
            speed and speed.ms
        )
        if mode == "train_step":
            cells[number_column("images/s", "images_per_s")] = number_cell(speed and speed.per_s, 0)
        if measure is None or mode == findings.modes[0]:
            ratio = speed.ratio.estimate if speed and speed.ratio else None
            heading = f"{words}, times the baseline's [95 %]"
            cells[interval_column(heading, f"{mode}_ratio")] = interval_cell(ratio)
    for name, heading, scale, places in SIZES:
        size = row.metrics.get(name)
        cells[number_column(heading, name)] = number_cell(size and size.mean / scale, places)
    return cells


MODES = {"train_step": "training step"}
SIZES = (
    ("parameters", "parameters", 1, 0),
    ("train_step_flops", "training step, GFLOP", 1e9, 2),
    ("train_step_host_memory", "host memory, MB", MEGABYTE, 1),
    ("train_step_device_memory", "device memory, MB", MEGABYTE, 1),
)


def effects_table(findings: Findings, interactions: bool) -> Table:
    """Main effects, or interactions: how much a level changes the measure."""
    points = findings.measure.points if findings.measure else ""
    name = "interactions" if interactions else "main_effects"
    columns = (
        text_column("effect"),
        number_column("mean over", "cells"),
        interval_column(f"change, {points} [95 %]", "change"),
        number_column("p (Holm)", "p_holm"),
    )
    rows = tuple(
        (
            text_cell(effect_name(effect)),
            number_cell(effect.cells, 0),
            interval_cell(effect.difference and effect.difference.estimate),
            _p(effect.difference),
        )
        for effect in findings.effects
        if (len(effect.factors) > 1) == interactions
    )
    return Table(name, columns, rows)


def effect_name(effect: Effect) -> str:
    """`distortion: rts, not r`; of two factors, joined by ×."""
    return " × ".join(
        f"{factor}: {level}, not {reference}"
        for factor, level, reference in zip(
            effect.factors, effect.levels, effect.references, strict=True
        )
    )


def failures_table(findings: Findings) -> Table:
    """One row a trial that failed and was not made good."""
    columns = (
        text_column("variant"),
        number_column("seed", "seed"),
        number_column("attempts", "attempts"),
    )
    columns += (text_column("kind"), text_column("failure"), text_column("trial"))
    return Table("failures", columns, tuple(_failure(trial) for trial in findings.failures))


def _failure(trial: TrialRow) -> tuple[Cell, ...]:
    kind = (trial.kind or "").replace("_", " ")
    return (
        text_cell(trial.variant), number_cell(trial.seed, 0), number_cell(trial.attempts, 0),
        text_cell(kind), text_cell(trial.failure or ""), text_cell(trial.trial_id),
    )  # fmt: skip


def flags_table(findings: Findings) -> Table:
    """How many timed blocks of each variant bear each flag; empty where none bears any."""
    names = list(dict.fromkeys(flag for row in findings.rows for flag in row.flags))
    columns = (
        text_column("variant"),
        number_column("blocks", "blocks"),
        *(number_column(n, n) for n in names),
    )
    rows = tuple(
        (
            text_cell(row.variant),
            number_cell(row.blocks, 0),
            *(number_cell(row.flags.get(name, 0), 0) for name in names),
        )
        for row in findings.rows
        if row.flags
    )
    return Table("flags", columns, rows)


def diagnostics_table(findings: Findings) -> Table:
    """What the transformers of each variant did to the test set, at the end of training."""
    names = [n for n in DIAGNOSTICS if any(n in row.metrics for row in findings.rows)]
    columns = (text_column("variant"),)
    columns += tuple(interval_column(f"{DIAGNOSTICS[name]} [95 %]", name) for name in names)
    rows = tuple(
        (text_cell(row.variant), *(interval_cell(row.metrics.get(name), 3) for name in names))
        for row in findings.rows
        if any(name in row.metrics for name in names)
    )
    return Table("diagnostics", columns, rows)


DIAGNOSTICS = {
    "outside_share": "read outside the image, share",
    "determinant": "determinant of the Jacobian",
    "folding_share": "folded, share",
    "collapsed_share": "collapsed, share",
}


def trials_table(findings: Findings) -> Table:
    """One row a trial, whatever became of it."""
    measure = findings.measure
    names = list(dict.fromkeys(name for trial in findings.trials for name in trial.metrics))
    columns = (
        text_column("trial"),
        text_column("variant"),
        number_column("seed", "seed"),
        text_column("status"),
    )
    columns += (number_column("attempts", "attempts"),)
    columns += (number_column(f"{measure.title}, {measure.unit}", measure.name),) if measure else ()
    columns += tuple(number_column(name.replace("_", " "), name) for name in names)
    columns += (number_column("seconds", "seconds"), text_column("failure"))
    rows = tuple(
        (
            text_cell(trial.trial_id), text_cell(trial.variant), number_cell(trial.seed, 0),
            text_cell(trial.status), number_cell(trial.attempts, 0),
            *((number_cell(trial.score),) if measure else ()),
            *(_significant(trial.metrics.get(name)) for name in names),
            number_cell(trial.seconds, 1), text_cell(trial.failure or ""),
        )
        for trial in findings.trials
    )  # fmt: skip
    return Table("trials", columns, rows)


def _significant(value: float | None) -> Cell:
    if value is None:
        return Cell(NONE, ("",))
    if value == int(value) and abs(value) < 1e15:
        return number_cell(value, 0)
    return Cell(_minus(f"{value:.4g}"), (f"{value:.4g}",))


def _p(difference: Difference | None) -> Cell:
    p = difference.p_holm if difference else None
    return number_cell(p, 3)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
