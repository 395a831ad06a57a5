"""Several jobs given to a worker at once, and what became of them where it was stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..jobs import Job, Launch, Outcome, patiently
from ..results import ResultStore
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
        if not reply().went_well or reply().seconds > LONGEST_SECONDS:
            break
    return reply()


def cut_short(
    jobs: Sequence[Job], launch: Launch, end: Callable[[Job], Outcome]
) -> tuple[list[Outcome], list[Job]]:
    """What became of jobs whose worker is gone: outcomes, and what others are to make.

    What has a row has ended. What has a mark was under way, and `end` writes its row; where none of
    them has either, that is the first one. The rest has not begun, or so it seems from here: they
    come as another attempt, before which it is looked whether the worker goes on all the same.
    """
    if len(jobs) < 2:
        return [end(job) for job in jobs], []

    def look(store: ResultStore) -> tuple[list[Outcome | None], set[str]]:
        found = [finished(store, job, launch) for job in jobs]
        ended = {job.key for job, outcome in zip(jobs, found, strict=True) if outcome}
        marks = {mark.key: mark for mark in store.marks() if mark.run_id == launch.run_id}
        for key in ended & marks.keys():
            store.remove_mark(marks[key])
        return found, set(marks)

    found, marked = patiently(launch, look)
    outcomes = [outcome for outcome in found if outcome]
    left = [job for job, outcome in zip(jobs, found, strict=True) if outcome is None]
    stopped = [job for job in left if job.key in marked] or ([] if outcomes else left[:1])
    return [*outcomes, *map(end, stopped)], [job.again() for job in left if job not in stopped]
