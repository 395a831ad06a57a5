"""Chaos: workers, raylets and the driver are killed at random while a study runs on a cluster.

`python tests/cluster/chaos.py --trials 60 --kills 100 --seed 0` runs a study of real short
trainings on a Ray cluster of several nodes on this machine, kills with SIGKILL at seeded random
times, starts the driver again until the study is done, and compares with a run that nothing
disturbed. It ends with status 0 where every trial has exactly one good result, equal to the bit.
Kills wait for work that they can disturb; trials are so long that kills are spent before the study.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import COMMAND, ROOT  # noqa: E402
from record import record  # noqa: E402
from whole import STUDY, verdict  # noqa: E402

WEIGHTS = {"worker": 0.8, "driver": 0.1, "raylet": 0.1}
STILL_SECONDS = 5.0  # a loop of a twentieth of a second that takes so long has been stopped
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's workers would step back for whatever else runs on this machine.
    "RAY_worker_niceness": "0",
    # A machine that stands still for minutes is no dead node; one that is dead refuses at once.
    "RAY_health_check_timeout_ms": "900000",
}


@dataclass
class Found:
    """What was done to a run, and what became of it on the way."""

    killed: list[str] = field(default_factory=list)
    drivers: int = 1
    still: list[float] = field(default_factory=list)
    died: int = 0  # nodes that Ray gave up though nobody had killed them


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=float, default=1.0, help="mean seconds between kills")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--minutes", type=float, default=60.0, help="kill no more after so many")
    parser.add_argument("--output", type=Path, help="a Markdown file for what was found")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines, good = chaos(Path(folder), options)
    record(f"Chaos: {options.trials} trials", lines, options.output)
    return 0 if good else 1


def chaos(folder: Path, options: argparse.Namespace) -> tuple[list[str], bool]:
    """Make the undisturbed run and the disturbed one, and compare."""
    print(f"seed {options.seed}: {options.trials} trials, {options.kills} kills", flush=True)
    study = folder / "chaos.yaml"
    study.write_text(STUDY.format(seeds=options.trials // 3, steps=options.steps))
    calm, wild = folder / "calm", folder / "wild"
    started = time.time()
    command = [*COMMAND, "run", str(study), "--device", "cpu", "--results"]
    subprocess.run([*command, str(calm), "--in-process"], cwd=ROOT, check=True, stdout=2)
    print(f"undisturbed run, in one process: {time.time() - started:.0f} s", flush=True)
    started = time.time()
    was = disturb([*command, str(wild)], wild, options)
    what = ", ".join(f"{was.killed.count(kind)} of a {kind}" for kind in WEIGHTS)
    lines = [
        f"- seed {options.seed}; {len(was.killed)} kills with SIGKILL: {what}",
        f"- disturbed run: {(time.time() - started) / 60:.0f} minutes, {was.drivers} drivers",
        f"- besides: {len(was.still)} times the machine stood still, for {sum(was.still):.0f} s in "
        f"all; Ray gave up {was.died} nodes that nobody had killed",
    ]
    found, good = verdict(calm, wild)
    return lines + found, good


def disturb(command: list[str], store: Path, options: argparse.Namespace) -> Found:
    """Kill and start again until the kills or the minutes are spent and a driver ends well."""
    os.environ |= RAY
    from ray.cluster_utils import Cluster

    dice, found, dead = random.Random(options.seed), Found(), set[str]()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    node = {"num_cpus": 1, "num_gpus": 1, "labels": {"gpu-class": "fake"}}
    nodes = [_added(cluster, node) for _ in range(options.nodes)]
    command = [*command, "--address", str(cluster.address)]
    plan = [
        (kind, dice.expovariate(1 / options.every))
        for kind in dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=options.kills)
    ]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=2)
    last = started = looked = time.time()
    try:
        while True:
            time.sleep(0.05)
            now = time.time()
            if now > looked + STILL_SECONDS:
                found.still.append(now - looked)
                print(f"{now - started:.0f} s: stood still for {now - looked:.0f} s", flush=True)
            if driver.poll() is not None:
                if driver.returncode == 0:
                    found.died = len(_gone(cluster) - dead)
                    return found
                driver, found.drivers = (
                    subprocess.Popen(command, cwd=ROOT, stdout=2),
                    found.drivers + 1,
                )
            spent = len(found.killed) == options.kills or now > started + 60 * options.minutes
            if not spent and now > last + plan[len(found.killed)][1]:
                kind = plan[len(found.killed)][0]
                if kill(kind, dice, store, driver, nodes, dead):
                    found.killed.append(kind)
                    last = time.time()
                    print(f"{last - started:.0f} s: kill {len(found.killed)}, a {kind}", flush=True)
                    if kind == "raylet":
                        nodes.append(_added(cluster, node))
            looked = time.time()
    finally:
        driver.kill()
        cluster.shutdown()


def _gone(cluster: Any) -> set[str]:
    """The nodes that Ray holds for dead."""
    return {node["NodeID"] for node in cluster.global_state.node_table() if not node["Alive"]}


def _added(cluster: Any, node: dict[str, Any]) -> Any:
    """A new node; Ray gives up on one that takes half a minute to start, as under heavy load."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return cluster.add_node(**node)
    return cluster.add_node(**node)


def kill(
    kind: str,
    dice: random.Random,
    store: Path,
    driver: subprocess.Popen[Any],
    nodes: list[Any],
    dead: set[str],
) -> bool:
    """Kill one of a kind, a node by its name in `dead`; False where there is none just now."""
    from bench.results import ResultStore

    marks = [m for m in ResultStore(store).marks() if m.alive and m.phase != "run"]
    if not marks:
        return False  # nothing runs, so nothing would be disturbed
    if kind == "driver":
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    elif kind == "raylet":
        node = nodes.pop(dice.randrange(len(nodes)))
        dead.add(node.node_id)
        node.kill_raylet()
    else:
        try:
            os.kill(dice.choice(marks).pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
