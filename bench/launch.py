"""Run a study on a store: find what is missing, make it, and leave the store compact."""

import datetime
import os
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from .environment import code_hash, local_device
from .errors import BenchError
from .jobs import Event, Job, Launch
from .ledger import COLUMNS, Rerun, account, made_twice
from .results import ResultStore
from .results.marks import Mark, of_run
from .runner.in_process import InProcess
from .runner.runner import Runner
from .study import Study


def run(
    study: Study,
    results: str | Path = "results",
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    address: str | None = None,
    in_process: bool = False,
    rerun: Rerun | None = None,
) -> Iterator[Event]:
    """Make every attempt that `study` lacks in the store at `results`; gives events as they come.

    Args:
        study: The study.
        results: Folder or URI of the store.
        data_dir: Folder of the data sets.
        device: `auto`, `cpu` or `cuda`; auto is cuda where there is a GPU.
        address: Address of a Ray cluster; None starts a local one.
        in_process: Run here, one trial after the other, without Ray.
        rerun: Do again what is good but `stale`, what has `failed` for good, or `all`.

    Raises:
        BenchError: The study, its data or its resources cannot work.
        InfrastructureError: The store or Ray cannot be reached.
    """
    store = ResultStore(results)
    launch = Launch(
        run_id=f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        store=store.location,
        folder=Path(study.folder),
        data_dir=data_dir and data_dir.expanduser().resolve(),
        code_hash=code_hash(study.own_files()),
        resources=study.resources,
        retries=study.retries,
    )
    there = store.read(COLUMNS)
    for file in there.corrupt:
        store.set_aside(file)
        yield Event("stage", text=f"set aside {file}: its content is not what its name says")
    known = (
        device if device != "auto" else local_device() if in_process or address is None else None
    )
    if known is not None:
        state = account(study, known, there.table, launch.code_hash, rerun=rerun)
        if not state.jobs:
            store.write_study(study.name, study.as_stored())
            return
    with store.mark(of_run(study.name, launch.run_id)):
        yield Event("stage", text="start")
        if address and address.startswith("ray://"):
            yield Event("stage", text="the driver is this machine: when it sleeps, the run ends")
        with _runner(in_process, address) as runner:
            yield from _on(runner, study, device, known, store, launch, rerun)
        yield Event("stage", text="store")
    if not _other_runs(store, launch):
        store.compact()
    if twice := made_twice(study, store.read(COLUMNS).table, launch):
        text = f"made twice, here and by another run: {', '.join(sorted(twice))}"
        yield Event("stage", text=text)


def _on(
    runner: Runner,
    study: Study,
    device: str,
    known: str | None,
    store: ResultStore,
    launch: Launch,
    rerun: Rerun | None,
) -> Iterator[Event]:
    has = runner.device()
    if device == "cuda" != has:
        raise BenchError("--device cuda: there is no GPU; use --device cpu")
    known = known or has
    _close_interrupted(study, known, store, launch)
    rows = store.read(COLUMNS).table
    jobs = account(study, known, rows, launch.code_hash, rerun=rerun).jobs
    yield Event("planned", jobs=jobs)
    yield Event("stage", text="check")
    runner.check(study, known, launch)
    store.write_study(study.name, study.as_stored())
    yield Event("stage", text="accuracy")
    failed: set[str] = set()
    for event in runner.accuracy(_training(study, jobs, store), launch):
        if event.outcome and event.job:
            change = failed.add if event.outcome.failure else failed.discard
            change(event.job.trial.trial_id)
        yield event
    older = [mark for mark in _other_runs(store, launch) if mark.run_id < launch.run_id]
    if older and any(job.phase == "timing" for job in jobs):
        yield Event("stage", text=f"waiting for run {older[0].run_id} on {older[0].host} to end")
        while any(mark.run_id < launch.run_id for mark in _other_runs(store, launch)):
            time.sleep(1)
        # It has timed meanwhile what it shares with this one.
        rows, rerun = store.read(COLUMNS).table, None
    yield Event("stage", text="timing")
    # What could not be trained is not timed, and no round is made for its sake.
    state = account(study, known, rows, launch.code_hash, rerun=rerun, without=failed)
    yield from runner.timing([job for job in state.jobs if job.phase == "timing"], launch)


def _other_runs(store: ResultStore, launch: Launch) -> list[Mark]:
    marks = store.marks(but_of=launch.run_id)
    return [mark for mark in marks if mark.phase == "run" and mark.alive]


def _runner(in_process: bool, address: str | None) -> Runner:
    if in_process:
        return InProcess()
    _secure_ray(local=address is None)
    from .runner.on_ray import OnRay

    return OnRay(address)


def _secure_ray(local: bool) -> None:
    """Set what Ray reads when it is imported: no usage statistics; locally a token, no niceness.

    The token is of this run alone and handed on through the environment: none is left on disk.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if local:
        # Ray's workers step back for whatever else runs; a measurement should not.
        os.environ.setdefault("RAY_worker_niceness", "0")
    if local and os.environ.get("RAY_AUTH_MODE") != "disabled" and "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        # Without one Ray writes one, which everybody on the machine may read.
        os.environ["RAY_AUTH_TOKEN"] = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)


def _training(study: Study, jobs: tuple[Job, ...], store: ResultStore) -> list[Job]:
    """Accuracy jobs, and those whose weights timing needs and the store has lost."""
    training = [job for job in jobs if job.phase == "accuracy"]
    known = {job.trial.trial_id for job in training}
    for job in jobs:
        trial = job.trial
        if "accuracy" in trial.phases and trial.trial_id not in known:
            known.add(trial.trial_id)
            if not store.has_checkpoint(trial.trial_id):
                threads = study.resources.accuracy.cpus
                training.append(Job(trial, "accuracy", job.attempt, threads))
    return training


def _close_interrupted(study: Study, device: str, store: ResultStore, launch: Launch) -> None:
    """Write the rows of attempts that an earlier run's death cut short; they keep their number."""
    trials = {trial.trial_id: trial for trial in study.trials(device)}
    for mark in store.marks():
        trial = trials.get(mark.trial_id)
        if mark.phase == "run" and not mark.alive:
            store.remove_mark(mark)
        if mark.phase == "run" or trial is None or mark.alive:
            continue
        job = Job(trial, mark.phase, mark.attempt, getattr(study.resources, mark.phase).cpus)
        failure = f"Interrupted: its worker ({mark.host}, process {mark.pid}) is gone"
        store.write(job.cut_short(launch, "interrupted", failure, mark.started))
        store.remove_mark(mark)
