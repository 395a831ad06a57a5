"""Verbs of the throughput gate."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional, TypeVar

import typer

from .options import (
    CHECKS,
    Checks,
    DataDir,
    Device,
    Only,
    Overrides,
    Profile,
    StudyFile,
    say,
    study_in,
)

Found = TypeVar("Found")
Rounds = Annotated[int, typer.Option(min=2, help="How many rounds.")]


def _measured(verb: Callable[[], Found]) -> Found:
    """What a verb finds; what nobody foresaw must not end with the status of a regression."""
    import traceback

    from ..errors import BenchError, InfrastructureError

    try:
        return verb()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BenchError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise InfrastructureError(f"the gate failed: {type(error).__name__}: {error}") from error


def check(
    study: StudyFile,
    overrides: Overrides = None,
    against: Annotated[
        str, typer.Option(help="A commit, by any name git knows, or a store of checks.")
    ] = "HEAD",
    results: Checks = CHECKS,
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for summary.md, junit.xml and check.json."),
    ] = None,
) -> None:
    """Is the working tree slower? 0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, 4 MISSING."""
    from ..check import gate, output as files, stored

    loaded = study_in(study, overrides, profile, only)
    options = gate.Options(results, device, data_dir)
    verb = stored.check if stored.is_store(against) else gate.check
    found = _measured(lambda: verb(loaded, against, options, say))
    typer.echo(f"\n{files.text(found)}")
    if output is not None:
        files.write(found, output)
    raise typer.Exit(files.STATUS[found.verdict])


def calibrate(
    study: StudyFile,
    overrides: Overrides = None,
    results: Checks = CHECKS,
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    rounds: Rounds = 16,
) -> None:
    """Measure the working tree against itself: the noise of this machine, which check reads."""
    from ..check import gate, output as files
    from ..report.formats import text_table

    loaded = study_in(study, overrides, profile, only)
    options = gate.Options(results, device, data_dir)
    machine, floor = _measured(lambda: gate.calibrate(loaded, options, rounds, say))
    typer.echo(f"\n{text_table(files.noise_table(floor))}\n\nMeasured on {machine}.")
