"""Several jobs given to a worker at once, and what became of them where it was stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..jobs import Job, Launch, Outcome, patiently
from .runner import finished

# Jobs that take so long together are given to a worker at once: asking costs as much as they do.
MOMENT_SECONDS = 0.1
# After so long, longer than they should take, a worker begins no further one.
LONGEST_SECONDS = 1.0


@dataclass(frozen=True)
class Reply:
    """How jobs ended, as many as were begun, and in how many seconds.

    Attributes:
        error: What was raised by the job after those that have an outcome, if it was.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float
    error: Exception | None = None

    @property
    def went_well(self) -> bool:
        """Whether all was made here, and well, so that its time says how long others take."""
        odd = any(outcome.failure or outcome.elsewhere for outcome in self.outcomes)
        return self.error is None and not odd


def in_turn(jobs: Sequence[Job], run: Callable[[Job], Outcome]) -> Reply:
    """Run jobs one after the other, as long as all goes well and as quickly as was thought."""
    begun, outcomes = time.monotonic(), []

    def reply(error: Exception | None = None) -> Reply:
        return Reply(tuple(outcomes), time.monotonic() - begun, error)

    for job in jobs:
        try:
            outcomes.append(run(job))
        except Exception as error:
            return reply(error)
        so_far = reply()
        if not so_far.went_well or so_far.seconds > LONGEST_SECONDS:
            break
    return reply()


def cut_short(
    jobs: Sequence[Job], launch: Launch, end: Callable[[Job], Outcome]
) -> tuple[list[Outcome], list[Job]]:
    """What became of jobs whose worker is gone: outcomes, and what others are to make.

    The first without a row was under way, and `end` writes it. The rest has not begun, or so it
    seems from here: they come as another attempt, before which it is looked whether the worker
    goes on all the same.
    """
    outcomes: list[Outcome] = []
    for i, job in enumerate(jobs):
        row = patiently(launch, lambda store, job=job: finished(store, job, launch))
        outcomes.append(end(job))
        if row is None:
            return outcomes, [later.again() for later in jobs[i + 1 :]]
    return outcomes, []
