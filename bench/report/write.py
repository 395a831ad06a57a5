"""Write the report of a study beside its store."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InfrastructureError
from ..ledger import asked_for, study_account
from ..results import ResultStore
from ..results.frames import best_attempts, long, trials
from ..study import Study
from . import render
from .answer import findings
from .charts import charts
from .words import answer, variants_table


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
    """Write `report.md`, its SVG files and `report.html`, from the store alone.

    Args:
        study: The study, from its file or from the store.
        results: The store.
        device: Whose trials; `auto` is the device that was used last.
        output: The folder; `reports/<study>` in the store, or here where the store is no folder.

    Raises:
        InfrastructureError: The report cannot be written.
    """
    store = ResultStore(results)
    if output is None:
        home = Path() if "://" in store.location else Path(store.location)
        output = home / "reports" / study.name
    there = store.read()
    state = study_account(study, there.table, store.marks(), device)
    table = asked_for(study, there.table)
    found = findings(
        study, state.device, trials(table), long(table, "curves"), best_attempts(table), state
    )
    drawn = charts(found)
    command = f"stn-bench report {study.name} --results {results}"
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, svg in drawn.items():
            (output / name).write_text(svg, "utf-8")
        (output / "report.md").write_text(render.markdown(found, drawn, command), "utf-8")
        (output / "report.html").write_text(render.html(found, drawn, command), "utf-8")
    except OSError as error:
        raise InfrastructureError(f"the report cannot be written: {error}") from error
    summary = "\n".join(["", render.text_table(variants_table(found)), "", *answer(found), ""])
    undone = state.counts["trials"] - state.counts["done"]
    return Report(summary, output / "report.html", output / "report.md", undone, there.corrupt)
