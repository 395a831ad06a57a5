"""The throughput gate for real, on a machine that something else disturbs at random.

`python docs/measure_gate.py` takes about half an hour on two cores and needs them for itself:
besides the gate there runs only what it starts to disturb it. It goes on where it was stopped, and
writes `results/reference/gate/`:

1. `calibration.json`: the noise floor, undisturbed and disturbed, for `docs/simulate_gate.py`;
2. `real.jsonl`: 20 checks of a commit against itself, and 10 with a slowdown planted in the
   sampler, a line each;
3. `real.md`: the same as a table.

All of it happens in a clone of the working tree's HEAD. The planted slowdown is real work: every
tenth warp is computed twice. What it makes of the cells is checked once undisturbed, too.
"""

import argparse
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / "results" / "reference" / "gate"
STUDY = "studies/throughput_gate.yaml"
CALIBRATED = ("warp images", "warp feature maps")
CELLS = ("warp feature maps",)  # a check of one cell takes some two minutes
SAME, SLOWED, SLOWDOWN = 20, 10, 0.10
KINDS = {
    "same": "HEAD against itself, disturbed",
    "slowed": f"a slowdown of {100 * SLOWDOWN:.0f} % in the sampler, disturbed",
    "quiet": "the same slowdown, undisturbed",
}

PLANTED = """

_warp_once, _calls = warp, 0


def warp(*words, **options):
    global _calls
    _calls += 1
    if _calls % {every} == 0:
        _warp_once(*words, **options)
    return _warp_once(*words, **options)
"""


def disturb(seed: int) -> None:
    """Work and rest in turn for random times, until killed: arithmetic, then memory."""
    draw, memory = random.Random(seed), bytearray(64 << 20)
    while True:
        until, busy = time.monotonic() + draw.expovariate(1 / 1.5), draw.random() < 0.5
        while time.monotonic() < until:
            if busy:
                sum(i * i for i in range(20_000))
            else:
                memory[:] = memory[::-1]
        time.sleep(draw.expovariate(1 / 1.5))


@contextlib.contextmanager
def disturbed(seed: int) -> Iterator[None]:
    """A second process disturbs the machine while the block runs."""
    words = [sys.executable, __file__, "--disturb", str(seed)]
    process = subprocess.Popen(words)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def stn_bench(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command of a tree."""
    code = "from bench.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tree, env=environment, text=True, capture_output=True,
    )  # fmt: skip


def only(cells: tuple[str, ...]) -> list[str]:
    """The cells as arguments."""
    return [word for cell in cells for word in ("--only", cell)]


def calibrate(tree: Path, store: Path, rounds: int) -> dict[str, list[float]]:
    """Rounds of HEAD against itself: the logarithm of the ratio of each, by cell."""
    done = stn_bench(
        tree,
        "calibrate",
        STUDY,
        "--results",
        str(store),
        "--rounds",
        str(rounds),
        *only(CALIBRATED),
    )
    print(done.stderr, done.stdout, flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    sys.path.insert(0, str(ROOT))
    from bench.check.rows import cells
    from bench.results import ResultStore

    rows = ResultStore(store).read().table.to_pylist()
    return {name: list(cell.logs.values()) for name, cell in cells(rows, ("a", "b")).items()}


def plant(tree: Path, slowdown: float) -> None:
    """Compute every so many warps twice, in this tree."""
    subprocess.run(["git", "-C", str(tree), "checkout", "-q", "."], check=True)
    if slowdown:
        with (tree / "stn_core" / "_warp.py").open("a") as file:
            file.write(PLANTED.format(every=round(1 / slowdown)))


def check(tree: Path, folder: Path, seed: int | None) -> dict[str, object]:
    """One check of a tree against its HEAD, disturbed where there is a seed."""
    begun = time.monotonic()
    with contextlib.nullcontext() if seed is None else disturbed(seed):
        done = stn_bench(
            tree, "check", STUDY, "--against", "HEAD", "--results", str(folder / "store"),
            "--output", str(folder / "out"), *only(CELLS),
        )  # fmt: skip
    if done.returncode not in (0, 1, 3, 4):
        raise SystemExit(f"check ended with status {done.returncode}\n{done.stderr}")
    told = json.loads((folder / "out" / "check.json").read_text())
    return {
        "verdict": told["verdict"],
        "status": done.returncode,
        "seconds": round(time.monotonic() - begun, 1),
        "cells": {
            cell["cell"]: {
                "verdict": cell["verdict"],
                "ratio": cell["ratio"] and [cell["ratio"][k] for k in ("mean", "low", "high")],
                "rounds": cell["ratio"] and cell["ratio"]["n"],
            }
            for cell in told["cells"]
        },
    }


def table(lines: list[dict]) -> str:
    """What was found, in words and a row a check."""
    parts = ["# The gate on a disturbed machine", ""]
    for kind, meaning in KINDS.items():
        mine = [line["verdict"] for line in lines if line["kind"] == kind]
        counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(Counter(mine).items()))
        parts.append(f"- {kind}, {meaning}: {counts or 'none yet'}, of {len(mine)}")
    parts += ["", "| check | verdict | seconds | " + " | ".join(CELLS) + " |"]
    parts.append("| --- | --- | ---: |" + " --- |" * len(CELLS))
    for line in lines:
        cells = []
        for cell in line["cells"].values():
            ratio = cell["ratio"] or [math.nan] * 3
            mean, low, high = (100 * (r - 1) for r in ratio)
            change = f"{mean:+.1f} % [{low:+.1f}, {high:+.1f}]"
            cells.append(f"{cell['verdict']}, {change}, {cell['rounds']} rounds")
        head = f"{line['kind']} {line['number'] + 1}"
        row = [head, line["verdict"], f"{line['seconds']:.0f}", *cells]
        parts.append(f"| {' | '.join(row)} |")
    return "\n".join(parts) + "\n"


def main() -> None:
    """Do what is left, and write the pages."""
    parser = argparse.ArgumentParser(description="The throughput gate on a disturbed machine.")
    parser.add_argument("--disturb", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--same", type=int, default=SAME, help="checks of HEAD against itself")
    parser.add_argument("--slowed", type=int, default=SLOWED, help="checks of a planted slowdown")
    parser.add_argument("--rounds", type=int, default=16, help="rounds of each calibration")
    parser.add_argument("--output", type=Path, default=HOME)
    options = parser.parse_args()
    if options.disturb is not None:
        disturb(options.disturb)
    home: Path = options.output
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = folder / "tree"
        words = ["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(tree)]
        subprocess.run(words, check=True)
        calibration = home / "calibration.json"
        if not calibration.is_file():
            quiet = calibrate(tree, folder / "quiet", options.rounds)
            with disturbed(0):
                loud = calibrate(tree, folder / "loud", options.rounds)
            logs = {f"{cell}, undisturbed": by for cell, by in quiet.items()}
            logs |= {f"{cell}, disturbed": by for cell, by in loud.items()}
            calibration.write_text(json.dumps({"logs": logs}, indent=1) + "\n")
        file = home / "real.jsonl"
        lines = [json.loads(x) for x in file.read_text().splitlines()] if file.is_file() else []
        made = {(line["kind"], line["number"]) for line in lines}
        for kind, count in (("same", options.same), ("slowed", options.slowed), ("quiet", 1)):
            for number in range(count):
                if (kind, number) in made:
                    continue
                plant(tree, 0.0 if kind == "same" else SLOWDOWN)
                seed = None if kind == "quiet" else 1000 * (kind == "slowed") + number
                line = {"kind": kind, "number": number, "seed": seed} | check(tree, folder, seed)
                print(f"{kind} {number + 1} of {count}: {line['verdict']}", flush=True)
                lines.append(line)
                with file.open("a") as stream:
                    stream.write(json.dumps(line) + "\n")
                (home / "real.md").write_text(table(lines))


if __name__ == "__main__":
    main()
