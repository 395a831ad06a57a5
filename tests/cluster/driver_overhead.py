"""What the driver costs: thousands of trials that do nothing, beside Ray Tune's.

`python tests/cluster/driver_overhead.py --trials 10000 --few 1000` runs studies of trials that do
nothing on a local Ray and reads, trial by trial, how much CPU time the driver's process takes, all
its threads together; then Ray Tune with the same function and actors that are used again, with its
loggers and without, and the faster way of both with as many trials as ours. Each is a process of
its own, and what is compared with Tune is the wall time of a whole run, from Ray being there to the
results on disk: with us imports of torch and the compaction are part of it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import COMMAND, ROOT  # noqa: E402
from idle_study import write_study  # noqa: E402
from record import record  # noqa: E402


def main() -> int:
    """Measure all, and say what holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=1_000, help="of a study to compare with")
    parser.add_argument("--tune", type=int, default=200, help="of Ray Tune, to choose its loggers")
    parser.add_argument("--output", type=Path, help="a Markdown file for what was found")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few = child("ours", Path(folder, "few"), options.few)
        many = child("ours", Path(folder, "many"), options.trials)
        again = run_again(Path(folder, "many"))
        tuned = [tune_child(Path(folder, f"tune{i}"), options.tune, i) for i in "01"]
        faster = max("01", key=lambda i: tuned[int(i)]["whole_per_s"])
        tuned += [tune_child(Path(folder, "tune"), options.trials, faster)]
    lines, good = told(few, many, again, tuned)
    record("What the driver costs", lines, options.output)
    return 0 if good else 1


def tune_child(folder: Path, trials: int, is_lean: str) -> dict[str, Any]:
    """Ray Tune's run, with its loggers or (`is_lean` is 1) without."""
    return child("tune", folder, trials, TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=is_lean)


def child(which: str, folder: Path, trials: int, **environment: str) -> dict[str, Any]:
    """What a run of trials says of itself, in a process of its own."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, __file__, which, str(folder), str(trials)],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | environment,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    brief = {k: v for k, v in found.items() if not isinstance(v, list)}
    print(which, trials, environment or "", brief, file=sys.stderr, flush=True)
    return found


def ours(folder: Path, trials: int) -> dict[str, Any]:
    """Run a study as the command does, and watch this process from event to event."""
    from rich.console import Console

    from bench.launch import run
    from bench.progress import follow
    from bench.report import write_report
    from bench.study import load_study

    study = load_study(write_study(folder, trials))
    ticks: list[float] = []
    moments: dict[str, float] = {}

    def watched():
        for event in run(study, folder / "store", device="cpu"):
            moments.setdefault(f"{event.kind} {event.text}".strip(), time.perf_counter())
            if event.kind == "ended":
                ticks.append(time.process_time())
                moments["last"] = time.perf_counter()
            yield event

    with open(os.devnull, "w") as nowhere:
        tally = follow(watched(), Console(file=nowhere))
    end = time.perf_counter()
    assert (tally.done, tally.failed) == (trials, 0), tally
    peak = peak_mb()
    write_report(study, folder / "store")
    return {
        "trials": trials,
        "driver_ms": [1e3 * (b - a) for a, b in zip(ticks, ticks[1:], strict=False)],
        "steady_per_s": trials / (moments["last"] - moments["started"]),
        "whole_per_s": trials / (end - moments["planned"]),
        "store_seconds": end - moments["stage store"],
        "peak_mb": peak,
        "report_mb": peak_mb(),
    }


def tune(folder: Path, trials: int) -> dict[str, Any]:
    """Ray Tune with the same function, its actors warm and used again, which it does when asked."""
    write_study(folder, trials)
    sys.path.insert(0, str(folder))
    import ray
    from ray import tune as ray_tune

    from bench.environment import usable_cpus

    folder_ = str(folder)

    def trainable(config: dict[str, Any]) -> dict[str, float]:
        if folder_ not in sys.path:
            sys.path.insert(0, folder_)
        from nothing import nothing  # pyright: ignore[reportMissingImports]

        return {"test_error": nothing(config["seed"])}

    ray.init(address="local", num_cpus=usable_cpus(), include_dashboard=False, logging_level=40)
    space = {
        "lr": ray_tune.grid_search(list(range(1, 11))),
        "seed": ray_tune.grid_search(list(range(trials // 10))),
    }
    tuner = ray_tune.Tuner(
        trainable,
        param_space=space,
        tune_config=ray_tune.TuneConfig(reuse_actors=True),
        run_config=ray_tune.RunConfig(storage_path=str(folder / "store"), verbose=0),
    )
    begun = time.perf_counter()
    grid = tuner.fit()
    seconds = time.perf_counter() - begun
    assert (len(grid), grid.num_errors) == (trials, 0)
    ray.shutdown()
    return {"trials": trials, "whole_per_s": trials / seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_again(folder: Path) -> float:
    """Seconds of the command on the finished store, of three the median."""
    command = [*COMMAND, "run", str(folder / "nothing.yaml"), "--device", "cpu", "--results"]
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([*command, str(folder / "store")], cwd=ROOT, check=True, stdout=2)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def told(
    few: dict[str, Any], many: dict[str, Any], again: float, tuned: list[dict[str, Any]]
) -> tuple[list[str], bool]:
    """What was found as a table, and whether all of it is as it should be."""
    n, m = few["trials"], many["trials"]
    of_few = statistics.mean(few["driver_ms"])
    # Means: of trials that are given to a worker at once the first one bears the driver's work.
    first, last = (statistics.mean(many["driver_ms"][s]) for s in (slice(n), slice(-n, None)))
    median, mean = statistics.median(many["driver_ms"]), statistics.mean(many["driver_ms"])
    logged, lean, as_many = (found["whole_per_s"] for found in tuned)
    ratio = many["whole_per_s"] / as_many
    grown = many["peak_mb"] - few["peak_mb"]
    rates = [few["whole_per_s"], many["whole_per_s"], many["steady_per_s"]]
    checks = [
        (
            f"the driver's CPU time for a trial, median of {m:,}",
            f"{median:.2f} ms (mean {mean:.2f})", "at most 5 ms", max(median, mean) <= 5,
        ),
        (
            f"its mean over the first and the last {n:,} of them; over a study of {n:,}",
            f"{first:.2f} and {last:.2f} ms; {of_few:.2f} ms", "flat: at most a quarter more",
            last <= 1.25 * min(first, of_few),
        ),
        (
            f"trials a second, whole run of {n:,}; of {m:,}; of these while trials run",
            "; ".join(f"{rate:.1f}" for rate in rates), "", True,
        ),
        (
            f"Ray Tune's, whole run of {tuned[0]['trials']:,}, with its loggers; without; of "
            f"{m:,}, the faster way",
            f"{logged:.1f}; {lean:.1f}; {as_many:.1f}", "", True,
        ),
        (
            f"ours of {m:,} against Tune's of {m:,}",
            f"{ratio:.1f} times", "at least 3 times", ratio >= 3,
        ),
        (
            f"`run` again on the finished store of {m:,}",
            f"{again:.2f} s", "at most 3 s", again <= 3,
        ),
        (
            f"the driver's peak memory at {n:,}; at {m:,}",
            f"{few['peak_mb']:.0f} MB; {many['peak_mb']:.0f} MB", "within 100 MB", grown <= 100,
        ),
        (
            f"the same, the report of {n:,} or {m:,} trials made as well",
            f"{few['report_mb']:.0f} MB; {many['report_mb']:.0f} MB", "", True,
        ),
    ]  # fmt: skip
    rows = [
        f"| {what} | {found} | {asked} | {('yes' if good else 'NO') if asked else ''} |"
        for what, found, asked, good in checks
    ]
    head = ["| what | found | asked for | holds |", "| --- | --- | --- | --- |"]
    return [*head, *rows], all(good for *_, good in checks)


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["tune"]):
        measure = {"ours": ours, "tune": tune}[sys.argv[1]]
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        sys.exit(main())
