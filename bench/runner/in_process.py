"""Make attempts one after the other in this process; timing gets fresh ones, as everywhere."""

from collections.abc import Iterator, Sequence

from ..environment import local_device
from ..jobs import Event, Job, Launch
from ..study import Study
from . import fresh


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
            yield Event("ended", job=job, outcome=fresh.run_attempt(job, launch))
