"""What a runner is: it checks a study, makes attempts, and gives events as they come."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..jobs import Event, Job, Launch, Outcome
from ..results import ResultStore
from ..study import Study


class Runner(Protocol):
    """Where attempts are made. Entered, it holds its processes; left, they are gone."""

    def __enter__(self) -> "Runner": ...

    def __exit__(self, *_: object) -> None: ...

    def device(self) -> str:
        """`cuda` where it has a GPU, else `cpu`."""
        ...

    def check(self, study: Study, device: str, launch: Launch) -> None:
        """Build every variant once; raises `BenchError` for what would fail every trial."""
        ...

    def accuracy(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        """Make accuracy attempts, side by side where there is room."""
        ...

    def timing(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        """Make timing attempts one at a time, each in a fresh process, with nothing beside them."""
        ...


def lost(job: Job, launch: Launch, reason: str, started: float) -> Outcome:
    """The outcome of a job whose worker is gone, after its row has been written in its stead."""
    failure = f"WorkerLost: {reason}"[:500]
    ResultStore(launch.store).write(job.cut_short(launch, "lost", failure, started))
    return Outcome(job, failure, "lost", time.time() - started)
