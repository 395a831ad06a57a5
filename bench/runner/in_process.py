"""Make attempts one after the other in this process; timing gets fresh ones, as everywhere."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ..environment import local_device
from ..jobs import Event, Job, Launch, Outcome
from ..results import ResultStore
from ..study import Study


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

        trial.check_study(study, device, launch)

    def accuracy(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        from .. import trial

        for job in jobs:
            yield Event("started", job=job)
            yield Event("ended", job=job, outcome=trial.run_attempt(job, launch))

    def timing(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        for job in jobs:
            yield Event("started", job=job)
            yield Event("ended", job=job, outcome=_in_fresh_process(job, launch))


def _in_fresh_process(job: Job, launch: Launch) -> Outcome:
    from .. import trial

    started = time.time()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        try:
            return fresh.submit(trial.run_attempt, job, launch).result()
        except BrokenProcessPool:
            failure = "WorkerLost: the timing process was killed"
            ResultStore(launch.store).write(job.cut_short(launch, "lost", failure, started))
            return Outcome(job, failure, "lost", time.time() - started)
