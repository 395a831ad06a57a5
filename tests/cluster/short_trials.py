"""Sixteen short trainings: the harness on two workers against a hand-written pool of two processes.

`python tests/cluster/short_trials.py` trains the quickstart's two networks on eight seeds each, by
`stn-bench`'s own run on a local Ray and by `multiprocessing.Pool(2)` whose processes have trained
before, in turns. Compared is the wall time from the first training's start to the last one's end:
both have their processes warm by then. Results of both are equal to the bit, or it fails.
"""

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import QUICKSTART, ROOT  # noqa: E402
from record import record  # noqa: E402

from bench.study import Study, Trial, load_study  # noqa: E402

AT_MOST = 1.15
Errors = dict[str, float]


def main() -> int:
    """Measure both in turns, and say what holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=8, help="of each of the two networks")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, help="a Markdown file for what was found")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "pool": []}
    for i in range(options.rounds):
        for which in ("ours", "pool") if i % 2 == 0 else ("pool", "ours"):
            found[which].append(child(which, options))
            brief = {k: v for k, v in found[which][-1].items() if k != "errors"}
            print(which, brief, file=sys.stderr, flush=True)
    lines, good = told(found)
    record(f"{2 * options.seeds} short trainings", lines, options.output)
    return 0 if good else 1


def child(which: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one of both says of itself, in a process of its own."""
    words = [sys.executable, __file__, which, str(options.seeds), str(options.steps)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def study_of(seeds: str, steps: str) -> Study:
    """The quickstart's trainings, without its timings."""
    study = load_study(QUICKSTART, [f"seeds={seeds}", f"train.steps={steps}"])
    return study.model_copy(update={"phases": ("accuracy",)})


def ours(seeds: str, steps: str) -> dict[str, Any]:
    """The harness: Ray, marks, logs, checkpoints and rows included."""
    from bench.launch import run
    from bench.results import ResultStore

    begun, first, last = time.perf_counter(), 0.0, 0.0
    with tempfile.TemporaryDirectory() as store:
        for event in run(study_of(seeds, steps), store, device="cpu"):
            last = time.perf_counter() if event.kind == "ended" else last
            first = first or (time.perf_counter() if event.kind == "started" else 0.0)
        whole = time.perf_counter() - begun
        rows = ResultStore(store).read().table.to_pylist()
    errors = {
        row["trial_id"]: metric["value"]
        for row in rows
        for metric in row["metrics"]
        if metric["name"] == "test_error"
    }
    return {"seconds": last - first, "whole": whole, "errors": errors}


def pool(seeds: str, steps: str) -> dict[str, Any]:
    """What one would write by hand: no rows, no logs, nothing kept but the error."""
    study, begun = study_of(seeds, steps), time.perf_counter()
    trials = study.trials("cpu")
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        workers.map(train, [dataclasses.replace(t, seed=10**6) for t in trials[:2]], chunksize=1)
        first = time.perf_counter()
        errors = dict(workers.imap_unordered(train, trials, chunksize=1))
        seconds = time.perf_counter() - first
    return {"seconds": seconds, "whole": time.perf_counter() - begun, "errors": errors}


def train(trial: Trial) -> tuple[str, float]:
    """Train one on one thread, from its seed."""
    import torch

    from bench.tasks.classify import Classify
    from bench.tasks.task import Place

    torch.set_num_threads(1)
    torch.manual_seed(trial.seed)
    place = Place(torch.device("cpu"), None, QUICKSTART.parent)
    measured = Classify().accuracy(trial.settings, trial.seed, place)
    return trial.trial_id, next(m.value for m in measured.metrics if m.name == "test_error")


def told(found: dict[str, list[dict[str, Any]]]) -> tuple[list[str], bool]:
    """What was found as a table, and whether it is as it should be."""
    ratios = [
        ours["seconds"] / pool["seconds"]
        for ours, pool in zip(found["ours"], found["pool"], strict=True)
    ]
    first: Errors = found["pool"][0]["errors"]
    same = all(one["errors"] == first for arm in found.values() for one in arm)
    good = statistics.median(ratios) <= AT_MOST
    words = {
        which: ", ".join(f"{one['seconds']:.1f}" for one in arm) for which, arm in found.items()
    }
    whole = {which: statistics.median(one["whole"] for one in found[which]) for which in found}
    return [
        "| what | found | asked for | holds |",
        "| --- | --- | --- | --- |",
        f"| the harness, from the first start to the last end | {words['ours']} s | | |",
        f"| a pool of two warm processes, the same trainings | {words['pool']} s | | |",
        f"| ratio, median of {len(ratios)} rounds | {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}) | at most {AT_MOST} | "
        f"{'yes' if good else 'NO'} |",
        f"| test errors of all {len(first)} trainings in every run | "
        f"{'equal' if same else 'DIFFERENT'} | equal to the bit | {'yes' if same else 'NO'} |",
        f"| whole run, processes started and ended | {whole['ours']:.1f} s; "
        f"{whole['pool']:.1f} s | | |",
    ], good and same


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["pool"]):
        print(json.dumps({"ours": ours, "pool": pool}[sys.argv[1]](*sys.argv[2:])))
    else:
        sys.exit(main())
