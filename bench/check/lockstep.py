"""Two arms in lockstep: a fresh process each, and only one of them at work at any time.

In a round each arm's process makes a cell ready; then they time blocks in turn, A B, B A, A B, …,
so that the blocks of a turn lie a fraction of a second apart and what disturbs the machine for
longer disturbs both. Which arm is A changes from round to round. Both have made as many steps
before, so the blocks of a turn have the same inputs. A mode has as many turns as the mean of their
ratios takes to be known well enough: few where it is quiet, since to start the processes takes
longer than all blocks there.
"""

import contextlib
import dataclasses
import json
import math
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..results import Metric, TimingSample
from ..statistics import Estimate, interquartile_mean
from .trees import Tree

MODULE = "bench.arm"
# The version of the questions that are asked here; an arm says which it answers.
QUESTIONS = 2

# One step goes before each block, untimed: in between the other arm has the caches.
BLOCK_SECONDS = 0.01
UNTIMED = 1
# Turns of a mode end when half of the 95 % interval of their ratio is so small, or when each arm
# has had so long; but there are at least and at most so many, an even number.
PRECISION = 0.01
SECONDS = 0.75
TURNS = (8, 200)
# Whether a result lies in fresh pages, which the kernel must clear, hangs on where the heap of a
# process happens to end: one in ten took a fifth longer for it. So the heap keeps what it has.
HEAP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
LIMIT_SECONDS = 600.0


class ArmFailed(Exception):
    """An arm cannot do what it is asked: the reason, in one line."""


@dataclass(frozen=True)
class Setup:
    """What the arms measure: settings by the name of the variant, and where.

    Attributes:
        cells: The settings of each variant, which come from head: both arms time the same.
        folder: That of the user's own code; a relative one is meant inside each tree.
        device: `cpu` or `cuda`.
        threads: How many threads a process has.
        data_dir: Folder of the data sets.
    """

    cells: Mapping[str, Mapping[str, Any]]
    folder: Path
    device: str
    threads: int
    data_dir: Path | None


@dataclass(frozen=True)
class Ready:
    """A variant made ready: blocks of the warm-up, metrics, and by mode seconds and count of steps.

    Attributes:
        modes: Seconds that a step takes, and how many the warm-up made.
    """

    modes: Mapping[str, tuple[float, int]]
    warm: tuple[TimingSample, ...]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Timed:
    """What one arm gives of a variant in a round; `failure` says why there is less than all."""

    arm: str
    variant: str
    samples: tuple[TimingSample, ...] = ()
    metrics: tuple[Metric, ...] = ()
    failure: str | None = None
    seconds: float = 0.0


class Arm:
    """A fresh process that runs the code of a tree, and works only when it is asked."""

    def __init__(self, tree: Tree, setup: Setup) -> None:
        self.tree = tree
        own = {"PYTHONPATH": str(tree.folder), "OMP_NUM_THREADS": str(setup.threads), **HEAP}
        if setup.device == "cpu":
            own["CUDA_VISIBLE_DEVICES"] = ""
        self._process = subprocess.Popen(
            [tree.python, "-m", MODULE],
            cwd=tree.folder, env={**os.environ, **own}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._to, self._from = self._process.stdin, self._process.stdout
        self._complaints = self._process.stderr
        os.set_blocking(self._complaints.fileno(), False)
        self._said, self._complained = b"", b""
        self._setup = setup

    def open(self) -> dict[str, Any]:
        """Wait until its code is imported; what it says of code, protocol and machine.

        Raises:
            ArmFailed: It cannot be imported, or another tree's was.
        """
        setup = self._setup
        facts = self._ask(
            {
                "do": "open",
                "device": setup.device,
                "threads": setup.threads,
                "folder": str(self.tree.folder / setup.folder),
                "data_dir": setup.data_dir and str(setup.data_dir),
            }
        )
        if Path(facts["root"]) != self.tree.folder.resolve():
            raise ArmFailed(f"the code of {facts['root']} was imported")
        return facts

    def prepare(self, variant: str, seed: int) -> Ready:
        """Make a variant ready and warm."""
        settings = self._setup.cells[variant]
        told = self._ask({"do": "prepare", "settings": settings, "seed": seed})
        warm = tuple(_sample(sample) for sample in told["samples"])
        modes = {mode: (seconds, made) for mode, (seconds, made) in told["modes"].items()}
        return Ready(modes, warm, tuple(Metric(**m) for m in told["metrics"]))

    def block(self, mode: str, untimed: int, steps: int) -> TimingSample:
        """Time one block of the variant that is ready, after steps that are not timed."""
        question = {"do": "block", "mode": mode, "untimed": untimed, "steps": steps}
        return _sample(self._ask(question)["sample"])

    @property
    def dead(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._to, self._from, self._complaints):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._process.wait()

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        until = time.monotonic() + LIMIT_SECONDS
        with contextlib.suppress(BrokenPipeError):
            self._to.write(json.dumps(question).encode() + b"\n")
            self._to.flush()
        listening = [self._from, self._complaints]
        while b"\n" not in self._said:
            ready, _, _ = select.select(listening, [], [], max(0.0, until - time.monotonic()))
            if not ready:
                # Its answer would be taken for that to the next question, and it is at work.
                self._process.kill()
                self._process.wait()
                raise ArmFailed(f"no answer in {LIMIT_SECONDS:.0f} s")
            if self._complaints in ready and not self._complain():
                listening.remove(self._complaints)
            if self._from in ready:
                said = os.read(self._from.fileno(), 1 << 16)
                if not said:
                    raise ArmFailed(self._death())
                self._said += said
        line, _, self._said = self._said.partition(b"\n")
        told = json.loads(line)
        if "failure" in told:
            raise ArmFailed(told["failure"])
        return told

    def _complain(self) -> bool:
        """Keep the last words on standard error; whether there may be more."""
        words = self._complaints.read()
        self._complained = (self._complained + (words or b""))[-4000:]
        return words != b""

    def _death(self) -> str:
        status = self._process.wait()
        self._complain()
        words = self._complained.decode(errors="replace").strip().splitlines()
        return f"its process ended with status {status}{': ' + words[-1] if words else ''}"


class Round:
    """A round's processes, a fresh one an arm; entered they start, left they are gone.

    Args:
        trees: The two arms; in odd rounds the last begins.
        setup: What they measure.
        number: The round, from 0; the seed of its cells as well.
    """

    def __init__(self, trees: Sequence[Tree], setup: Setup, number: int) -> None:
        self._trees = trees if number % 2 == 0 else tuple(reversed(trees))
        self._setup, self._number = setup, number
        self._arms: list[Arm] = []

    def __enter__(self) -> "Round":
        for tree in self._trees:
            self._arms.append(Arm(tree, self._setup))
        return self

    def __exit__(self, *_: object) -> None:
        for arm in self._arms:
            arm.close()

    def open(self) -> dict[str, dict[str, Any] | ArmFailed]:
        """What each arm says of itself, or why it cannot work."""
        found: dict[str, dict[str, Any] | ArmFailed] = {}
        for arm in self._arms:
            try:
                found[arm.tree.name] = arm.open()
            except ArmFailed as failure:
                found[arm.tree.name] = failure
        return found

    def time(self, variants: Sequence[str]) -> Iterator[Timed]:
        """Each variant in each arm. One that an arm cannot time is timed in none."""
        for variant in variants:
            self._revive()
            begun = time.monotonic()
            kept: dict[str, list[TimingSample]] = {arm.tree.name: [] for arm in self._arms}
            ready: dict[str, Ready] = {}
            failures: dict[str, str] = {}
            name = ""
            try:
                for arm in self._arms:
                    name = arm.tree.name
                    ready[name] = arm.prepare(variant, self._number)
                    kept[name] += ready[name].warm
                for mode, plan in _plans(list(ready.values())).items():
                    logs: list[list[float]] = [[] for _ in self._arms]
                    while not _known(logs, plan.turns):
                        for arm, own in self._in_turn(logs):
                            name = arm.tree.name
                            before = plan.before(len(own), ready[name].modes[mode][1])
                            block = arm.block(mode, before, plan.steps)
                            kept[name].append(dataclasses.replace(block, sample=len(own)))
                            own.append(math.log(block.seconds / block.iterations))
            except ArmFailed as failure:
                failures[name] = str(failure)
            seconds = (time.monotonic() - begun) / len(self._arms)
            for name, samples in kept.items():
                metrics = ready[name].metrics if name in ready else ()
                failure = failures.get(name)
                yield Timed(name, variant, tuple(samples), metrics, failure, seconds)

    def _in_turn(self, logs: Sequence[list[float]]) -> list[tuple[Arm, list[float]]]:
        """Who comes next: A B, B A, A B, …; each arm with its own of the lists."""
        pairs = list(zip(self._arms, logs, strict=True))
        return pairs if len(logs[0]) % 2 == 0 else pairs[::-1]

    def _revive(self) -> None:
        """Start anew an arm that the last variant has killed; it says by itself if it cannot."""
        for i, arm in enumerate(self._arms):
            if arm.dead:
                arm.close()
                self._arms[i] = Arm(arm.tree, self._setup)
                with contextlib.suppress(ArmFailed):
                    self._arms[i].open()


@dataclass(frozen=True)
class _Plan:
    """Of a mode: its turns at most, a block's steps, those before it, and where both arms begin."""

    turns: int
    steps: int
    untimed: int
    made: int

    def before(self, turn: int, made: int) -> int:
        """How many steps an arm makes before a block, untimed.

        In the first turn it makes up for what the other arm's warm-up has made more.
        """
        return self.untimed + (self.made - made if turn == 0 else 0)


def _plans(ready: Sequence[Ready]) -> dict[str, _Plan]:
    """The modes that all arms have, and how each is timed: the same in all arms."""
    plans = {}
    for mode in ready[0].modes:
        if not all(mode in one.modes for one in ready):
            continue
        arms = [one.modes[mode] for one in ready]
        steps = math.ceil(BLOCK_SECONDS / min(seconds for seconds, _ in arms))
        untimed = UNTIMED if steps > 1 else 0
        turn = (steps + untimed) * max(seconds for seconds, _ in arms)
        least, most = TURNS
        turns = min(max(2 * round(SECONDS / turn / 2), least), most)
        plans[mode] = _Plan(turns, steps, untimed, max(made for _, made in arms))
    return plans


def _known(logs: Sequence[Sequence[float]], most: int) -> bool:
    """Whether a mode has turns enough; `logs` are of the time of a step, a list an arm."""
    turns = len(logs[-1])
    if turns < TURNS[0] or turns % 2:
        return False
    mean = log_ratio(*logs)
    return turns >= most or (mean.high is not None and mean.high - mean.mean <= PRECISION)


def log_ratio(first: Sequence[float], last: Sequence[float]) -> Estimate:
    """Logarithm of the last arm's time over the first's in a round, with its 95 % interval.

    Blocks of two turns, A B and B A, give one number: the second block in a row of one arm finds
    its own data in the caches, and so does each arm once. Of these numbers the interquartile mean.

    Args:
        first: Logarithms of the seconds of a step, by turn.
        last: Likewise, of the other arm.
    """
    turns = np.subtract(last, first)
    if len(turns) >= 2:
        turns = turns[: len(turns) // 2 * 2].reshape(-1, 2).mean(1)
    return interquartile_mean(turns.tolist())


def _sample(told: Mapping[str, Any]) -> TimingSample:
    return TimingSample(**{**told, "flags": tuple(told["flags"])})
