"""The jobs of one phase that are still to be made, in the order in which they are to be."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from ..jobs import Event, Job, Launch, Outcome
from .several import MOMENT_SECONDS

LOOK_AGAIN_SECONDS = 2.0


class Queue:
    """Jobs that wait; a failure brings a job back as often as the study's `retries` say.

    What another run on the store makes just now comes back after a while: it may die in the midst.
    """

    def __init__(self, jobs: Iterable[Job], launch: Launch) -> None:
        self._waiting, self._launch = deque(jobs), launch
        self._elsewhere: deque[tuple[float, Job]] = deque()
        self._failures: Counter[tuple[str, int | None, str]] = Counter()
        self._paces: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._elsewhere)

    def take(self) -> Job | None:
        """The next job; None where there is none, or none yet."""
        if self._waiting:
            return self._waiting.popleft()
        if self._elsewhere and self._elsewhere[0][0] <= time.monotonic():
            return self._elsewhere.popleft()[1]
        return None

    def take_some(self) -> tuple[Job, ...]:
        """The next job, and those after it that are known to take but a moment together."""
        first = self.take()
        if first is None:
            return ()
        some, seconds = [first], self._pace(first)
        while (
            self._waiting and (seconds := seconds + self._pace(self._waiting[0])) < MOMENT_SECONDS
        ):
            some.append(self._waiting.popleft())
        return tuple(some)

    def took(self, jobs: Sequence[Job], seconds: float) -> None:
        """Remember how long jobs have kept a worker, all of which went well."""
        self._paces.update((job.trial.variant, seconds / len(jobs)) for job in jobs)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Have jobs that did not begin be the next ones."""
        self._waiting.extendleft(reversed(jobs))

    def _pace(self, job: Job) -> float:
        return max(self._paces.get(job.trial.variant, float("inf")), job.expected or 0.0)

    def ended(self, outcome: Outcome, place: str, *, next_: bool = False) -> Event:
        """Take notice of how a job ended; the event says whether it comes again.

        Args:
            outcome: How it ended.
            place: Where it ran.
            next_: Whether a job that comes again is the next one, not the last.
        """
        job, kind = outcome.job, outcome.failure_kind
        again = None
        if outcome.elsewhere == "running":
            self._elsewhere.append((time.monotonic() + LOOK_AGAIN_SECONDS, job))
            return Event("stopped", job=job, place=place)
        if kind is not None:
            key = (job.trial.trial_id, job.round, kind)
            self._failures[key] += 1
            if self._failures[key] <= getattr(self._launch.retries, kind, 0):
                again = job.again()
                (self._waiting.appendleft if next_ else self._waiting.append)(again)
        return Event("ended", job=job, outcome=outcome, again=again, place=place)


def longest_first(jobs: Iterable[Job]) -> list[Job]:
    """Jobs by the seconds that they are expected to take; of what nothing is known comes first."""
    return sorted(jobs, key=lambda job: -float("inf") if job.expected is None else -job.expected)
