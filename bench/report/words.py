"""Findings in words and cells: written once, so that every format shows the same numbers."""

from dataclasses import dataclass

from ..statistics import Estimate
from .answer import Findings, VariantRow

NONE = "–"


@dataclass(frozen=True)
class Table:
    """Text cells; all columns but the first are numbers and stand to the right."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number(value: float | None, places: int = 2) -> str:
    """A number, with a true minus sign; a dash where there is none."""
    return NONE if value is None else f"{value:,.{places}f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate | None) -> str:
    """`mean [low, high]`; the mean alone where there is no interval."""
    if estimate is None:
        return NONE
    if estimate.low is None:
        return number(estimate.mean)
    return f"{number(estimate.mean)} [{number(estimate.low)}, {number(estimate.high)}]"


def variants_table(findings: Findings) -> Table:
    """One row a variant: accuracy, difference, size and speed beside each other."""
    published = any(row.published for row in findings.rows)
    headers = ["variant", "seeds", "test error, % [95 %]", "difference to baseline, points [95 %]"]
    headers += ["published, %"] * published
    headers += ["parameters", "training step, ms", "images/s", "forward, ms"]
    rows = []
    for row in findings.rows:
        cells = [row.variant, str(len(row.errors)), interval(row.error)]
        cells += ["baseline" if row.baseline == row.variant else interval(row.difference)]
        if published:
            cells += [", ".join(f"{p.value:g} ({p.source})" for p in row.published) or NONE]
        cells += [number(row.parameters, 0), number(row.train_step_ms), number(row.images_per_s, 0)]
        rows.append((*cells, number(row.forward_ms)))
    return Table(tuple(headers), tuple(rows))


def answer(findings: Findings) -> list[str]:
    """What the statistics allow to be said of the question, a sentence a compared variant."""
    compared = [row for row in findings.rows if row.baseline not in (None, row.variant)]
    counts = findings.counts
    if not any(row.errors for row in findings.rows):
        return ["No trial of this study has a result yet."]
    sentences = [_sentence(row) for row in compared]
    if not compared:
        sentences.append("The study names no baseline, so nothing is compared.")
    if counts["done"] < counts["trials"]:
        sentences.append(
            f"Of {counts['trials']} trials {counts['done']} are done, {counts['failed']} failed, "
            f"{counts['missing']} are missing and {counts['running']} are running."
        )
    return sentences


def _sentence(row: VariantRow) -> str:
    difference = row.difference
    if difference is None:
        return f"{row.variant} and {row.baseline} share no seed, so they cannot be compared."
    cost = ""
    if row.step_ratio is not None:
        ratio, rounds = row.step_ratio, row.step_ratio.n
        how = "one round: no interval"
        if ratio.low is not None:
            how = f"95 % interval [{number(ratio.low)}, {number(ratio.high)}], {rounds} rounds"
        cost = f"; its training step takes {number(ratio.mean)} times as long ({how})"
    if difference.low is None:
        return (
            f"{row.variant} differs from {row.baseline} by {number(difference.mean)} points of "
            f"test error on one seed; with one seed nothing can be concluded{cost}."
        )
    verb = "lowers" if difference.mean < 0 else "raises"
    size = f"{number(abs(difference.mean))} points"
    bounds = (
        f"95 % interval of the paired difference "
        f"[{number(difference.low)}, {number(difference.high)}], {difference.n} seeds"
    )
    if difference.excludes_zero:
        return f"{row.variant} {verb} the test error of {row.baseline} by {size} ({bounds}){cost}."
    return (
        f"Whether {row.variant} changes the test error of {row.baseline} cannot be told: "
        f"the {bounds}, includes 0{cost}."
    )


def failures_table(findings: Findings) -> Table:
    """One row a failed trial."""
    rows = tuple((variant, str(seed), failure) for variant, seed, failure in findings.failures)
    return Table(("variant", "seed", "failure"), rows)


def settings_line(findings: Findings) -> str:
    """How the study was run, where that was not as the file says."""
    study = findings.study
    parts = [f"profile `{study.profile}`"] if study.profile else []
    parts += [f"overrides {' '.join(study.overrides)}"] if study.overrides else []
    return "; ".join(parts)
