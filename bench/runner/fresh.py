"""A fresh process for each timing attempt, forked from a server that has imported torch.

Importing torch takes seconds; a fork takes milliseconds and is as fresh: no threads, no CUDA, no
model of an earlier attempt.
"""

import ctypes
import multiprocessing
import signal
import time
from multiprocessing.connection import Connection, wait
from typing import Any

from ..jobs import Job, Launch, Outcome
from .logs import kept
from .runner import GRACE_SECONDS, gone, late, raised

PRELOAD = ["bench.trial", "bench.tasks.classify", "torch.utils.flop_counter"]
PR_SET_PDEATHSIG = 1


def warm_up() -> None:
    """Start the server and wait until its imports are done."""
    process, _ = _start(_nothing)
    process.join()


def run_attempt(job: Job, launch: Launch) -> Outcome:
    """Run a job in a fresh process; one that dies, or does not end, leaves a row all the same."""
    started, limit = time.time(), launch.timeout(job)
    process, receiver = _start(_attempt, job, launch)
    ready = wait([receiver, process.sentinel], limit and limit + GRACE_SECONDS)
    try:
        if not ready:
            return gone(job, launch, *late(job, launch), started)
        outcome = receiver.recv()
    except EOFError:
        return gone(job, launch, "lost", "the process of this attempt was killed", started)
    finally:
        process.kill()
        process.join()
    return raised(outcome, job, launch, started) if isinstance(outcome, Exception) else outcome


def _start(function: Any, *arguments: Any) -> tuple[Any, Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(sender, *arguments))
    process.start()
    sender.close()
    return process, receiver


def _attempt(sender: Connection, job: Job, launch: Launch) -> None:
    _die_with_parent()
    from .. import trial

    try:
        with kept(job, launch):
            outcome = trial.run_attempt(job, launch)
    except Exception as error:
        outcome = error
    sender.send(outcome)


def _nothing(sender: Connection) -> None:
    pass


def _die_with_parent() -> None:
    """The server ends when whom it serves does; what it has forked ends with it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
