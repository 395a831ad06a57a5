"""Chaos: workers, raylets and the driver are killed at random while a study runs on a cluster.

`python tests/cluster/chaos.py --trials 60 --kills 100 --seed 0` runs a study of real short
trainings on a Ray cluster of several nodes on this machine, kills with SIGKILL at seeded random
times, starts the driver again until the study is done, and compares with a run that nothing
disturbed. It ends with status 0 where every trial has exactly one good result, equal to the bit.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from bench.cli import main; main()"]
STUDY = """\
schema: 1
name: chaos
question: Is anything lost?
task: classify
base:
  dataset: {{name: digits, distortion: {{name: affine, rotation: 90}}}}
  model: {{name: cnn, filters: [4], kernel_sizes: [3]}}
  train: {{steps: {steps}, batch_size: 16, lr: 4e-3}}
vary: {{train.lr: [1e-3, 4e-3, 1e-2]}}
seeds: {seeds}
rounds: 1
retries: {{lost: 100, node_lost: 100}}
"""
WEIGHTS = {"worker": 0.8, "driver": 0.1, "raylet": 0.1}


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=float, default=2.0, help="mean seconds between kills")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--minutes", type=float, default=60.0, help="give up after so many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return chaos(Path(folder), options)


def chaos(folder: Path, options: argparse.Namespace) -> int:
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
    print(f"disturbed run: {time.time() - started:.0f} s, {drivers} drivers; kills: {what}")
    return verdict(calm, wild)


def disturb(command: list[str], store: Path, options: argparse.Namespace) -> tuple[list[str], int]:
    """Kill and start again until all kills are spent and a driver has ended with status 0."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    dice, killed, drivers = random.Random(options.seed), list[str](), 1
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    node = {"num_cpus": 1, "num_gpus": 1, "labels": {"gpu-class": "fake"}}
    nodes = [cluster.add_node(**node) for _ in range(options.nodes)]
    command = [*command, "--address", str(cluster.address)]
    plan = [
        (kind, dice.expovariate(1 / options.every))
        for kind in dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=options.kills)
    ]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=2)
    last, give_up = time.time(), time.time() + 60 * options.minutes
    try:
        while True:
            time.sleep(0.05)
            if time.time() > give_up:
                raise SystemExit(f"not done after {options.minutes:g} minutes: {killed}")
            if driver.poll() is not None:
                if driver.returncode == 0:
                    return killed, drivers
                driver, drivers = subprocess.Popen(command, cwd=ROOT, stdout=2), drivers + 1
            if len(killed) == options.kills or time.time() < last + plan[len(killed)][1]:
                continue
            kind = plan[len(killed)][0]
            if kill(kind, dice, store, driver, nodes):
                killed.append(kind)
                last = time.time()
                print(f"killed a {kind}", flush=True)
                if kind == "raylet":
                    nodes.append(cluster.add_node(**node))
    finally:
        driver.kill()
        cluster.shutdown()


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


def verdict(calm: Path, wild: Path) -> int:
    """Say what became of the study; 0 where nothing was lost and no number differs."""
    from bench.results import ResultStore

    store = ResultStore(wild)
    results = store.read()
    rows = [row for row in results.table.to_pylist() if row["status"] == "done"]
    keys = [(row["trial_id"], row["phase"], row["round"]) for row in rows]
    kinds = [row["failure_kind"] for row in results.table.to_pylist() if row["failure_kind"]]
    print(f"rows of failures: { {kind: kinds.count(kind) for kind in sorted(set(kinds))} }")
    expected = {
        row["trial_id"]: (row["metrics"], row["curves"])
        for row in ResultStore(calm).read().table.to_pylist()
        if row["phase"] == "accuracy"
    }
    got = {r["trial_id"]: (r["metrics"], r["curves"]) for r in rows if r["phase"] == "accuracy"}
    faults = []
    if results.corrupt:
        faults.append(f"torn files: {results.corrupt}")
    if len(keys) != len(set(keys)):
        faults.append(f"{len(keys) - len(set(keys))} good results too many")
    if got != expected:
        differ = [t for t in expected if got.get(t) != expected[t]]
        faults.append(f"{len(differ)} trials are missing or differ from the undisturbed run")
    left = [str(p) for p in wild.rglob("*.tmp")] + [m.name for m in store.marks()]
    print(f"{len(expected)} trials, {len(keys)} good results; left over: {left or 'nothing'}")
    print("; ".join(faults) or "every trial has exactly one good result, equal to the bit")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
