"""What a runner is: it checks a study, makes attempts, and gives events as they come."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..errors import DiskFull, StoreError
from ..jobs import Event, Job, Launch, Outcome, patiently
from ..results import ResultStore
from ..results.schema import FailureKind
from ..study import Study

# An attempt ends itself at its time limit; one that cannot is killed this much later.
GRACE_SECONDS = 10.0

WORDS: dict[FailureKind, str] = {
    "lost": "WorkerLost",
    "node_lost": "NodeLost",
    "timeout": "Timeout",
    "out_of_host_memory": "OutOfHostMemory",
    "store": "StoreError",
    "disk_full": "DiskFull",
}


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


def gone(job: Job, launch: Launch, kind: FailureKind, reason: str, started: float) -> Outcome:
    """The outcome of a job whose worker is gone, after its row has been written in its stead.

    Where the worker has written it and could say no more, the row stands.
    """
    return patiently(launch, lambda store: _closed(store, job, launch, kind, reason, started))


def late(job: Job, launch: Launch) -> tuple[FailureKind, str]:
    """What a job fails of, and in what words, that does not end at its time limit.

    Where its store is away it is that which it waits for, and no sign that it is slow.
    """
    try:
        ResultStore(launch.store).check_seen(launch.run_id)
    except StoreError as error:
        return "store", str(error)
    return "timeout", f"it ran for more than {launch.timeout(job):g} s"


def finished(store: ResultStore, job: Job, launch: Launch) -> Outcome | None:
    """How a job of this run ended, by its row; None where it has none."""
    for row in store.rows_of(job.trial.trial_id, job.phase):
        if (row["run_id"], row["attempt"]) == (launch.run_id, job.attempt):
            return Outcome(job, row["failure"], row["failure_kind"], row["seconds"])
    return None


def _closed(
    store: ResultStore, job: Job, launch: Launch, kind: FailureKind, reason: str, started: float
) -> Outcome:
    outcome = finished(store, job, launch)
    if outcome is None:
        failure = f"{WORDS[kind]}: {reason}"[:500]
        store.write(job.cut_short(launch, kind, failure, started))
        outcome = Outcome(job, failure, kind, time.time() - started)
    for mark in store.marks():
        if (mark.trial_id, mark.phase, mark.run_id) == (
            job.trial.trial_id, job.phase, launch.run_id,
        ):  # fmt: skip
            store.remove_mark(mark)
    return outcome


def raised(error: Exception, job: Job, launch: Launch, started: float) -> Outcome:
    """The outcome of a job whose worker could not write its row, if it can be written from here.

    Raises:
        Exception: `error`, where it does not concern the store.
    """
    if not isinstance(error, StoreError):
        raise error
    kind: FailureKind = "disk_full" if isinstance(error, DiskFull) else "store"
    return gone(job, launch, kind, str(error), started)
