"""What the nodes of a cluster have: room for attempts, and the places where they run."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from ..errors import BenchError
from ..study.schema import Accuracy, Timing

Node = Mapping[str, Any]
END_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """A process of ours on a node, and the GPUs that it was given."""

    host: str
    pid: int
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        device = f"GPU {', '.join(self.gpus)}" if self.gpus else f"process {self.pid}"
        return f"{self.host}, {device}"


def this_place(gpus: Sequence[int | str]) -> Place:
    """Where this process runs."""
    return Place(os.uname().nodename, os.getpid(), tuple(map(str, gpus)))


def wait_for_end(places: Sequence[Place]) -> None:
    """Wait until processes on this host have ended, and so hold no memory of a device."""
    deadline = time.monotonic() + END_SECONDS
    mine = {place.pid for place in places if place.host == os.uname().nodename}
    while any(psutil.pid_exists(pid) for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.02)


def alive(nodes: Sequence[Node]) -> list[Node]:
    """The nodes of `ray.nodes()` that live."""
    return [node for node in nodes if node["Alive"]]


def share(phase: Accuracy | Timing, device: str) -> tuple[float, float]:
    """CPUs and GPUs that one attempt asks for, or each of its workers."""
    return phase.cpus, phase.gpus if device == "cuda" else 0


def node_died(reason: str) -> bool:
    """Whether Ray's words for why a worker is gone are of its node."""
    return re.search(r"node (has )?died", reason) is not None


def fits(phase: Accuracy | Timing, device: str, node: Node) -> bool:
    """Whether a node has what one attempt asks for."""
    return _room(phase, device, node) > 0


def slots(phase: Accuracy, device: str, nodes: Sequence[Node]) -> int:
    """How many attempts there is room for at once; the workers of one may be on several nodes."""
    return sum(_room(phase, device, node) for node in nodes) // phase.workers


def refuse_impossible(
    name: str, phase: Accuracy | Timing, device: str, nodes: Sequence[Node]
) -> None:
    """Ray waits for ever for what no node has.

    Raises:
        BenchError: No node has what the phase asks for; says what the largest have.
    """
    workers = phase.workers if isinstance(phase, Accuracy) else 1
    room = sum(_room(phase, device, node) for node in nodes)
    if room >= workers:
        return
    if room:
        raise BenchError(
            f"resources.{name}.workers asks for {workers} at once; the nodes have room for {room}"
        )
    labelled = [node for node in nodes if _labelled(phase, node)]
    if not labelled:
        wanted = ", ".join(f"{key}: {value}" for key, value in phase.label.items())
        there = sorted(
            {
                f"{key}: {value}"
                for node in nodes
                for key, value in node.get("Labels", {}).items()
                if key in phase.label or not key.startswith("ray.io/")
            }
        )
        raise BenchError(
            f"resources.{name}.label asks for a node with {wanted}; "
            f"the nodes have {'; '.join(there) or 'no labels'}"
        )
    most = {k: max(n["Resources"].get(k, 0) for n in labelled) for k in ("CPU", "GPU")}
    cpus, gpus = share(phase, device)
    raise BenchError(
        f"resources.{name} asks for {cpus:g} CPUs and {gpus:g} GPUs at once; "
        f"the largest node has {most['CPU']:g} and {most['GPU']:g}"
    )


def _labelled(phase: Accuracy | Timing, node: Node) -> bool:
    labels = node.get("Labels", {})
    return all(labels.get(key) == value for key, value in phase.label.items())


def _room(phase: Accuracy | Timing, device: str, node: Node) -> int:
    cpus, gpus = share(phase, device)
    if not _labelled(phase, node):
        return 0
    room = int(node["Resources"].get("CPU", 0) // cpus)
    if not gpus:
        return room
    there = node["Resources"].get("GPU", 0)
    # A fraction stays on one GPU: two trainings at 0.6 need two.
    return min(room, int(there // gpus) if gpus >= 1 else int(there) * int(1 / gpus + 1e-9))
