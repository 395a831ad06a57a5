"""What a study found, as a page."""

from collections.abc import Sequence

import pyarrow as pa

from ..charts import Chart
from ..findings import Findings
from ..tables import (
    Table,
    diagnostics_table,
    effects_table,
    failures_table,
    flags_table,
    variants_table,
)
from ..words import answer, details, notes, settings_line
from .document import Grid, Page, Section
from .pictures import pictures
from .trials import trials

# Charts of each section by the beginning of their names; what is left stands with the course.
ACCURACY = ("differences", "accuracy_speed", "scores", "time_ratios")
EFFECTS = ("main_effects", "interactions")


def report_page(findings: Findings, drawn: dict[str, Chart], table: pa.Table) -> Page:
    """The page of a study; `table` are the store's rows of it."""
    study, place = findings.study, {row.variant: i for i, row in enumerate(findings.rows)}
    seen = pictures(findings, table)

    def grid(found: Table, label: str) -> list[Grid]:
        groups = [place.get(row[0].text, 0) for row in found.rows] if found.rows else []
        return [Grid(found, label, groups)] if found.rows else []

    def some(names: Sequence[str]) -> list[Chart]:
        return [drawn[name] for name in names if name in drawn]

    effects = [
        Grid(found, label)
        for found, label in (
            (effects_table(findings, interactions=False), "main effects"),
            (effects_table(findings, interactions=True), "interactions"),
        )
        if found.rows
    ]
    rest = [name for name in drawn if name not in (*ACCURACY, *EFFECTS)]
    sections = [
        Section(
            "variants",
            "Variants",
            tables=grid(variants_table(findings), "variants"),
            reading=notes(findings),
            folded=details(findings),
        ),
        Section("comparison", "Accuracy and speed", charts=some(ACCURACY)),
        Section("effects", "What each factor does", tables=effects, charts=some(EFFECTS)),
        Section("pictures", "What the transformers see", PICTURES, pictures=bool(seen)),
        Section("course", "How it went", charts=some(rest)),
        Section(
            "diagnostics",
            "Diagnostics",
            DIAGNOSED,
            [
                *grid(diagnostics_table(findings), "diagnostics of the transformers"),
                *grid(flags_table(findings), "flags of timed blocks"),
            ],
        ),
        Section("failures", "Failures", tables=grid(failures_table(findings), "failures")),
        Section("trials", "Trials", TRIALS, trials=trials(findings, table)),
        Section(
            "environment",
            "Environment",
            lines=findings.environments,
            command=findings.command,
        ),
    ]
    counts = findings.counts
    return Page(
        kind="Study",
        title=study.name,
        question=study.question,
        answer=answer(findings),
        counts=[
            (len(findings.rows), "variants"),
            (counts["trials"], "trials"),
            *((counts[state], state) for state in STATES if counts[state]),
        ],
        sections=[section for section in sections if section.shows],
        settings=settings_line(findings),
        pictures=seen,
    )


STATES = ("done", "failed", "missing", "running", "stale")
PICTURES = (
    "The same test images for every variant, of its first seed. An outline is where a transformer "
    "reads the image; in its colour, below, what comes out."
)
DIAGNOSED = (
    "Of the transformers on the test set, over seeds. Flags of timed blocks are kept with them; no "
    "block was dropped."
)
TRIALS = "Every number above comes from these; a click on one shows its trials alone."
