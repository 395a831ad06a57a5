"""What a person sees while a study runs: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .jobs import Event, Job

STAGES = {
    "start": "starting",
    "check": "building every variant once",
    "accuracy": "training and testing",
    "timing": "timing, with nothing beside it",
    "store": "compacting the store",
}


@dataclass
class Tally:
    """Counts of jobs, and where the time went, stage by stage, in seconds."""

    planned: int | None = None
    done: int = 0
    failed: int = 0
    running: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    begun: float | None = None


def follow(events: Iterable[Event], console: Console) -> Tally:
    """Show events as they come; gives the tally when they end."""
    tally, stage, since = Tally(), "", time.perf_counter()

    def enter(name: str) -> None:
        nonlocal stage, since
        now = time.perf_counter()
        if stage:
            tally.stages[stage] = tally.stages.get(stage, 0) + now - since
        stage, since = name, now

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=None, note="")
        for event in events:
            if event.kind == "stage":
                if event.text in STAGES:
                    enter(event.text)
                console.print(STAGES.get(event.text, event.text), markup=False)
            elif event.kind == "planned":
                tally.planned = event.count
            elif event.job is not None:
                _count(tally, event, console)
            bar.update(
                task,
                description=STAGES.get(stage, stage),
                total=tally.planned,
                completed=tally.done + tally.failed,
                note=f"{tally.running} running, {tally.failed} failed{_eta(tally)}",
            )
    enter("")
    return tally


def _count(tally: Tally, event: Event, console: Console) -> None:
    if event.kind == "stopped":
        tally.running -= 1
        return
    if event.kind == "started" or event.outcome is None or event.job is None:
        tally.running += 1
        tally.begun = tally.begun or time.perf_counter()
        return
    tally.running -= 1
    outcome = event.outcome
    if event.again is not None:
        pass  # it is still to be made
    elif outcome.failure:
        tally.failed += 1
    else:
        tally.done += 1
    word = f"FAILED: {outcome.failure}" if outcome.failure else "done"
    console.print(f"{label(event.job)}: {word} ({outcome.seconds:.1f} s)", markup=False)


def label(job: Job) -> str:
    """A job as people call it."""
    part = "" if job.round is None else f", round {job.round + 1}"
    return f"{job.trial.variant}, seed {job.trial.seed}, {job.phase}{part}"


def _eta(tally: Tally) -> str:
    ended = tally.done + tally.failed
    if not ended or tally.begun is None or not tally.planned:
        return ""
    left = (time.perf_counter() - tally.begun) / ended * (tally.planned - ended)
    return f", about {left:.0f} s left"
