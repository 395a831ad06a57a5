"""How often the throughput gate is right: by simulation, with noise as calibration measured it.

`python docs/simulate_gate.py` writes `results/reference/gate/simulation.md`. A check of eight cells
is simulated 2,000 times for every noise and every true slowdown, which one cell has and seven have
not; the verdicts are those of `bench.margin`, looks, margin and Holm's correction included.

Noises, all scaled to the same standard deviation of a round's log ratio: `normal`; `heavy tails`
(Student's t with 3 degrees of freedom); `disturbed` (one round in ten has five times the spread, as
when another process starts); `drift` (the machine's speed wanders from process to process);
`correlated` (one arm's advantage over the other wanders from round to round, which the margin test
does not allow for); `measured` (drawn from the rounds of calibration, which lie in
`results/reference/gate/calibration.json` where `docs/measure_gate.py` has been run).
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.margin import LOOKS, Change, detectable, overall, rounds_needed, verdicts

ROOT = Path(__file__).parents[1]
HOME = ROOT / "results" / "reference" / "gate"
MARGIN, CELLS, EXPERIMENTS = 0.015, 8, 2000
SLOWDOWNS = (0.0, 0.03, 0.05)
DEVIATIONS = (0.01, 0.02, 0.03, 0.05)
TOGETHER = 4

Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class Rates:
    """Shares of the experiments of one noise and one slowdown.

    Attributes:
        false_alarm: A cell that did not change is called REGRESSION.
        found: The cell that changed is.
        passed: The cell that changed passes.
        unsure: It stays INCONCLUSIVE.
        all_pass: The check as a whole passes.
        rounds: How many rounds a check took, on average.
    """

    false_alarm: float
    found: float
    passed: float
    unsure: float
    all_pass: float
    rounds: float


def normal(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Independent normal rounds of deviation 1."""
    return random.normal(size=shape)


def heavy_tails(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Student's t with 3 degrees of freedom, of deviation 1."""
    return random.standard_t(3, size=shape) / math.sqrt(3)


def disturbed(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """One round in ten spreads five times as far."""
    spread = np.where(random.random(shape) < 0.1, 5.0, 1.0)
    return random.normal(size=shape) * spread / math.sqrt(0.9 + 0.1 * 25)


def drift(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Half of the variance is the machine's: from process to process its speed wanders.

    A first-order autoregression with correlation 0.7 over the processes, A B, B A, A B, …
    """
    wander = _wandering(random, (shape[0], 2 * shape[1])).reshape(*shape, 2)
    there_and_back = np.where(np.arange(shape[1]) % 2 == 0, 1.0, -1.0)
    paired = (wander[..., 1] - wander[..., 0]) * there_and_back / math.sqrt(2 * (1 - 0.7))
    return (paired + random.normal(size=shape)) / math.sqrt(2)


def correlated(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Half of the variance wanders from round to round, for one arm and against the other."""
    return (_wandering(random, shape) + random.normal(size=shape)) / math.sqrt(2)


def _wandering(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    wander = random.normal(size=shape)
    for i in range(1, shape[1]):
        wander[:, i] = 0.7 * wander[:, i - 1] + math.sqrt(1 - 0.7**2) * wander[:, i]
    return wander


NOISES: Mapping[str, Noise] = {
    "normal": normal,
    "heavy tails": heavy_tails,
    "disturbed": disturbed,
    "drift": drift,
    "correlated": correlated,
}


def measured(file: Path) -> Noise:
    """Rounds drawn from those that calibration measured, each cell's about its mean, scaled to 1.

    `TOGETHER` rounds in a row are drawn at a time, so that what hangs together mostly stays so.
    """
    cells = [np.asarray(logs) for logs in json.loads(file.read_text())["logs"].values()]
    scaled = [(logs - logs.mean()) / logs.std(ddof=1) for logs in cells if logs.std(ddof=1) > 0]

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        rows = []
        for _ in range(shape[0]):
            logs = scaled[random.integers(len(scaled))]
            starts = random.integers(logs.size, size=-(-shape[1] // TOGETHER))
            places = (starts[:, None] + np.arange(TOGETHER)).ravel()[: shape[1]]
            rows.append(logs[places % logs.size])
        return np.array(rows) * random.choice([-1.0, 1.0], size=(shape[0], 1))

    return draw


def simulate(
    noise: Noise, deviation: float, slowdown: float, experiments: int = EXPERIMENTS, seed: int = 0
) -> Rates:
    """Rates of a check of `CELLS` cells, the first of which is slower by `slowdown`."""
    random = np.random.default_rng(seed)
    counts = dict.fromkeys(("false_alarm", "found", "passed", "unsure", "all_pass", "rounds"), 0)
    for _ in range(experiments):
        logs = deviation * noise(random, (CELLS, LOOKS[-1]))
        logs[0] += math.log1p(slowdown)
        for n in LOOKS:
            means, errors = logs[:, :n].mean(1), logs[:, :n].std(1, ddof=1) / math.sqrt(n)
            changes = {
                str(i): Change(mean, error, n - 1, n)
                for i, (mean, error) in enumerate(zip(means.tolist(), errors.tolist(), strict=True))
            }
            found = verdicts(changes, MARGIN)
            if "INCONCLUSIVE" not in found.values():
                break
        unchanged = [v for cell, v in found.items() if cell != "0" or slowdown == 0]
        counts["false_alarm"] += "REGRESSION" in unchanged
        counts["found"] += found["0"] == "REGRESSION"
        counts["passed"] += found["0"] == "PASS"
        counts["unsure"] += found["0"] == "INCONCLUSIVE"
        counts["all_pass"] += overall(found) == "PASS"
        counts["rounds"] += n
    return Rates(**{name: count / experiments for name, count in counts.items()})


def table(noises: Mapping[str, Noise], experiments: int) -> str:
    """All rates as Markdown."""
    lines = [
        "| noise | deviation of a round | true slowdown | false alarm | found | passed | "
        "inconclusive | whole check passes | rounds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, noise in noises.items():
        for deviation in DEVIATIONS:
            for slowdown in SLOWDOWNS:
                r = simulate(noise, deviation, slowdown, experiments)
                shares = (r.false_alarm, r.found, r.passed, r.unsure, r.all_pass)
                words = [f"{100 * share:.1f} %" for share in shares]
                if slowdown == 0:
                    words[1] = "–"
                head = [name, f"{100 * deviation:g} %", f"{100 * slowdown:g} %"]
                lines.append(f"| {' | '.join([*head, *words, f'{r.rounds:.1f}'])} |")
                print(lines[-1], flush=True)
    return "\n".join(lines)


def gateable() -> str:
    """From which noise on calibration says that a cell cannot be gated, in one sentence."""
    grid = np.arange(0.0005, 0.1, 0.0001)
    most = max(d for d in grid if rounds_needed(d, MARGIN) is not None)
    seen = detectable(most, LOOKS[-1], MARGIN)
    return (
        f"With a margin of {100 * MARGIN:g} % `calibrate` says of cells noisier than "
        f"{100 * most:.2f} % a round that they cannot be gated here: {LOOKS[-1]} rounds find no "
        f"less than {100 * seen:.1f} % in them with probability 0.8."
    )


def main() -> None:
    """Simulate, and write the page."""
    parser = argparse.ArgumentParser(description="How often the throughput gate is right.")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--output", type=Path, default=HOME / "simulation.md")
    options = parser.parse_args()
    calibration = HOME / "calibration.json"
    noises = dict(NOISES)
    if calibration.is_file():
        noises["measured"] = measured(calibration)
    parts = [
        "# The gate by simulation",
        f"{options.experiments:,} checks of {CELLS} cells for each row, margin {100 * MARGIN:g} %, "
        f"looks at {', '.join(map(str, LOOKS))} rounds. Made by `python docs/simulate_gate.py`, "
        "which says what the noises are.",
        gateable(),
        table(noises, options.experiments),
    ]
    text = "\n\n".join(parts) + "\n"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)


if __name__ == "__main__":
    main()
