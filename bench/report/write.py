"""Write the report of a study beside its store."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from ..ledger import asked_for, study_account
from ..results import ResultStore
from ..study import Study
from .answer import findings
from .charts import charts, svg
from .formats import MANY, csv_text, latex, markdown, text_table, write_texts
from .page import html, report_page
from .tables import variants_table
from .words import answer


@dataclass(frozen=True)
class Report:
    """Where the report lies, its table and answer as text, and how many trials are not done.

    `corrupt` are files of the store that are not what their names say, and were left out.
    """

    summary: str
    html: Path
    markdown: Path
    undone: int
    corrupt: tuple[str, ...] = ()


def write_report(
    study: Study, results: str | Path, device: str = "auto", output: Path | None = None
) -> Report:
    """Write the report in every format, from the store alone, which is read once.

    `report.html` is one file; `report.md` stands beside its SVG files; `variants.csv` and
    `variants.tex` are its table.

    Args:
        study: The study, from its file or from the store.
        results: The store.
        device: Whose trials; `auto` is the device that was used last.
        output: The folder; `reports/<study>` in the store, or here where the store is no folder.

    Raises:
        InfrastructureError: The report cannot be written.
    """
    store = ResultStore(results)
    output = output or store.report_folder(study.name)
    there = store.read()
    state = study_account(study, there.table, store.marks(), device)
    command = shlex.join(["stn-bench", "report", study.name, "--results", str(results)])
    rows = asked_for(study, there.table)
    found = findings(study, state, rows, command)
    drawn, table = charts(found), variants_table(found)
    few = len(found.rows) <= MANY
    pictured = {f"{c.name}.svg": c for c in drawn.values() if c.in_markdown and few}
    files = {
        **{name: svg(chart) for name, chart in pictured.items()},
        "report.md": markdown(found, {name: chart.title for name, chart in pictured.items()}),
        "report.html": html(report_page(found, drawn, rows)),
        "variants.csv": csv_text(table),
        "variants.tex": latex(table, study.question),
    }
    write_texts(output, files, "the report")
    summary = "\n".join(["", text_table(table), "", *answer(found), ""])
    undone = state.counts["trials"] - state.counts["done"]
    return Report(summary, output / "report.html", output / "report.md", undone, there.corrupt)
