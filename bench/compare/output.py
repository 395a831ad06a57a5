"""A comparison for a terminal, as Markdown, as JSON and as a page."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..report.charts import Chart, Dot, dots
from ..report.formats import markdown_table, plain, text_table, write_texts
from ..report.page import Grid, Page, Section, html
from ..report.tables import (
    Cell,
    Table,
    interval,
    interval_cell,
    interval_column,
    number_cell,
    number_column,
    text_cell,
    text_column,
)
from .comparison import Compared, Comparison

# Places of a ratio of times: a gate looks for a percent or two.
RATIO_PLACES = 3


def text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    tables = "\n\n".join(text_table(table) for table in tables_of(comparison))
    return "\n".join([*([tables, ""] if tables else []), *answer(comparison), *_words(comparison)])


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    parts = [f"### {plain(_title(comparison))}", plain(" ".join(answer(comparison)))]
    parts += [markdown_table(table) for table in tables_of(comparison)]
    parts.append("\n".join(f"- {plain(line)}" for line in _words(comparison)))
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(comparison: Comparison) -> str:
    """The comparison as JSON."""
    return json.dumps(dataclasses.asdict(comparison), indent=1, ensure_ascii=False)


def write(comparison: Comparison, folder: Path) -> Path:
    """Write `comparison.html` and `comparison.md`; gives the page's place.

    Raises:
        InfrastructureError: They cannot be written.
    """
    texts = {"comparison.html": html(page(comparison)), "comparison.md": markdown(comparison)}
    write_texts(folder, texts, "the comparison")
    return folder / "comparison.html"


def page(comparison: Comparison) -> Page:
    """The comparison as a page of the same kind as a report."""
    rows = comparison.compared
    by_name = {table.name: [Grid(table, table.name)] for table in tables_of(comparison)}
    only = [*comparison.only_base, *comparison.only_head]
    sections = [
        Section(
            "accuracy", "Accuracy", ACCURACY, by_name.get("accuracy", ()),
            charts=_chart([row for row in rows if not row.timed], timed=False),
        ),
        Section(
            "time", "Time", TIME, by_name.get("time", ()),
            charts=_chart([row for row in rows if row.timed], timed=True),
        ),
        Section("notes", "To be known", lines=_words(comparison)),
        Section(
            "environment", "Environment", lines=comparison.environments,
            command=shlex.join(
                ["stn-bench", "compare", str(comparison.base), str(comparison.head)]
            ),
        ),
    ]  # fmt: skip
    return Page(
        kind="Comparison",
        title=_title(comparison),
        question=f"What changed from {comparison.base} to {comparison.head}?",
        answer=answer(comparison),
        counts=[
            (len({row.name for row in rows}), "variants in both"),
            (len(rows), "numbers compared"),
            (sum(row.tells for row in rows), "changed"),
            (len(only), "only in one"),
        ],
        sections=[section for section in sections if section.shows],
    )


ACCURACY = (
    "Second less first, paired by seed. Each interval is a 95 % interval by itself; p is after "
    "Holm's correction for all numbers compared, those of time too."
)
TIME = (
    "How many times as long the second takes: geometric mean over rounds, by pairs where both were "
    "timed side by side. Intervals and p as above."
)


def answer(comparison: Comparison) -> list[str]:
    """What changed, by how much, how sure; only what the statistics allow."""
    rows = comparison.compared
    if not rows:
        return ["The two have no result of the same variant, so nothing is compared."]
    told = [_change(row) for row in rows if row.tells]
    rest, bare = (
        sum(not row.tells and (row.p is None) is without for row in rows)
        for without in (False, True)
    )
    if rest:
        what = f"the other {rest}" if told else f"any of {rest}" if rest > 1 else "the one"
        counted = "numbers" if rest > 1 else "number"
        told.append(
            f"Whether {what} {counted} changed cannot be told from so many seeds or rounds."
        )
    if bare:
        counted = f"{bare} numbers rest" if bare > 1 else "One number rests"
        told.append(
            f"{counted} on one seed or round, which gives no interval, so nothing can be concluded."
        )
    return told


def _change(row: Compared) -> str:
    if row.timed:
        how = "longer" if row.change.mean > 1 else "less long"
        return (
            f"{row.name}: {row.what.replace('_', ' ')} takes {how}: "
            f"{interval(row.change, RATIO_PLACES)} times ({row.change.n} rounds)."
        )
    how = "rose" if row.change.mean > 0 else "fell"
    return (
        f"{row.name}: {row.what.replace('_', ' ')} {how}: {interval(row.change)} {row.unit} "
        f"({row.change.n} seeds)."
    )


def tables_of(comparison: Comparison) -> list[Table]:
    """Accuracy and time, each where something of it was compared."""
    made = []
    for name, timed, unit, heading in (
        ("accuracy", False, "", "change [95 %]"),
        ("time", True, ", ms", "times as long [95 %]"),
    ):
        columns = (
            text_column("variant"),
            text_column("what"),
            number_column(f"{comparison.base}{unit}", "base"),
            number_column(f"{comparison.head}{unit}", "head"),
            interval_column(heading, "change"),
            number_column("p (Holm)", "p_holm"),
            number_column("rounds" if timed else "seeds", "n"),
        )
        rows = tuple(_cells(row) for row in comparison.compared if row.timed is timed)
        made += [Table(name, columns, rows)] if rows else []
    return made


def _cells(row: Compared) -> tuple[Cell, ...]:
    places = RATIO_PLACES if row.timed else 2
    scale = 1e3 if row.timed else 1.0
    return (
        text_cell(row.name),
        Cell(row.what.replace("_", " "), (row.what,)),
        number_cell(scale * row.base, places),
        number_cell(scale * row.head, places),
        interval_cell(row.change, places),
        number_cell(row.p_holm, 3),
        number_cell(row.change.n, 0),
    )


def _chart(rows: Sequence[Compared], *, timed: bool) -> list[Chart]:
    """The forest plot of what changed; none where nothing was compared."""
    if not rows:
        return []
    lines = [
        Dot(f"{row.name} · {row.what.replace('_', ' ')}", row.change, strong=row.tells)
        for row in rows
    ]
    drawn = (
        dots(lines, "times as long", reference=1.0, places=RATIO_PLACES)
        if timed
        else dots(lines, rows[0].unit, reference=0.0)
    )
    return [
        Chart(
            "time_ratios" if timed else "differences",
            "How many times as long it takes" if timed else "Change of accuracy",
            f"With 95 % intervals; at {1 if timed else 0} nothing changed. Grey where the numbers, "
            "taken together, do not tell.",
            drawn,
        )
    ]


def _title(comparison: Comparison) -> str:
    return f"{comparison.head} against {comparison.base}"


def _words(comparison: Comparison) -> list[str]:
    lines = [f"only in {comparison.base}: {name}" for name in comparison.only_base]
    lines += [f"only in {comparison.head}: {name}" for name in comparison.only_head]
    lines += comparison.notes
    return lines or ["Both have the same variants."]
