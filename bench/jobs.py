"""A job and what is said of it: what a run shares, how it ended, what a runner reports."""

import dataclasses
import datetime
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from .environment import environment
from .errors import DiskFull, StoreError
from .results import Attempt, ResultStore
from .results.schema import PROTOCOL, FailureKind
from .study import Trial
from .study.schema import Resources, Retries
from .study.study import PhaseName, canonical_json

# So long what has been made, or begins, waits for a store that is away.
PATIENCE_SECONDS = 60.0
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """An attempt to be made, the `attempt`-th at this phase of this trial, on `threads` threads.

    One at timing belongs to a `round`, in which every variant is timed once. `expected` are the
    seconds that earlier attempts at its variant took.
    """

    trial: Trial
    phase: PhaseName
    attempt: int
    threads: int
    round: int | None = None
    expected: float | None = None

    @property
    def key(self) -> str:
        """`<trial>.<phase>.<attempt>`."""
        return f"{self.trial.trial_id}.{self.phase}.{self.attempt}"

    def again(self) -> "Job":
        """The attempt after this one."""
        return dataclasses.replace(self, attempt=self.attempt + 1)

    def fields(self, launch: "Launch") -> dict[str, Any]:
        """What the row of this attempt says before it has begun."""
        trial = self.trial
        workers = launch.resources.accuracy.workers if self.phase == "accuracy" else 1
        shared = {"workers": workers} if workers > 1 else {}
        return {
            "trial_id": trial.trial_id,
            "study": trial.study,
            "variant": trial.variant,
            "seed": trial.seed,
            "phase": self.phase,
            "attempt": self.attempt,
            "phases": trial.phases,
            "settings": canonical_json(trial.settings),
            "device": trial.device,
            "threads": self.threads,
            "run_id": launch.run_id,
            "host": os.uname().nodename,
            "code_hash": launch.code_hash,
            "environment": json.dumps(environment() | shared, sort_keys=True),
            "protocol": PROTOCOL if self.phase == "timing" else None,
            "round": self.round,
        }

    def cut_short(
        self, launch: "Launch", kind: FailureKind, failure: str, started: float
    ) -> Attempt:
        """The row of an attempt whose worker is gone and can write none."""
        now = time.time()
        return Attempt(
            **self.fields(launch),
            status="failed",
            device_name="",
            deterministic=False,
            started_at=datetime.datetime.fromtimestamp(started, datetime.UTC),
            seconds=now - started,
            failure=failure,
            failure_kind=kind,
        )


@dataclass(frozen=True)
class Launch:
    """What all attempts of one run share; `folder` is where the study's own code lies."""

    run_id: str
    store: str
    folder: Path
    data_dir: Path | None
    code_hash: str
    resources: Resources = Resources()
    retries: Retries = Retries()
    began: float = field(default_factory=time.time)

    def timeout(self, job: "Job") -> float | None:
        """Seconds that a job may take."""
        return getattr(self.resources, job.phase).timeout


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; its row is in the store.

    Attributes:
        elsewhere: It was not made here, since another run on this store makes it now (`running`),
            or has made it (`done`).
    """

    job: Job
    failure: str | None
    failure_kind: FailureKind | None
    seconds: float
    elsewhere: Literal["running", "done"] | None = None


@dataclass(frozen=True)
class Event:
    """What a run reports: jobs are `planned`, one `started` or `ended`, a `stage` begins.

    One that is `stopped` is left to another run for now.

    Attributes:
        kind: What happened.
        text: Name of the stage.
        jobs: Those that are planned.
        job: The job, where it is one that started or ended.
        outcome: How it ended.
        again: The job that takes its place, where it is tried again.
        place: Where it runs: host and device.
    """

    kind: Literal["planned", "started", "ended", "stopped", "stage"]
    text: str = ""
    jobs: tuple[Job, ...] = ()
    job: Job | None = None
    outcome: Outcome | None = None
    again: Job | None = None
    place: str = ""


def one_line(error: BaseException) -> str:
    """An exception as the text of a failure: `Class: message`, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:2000]


def patiently(launch: Launch, do: Callable[[ResultStore], T]) -> T:
    """Do something with the store of a run, though it be away for a while; a full disk stays."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            store = ResultStore(launch.store)
            store.check_seen(launch.run_id)
            return do(store)
        except DiskFull:
            raise
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
