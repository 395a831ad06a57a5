"""Make attempts on Ray: warm actors side by side for accuracy, a fresh process each for timing.

Ray is imported here and in `group` alone. It retries nothing: which failure deserves another
attempt is the study's to say, and every attempt leaves a row.
"""

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..environment import code_hash, usable_cpus
from ..errors import BenchError, InfrastructureError
from ..jobs import Event, Job, Launch, Outcome
from ..results import ResultStore
from ..study import Study
from ..study.schema import Accuracy, Timing
from . import fresh, nodes, reaper
from .group import Conductor, Freer, lost_kind
from .in_process import one_by_one
from .queue import Queue, longest_first
from .runner import GRACE_SECONDS, gone, late, raised
from .several import Reply, cut_short, in_turn

LOOK_SECONDS = 1.0  # how often deadlines are looked at
GROW_SECONDS = 5.0  # how often the cluster's size is
CHECKS = 3  # how many workers may be asked to check, one after the other
UNBORN = 20  # so many workers in a row may die before they work


@dataclass
class _Slot:
    """A warm actor, what it has said of itself, and the jobs that it works at, in their order."""

    actor: Any
    place: nodes.Place | None = None
    jobs: tuple[Job, ...] = ()
    started: float = 0.0


@dataclass
class _Waiting:
    """Whether it has been said that no node that lives has what a phase asks for."""

    said: bool = False

    def look(self, name: str, phase: Accuracy | Timing, device: str) -> Iterator[Event]:
        """Say so when it becomes so; Ray waits, and a node may come back."""
        try:
            nodes.refuse_impossible(name, phase, device, nodes.alive(ray.nodes()))
            self.said = False
        except BenchError as error:
            if not self.said:
                yield Event("stage", text=f"waiting for a node: {error}")
            self.said = True


class OnRay:
    """A Ray of its own on this machine, or the cluster at `address`.

    Args:
        address: `auto`, `HOST:PORT` or `ray://…`; None starts a local Ray that ends with the run.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._slots: dict[Any, _Slot] = {}
        self._idle: list[_Slot] = []
        self._unborn = 0
        self._timer: Any = None
        self._freer: Any = None
        self._reaper: subprocess.Popen | None = None

    def __enter__(self) -> "OnRay":
        options: dict[str, Any] = {"address": self._address}
        if self._address is None:
            self._reaper = reaper.start()
            options = {"address": "local", "num_cpus": usable_cpus(), "include_dashboard": False}
        else:
            _refuse_unreachable(self._address)
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises bare ones: for a node that is slow to start
            where = "a local Ray" if self._address is None else f"Ray at {self._address}"
            raise InfrastructureError(f"cannot start on {where}: {error}") from error
        self._name_children()
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
        if self._reaper is not None:
            reaper.stop(self._reaper)

    def _name_children(self) -> None:
        if self._reaper is not None:
            reaper.name_children(self._reaper)

    def device(self) -> str:
        return "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"

    def check(self, study: Study, device: str, launch: Launch) -> None:
        alive = nodes.alive(ray.nodes())
        for phase in ("accuracy", "timing"):
            nodes.refuse_impossible(phase, getattr(study.resources, phase), device, alive)
        if self._address is not None:
            _refuse_other_nodes(study, device, launch, alive)
        self._grow(launch, device, len(study.variants) * study.seeds)
        self._name_children()
        shared, lost = launch.resources.accuracy.workers > 1, "there is none"
        for reference, slot in [*self._slots.items()][:CHECKS]:
            # A conductor has no device.
            worker = _worker(launch, device) if shared else slot.actor
            try:
                return ray.get(worker.check.remote(study))
            except RayTaskError as error:
                raise error.cause from None
            except RayActorError as error:
                lost = str(error)
                if not shared:
                    del self._slots[reference]
        raise InfrastructureError(f"workers die while they start: {lost}")

    def accuracy(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        queue, grown = Queue(longest_first(jobs), launch), time.monotonic()
        waiting = _Waiting()
        device = jobs[0].trial.device if jobs else ""
        while queue or any(slot.jobs for slot in self._slots.values()):
            while self._idle and (some := queue.take_some()):
                slot = self._idle.pop()
                slot.jobs, slot.started = some, time.time()
                self._slots[slot.actor.run.remote(some)] = slot
                yield Event("started", job=some[0], place=str(slot.place))
            if self._idle and not queue and self._timer is None:
                # A slot that has nothing left to train gets the timing process ready.
                ray.kill(self._idle.pop().actor)
                self._timer = self._start_timer(launch, device)
            for reference in self._wait(launch):
                slot = self._slots.pop(reference)
                outcomes, left = self._ended(reference, slot, queue, launch)
                queue.put_back(left)
                for i, outcome in enumerate(outcomes):
                    if i:
                        yield Event("started", job=outcome.job, place=str(slot.place))
                    yield queue.ended(outcome, str(slot.place))
                if slot not in self._idle:
                    grown = 0.0
            if queue and time.monotonic() - grown > GROW_SECONDS:
                yield from waiting.look("accuracy", launch.resources.accuracy, device)
                if self._timer is not None:
                    # It may hold, or be next to get, what a training needs that has come back.
                    ray.kill(self._timer)
                    self._timer = None
                self._grow(launch, device, len(queue))
                grown = time.monotonic()

    def timing(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        before = [slot.place for slot in (*self._slots.values(), *self._idle) if slot.place]
        for slot in (*self._slots.values(), *self._idle):
            ray.kill(slot.actor)
        self._slots, self._idle = {}, []

        def make(job: Job, launch: Launch) -> Outcome:
            timer = self._timer or self._start_timer(launch, job.trial.device)
            self._timer, started = timer, time.time()
            try:
                ray.get(timer.wait_for_end.remote(before))
                return ray.get(timer.run.remote(job))
            except (RayActorError, OutOfMemoryError) as error:
                self._timer = None
                return _lost(error, job, launch, started)
            except RayTaskError as error:
                return raised(error.cause, job, launch, started)

        waiting = _Waiting()
        for event in one_by_one(jobs, launch, make, "timing"):
            yield event
            if event.kind == "started" and event.job:
                device = event.job.trial.device
                yield from waiting.look("timing", launch.resources.timing, device)

    def _wait(self, launch: Launch) -> list[Any]:
        """Wait a while; gives what has ended, and whose attempt did not at its time limit."""
        if not self._slots:
            time.sleep(0.1)
            return []
        ended, _ = ray.wait(list(self._slots), timeout=LOOK_SECONDS)
        limit = launch.resources.accuracy.timeout
        if limit is not None and not ended:
            latest = time.time() - limit - GRACE_SECONDS
            ended = [r for r, slot in self._slots.items() if slot.jobs and slot.started < latest]
        return ended

    def _ended(
        self, reference: Any, slot: _Slot, queue: Queue, launch: Launch
    ) -> tuple[Sequence[Outcome], Sequence[Job]]:
        """What a reference came to, and of its jobs those that did not begin.

        A slot that lives is idle again, one that is gone is left.
        """
        jobs, slot.jobs = slot.jobs, ()
        try:
            result: Any = ray.get(reference, timeout=0)
        except GetTimeoutError:
            kind, reason = late(jobs[0], launch)
            ray.kill(slot.actor)
            return cut_short(jobs, launch, lambda j: gone(j, launch, kind, reason, slot.started))
        except (RayActorError, OutOfMemoryError) as error:
            ray.kill(slot.actor)
            self._unborn += not jobs
            if self._unborn > UNBORN:
                raise InfrastructureError(f"workers die while they start: {error}") from error
            lost = error
            return cut_short(jobs, launch, lambda job: _lost(lost, job, launch, slot.started))
        except RayTaskError as error:
            raise error.cause from None
        if not jobs:
            self._idle.append(slot)
            slot.place, self._unborn = result, 0
            return [], ()
        return self._replied(result, jobs, slot, queue, launch)

    def _replied(
        self, reply: Reply, jobs: tuple[Job, ...], slot: _Slot, queue: Queue, launch: Launch
    ) -> tuple[Sequence[Outcome], Sequence[Job]]:
        outcomes = list(reply.outcomes)
        if reply.error:
            job = jobs[len(outcomes)]
            outcomes.append(raised(reply.error, job, launch, slot.started))
        elif reply.went_well:
            queue.took(jobs[: len(outcomes)], reply.seconds)
        if launch.resources.accuracy.workers > 1 and any(outcome.failure for outcome in outcomes):
            ray.kill(slot.actor)  # and so the workers that it leads
        else:
            self._idle.append(slot)
        return outcomes, jobs[len(outcomes) :]

    def _grow(self, launch: Launch, device: str, jobs: int) -> None:
        """Have a slot for every job that there is room for; what finds no room any more goes."""
        phase = launch.resources.accuracy
        room = nodes.slots(phase, device, nodes.alive(ray.nodes()))
        count = len(self._slots) + len(self._idle)
        busy = sum(len(slot.jobs) > 0 for slot in self._slots.values())
        wanted = max(1, min(room, busy + jobs))
        if phase.workers > 1 and self._freer is None:
            self._freer = _freer()
        for _ in range(count, wanted):
            actor = (_conductor if phase.workers > 1 else _worker)(launch, device)
            self._slots[actor.place.remote()] = _Slot(actor)
        starting = [ref for ref, slot in self._slots.items() if not slot.jobs]
        for reference in starting[: max(0, count - max(1, room))]:
            ray.kill(self._slots.pop(reference).actor)

    def _start_timer(self, launch: Launch, device: str) -> Any:
        timer: Any = _Timer.options(**_request(launch.resources.timing, device))
        return timer.remote(device, launch)


@ray.remote(max_restarts=0, max_task_retries=0)
class _Worker:
    """A warm process that keeps torch and its data from trial to trial."""

    def __init__(self, device: str, launch: Launch) -> None:
        _hide_gpus(device)
        from .. import trial

        self._trial, self._device, self._launch = trial, device, launch

    def place(self) -> nodes.Place:
        return nodes.this_place(ray.get_gpu_ids())

    def check(self, study: Study) -> None:
        self._trial.check_study(study, self._device, self._launch)

    def run(self, jobs: tuple[Job, ...]) -> Reply:
        return in_turn(jobs, self._run)

    def _run(self, job: Job) -> Outcome:
        from .logs import kept

        with kept(job, self._launch):
            return self._trial.run_attempt(job, self._launch)


@ray.remote(max_restarts=0, max_task_retries=0)
class _Timer:
    """Holds the resources of timing, and makes each attempt in a fresh process of its own."""

    def __init__(self, device: str, launch: Launch) -> None:
        _hide_gpus(device)
        self._launch = launch
        fresh.warm_up()

    def wait_for_end(self, before: list[nodes.Place]) -> None:
        nodes.wait_for_end(before)

    def run(self, job: Job) -> Outcome:
        return fresh.run_attempt(job, self._launch)


def _freer() -> Any:
    actor: Any = Freer
    return actor.remote()


def _conductor(launch: Launch, device: str) -> Any:
    actor: Any = Conductor
    return actor.remote(launch)


def _worker(launch: Launch, device: str) -> Any:
    actor: Any = _Worker
    return actor.options(**_request(launch.resources.accuracy, device)).remote(device, launch)


@ray.remote(num_cpus=0, max_retries=0)
def _look(store: str, run_id: str, own_files: tuple[Path, ...]) -> str:
    """What a node has for code, after it has seen the store."""
    ResultStore(store).check_seen(run_id)
    return code_hash(own_files)


def _refuse_other_nodes(study: Study, device: str, launch: Launch, alive: list) -> None:
    """Every node that may work has to see the store, and to have the driver's code."""
    phases = (study.resources.accuracy, study.resources.timing)
    asked = {}
    for node in alive:
        if any(nodes.fits(phase, device, node) for phase in phases):
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = _look.options(scheduling_strategy=strategy)
            asked[node["NodeManagerAddress"]] = task.remote(
                launch.store, launch.run_id, study.own_files()
            )
    for address, reference in asked.items():
        try:
            found = ray.get(reference)
        except RayTaskError as error:
            reason = " ".join(str(error.cause).split())
            raise InfrastructureError(f"node {address}: {reason}") from None
        except RayError:  # it has gone since, and what is not there does no harm
            continue
        if found != launch.code_hash:
            raise InfrastructureError(
                f"node {address}: has other code than the driver; install the same stn-bench on "
                "all nodes, or submit with `ray job submit --working-dir .`"
            )


def _hide_gpus(device: str) -> None:
    """Ray leaves a task that asked for no GPU all of them to see."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _refuse_unreachable(address: str) -> None:
    """Ray tries for minutes to reach `HOST:PORT` where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if "://" in host or not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InfrastructureError(f"cannot reach Ray at {address}: {error}") from error


def _request(phase: Accuracy | Timing, device: str) -> dict[str, Any]:
    cpus, gpus = nodes.share(phase, device)
    return {"num_cpus": cpus, "num_gpus": gpus, "label_selector": phase.label or None}


def _lost(error: Exception, job: Job, launch: Launch, started: float) -> Outcome:
    reason = " ".join(str(error).split())
    return gone(job, launch, lost_kind(error), reason, started)
