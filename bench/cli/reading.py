"""Verbs that read stores: reports, exports, comparisons."""

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from ..errors import BenchError
from .options import (
    CHECKS,
    AsJson,
    Checks,
    Device,
    Only,
    Overrides,
    Profile,
    Results,
    StudyName,
    name_corrupt,
    study_of,
)


def report(
    study: StudyName,
    overrides: Overrides = None,
    results: Results = "results",
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    output: Annotated[Optional[Path], typer.Option(help="Folder of the report.")] = None,  # noqa: UP045
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Make the report again from the store alone: HTML, Markdown, CSV and LaTeX."""
    from ..report import write_report

    loaded = study_of(study, results, overrides, profile, only)
    made = write_report(loaded, results, device, output)
    name_corrupt(made.corrupt)
    typer.echo(made.summary)
    typer.echo(f"report: {made.html}")
    if show:
        typer.launch(str(made.html))


def export(
    study: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")],
    to: Annotated[Literal["tensorboard", "mlflow"], typer.Option(help="For which tracker.")],
    results: Results = "results",
    device: Device = "auto",
) -> None:
    """Write the good trials of a study for TensorBoard or MLflow."""
    from ..export import export as write

    count = write(study_of(study, results), results, to, folder, device)
    typer.echo(f"{count} {'trial' if count == 1 else 'trials'} for {to}: {folder}")


def compare(
    base: Annotated[str, typer.Argument(metavar="STORE[@COMMIT]", help="What to compare with.")],
    head: Annotated[str, typer.Argument(metavar="STORE[@COMMIT]", help="What is compared.")],
    style: Annotated[
        Literal["text", "markdown", "json"], typer.Option("--format", help="How it is printed.")
    ] = "text",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for comparison.html and comparison.md."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser; needs --output.")
    ] = False,
) -> None:
    """Compare two stores: accuracy on paired seeds, speed, and what is only in one."""
    from .. import compare as comparing

    if show and output is None:
        raise BenchError("compare: --open needs --output FOLDER, where the page is written")
    told = comparing.compare(comparing.side(base), comparing.side(head))
    say = {
        "text": comparing.text,
        "markdown": comparing.markdown,
        "json": comparing.as_json,
    }
    typer.echo(say[style](told))
    if output is not None:
        made = comparing.write(told, output)
        typer.echo(f"comparison: {made}", err=style == "json")
        if show:
            typer.launch(str(made))


def history(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or a study's name.")],
    results: Checks = CHECKS,
    as_json: AsJson = False,
) -> None:
    """Throughput over commits, as a ratio to the reference cell, and where it changed."""
    from .. import history as told
    from ..results import ResultStore

    there = ResultStore(results).read(told.COLUMNS)
    name_corrupt(there.corrupt)
    rows = there.table.to_pylist()
    order = told.commits_in_order(Path(__file__).parents[1])
    cells = told.history(rows, Path(study).stem, order)
    typer.echo(told.as_json(cells) if as_json else told.text(cells))
