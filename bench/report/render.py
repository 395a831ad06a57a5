"""The same findings as Markdown, as one HTML file, and as text for a terminal."""

import re
from collections.abc import Mapping
from importlib import resources

import jinja2

from .answer import Findings
from .words import Table, answer, failures_table, settings_line, variants_table

CAPTIONS = {
    "test_error.svg": "Test error of each variant",
    "accuracy_speed.svg": "Error against the time of a training step: down and left is better",
    "learning_curves.svg": "Test error while training",
}


def markdown(findings: Findings, charts: Mapping[str, str], command: str) -> str:
    """The report as Markdown beside its SVG files."""
    study = findings.study
    parts = [f"# {_plain(study.name)}", _plain(study.question)]
    parts += [" ".join(_plain(sentence) for sentence in answer(findings))]
    parts += [f"Run with {_plain(settings_line(findings))}."] if settings_line(findings) else []
    parts += [markdown_table(variants_table(findings)), notes(findings)]
    parts += [f"![{CAPTIONS[name]}]({name})" for name in charts]
    if findings.failures:
        parts += ["## Failures", markdown_table(failures_table(findings))]
    parts += ["## Environment", "\n".join(f"- {_plain(line)}" for line in findings.environments)]
    parts += [f"Made by `{command}`."]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """A table of text cells as Markdown."""
    lines = [" | ".join(table.headers), " | ".join(["---", *["---:"] * (len(table.headers) - 1)])]
    lines += [" | ".join(_plain(cell) for cell in row) for row in table.rows]
    return "\n".join(f"| {line} |" for line in lines)


def text_table(table: Table) -> str:
    """A table of text cells for a terminal."""
    rows = [table.headers, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.headers))]
    lines = [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def html(findings: Findings, charts: Mapping[str, str], command: str) -> str:
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
        command=command,
    )


def notes(findings: Findings) -> str:
    """How to read the numbers, in one paragraph."""
    seconds = findings.seconds
    return (
        "Intervals are Student's t over seeds; differences are paired by seed. "
        "The test error is that of the last step; nothing was chosen on the test set. "
        "Times are medians over rounds, in each of which every variant was timed once in a process "
        "of its own, on the trained model, when nothing else ran; how many times as long a step "
        "takes is compared round by round, and its interval is over rounds. "
        f"Attempts took {seconds['accuracy']:.0f} s of training and testing "
        f"and {seconds['timing']:.0f} s of timing in all."
    )


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
