"""The command `stn-bench`, a function a verb. Heavy imports wait for the verb that needs them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from .errors import BenchError

if TYPE_CHECKING:
    from .study import Study

app = typer.Typer(
    name="stn-bench",
    help="Run studies of spatial transformers: one YAML file becomes results and a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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

CHECKS = "results/gate"


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("stn-bench"))
        raise typer.Exit


@app.command()
def plan(
    study: StudyFile,
    overrides: Overrides = None,
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the trials of a study, after checking all of it that needs no torch."""
    from .environment import local_device
    from .study import load_study

    loaded = load_study(study, overrides or (), profile=profile, only=only or ())
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


@app.command()
def run(
    study: StudyFile,
    overrides: Overrides = None,
    results: Results = "results",
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    data_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(envvar="STN_BENCH_DATA", help="Folder of the data sets."),
    ] = None,
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
    import time

    from rich.console import Console

    from .launch import run as launch
    from .progress import follow, follow_json
    from .study import load_study

    begun = time.perf_counter()
    loaded = load_study(study, overrides or (), profile=profile, only=only or ())
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
        tally = follow_json(events, typer.echo) if as_json else follow(events, console)
    except KeyboardInterrupt:
        typer.echo("interrupted: what finished is in the store; run again to do the rest", err=True)
        raise typer.Exit(130) from None
    from .report import write_report

    reporting = time.perf_counter()
    report = write_report(loaded, results, device)
    if as_json:
        typer.echo(json.dumps({"event": "report", "undone": report.undone, "html": report.html}))
        raise typer.Exit(1 if report.undone else 0)
    console.print(report.summary, markup=False)
    tally.stages["report"] = time.perf_counter() - reporting
    total = time.perf_counter() - begun
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in tally.stages.items())
    console.print(f"time: {total:.1f} s ({spent})", markup=False)
    console.print(f"report: {report.html}", markup=False)
    if report.undone:
        raise typer.Exit(1)


@app.command()
def status(
    study: StudyFile,
    overrides: Overrides = None,
    results: Results = "results",
    profile: Profile = None,
    only: Only = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count trials done, missing, failed, stale (done by other code) and running."""
    from .ledger import COLUMNS, study_account
    from .results import ResultStore
    from .study import load_study

    loaded = load_study(study, overrides or (), profile=profile, only=only or ())
    store = ResultStore(results)
    there = store.read(COLUMNS)
    _name_corrupt(there.corrupt)
    state = study_account(loaded, there.table, store.marks(), device)
    if as_json:
        typer.echo(json.dumps({"study": loaded.name, **state.counts}))
        return
    typer.echo(f"{loaded.name}: " + ", ".join(f"{n} {name}" for name, n in state.counts.items()))


@app.command()
def logs(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id, or how it begins.")],
    results: Results = "results",
) -> None:
    """Print what the attempts at a trial have printed, and where they failed."""
    from .results import ResultStore

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


@app.command()
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
    from .report import write_report

    loaded = _study_of(study, results, overrides, profile, only)
    made = write_report(loaded, results, device, output)
    _name_corrupt(made.corrupt)
    typer.echo(made.summary)
    typer.echo(f"report: {made.html}")
    if show:
        typer.launch(str(made.html))


@app.command()
def export(
    study: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")],
    to: Annotated[Literal["tensorboard", "mlflow"], typer.Option(help="For which tracker.")],
    results: Results = "results",
    device: Device = "auto",
) -> None:
    """Write the good trials of a study for TensorBoard or MLflow."""
    from .export import export as write

    count = write(_study_of(study, results), results, to, folder, device)
    typer.echo(f"{count} {'trial' if count == 1 else 'trials'} for {to}: {folder}")


DataDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(envvar="STN_BENCH_DATA", help="Folder of the data sets."),
]
Checks = Annotated[str, typer.Option(help="The store of checks: a folder, s3://… or gs://…")]
Rounds = Annotated[int, typer.Option(min=2, help="How many rounds.")]


@app.command()
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
    from .check import gate, output as files, stored
    from .study import load_study

    loaded = load_study(study, overrides or (), profile=profile, only=only or ())
    options = gate.Options(results, device, data_dir)
    verb = stored.check if stored.is_store(against) else gate.check
    try:
        found = verb(loaded, against, options, _say)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(f"\n{files.text(found)}")
    if output is not None:
        files.write(found, output)
    raise typer.Exit(files.STATUS[found.verdict])


@app.command()
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
    from .check import gate, output as files
    from .report.formats import text_table
    from .study import load_study

    loaded = load_study(study, overrides or (), profile=profile, only=only or ())
    options = gate.Options(results, device, data_dir)
    try:
        machine, floor = gate.calibrate(loaded, options, rounds, _say)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(f"\n{text_table(files.noise_table(floor))}\n\nMeasured on {machine}.")


@app.command()
def history(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or a study's name.")],
    results: Checks = CHECKS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Throughput over commits, as a ratio to the reference cell, and where it changed."""
    from . import history as told
    from .results import ResultStore

    rows = ResultStore(results).read().table.to_pylist()
    order = told.commits_in_order(Path(__file__).parent)
    cells = told.history(rows, Path(study).stem, order)
    typer.echo(told.as_json(cells) if as_json else told.text(cells))


@app.command()
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
    from . import compare as comparing

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


@app.command("list")
def list_components(
    role: Annotated[Optional[str], typer.Argument(help="One role: transform, sampler, …")] = None,  # noqa: UP045
) -> None:
    """List the components that a study can name, with their parameters and defaults."""
    from .components import ROLES, describe, suggest

    if role is not None and role not in ROLES:
        raise BenchError(f"unknown role `{role}`{suggest(role, ROLES)}")
    for kind in [role] if role else ROLES:
        typer.echo(f"{kind}:")
        for name in ROLES[kind]:
            component = describe(kind, name, Path())
            typer.echo(f"  {name}: {component.summary}")
            for key, parameter in component.parameters.items():
                default = "required" if parameter.required else f"= {json.dumps(parameter.default)}"
                typer.echo(f"    {key}: {parameter.text} {default}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study, for editors that complete YAML."""
    from .study.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))


def _study_of(
    study: str,
    results: str,
    overrides: Sequence[str] | None = None,
    profile: str | None = None,
    only: Sequence[str] | None = None,
) -> "Study":
    """A study by its file, or by its name in a store."""
    from .ledger import stored_study
    from .results import ResultStore
    from .study import load_study

    if study.endswith((".yaml", ".yml")) or "/" in study:
        return load_study(study, overrides or (), profile=profile, only=only or ())
    if overrides or profile or only:
        raise BenchError(
            f"overrides, --profile and --only need the study's file, not its name `{study}`"
        )
    return stored_study(ResultStore(results), study)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _name_corrupt(files: tuple[str, ...]) -> None:
    for file in files:
        typer.echo(f"{file}: its content is not what was written; `run` sets it aside", err=True)


def main() -> None:
    """Run the command; a `BenchError` is printed without a traceback."""
    try:
        app()
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
