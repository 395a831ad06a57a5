"""Make attempts on Ray: warm actors side by side for accuracy, a fresh process each for timing.

The only module that imports ray. Ray retries nothing: which failure deserves another attempt is
decided here, and every attempt leaves a row.
"""

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

from ..environment import usable_cpus
from ..errors import BenchError, InfrastructureError
from ..jobs import Event, Job, Launch, Outcome
from ..study import Study
from ..study.schema import Phase, Resources
from . import fresh, reaper
from .runner import lost

LOST_ATTEMPTS = 3


class OnRay:
    """A Ray of its own on this machine, or the cluster at `address`.

    Args:
        resources: What each phase of a trial gets.
        address: `auto`, `HOST:PORT` or `ray://…`; None starts a local Ray that ends with the run.
    """

    def __init__(self, resources: Resources, address: str | None) -> None:
        self._resources, self._address = resources, address
        self._actors: list[Any] = []
        self._timer: Any = None
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
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
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
        for phase in ("accuracy", "timing"):
            _refuse_impossible(phase, _request(getattr(study.resources, phase), device))
        self._actors = self._start(study, device)
        self._name_children()
        try:
            ray.get(self._actors[0].check.remote(study, device, launch))
        except RayTaskError as error:
            raise error.cause from None

    def accuracy(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        waiting = list(reversed(jobs))
        under_way: dict[Any, tuple[Job, Any, float]] = {}
        idle = list(self._actors)
        request = _request(self._resources.accuracy, jobs[0].trial.device) if jobs else {}
        while waiting or under_way:
            while idle and waiting:
                actor, job = idle.pop(), waiting.pop()
                under_way[actor.run.remote(job, launch)] = (job, actor, time.time())
                yield Event("started", job=job)
            if idle and not self._timer:
                # A slot that has nothing left to train gets the timing process ready.
                ray.kill(idle.pop())
                self._timer = self._start_timer(jobs[0].trial.device)
            (reference,), _ = ray.wait(list(under_way))
            job, actor, started = under_way.pop(reference)
            outcome = _outcome(reference, job, launch, started)
            if outcome.failure_kind == "lost":
                actor = _Worker.options(**request).remote(job.trial.device)
                if job.attempt % LOST_ATTEMPTS:
                    waiting.append(job.again())
            idle.append(actor)
            yield Event("ended", job=job, outcome=outcome)
        self._actors = idle

    def timing(self, jobs: Sequence[Job], launch: Launch) -> Iterator[Event]:
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        for job in jobs:
            timer = self._timer or self._start_timer(job.trial.device)
            ray.get(timer.ready.remote())
            yield Event("started", job=job)
            started = time.time()
            outcome = _outcome(timer.run.remote(job, launch), job, launch, started)
            self._timer = None if outcome.failure_kind == "lost" else timer
            yield Event("ended", job=job, outcome=outcome)

    def _start_timer(self, device: str) -> Any:
        request = _request(self._resources.timing, device)
        return _Timer.options(**request).remote(device)

    def _start(self, study: Study, device: str) -> list[Any]:
        request = _request(study.resources.accuracy, device)
        total = ray.cluster_resources()
        slots = int(total["CPU"] // request["num_cpus"])
        if request["num_gpus"]:
            slots = min(slots, int(total.get("GPU", 0) / request["num_gpus"]))
        count = max(1, min(slots, len(study.variants) * study.seeds))
        return [_Worker.options(**request).remote(device) for _ in range(count)]


@ray.remote(max_restarts=0, max_task_retries=0)
class _Worker:
    """A warm process that keeps torch and its data from trial to trial."""

    def __init__(self, device: str) -> None:
        _hide_gpus(device)
        from .. import trial

        self._trial = trial

    def check(self, study: Study, device: str, launch: Launch) -> None:
        self._trial.check_study(study, device, launch)

    def run(self, job: Job, launch: Launch) -> Outcome:
        return self._trial.run_attempt(job, launch)


@ray.remote(max_restarts=0, max_task_retries=0)
class _Timer:
    """Holds the resources of timing, and makes each attempt in a fresh process of its own."""

    def __init__(self, device: str) -> None:
        _hide_gpus(device)
        fresh.warm_up()

    def ready(self) -> None:
        pass

    def run(self, job: Job, launch: Launch) -> Outcome:
        return fresh.run_attempt(job, launch)


def _hide_gpus(device: str) -> None:
    """Ray leaves a task that asked for no GPU all of them to see."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _refuse_unreachable(address: str) -> None:
    """Ray tries for minutes to reach `HOST:PORT` where nobody listens."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InfrastructureError(f"cannot reach Ray at {address}: {error}") from error


def _request(phase: Phase, device: str) -> dict[str, float]:
    return {"num_cpus": phase.cpus, "num_gpus": phase.gpus if device == "cuda" else 0}


def _refuse_impossible(phase: str, request: dict[str, float]) -> None:
    """Ray waits for ever for what no node has."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(
        node.get("CPU", 0) >= request["num_cpus"] and node.get("GPU", 0) >= request["num_gpus"]
        for node in nodes
    ):
        return
    most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
    raise BenchError(
        f"resources.{phase} asks for {request['num_cpus']:g} CPUs and "
        f"{request['num_gpus']:g} GPUs at once; "
        f"the largest node has {most['CPU']:g} and {most['GPU']:g}"
    )


def _outcome(reference: Any, job: Job, launch: Launch, started: float) -> Outcome:
    try:
        return ray.get(reference)
    except (RayActorError, WorkerCrashedError) as error:
        return lost(job, launch, " ".join(str(error).split()), started)
    except RayTaskError as error:
        raise error.cause from None
