"""Chaos: workers, raylets and the driver are killed at random while a study runs on a cluster.

`python tests/cluster/chaos.py --trials 60 --kills 100 --seed 0` runs a study of real short
trainings on a Ray cluster of several nodes on this machine, kills with SIGKILL at seeded random
times, starts the driver again until the study is done, and compares with a run that nothing
disturbed. It ends with status 0 where every trial has exactly one good result, equal to the bit.
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
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import COMMAND, ROOT  # noqa: E402
from record import record  # noqa: E402
from whole import STUDY, verdict  # noqa: E402

WEIGHTS = {"worker": 0.8, "driver": 0.1, "raylet": 0.1}


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=float, default=2.0, help="mean seconds between kills")
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
    killed, drivers = disturb([*command, str(wild)], wild, options)
    what = ", ".join(f"{killed.count(kind)} of a {kind}" for kind in WEIGHTS)
    lines = [
        f"- seed {options.seed}; {len(killed)} kills with SIGKILL: {what}",
        f"- disturbed run: {(time.time() - started) / 60:.0f} minutes, {drivers} drivers",
    ]
    found, good = verdict(calm, wild)
    return lines + found, good


def disturb(command: list[str], store: Path, options: argparse.Namespace) -> tuple[list[str], int]:
    """Kill and start again until the kills or the minutes are spent and a driver ends well."""
    # Ray's workers would step back for whatever else runs on this machine.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    dice, killed, drivers = random.Random(options.seed), list[str](), 1
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    node = {"num_cpus": 1, "num_gpus": 1, "labels": {"gpu-class": "fake"}}
    nodes = [_added(cluster, node) for _ in range(options.nodes)]
    command = [*command, "--address", str(cluster.address)]
    plan = [
        (kind, dice.expovariate(1 / options.every))
        for kind in dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=options.kills)
    ]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=2)
    last = started = time.time()
    try:
        while True:
            time.sleep(0.05)
            if driver.poll() is not None:
                if driver.returncode == 0:
                    return killed, drivers
                driver, drivers = subprocess.Popen(command, cwd=ROOT, stdout=2), drivers + 1
            spent = len(killed) == options.kills or time.time() > started + 60 * options.minutes
            if spent or time.time() < last + plan[len(killed)][1]:
                continue
            kind = plan[len(killed)][0]
            if kill(kind, dice, store, driver, nodes):
                killed.append(kind)
                last = time.time()
                print(f"{last - started:.0f} s: kill {len(killed)}, a {kind}", flush=True)
                if kind == "raylet":
                    nodes.append(_added(cluster, node))
    finally:
        driver.kill()
        cluster.shutdown()


def _added(cluster: Any, node: dict[str, Any]) -> Any:
    """A new node; Ray gives up on one that takes half a minute to start, as under heavy load."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return cluster.add_node(**node)
    return cluster.add_node(**node)


def kill(
    kind: str, dice: random.Random, store: Path, driver: subprocess.Popen[Any], nodes: list[Any]
) -> bool:
    """Kill one of a kind; False where there is none to kill just now."""
    from bench.results import ResultStore

    marks = [m for m in ResultStore(store).marks() if m.alive and m.phase != "run"]
    if not marks:
        return False  # nothing runs, so nothing would be disturbed
    if kind == "driver":
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    elif kind == "raylet":
        node = nodes.pop(dice.randrange(len(nodes)))
        node.kill_raylet()
    else:
        try:
            os.kill(dice.choice(marks).pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
