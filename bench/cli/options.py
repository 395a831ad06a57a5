"""What several verbs take, and what they share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from ..errors import BenchError

if TYPE_CHECKING:
    from ..study import Study

CHECKS = "results/gate"

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study, a YAML file.")]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A YAML file, or the name of a study in the store.")
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045  (typer reads this form only)
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides: train.steps=500 seeds=3"),
]
Profile = Annotated[Optional[str], typer.Option(help="A profile of the study.")]  # noqa: UP045
Only = Annotated[Optional[list[str]], typer.Option(help="Only this variant; may stand twice.")]  # noqa: UP045
Results = Annotated[str, typer.Option(help="The store: a folder, s3://… or gs://…")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto is cuda where there is a GPU.")
]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(envvar="STN_BENCH_DATA", help="Folder of the data sets."),
]
Checks = Annotated[str, typer.Option(help="The store of checks: a folder, s3://… or gs://…")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def study_in(
    file: Path,
    overrides: Sequence[str] | None,
    profile: str | None,
    only: Sequence[str] | None,
) -> "Study":
    """A study by its file, with what the command line lays on it.

    Raises:
        BenchError: It cannot be read, or something in it is wrong.
    """
    from ..study import load_study

    return load_study(file, overrides or (), profile=profile, only=only or ())


def study_of(
    study: str,
    results: str,
    overrides: Sequence[str] | None = None,
    profile: str | None = None,
    only: Sequence[str] | None = None,
) -> "Study":
    """A study by its file, or by its name in a store.

    Raises:
        BenchError: There is none, or it is given by name with what needs its file.
    """
    from ..ledger import stored_study
    from ..results import ResultStore

    if study.endswith((".yaml", ".yml")) or "/" in study:
        return study_in(Path(study), overrides, profile, only)
    if overrides or profile or only:
        raise BenchError(
            f"overrides, --profile and --only need the study's file, not its name `{study}`"
        )
    return stored_study(ResultStore(results), study)


def say(line: str) -> None:
    """Print a line beside what the verb prints."""
    typer.echo(line, err=True)


def name_corrupt(files: tuple[str, ...]) -> None:
    """Name the files of a store that are damaged."""
    for file in files:
        typer.echo(f"{file}: its content is not what was written; `run` sets it aside", err=True)
