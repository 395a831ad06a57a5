"""Run one attempt at one phase of one trial, and leave its row in the store whatever happens."""

import datetime
import json
import math
import os
import random
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load

from .build import build, dataset, model
from .conditions import pin
from .data_parallel import ALONE, PartnerGone, Ranks
from .environment import cpu_name
from .errors import BadData, BenchError, DiskFull, StoreError
from .jobs import Job, Launch, Outcome, one_line, patiently
from .results import Attempt, ResultStore, marks
from .results.marks import Mark, this_process
from .results.schema import FailureKind
from .resume import Halfway, saved
from .study import Study
from .tasks.task import Measured, Place, Task
from .training import Diverged

# A trial that is cut short loses at most this much.
KEEP_SECONDS = 60.0


class TimeLimit(Exception):
    """An attempt took longer than the study lets it."""


# What an exception is a failure of; in this order.
KINDS: dict[type[Exception], FailureKind] = {
    torch.OutOfMemoryError: "out_of_memory",
    MemoryError: "out_of_host_memory",
    Diverged: "diverged",
    TimeLimit: "timeout",
    BadData: "bad_data",
    DiskFull: "disk_full",
    StoreError: "store",
    PartnerGone: "lost",
}

# What torch says in a plain `RuntimeError`.
SAID: dict[str, FailureKind] = {
    "DefaultCPUAllocator: can't allocate memory": "out_of_host_memory",
    "CUDA error: out of memory": "out_of_memory",
    "_ALLOC_FAILED": "out_of_memory",  # cuBLAS, cuDNN and others, of the GPU's memory
}


class Failed(Exception):
    """What was raised in another process, as the row of its attempt says it."""

    def __init__(self, failure: str, kind: FailureKind, trace: str | None) -> None:
        super().__init__(failure, kind, trace)
        self.failure, self.trace = failure, trace
        self.kind: FailureKind = kind


@dataclass(frozen=True)
class Made:
    """What an attempt came to: what it measured, the weights apart, and on what."""

    measured: Measured
    weights: bytes
    device_name: str
    deterministic: bool


def check_study(study: Study, device: str, launch: Launch) -> None:
    """Build every variant once; raises `BenchError` for what would fail all its trials."""
    for variant in study.variants:
        settings = variant.settings(study.task)
        try:
            together = Ranks(count=launch.resources.accuracy.workers)
            _task(settings, launch).check(settings, _place(device, launch, together))
        except BenchError as error:
            raise BenchError(f"{study.name}: variant `{variant.name}`: {error}") from error
        except (Exception, SystemExit) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise BenchError(
                f"{study.name}: variant `{variant.name}`: {one_line(error)} "
                f"({frame.filename}:{frame.lineno})"
            ) from error


def make(job: Job, launch: Launch, ranks: Ranks = ALONE) -> Made | None:
    """Compute a job here, on its threads and from its seed; only the first of `ranks` tells."""
    name = device_name(job.trial.device)
    with _reproducible(job) as without_kernel:
        measured = _run_phase(job, launch, ranks)
    if ranks.rank:
        return None
    weights = saved(measured.weights) if measured.weights else b""
    return Made(replace(measured, weights={}), weights, name, not without_kernel)


def make_together(job: Job, launch: Launch, ranks: Ranks) -> Made | None:
    """Compute a job as one of several processes.

    Raises:
        Failed: It went wrong in this one.
    """
    try:
        return make(job, launch, ranks)
    except Exception as error:
        raise Failed(one_line(error), _kind(error), traceback.format_exc()) from None


def run_attempt(
    job: Job, launch: Launch, make: Callable[[Job, Launch], Made | None] = make
) -> Outcome:
    """Run a job, but not what another run makes now; `make` computes it.

    Raises:
        InfrastructureError: The store cannot be written; all else that goes wrong is a row.
    """
    made: Made | None = None
    failure: str | None = None
    kind: FailureKind | None = None
    trace: str | None = None
    mark = _mark(job, launch)
    # A mark would make a folder for itself where the store is not.
    store = patiently(launch, lambda store: store)
    with store.mark(mark):
        if elsewhere := _elsewhere(job, launch, store, mark):
            return Outcome(job, None, None, 0.0, elsewhere)
        started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        try:
            with _limited(launch.timeout(job)):
                made = make(job, launch)
        except Failed as error:
            failure, kind, trace = error.failure, error.kind, error.trace
        except Exception as error:
            failure, kind, trace = one_line(error), _kind(error), traceback.format_exc()
        seconds = time.perf_counter() - clock
        found = made or Made(Measured(), b"", _device_name(job, launch), True)
        if found.weights:
            trial_id = job.trial.trial_id
            patiently(launch, lambda store: store.write_checkpoint(trial_id, found.weights))
        attempt = Attempt(
            **job.fields(launch),
            status="done" if failure is None else "failed",
            device_name=found.device_name,
            deterministic=found.deterministic,
            started_at=started,
            seconds=seconds,
            failure=failure,
            failure_kind=kind,
            traceback=trace,
            metrics=found.measured.metrics,
            curves=found.measured.curves,
            timings=found.measured.timings,
            pictures=found.measured.pictures,
        )
        patiently(launch, lambda store: store.write(attempt))
        if job.phase == "accuracy" and kind in (None, "diverged"):
            store.remove_partial(job.trial.trial_id)
    return Outcome(job, failure, kind, seconds)


def load_model(results: str | Path, trial_id: str, folder: Path) -> torch.nn.Module:
    """The trained model of a trial; see `bench.load_model`."""
    store = ResultStore(results)
    rows = store.read(["trial_id", "settings"]).table.to_pylist()
    found = next((row["settings"] for row in rows if row["trial_id"] == trial_id), None)
    if found is None:
        raise BenchError(f"store {store.location}: has no trial {trial_id}")
    settings = json.loads(found)
    net = model(settings, dataset(settings, None, folder), folder)
    net.load_state_dict(load(store.read_checkpoint(trial_id)))
    return net.eval()


def device_name(device: str) -> str:
    """Name of the processor or GPU that a trial runs on."""
    return torch.cuda.get_device_name() if device == "cuda" else cpu_name()


def _device_name(job: Job, launch: Launch) -> str:
    """Of an attempt that failed; where others computed it, theirs is not known here."""
    elsewhere = job.phase == "accuracy" and launch.resources.accuracy.workers > 1
    return "" if elsewhere else device_name(job.trial.device)


def _run_phase(job: Job, launch: Launch, ranks: Ranks) -> Measured:
    trial, store = job.trial, ResultStore(launch.store)
    task, place = _task(trial.settings, launch), _place(trial.device, launch, ranks)
    if job.phase == "accuracy":
        maker = f"{launch.code_hash} {device_name(trial.device)} {job.threads} {torch.__version__}"
        if ranks.count > 1:
            maker += f" {ranks.count} workers"
        # All are at the same place, so that one keeps what all of them go on from.
        every = math.inf if ranks.rank else KEEP_SECONDS
        halfway = Halfway(store, trial.trial_id, maker, every)
        return task.accuracy(trial.settings, trial.seed, replace(place, halfway=halfway))
    trained = "accuracy" in trial.phases
    weights = load(store.read_checkpoint(trial.trial_id)) if trained else {}
    return task.timing(trial.settings, trial.seed, place, weights)


def _task(settings: Mapping[str, Any], launch: Launch) -> Task:
    return build("task", {"name": settings["task"]}, launch.folder)


def _place(device: str, launch: Launch, ranks: Ranks) -> Place:
    return Place(torch.device(device), launch.data_dir, launch.folder, ranks=ranks)


def _mark(job: Job, launch: Launch) -> Mark:
    host, pid, process_started = this_process()
    trial = job.trial
    return Mark(
        trial.trial_id, trial.study, trial.variant, trial.seed, job.phase, job.attempt,
        launch.run_id, host, pid, process_started, time.time(),
    )  # fmt: skip


def _elsewhere(
    job: Job, launch: Launch, store: ResultStore, mine: Mark
) -> Literal["running", "done"] | None:
    """Whether another run on the store makes this attempt now, or has made it since this one began.

    Whoever marked first goes on. A timing waits until no other run works on its host, and what is
    to be trained there waits until it has been timed.
    """
    if job.attempt > 1 and (left := _left_behind(job, launch, store)):
        return left

    def others() -> list[Mark]:
        return [mark for mark in store.marks(but_of=launch.run_id) if mark.alive]

    if job.phase == "timing":
        while any(mark.host == mine.host and mark.phase != "run" for mark in others()):
            time.sleep(0.2)
        return None
    there = others()
    for mark in there:
        same = (mark.trial_id, mark.phase) == (mine.trial_id, mine.phase)
        timed = mark.phase == "timing" and mark.host == mine.host
        if timed or (same and mark.order < mine.order):
            return "running"
    if not there:
        return None
    rows = store.rows_of(job.trial.trial_id, job.phase)
    made = any(
        row["status"] == "done"
        and row["run_id"] != launch.run_id
        and row["started_at"].timestamp() + row["seconds"] >= launch.began
        for row in rows
    )
    return "done" if made else None


def _left_behind(job: Job, launch: Launch, store: ResultStore) -> Literal["running", "done"] | None:
    """Whether an attempt of this run that was taken for lost goes on, or has ended well.

    A host that was cut off from the cluster works on, and may still see the store.
    """

    def mine() -> list[dict[str, Any]]:
        rows = store.rows_of(job.trial.trial_id, job.phase)
        return [r for r in rows if (r["run_id"], r["round"]) == (launch.run_id, job.round)]

    lost = [row for row in mine() if row["failure_kind"] == "node_lost"]
    ends = [row["started_at"].timestamp() + row["seconds"] for row in lost]
    # Its mark was removed with it; the next heartbeat brings it back.
    time.sleep(max(0.0, max(ends, default=0.0) + 1.2 * marks.HEARTBEAT_SECONDS - time.time()))
    for mark in store.marks():
        same = (mark.run_id, mark.trial_id, mark.phase) == (
            launch.run_id, job.trial.trial_id, job.phase,
        )  # fmt: skip
        if same and mark.alive and mark.attempt < job.attempt:
            return "running"
    return "done" if any(row["status"] == "done" for row in mine()) else None


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise `TimeLimit` in the block after so many seconds, where this is the main thread."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeLimit(f"it ran for more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _reproducible(job: Job) -> Iterator[list[str]]:
    """Threads, seeds and deterministic kernels as the job wants them, and as they were afterwards.

    Gives a list that names, once the block has ended, what torch had no deterministic kernel for.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(job.threads)
    cpus = os.sched_getaffinity(0)
    if job.phase == "timing":
        pin(job.threads)
    if job.trial.device == "cuda":
        # On a CPU with fixed threads torch is deterministic, and asking costs seconds of import.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    random.seed(job.trial.seed)
    np.random.seed(job.trial.seed)
    # `torch.manual_seed` turns to every kind of device there might be, each at some cost.
    generator = torch if job.trial.device == "cuda" else torch.default_generator
    generator.manual_seed(job.trial.seed)
    without_kernel: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield without_kernel
        for warning in caught:
            if "deterministic" in str(warning.message):
                without_kernel.append(str(warning.message))
            else:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, cpus)
        if job.trial.device == "cuda":
            torch.use_deterministic_algorithms(deterministic)


def _kind(error: Exception) -> FailureKind:
    for kind in KINDS:
        if isinstance(error, kind):
            return KINDS[kind]
    for words in SAID if isinstance(error, RuntimeError) else ():
        if words in str(error):
            return SAID[words]
    return "exception"
