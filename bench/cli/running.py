"""Verbs that run a study, or say how far it is."""

import json
from typing import Annotated, Literal, Optional

import typer

from ..errors import BenchError
from .options import (
    AsJson,
    DataDir,
    Device,
    Only,
    Overrides,
    Profile,
    Results,
    StudyFile,
    StudyName,
    name_corrupt,
    study_in,
    study_of,
)


def plan(
    study: StudyFile,
    overrides: Overrides = None,
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """List the trials of a study, after checking all of it that needs no torch."""
    from ..environment import local_device

    loaded = study_in(study, overrides, profile, only)
    known = local_device() if device == "auto" else device
    trials = loaded.trials(known)
    if as_json:
        rows = [
            {"trial_id": t.trial_id, "variant": t.variant, "seed": t.seed, "device": t.device,
             "phases": t.phases, **t.settings}
            for t in trials
        ]  # fmt: skip
        typer.echo(json.dumps(rows, indent=1))
        return
    typer.echo(f"{loaded.name}: {loaded.question}")
    width = max(len(t.variant) for t in trials)
    for t in trials:
        typer.echo(f"{t.trial_id}  {t.variant:{width}}  seed {t.seed}  {' + '.join(t.phases)}")
    typer.echo(
        f"{len(loaded.variants)} variants × {loaded.seeds} seeds = {len(trials)} trials on {known}"
    )


def run(
    study: StudyFile,
    overrides: Overrides = None,
    results: Results = "results",
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    address: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster: auto, HOST:PORT, ray://…"),
    ] = None,
    in_process: Annotated[
        bool, typer.Option(help="Without Ray, one trial after the other.")
    ] = False,
    rerun: Annotated[
        Optional[Literal["stale", "failed", "all"]],  # noqa: UP045
        typer.Option(help="Do again what is good but stale, what failed for good, or all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events, a line each.")] = False,
) -> None:
    """Run what a study lacks in the store, then report. 0: all done, 1: some failed."""
    import contextlib
    import sys
    import time

    from rich.console import Console

    from ..launch import run as launch
    from ..progress import follow, follow_json

    begun = time.perf_counter()
    loaded = study_in(study, overrides, profile, only)
    console = Console(highlight=False, soft_wrap=True)
    events = launch(
        loaded,
        results,
        data_dir=data_dir,
        device=device,
        address=address,
        in_process=in_process,
        rerun=rerun,
    )
    try:
        if as_json:
            # Ray prints on standard output what it has to say of workers that die.
            events_out = sys.stdout
            with contextlib.redirect_stdout(sys.stderr):
                tally = follow_json(events, lambda line: typer.echo(line, events_out))
        else:
            tally = follow(events, console)
    except KeyboardInterrupt:
        typer.echo("interrupted: what finished is in the store; run again to do the rest", err=True)
        raise typer.Exit(130) from None
    from .made import keep, kept, source

    reporting = time.perf_counter()
    of = source(loaded, results, device)
    if (report := kept(loaded, results, of)) is None:
        from ..report import write_report

        report = write_report(loaded, results, device)
        keep(report, of)
    if as_json:
        typer.echo(
            json.dumps({"event": "report", "undone": report.undone, "html": str(report.html)})
        )
        raise typer.Exit(1 if report.undone else 0)
    console.print(report.summary, markup=False)
    tally.stages["report"] = time.perf_counter() - reporting
    total = time.perf_counter() - begun
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in tally.stages.items())
    console.print(f"time: {total:.1f} s ({spent})", markup=False)
    console.print(f"report: {report.html}", markup=False)
    if report.undone:
        raise typer.Exit(1)


def status(
    study: StudyName,
    overrides: Overrides = None,
    results: Results = "results",
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Count trials done, missing, failed, stale (done by other code) and running.

    Says which attempts are under way, and how many have failed in which way.
    """
    import time

    from ..ledger import COLUMNS, failures, study_account
    from ..results import ResultStore

    loaded = study_of(study, results, overrides, profile, only)
    store = ResultStore(results)
    there, marks = store.read(COLUMNS), store.marks()
    name_corrupt(there.corrupt)
    state = study_account(loaded, there.table, marks, device)
    failed = failures(loaded, state.device, there.table)
    ids = {trial.trial_id for trial in loaded.trials(state.device)}
    under_way = [mark for mark in marks if mark.alive and mark.trial_id in ids]
    if as_json:
        keys = ("trial_id", "variant", "seed", "phase", "attempt", "run_id", "host", "started")
        working = [{key: getattr(mark, key) for key in keys} for mark in under_way]
        told = {"study": loaded.name, **state.counts, "failures": failed, "under_way": working}
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{loaded.name}: " + ", ".join(f"{n} {name}" for name, n in state.counts.items()))
    if failed:
        kinds = ", ".join(f"{n} {kind}" for kind, n in failed.items())
        typer.echo(f"attempts that failed: {kinds}")
    for mark in under_way:
        typer.echo(
            f"{mark.host}, process {mark.pid}: {mark.variant}, seed {mark.seed}, {mark.phase}, "
            f"attempt {mark.attempt}, {max(0.0, time.time() - mark.started):.0f} s"
        )


def logs(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, or how it begins.")],
    results: Results = "results",
) -> None:
    """Print what the attempts at a trial have printed, and where they failed."""
    from ..results import ResultStore

    store = ResultStore(results)
    columns = ["trial_id", "phase", "attempt", "run_id", "failure", "traceback"]
    rows = [r for r in store.read(columns).table.to_pylist() if r["trial_id"].startswith(trial)]
    failed = {
        f"{r['trial_id']}.{r['phase']}.{r['attempt']}.{r['run_id']}": r
        for r in rows
        if r["failure"]
    }
    printed = store.logs(trial)
    if not rows and not printed:
        raise BenchError(f"store {store.location}: has no trial that begins with `{trial}`")
    for name in sorted({*printed, *failed}):
        typer.echo(f"== {name}")
        typer.echo(printed.get(name, "").rstrip("\n"))
        if row := failed.get(name):
            typer.echo((row["traceback"] or row["failure"]).rstrip("\n"))
