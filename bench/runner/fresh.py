"""A fresh process for each timing attempt, forked from a server that has imported torch.

Importing torch takes seconds; a fork takes milliseconds and is as fresh: no threads, no CUDA, no
model of an earlier attempt.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ..jobs import Job, Launch, Outcome
from .runner import lost

PRELOAD = ["bench.trial", "bench.tasks.classify", "torch.utils.flop_counter"]


def warm_up() -> None:
    """Start the server and wait until its imports are done."""
    _submit(_nothing)


def run_attempt(job: Job, launch: Launch) -> Outcome:
    """Run a job in a fresh process; one that dies leaves a row all the same."""
    started = time.time()
    try:
        return _submit(_attempt, job, launch)
    except BrokenProcessPool:
        return lost(job, launch, "the process of this attempt was killed", started)


def _submit(function, *arguments):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _attempt(job: Job, launch: Launch) -> Outcome:
    from .. import trial

    return trial.run_attempt(job, launch)


def _nothing() -> None:
    pass
