"""The findings as one HTML file."""

from collections.abc import Mapping
from importlib import resources

import jinja2

from .findings import Findings
from .tables import failures_table, variants_table
from .words import answer, notes, settings_line

CAPTIONS = {
    "test_error.svg": "Test error of each variant",
    "accuracy_speed.svg": "Error against the time of a training step: down and left is better",
    "learning_curves.svg": "Test error while training",
}


def html(findings: Findings, charts: Mapping[str, str]) -> str:
    """The report as one HTML file: no script, nothing from outside."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files("bench.report").joinpath("report.html.j2").read_text("utf-8")
    failures = failures_table(findings)
    return environment.from_string(source).render(
        study=findings.study,
        answer=answer(findings),
        settings=settings_line(findings),
        table=variants_table(findings),
        notes=notes(findings),
        charts=[(CAPTIONS[name], svg) for name, svg in charts.items()],
        failures=failures if failures.rows else None,
        environments=findings.environments,
        command=findings.command,
    )
