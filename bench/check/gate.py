"""Check and calibrate: rounds of two arms in lockstep, as many as the looks ask for."""

import datetime
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..environment import local_device
from ..errors import BenchError, InfrastructureError
from ..margin import LOOKS
from ..results import ResultStore
from ..results.schema import PROTOCOL
from ..study import Study
from .judge import CellFinding, Findings, Noise, Question, decided, judge, noise
from .lockstep import QUESTIONS, ArmFailed, Round, Setup, Timed
from .rows import COLUMNS, Machine, Row, as_row, attempt, machine_of, of_settings, purpose_of
from .trees import NoEnvironment, Tree, checkout, commit_of, git, working_tree

Say = Callable[[str], None]


class Missing(Exception):
    """There is nothing to compare with, and why."""


@dataclass(frozen=True)
class Options:
    """What both verbs are told: where results go, on what is measured, where the data lie."""

    results: str
    device: str
    data_dir: Path | None
    most: int = LOOKS[-1]


def check(study: Study, against: str, options: Options, say: Say) -> Findings:
    """Compare the working tree with a commit.

    Args:
        study: A study of the task `latency`.
        against: A commit, by any name that git knows.
        options: Store, device, data.
        say: Is told what happens, a line at a time.

    Raises:
        BenchError: The study, the commit or the checkout cannot work.
        InfrastructureError: git, or the process of the working tree, failed.
    """
    head = working_tree()
    commit = commit_of(head, against)
    setup, store = setup_of(study, head, options), ResultStore(options.results)
    question = Question(
        study.name, f"{against} ({commit[:10]})", head_name(head), tuple(setup.cells), study.gates
    )
    rows: list[Row] = []
    notes: list[str] = []
    try:
        with checkout(head, commit) as base:
            if base.python != head.python:
                notes.append(
                    "The dependencies differ: base runs in an environment of its own, so what is "
                    "compared is code and packages together."
                )
                say(notes[-1])
            floor: Sequence[Noise] = ()
            for row in measured(study, (base, head), setup, store, "check", options.most, say):
                rows.append(row)
                number = whole_rounds(rows, question.variants)
                if number == 1 and all(row["status"] != "done" for row in rows):
                    break
                if number in LOOKS:
                    floor = floor or noise_here(store, study, machine_of(row))
                    found = judge(question, rows, floor, notes)
                    say(f"after {number} rounds: {found.verdict}")
                    if decided(found):
                        break
    except (Missing, NoEnvironment) as missing:
        return nothing(question, str(missing), notes)
    if not floor:
        notes.append("`stn-bench calibrate` has not been run here, so no cell's noise is known.")
    return judge(question, rows, floor, notes)


def calibrate(study: Study, options: Options, rounds: int, say: Say) -> tuple[Machine, list[Noise]]:
    """Measure the working tree against itself; the rows stay in the store, and `check` reads them.

    Gives this machine and the noise of every cell, by these rounds and all earlier ones here.

    Raises:
        BenchError: The study or the checkout cannot work.
        InfrastructureError: A process failed.
    """
    tree = working_tree()
    setup, store = setup_of(study, tree, options), ResultStore(options.results)
    arms = tuple(replace(tree, name=name) for name in ("a", "b"))
    try:
        made = list(measured(study, arms, setup, store, "calibrate", rounds, say))
    except Missing as missing:
        raise InfrastructureError(f"calibrate: {missing}") from None
    failed = [row for row in made if row["status"] != "done"]
    if failed:
        raise BenchError(f"calibrate: {failed[0]['variant']}: {failed[0]['failure']}")
    machine = machine_of(made[0])
    return machine, noise_here(store, study, machine)


def measured(
    study: Study,
    trees: Sequence[Tree],
    setup: Setup,
    store: ResultStore,
    purpose: str,
    rounds: int,
    say: Say,
) -> Iterator[Row]:
    """Rounds of these arms, a row at a time; each is in the store before it is given.

    Raises:
        Missing: An arm that is not the working tree cannot work.
        InfrastructureError: The working tree cannot.
    """
    run = {
        "study": study.name,
        "run_id": f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        "device": setup.device,
        "threads": setup.threads,
        "purpose": purpose,
        "arms": [tree.name for tree in trees],
    }
    for number in range(rounds):
        with Round(trees, setup, number) as arms:
            facts = able(arms.open(), trees)
            timed = list(arms.time(tuple(setup.cells)))
        for one in timed:
            row = attempt(one, facts[one.arm], setup.cells[one.variant], {**run, "round": number})
            store.write(row)
            yield as_row(row)
        say(f"round {number + 1} of at most {rounds}: {in_words(timed)}")
    store.compact()


def able(
    said: Mapping[str, Mapping[str, Any] | ArmFailed], trees: Sequence[Tree]
) -> Mapping[str, Mapping[str, Any]]:
    """What the arms said, where each can work and all measure by the same protocol."""
    for tree in trees:
        told = said[tree.name]
        if isinstance(told, ArmFailed):
            reason = f"{tree.name} ({tree.commit[:10]}) cannot be measured: {told}"
            if tree.name == "base":
                raise Missing(reason)
            raise InfrastructureError(f"check: {reason}")
        for word, ours in (("protocol", PROTOCOL), ("questions", QUESTIONS)):
            if (theirs := told.get(word)) != ours:
                raise Missing(
                    f"{tree.name} ({tree.commit[:10]}) measures by {word} {theirs}, this is {ours}"
                )
    return {name: told for name, told in said.items() if not isinstance(told, ArmFailed)}


def in_words(timed: Sequence[Timed]) -> str:
    """A line on a round: how long it took, and what failed."""
    failures = [f"{one.variant} ({one.arm}): {one.failure}" for one in timed if one.failure]
    return "; ".join([f"{sum(one.seconds for one in timed):.0f} s", *failures])


def whole_rounds(rows: Sequence[Row], variants: Sequence[str]) -> int:
    """How many rounds there are, if the last one is whole; else 0."""
    number = rows[-1]["round"]
    last = sum(row["round"] == number for row in rows)
    return number + 1 if last == 2 * len(variants) else 0


def noise_here(store: ResultStore, study: Study, machine: Machine) -> list[Noise]:
    """The noise floor of a study on this machine, by the rows of `calibrate` in a store."""
    calibrated = [
        row
        for row in store.read(COLUMNS).table.to_pylist()
        if row["study"] == study.name
        and purpose_of(row) == "calibrate"
        and machine_of(row) == machine
    ]
    cells = {variant.name: variant.settings(study.task) for variant in study.variants}
    return noise(of_settings(calibrated, cells), study.gates.throughput.share)


def setup_of(study: Study, tree: Tree, options: Options) -> Setup:
    """What the arms measure.

    Raises:
        BenchError: The study times nothing by itself.
    """
    if "accuracy" in study.phases:
        raise BenchError(
            f"study `{study.name}`: its task is `{study.task}`; check and calibrate need `latency`"
        )
    known = local_device() if options.device == "auto" else options.device
    folder = Path(study.folder)
    if folder.is_relative_to(tree.folder):
        folder = folder.relative_to(tree.folder)
    return Setup(
        {variant.name: variant.settings(study.task) for variant in study.variants},
        folder,
        known,
        study.resources.timing.cpus,
        options.data_dir and options.data_dir.expanduser().resolve(),
    )


def head_name(tree: Tree) -> str:
    """The working tree in words: its commit, and whether that was changed since."""
    changed = " with uncommitted changes" if git(tree.folder, "status", "--porcelain") else ""
    return f"{tree.commit[:10]}{changed}"


def nothing(question: Question, reason: str, notes: Sequence[str] = ()) -> Findings:
    """Findings where nothing could be compared: every cell is MISSING."""
    cells = tuple(CellFinding(variant, "MISSING", reason) for variant in question.variants)
    margin = question.gates.throughput.share
    return Findings(
        question.study, question.base, question.head, None, margin, cells, "MISSING", None,
        tuple(notes),
    )  # fmt: skip
