"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere.

A program sees one line of JSON an event instead.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .jobs import Event, Job

STAGES = {
    "start": "starting",
    "check": "building every variant once",
    "accuracy": "training and testing",
    "timing": "timing, with nothing beside it",
    "store": "compacting the store",
}

Kind = tuple[str, str]


@dataclass
class Tally:
    """Counts of jobs, what runs where, and where the time went, stage by stage, in seconds."""

    planned: int | None = None
    done: int = 0
    failed: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    since: float = field(default_factory=time.perf_counter)
    begun: float | None = None
    running: dict[str, tuple[Job, str, float]] = field(default_factory=dict)
    left: Counter[Kind] = field(default_factory=Counter)
    seconds: dict[Kind, tuple[float, int]] = field(default_factory=dict)
    lanes: int = 1

    def take(self, event: Event) -> None:
        """Take notice of an event."""
        if event.kind == "stage" and event.text in STAGES:
            self.enter(event.text)
        elif event.kind == "planned":
            self.planned = len(event.jobs)
            self.left = Counter(map(_kind, event.jobs))
            for job in event.jobs:
                if job.expected is not None:
                    self.seconds.setdefault(_kind(job), (job.expected, 1))
        elif event.job is not None:
            self._take_job(event, event.job)

    def _take_job(self, event: Event, job: Job) -> None:
        now = time.perf_counter()
        if event.kind == "started":
            self.running[job.key] = (job, event.place, now)
            self.begun = self.begun or now
            if job.phase == "accuracy":
                self.lanes = max(self.lanes, len(self.running))
            return
        self.running.pop(job.key, None)
        outcome = event.outcome
        if outcome is None or event.again is not None:
            return
        self.left[_kind(job)] -= 1
        if outcome.failure:
            self.failed += 1
            return
        self.done += 1
        if outcome.elsewhere is None:
            total, count = self.seconds.get(_kind(job), (0.0, 0))
            self.seconds[_kind(job)] = total + outcome.seconds, count + 1

    def enter(self, stage: str) -> None:
        """A stage begins, and the one before has ended."""
        now = time.perf_counter()
        if self.stage:
            self.stages[self.stage] = self.stages.get(self.stage, 0) + now - self.since
        self.stage, self.since = stage, now

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest will take, by what was measured; None where nothing was yet."""
        if not self.seconds:
            return None
        means = {kind: total / count for kind, (total, count) in self.seconds.items()}
        spent: dict[str, float] = {"accuracy": 0.0, "timing": 0.0}
        for kind, count in self.left.items():
            known = [mean for other, mean in means.items() if other[1] == kind[1]] or [0.0]
            spent[kind[1]] += count * means.get(kind, sum(known) / len(known))
        return spent["accuracy"] / self.lanes + spent["timing"]


def follow(events: Iterable[Event], console: Console) -> Tally:
    """Show events as they come; gives the tally when they end."""
    tally = Tally()
    with Live(
        console=console,
        get_renderable=lambda: _view(tally),
        refresh_per_second=2,
        transient=True,
        auto_refresh=console.is_terminal,
    ) as live:
        for event in events:
            tally.take(event)
            if text := _words(event):
                live.console.out(text, highlight=False)
        tally.enter("")
        live.update(Text(""))
    return tally


def follow_json(events: Iterable[Event], write: Callable[[str], Any]) -> Tally:
    """Write every event as a line of JSON; gives the tally when they end."""
    tally = Tally()
    for event in events:
        tally.take(event)
        write(json.dumps(_plain(event)))
    tally.enter("")
    return tally


def label(job: Job) -> str:
    """A job as people call it."""
    part = "" if job.round is None else f", round {job.round + 1}"
    return f"{job.trial.variant}, seed {job.trial.seed}, {job.phase}{part}"


def _kind(job: Job) -> Kind:
    return job.trial.variant, job.phase


def _words(event: Event) -> str:
    if event.kind == "stage":
        return STAGES.get(event.text, event.text)
    if event.job is None or event.outcome is None:
        return ""
    outcome = event.outcome
    word = f"FAILED: {outcome.failure}" if outcome.failure else "done"
    word = "done by another run" if outcome.elsewhere else word
    again = "; it is tried again" if event.again else ""
    return f"{label(event.job)}: {word} ({outcome.seconds:.1f} s){again}"


def _plain(event: Event) -> dict[str, Any]:
    line: dict[str, Any] = {"event": event.kind, "time": round(time.time(), 3)}
    if event.kind == "stage":
        line["text"] = event.text
    if event.kind == "planned":
        line["count"] = len(event.jobs)
    if event.job is not None:
        job, trial = event.job, event.job.trial
        line |= {
            "trial_id": trial.trial_id, "variant": trial.variant, "seed": trial.seed,
            "phase": job.phase, "round": job.round, "attempt": job.attempt, "place": event.place,
        }  # fmt: skip
    if event.outcome is not None:
        outcome = event.outcome
        line |= {
            "seconds": round(outcome.seconds, 6), "failure": outcome.failure,
            "failure_kind": outcome.failure_kind, "elsewhere": outcome.elsewhere is not None,
            "again": event.again is not None,
        }  # fmt: skip
    return line


def _view(tally: Tally) -> Group:
    ended, now = tally.done + tally.failed, time.perf_counter()
    places = Table.grid(padding=(0, 2))
    for job, place, started in list(tally.running.values()):
        places.add_row(place, label(job), f"{now - started:.0f} s")
    words = [STAGES.get(tally.stage, "starting")]
    if tally.planned is not None:
        words.append(f"{ended} of {tally.planned}, {tally.failed} failed")
    if ended and tally.begun is not None:
        words.append(f"{60 * ended / max(now - tally.begun, 1e-9):.1f} a minute")
    if (left := tally.seconds_left) is not None:
        words.append(f"about {_duration(left)} left")
    bar = ProgressBar(total=tally.planned or None, completed=ended, width=60)
    return Group(places, bar, Text(" · ".join(words)))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
