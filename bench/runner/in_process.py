"""Make attempts one after the other in this process; timing gets fresh ones, as everywhere."""

import time
from collections.abc import Callable, Iterator, Sequence

from ..environment import local_device
from ..errors import BenchError
from ..jobs import Event, Job, Launch, Outcome
from ..study import Study
from . import fresh
from .queue import Queue


class InProcess:
    """The runner without Ray: for a debugger, and for the proof that Ray changes no number."""

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def device(self) -> str:
        return local_device()

    def check(self, study: Study, device: str, launch: Launch) -> None:
        from .. import trial

        if study.resources.accuracy.workers > 1:
            raise BenchError("resources.accuracy.workers: --in-process trains on one")
        trial.check_study(study, device, launch)

    def accuracy(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        from .. import trial

        return one_by_one(jobs, launch, trial.run_attempt, "in process")

    def timing(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        return one_by_one(jobs, launch, fresh.run_attempt, "in process")


def one_by_one(
    jobs: Sequence[Job], launch: Launch, make: Callable[[Job, Launch], Outcome], place: str
) -> Iterator[Event]:
    """Make attempts one after the other; what is tried again is so at once."""
    queue = Queue(jobs, launch)
    while queue:
        if (job := queue.take()) is None:
            time.sleep(0.1)
            continue
        yield Event("started", job=job, place=place)
        yield queue.ended(make(job, launch), place, next_=True)
