"""The scenes of `failures.py`: what is done to a study, and what shall become of it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from bench.environment import usable_cpus
from bench.results import ResultStore
from bench.results.marks import Mark

STEPS = 60
AWAY_SECONDS = 80  # a worker waits for a minute
LIMIT = "resources: {accuracy: {timeout: 15}}\n"
LEARN = '''\
"""Classification without timing."""
from bench.tasks.classify import Classify


class Learn(Classify):
    """Learn."""

    phases = ("accuracy",)
'''
BAD = '''\
"""A network that goes wrong while it is trained."""
import os
import signal
import time
import torch
from bench.models.cnn import CNN


class Bad(CNN):
    """Go wrong in the way that `how` says."""

    def __init__(self, in_shape, num_classes, *, how: str = "", ballast: int = 0):
        super().__init__(in_shape, num_classes, filters=(4,), kernel_sizes=(3,))
        self.how = how
        self.register_buffer("ballast", torch.zeros(ballast))

    def forward(self, image):
        if self.training and image.device.type != "meta":
            self.act()
        return super().forward(image)

    def act(self):
        if self.how == "raise":
            raise ValueError("what this network does not like")
        if self.how == "gpu memory" and not torch.cuda.is_available():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4096.00 GiB.")
        if self.how == "gpu memory":
            torch.empty(2**42, dtype=torch.uint8, device="cuda")
        if self.how == "much memory":
            torch.empty(2**50, dtype=torch.uint8)
        if self.how == "all memory":
            kept = []
            while True:
                kept.append(torch.ones(2**26, dtype=torch.uint8))
                time.sleep(0.05)
        if self.how == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "slow":
            time.sleep(SLEEP)
        if self.how == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(600)
'''
SLEEP = 0.05
STUDY = """\
schema: 1
name: failures
question: What becomes of it?
task: learn.py:Learn
base:
  dataset: digits
  model: {{name: bad.py:Bad}}
  train: {{steps: {steps}, batch_size: 16, lr: 4e-3}}
variants: {variants}
seeds: 1
"""


def write_code(folder: Path) -> None:
    """Write the code and the data that scenes use."""
    (folder / "learn.py").write_text(LEARN)
    (folder / "bad.py").write_text(BAD.replace("SLEEP", str(SLEEP)))
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8)
    labels = np.arange(100) % 5
    arrays: dict[str, Any] = {
        f"{k}_{part}": v for part in ("train", "test") for k, v in (("x", images), ("y", labels))
    }
    np.savez(folder / "mine.npz", **arrays)


@dataclass(frozen=True)
class Case:
    """A study that runs: where it lies, its store and its driver."""

    folder: Path
    store: ResultStore
    driver: subprocess.Popen[Any]

    def wait(self, ready: Callable[[], Any]) -> Any:
        """Wait until something is so, and give it."""
        deadline = time.time() + 240
        while not (found := ready()):
            if self.driver.poll() is not None or time.time() > deadline:
                raise SystemExit(
                    "the scene could not be played: the run has ended before, or hangs"
                )
            time.sleep(0.05)
        return found

    def at_work(self, variant: str = "struck") -> Mark:
        """The mark of a variant's training, when it has begun."""

        def begun() -> list[Mark]:
            return [m for m in self.store.marks() if m.phase == "accuracy" and m.variant == variant]

        mark = self.wait(begun)[0]
        time.sleep(1)
        return mark


Disturb = Callable[[Case], None]


def nothing(case: Case) -> None:
    """Leave it alone."""


@dataclass(frozen=True)
class Scene:
    """What is done to the struck trial, and what shall become of it and of its study.

    Attributes:
        kind: The kind of failure.
        deed: What is done, in words.
        kinds: What becomes of each attempt at the struck trial.
        status: With which status each run ends.
        sets: What the struck variant sets.
        lines: Further lines of the study.
        disturb: What is done from outside while it runs; there is a run for each.
        steps: Steps of a training; `STEPS` where it is 0.
        alone: Whether there is no sound trial beside it.
        traceback: Whether its row has one.
        disk: Size of the disk that its store is on; none where it is empty.
        quicker: Seconds in which the last attempt is made, since it does not begin anew.
        cluster: Gives the address of the cluster where it runs.
        environment: Gives variables of its environment.
    """

    kind: str
    deed: str
    kinds: list[str]
    status: list[int]
    sets: dict[str, Any]
    lines: str = ""
    disturb: tuple[Disturb, ...] = (nothing,)
    steps: int = 0
    alone: bool = False
    traceback: bool = True
    disk: str = ""
    quicker: float = 0.0
    cluster: Callable[[], AbstractContextManager[str | None]] = nullcontext
    environment: Callable[[], dict[str, str]] = dict


@contextlib.contextmanager
def nodes() -> Iterator[str | None]:
    """A cluster with two nodes that may work, one CPU each."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def little_memory() -> dict[str, str]:
    """Ray's monitor kills when two GiB more are in use than now."""
    memory = psutil.virtual_memory()
    share = (memory.total - memory.available + 2**31) / memory.total
    return {"RAY_memory_usage_threshold": f"{share:.3f}"}


def kill_worker(case: Case) -> None:
    """Kill the process that trains."""
    os.kill(case.at_work().pid, signal.SIGKILL)


def kill_node(case: Case, at_once: bool = False) -> None:
    """Kill the node of the process that trains, after it has kept a state, or at once."""
    mark = case.at_work()
    case.wait(lambda: at_once or case.store.read_partial(mark.trial_id))
    raylet = psutil.Process(mark.pid).parent()
    assert raylet is not None
    for process in (raylet, *raylet.children()):
        process.kill()


def kill_driver(case: Case) -> None:
    """Kill the driver while the struck trial is trained."""
    case.at_work()
    case.driver.kill()


def damage(case: Case) -> None:
    """Change bytes in the middle of the data, when they have been checked."""
    case.at_work("sound")
    file = case.folder / "mine.npz"
    content = bytearray(file.read_bytes())
    content[3000:3010] = bytes(10)
    file.write_bytes(content)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def read_only(case: Case) -> None:
    """Let nobody write to the store for a while."""
    case.at_work()
    _mount("-o", "remount,ro", case.folder / "disk")
    time.sleep(AWAY_SECONDS)
    _mount("-o", "remount,rw", case.folder / "disk")


def away(case: Case) -> None:
    """Hide the store for a while behind an empty disk."""
    case.at_work()
    _mount("-t", "tmpfs", "tmpfs", case.folder / "disk")
    time.sleep(AWAY_SECONDS)
    subprocess.run(["umount", "-l", case.folder / "disk"], check=True)


def fill(case: Case) -> None:
    """Leave no room on the disk of the store."""
    case.at_work()
    with contextlib.suppress(OSError), (case.folder / "disk" / "filling").open("wb") as stream:
        while True:
            stream.write(bytes(2**12))
            stream.flush()


def make_room(case: Case) -> None:
    """Take away what filled the disk."""
    (case.folder / "disk" / "filling").unlink()


OUT_OF_MEMORY = (
    "a tensor of 4 TiB is asked for on the GPU"
    if torch.cuda.is_available()
    else "torch's `OutOfMemoryError` is raised, not met: there is no GPU"
)
SLOW = {"model.how": "slow", "train.steps": 120}
SCENES = [
    Scene(
        "exception", "the network raises an exception", ["exception"], [1], {"model.how": "raise"}
    ),
    Scene(
        "exception", "the same, and the study says `exception: 1`", ["exception"] * 2, [1],
        {"model.how": "raise"}, lines="retries: {exception: 1}\n",
    ),
    Scene(
        "diverged", "learning rate 1e30", ["diverged"], [1],
        {"train.optimizer": "sgd", "train.lr": 1e30},
    ),
    Scene(
        "bad_data", "bytes of the data are changed after they were checked", ["bad_data"], [1],
        {"dataset": {"name": "npz", "path": "mine.npz"}}, disturb=(damage,),
        lines=f"resources: {{accuracy: {{cpus: {usable_cpus()}}}}}\n",
    ),
    Scene(
        "out_of_memory", OUT_OF_MEMORY, ["out_of_memory"], [1], {"model.how": "gpu memory"},
    ),
    Scene(
        "out_of_host_memory", "a tensor of a PiB is asked for", ["out_of_host_memory"] * 2, [1],
        {"model.how": "much memory"},
    ),
    Scene(
        "out_of_host_memory", "more and more is taken, until Ray's memory monitor kills",
        ["out_of_host_memory"] * 2, [1], {"model.how": "all memory"}, alone=True, traceback=False,
        environment=little_memory,
    ),
    Scene(
        "timeout", "a training that takes longer than `timeout: 15`", ["timeout"], [1],
        {"model.how": "slow", "train.steps": 100_000}, lines=LIMIT,
    ),
    Scene(
        "timeout", "the same, and it hears no signal", ["timeout"], [1], {"model.how": "deaf"},
        lines=LIMIT, traceback=False,
    ),
    Scene(
        "lost", "SIGKILL of the worker", ["lost", "done"], [0], SLOW, disturb=(kill_worker,),
        traceback=False,
    ),
    Scene(
        "lost", "SIGKILL of each worker", ["lost"] * 4, [1], {"model.how": "death"},
        traceback=False,
    ),
    Scene(
        "node_lost", "SIGKILL of the node when a state has been kept", ["node_lost", "done"], [0],
        {"model.how": "slow"}, disturb=(kill_node,), cluster=nodes, alone=True, traceback=False,
        steps=1600, quicker=1600 * SLEEP,
    ),
    Scene(
        "interrupted", "SIGKILL of the driver, then `run` again", ["interrupted", "done"], [-9, 0],
        SLOW, disturb=(kill_driver, nothing), traceback=False,
    ),
    Scene(
        "store", f"the store is read-only for {AWAY_SECONDS} s", ["store", "done"], [0], SLOW,
        disturb=(read_only,), alone=True, traceback=False, disk="16m",
    ),
    Scene(
        "store", f"the store is unmounted for {AWAY_SECONDS} s", ["store", "done"], [0], SLOW,
        disturb=(away,), alone=True, traceback=False, disk="16m",
    ),
    Scene(
        "disk_full", "the store has room for rows, not for the weights", ["disk_full"], [1],
        {"model.ballast": 2**21}, disk="4m", traceback=False,
    ),
    Scene(
        "disk_full", "the store has no room at all; then some, and `run` again", ["done"], [5, 0],
        SLOW, disturb=(fill, make_room), disk="4m", alone=True,
    ),
]  # fmt: skip
