"""Check against a store: the working tree now, and rows that another day left, on one machine."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import BenchError
from ..history import REFERENCE
from ..margin import LOOKS, Change, unpaired_change
from ..results import ResultStore
from ..study import Study
from .gate import Options, Say, head_name, measured, setup_of, whole_rounds
from .judge import Findings, Question, conclude, decided, lacks
from .rows import COLUMNS, Row, arm_of, cells, machine_of, of_settings, variant_of
from .trees import working_tree


def is_store(against: str) -> bool:
    """Whether a name is a store rather than a commit."""
    if "://" in against:
        return True
    return any((Path(against) / part).is_dir() for part in ("attempts", "compact"))


def check(study: Study, against: str, options: Options, say: Say) -> Findings:
    """Compare the working tree with stored rounds of the same machine.

    Each cell is taken as a ratio to the reference cell of the same process, so what the machine
    gained or lost since then is in neither.

    Raises:
        BenchError: The study has no reference cell, or the store is of another machine.
    """
    tree = working_tree()
    setup, store = setup_of(study, tree, options), ResultStore(options.results)
    reference = reference_of(study)
    stored = of_settings(newest_run(ResultStore(against), study.name, against), setup.cells)
    if not stored:
        raise BenchError(f"--against {against}: its cells have other settings than the study's")
    question = Question(
        study.name, f"store {against}", head_name(tree),
        tuple(name for name in setup.cells if name != reference), study.gates,
    )  # fmt: skip
    rows: list[Row] = []
    # What is stored was timed in turns with another process, which had the caches in between.
    arms = (replace(tree, name="again"), tree)
    for row in measured(study, arms, setup, store, "check", options.most, say):
        rows.append(row)
        if machine_of(row) != machine_of(stored[0]):
            raise BenchError(
                f"--against {against}: its results are of {machine_of(stored[0])}; "
                f"this is {machine_of(row)}"
            )
        number = whole_rounds(rows, tuple(setup.cells))
        if number in LOOKS:
            found = judge(question, rows, stored, reference)
            say(f"after {number} rounds: {found.verdict}")
            if decided(found):
                break
    return judge(question, rows, stored, reference)


def judge(
    question: Question,
    rows: Sequence[Row],
    stored: Sequence[Row],
    reference: str,
) -> Findings:
    """The findings of rounds of now against rounds of then."""
    then, now = (ratios(side, reference) for side in (stored, rows))
    found = {n: c for n, c in cells(rows, ("head",)).items() if variant_of(n) != reference}
    have = {name: set(by) for name, by in now.items()}
    lacking = lacks(rows, found, have, question.variants)
    lacking |= {
        name: f"the store has it not beside the reference cell `{reference}`"
        for name in now
        if len(then.get(name, ())) < 2 and name not in lacking
    }
    lacking |= {name: "vanished: the store has it" for name in then if name not in now}
    changes: dict[str, Change] = {
        name: unpaired_change(list(then[name].values()), list(now[name].values()))
        for name in now
        if name not in lacking and len(now[name]) >= 2
    }
    both = [{**row, "environment": _as_arm(row, "base")} for row in stored]
    return conclude(question, [*rows, *both], found, changes, lacking)


def ratios(rows: Sequence[Row], reference: str) -> dict[str, dict[int, float]]:
    """Logarithm of a cell's time over the reference's in the same process, by cell and round."""
    arm = max((arm_of(row) for row in rows), default="head")  # of `a` and `b` one is enough
    seconds = {name: cell.seconds[arm] for name, cell in cells(rows, (arm,)).items()}
    yardstick = next((seconds.pop(n) for n in list(seconds) if variant_of(n) == reference), {})
    return {
        name: {n: math.log(by[n] / yardstick[n]) for n in sorted(by.keys() & yardstick.keys())}
        for name, by in seconds.items()
    }


def reference_of(study: Study) -> str:
    """The variant that computes nothing of this project.

    Raises:
        BenchError: There is none.
    """
    for variant in study.variants:
        if (variant.workload or {}).get("name") == REFERENCE:
            return variant.name
    raise BenchError(
        f"study `{study.name}`: to compare with a store it needs a variant with "
        f"`workload: {REFERENCE}`"
    )


def newest_run(store: ResultStore, study: str, against: str) -> list[Row]:
    """Rows of `head`, or of what was calibrated, of the newest run of a study in a store.

    Raises:
        BenchError: There is none.
    """
    rows = [
        row
        for row in store.read(COLUMNS).table.to_pylist()
        if row["study"] == study and row["phase"] == "timing" and arm_of(row) != "base"
    ]
    if not rows:
        raise BenchError(f"--against {against}: the store has no timings of study `{study}`")
    newest = max(rows, key=lambda row: row["started_at"])["run_id"]
    return [row for row in rows if row["run_id"] == newest]


def _as_arm(row: Row, arm: str) -> str:
    return json.dumps({**json.loads(row["environment"]), "arm": arm})
