"""Sixteen short trainings: the harness on two workers against a hand-written pool of two processes.

`python tests/cluster/short_trials.py` trains the quickstart's two networks on nine seeds each, by
`stn-bench`'s own run on a local Ray and by `multiprocessing.Pool(2)`, in turns. In both the first
training of each process makes it warm: compared is the wall time of the sixteen others, from the
end of the first ones, a mean of the two, to the last one's end. The wall time from the first start
on is told as well. Results of both are equal to the bit, or it fails.
"""

import argparse
import json
import multiprocessing
import os
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
    parser.add_argument("--seeds", type=int, default=9, help="of each of the two networks")
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
    record(f"{2 * options.seeds - 2} short trainings", lines, options.output)
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

    begun, started, ends = time.perf_counter(), 0.0, list[tuple[object, float]]()
    with tempfile.TemporaryDirectory() as store:
        for event in run(study_of(seeds, steps), store, device="cpu"):
            if event.kind == "ended":
                ends.append((event.place, time.perf_counter()))
            started = started or (time.perf_counter() if event.kind == "started" else 0.0)
        whole = time.perf_counter() - begun
        rows = ResultStore(store).read().table.to_pylist()
    errors = {
        row["trial_id"]: metric["value"]
        for row in rows
        for metric in row["metrics"]
        if metric["name"] == "test_error"
    }
    return {**times(started, ends), "whole": whole, "errors": errors}


def times(started: float, ends: list[tuple[object, float]]) -> dict[str, float]:
    """Seconds of all trainings, and of all but each process's first; `ends` are in order."""
    first = {place: end for place, end in reversed(ends)}
    last = ends[-1][1]
    return {"all": last - started, "warm": last - statistics.mean(first.values())}


def pool(seeds: str, steps: str) -> dict[str, Any]:
    """What one would write by hand: no rows, no logs, nothing kept but the error."""
    study, begun = study_of(seeds, steps), time.perf_counter()
    trials = study.trials("cpu")
    errors, ends = dict[str, float](), list[tuple[object, float]]()
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        workers.map(imported, range(2), chunksize=1)
        started = time.perf_counter()
        for trial_id, error, process in workers.imap_unordered(train, trials, chunksize=1):
            errors[trial_id] = error
            ends.append((process, time.perf_counter()))
    whole = time.perf_counter() - begun
    return {**times(started, ends), "whole": whole, "errors": errors}


def imported(_: int) -> None:
    """Import what a training needs; a second, so that each process does."""
    from bench.tasks import classify  # noqa: F401

    time.sleep(1)


def train(trial: Trial) -> tuple[str, float, int]:
    """Train one on one thread, from its seed; gives the error and the process."""
    import torch

    from bench.tasks.classify import Classify
    from bench.tasks.task import Place

    torch.set_num_threads(1)
    torch.manual_seed(trial.seed)
    place = Place(torch.device("cpu"), None, QUICKSTART.parent)
    measured = Classify().accuracy(trial.settings, trial.seed, place)
    error = next(m.value for m in measured.metrics if m.name == "test_error")
    return trial.trial_id, error, os.getpid()


def told(found: dict[str, list[dict[str, Any]]]) -> tuple[list[str], bool]:
    """What was found as a table, and whether it is as it should be."""
    first: Errors = found["pool"][0]["errors"]
    same = all(one["errors"] == first for arm in found.values() for one in arm)
    lines = [
        "| what | the harness | a pool of two processes | ratio | asked for | holds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    warm = 0.0
    for which, what in (
        ("warm", f"all but each process's first, {len(first) - 2} trainings"),
        ("all", f"from the first start to the last end, {len(first)} trainings"),
        ("whole", "whole run, processes started and ended"),
    ):
        ours, pool = ([one[which] for one in found[arm]] for arm in ("ours", "pool"))
        ratios = [a / b for a, b in zip(ours, pool, strict=True)]
        ratio = statistics.median(ratios)
        warm = warm or ratio
        aim = f"at most {AT_MOST} | {'yes' if ratio <= AT_MOST else 'NO'}"
        found_so = f"{ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        seconds = " | ".join(", ".join(f"{s:.1f}" for s in arm) + " s" for arm in (ours, pool))
        lines.append(f"| {what} | {seconds} | {found_so} | {aim if which == 'warm' else ' | '} |")
    equal = "equal | | | equal to the bit | yes" if same else "DIFFERENT | | | equal | NO"
    return [*lines, f"| test errors in every run | {equal} |"], warm <= AT_MOST and same


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["pool"]):
        print(json.dumps({"ours": ours, "pool": pool}[sys.argv[1]](*sys.argv[2:])))
    else:
        sys.exit(main())
