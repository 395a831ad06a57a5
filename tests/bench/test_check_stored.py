"""A check against a store: ratios to the reference cell, machines of another kind refused."""

import json
import random
from typing import Any

import pytest
from gate_rows import as_rows, row
from test_check_gate import study
from toy import repository

from bench.check import stored
from bench.check.gate import Options
from bench.check.judge import Question
from bench.check.lockstep import QUESTIONS
from bench.errors import BenchError
from bench.results import ResultStore
from bench.results.schema import PROTOCOL
from bench.study.schema import Gates

QUESTION = Question("gate", "store", "head", ("warp", "other"), Gates())


def run(speed=1.0, machine=1.0, rounds=8, cells=("warp", "other"), **changes):
    """Rounds in which the cells take `speed` times as long on a machine that is `machine` slow."""
    noise = random.Random(f"{speed} {machine}")
    return as_rows(
        row(name, factor * machine * (1 + noise.gauss(0, 0.002)), number, **changes)
        for number in range(rounds)
        for name, factor in [("reference", 0.02), *((cell, 0.01 * speed) for cell in cells)]
    )


def verdicts(found):
    return {cell.cell: cell.verdict for cell in found.cells}


def test_a_slower_machine_is_no_regression():
    found = stored.judge(QUESTION, run(machine=1.4), run(), "reference")
    assert verdicts(found) == {"warp [step]": "PASS", "other [step]": "PASS"}


def test_slower_code_is_one_on_any_machine():
    for machine in (0.7, 1.0, 1.4):
        found = stored.judge(QUESTION, run(1.06, machine), run(), "reference")
        assert found.verdict == "REGRESSION"
        ratio: Any = found.cells[0].ratio
        assert ratio.low < 1.06 < ratio.high + 0.002
        assert found.cells[0].robust is None


def test_what_vanished_or_is_new_is_missing():
    found = stored.judge(QUESTION, run(cells=("warp",)), run(), "reference")
    assert verdicts(found)["other"] == "MISSING" and found.verdict == "MISSING"
    found = stored.judge(QUESTION, run(), run(cells=("warp",)), "reference")
    reasons = {cell.cell: cell.reason for cell in found.cells if cell.verdict == "MISSING"}
    assert "the store has it not beside the reference" in reasons["other [step]"]
    without = [r for r in run() if r["variant"] != "reference"]
    assert stored.judge(QUESTION, run(), without, "reference").verdict == "MISSING"


def test_a_speed_up_that_was_paid_for_is_void():
    found = stored.judge(QUESTION, run(0.5, error=1e-3), run(error=1e-7), "reference")
    assert found.verdict == "REGRESSION" and "is void" in found.cells[0].reason


SPEEDS = {"reference": {"modes": {"step": 0.02}}, "warp": {"modes": {"step": 0.01}}}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    tree = repository(tmp_path, SPEEDS, SPEEDS, PROTOCOL)
    monkeypatch.setattr(stored, "working_tree", lambda: tree)
    return tree, Options(str(tmp_path / "now"), "cpu", None)


def fill(folder, **changes):
    store = ResultStore(folder)
    for number in range(6):
        for name, seconds in (("reference", 0.02), ("warp", 0.01 * (1 + number / 2000))):
            fields = {"study": "toy", "protocol": f"{PROTOCOL}.{QUESTIONS}", **changes}
            store.write(row(name, seconds, number, **fields))
    return str(folder)


def test_the_whole_way(toy, tmp_path):
    tree, options = toy
    then = fill(tmp_path / "then")
    assert stored.is_store(then) and not stored.is_store(str(tmp_path / "none"))
    assert stored.is_store("s3://bucket/store")
    asked = study("reference", "warp", folder=str(tree.folder))
    found = stored.check(asked, then, options, print)
    assert verdicts(found) == {"warp [step]": "PASS"} and found.cells[0].rounds == 6
    (tree.folder / "speeds.json").write_text(
        json.dumps({**SPEEDS, "warp": {"modes": {"step": 0.02}}})
    )
    assert stored.check(asked, then, options, print).verdict == "REGRESSION"


@pytest.mark.parametrize(
    "changes",
    [{"device_name": "another"}, {"threads": 2}, {"protocol": PROTOCOL}, {"environment": "{}"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_machine_is_refused(toy, tmp_path, changes):
    _, options = toy
    then = fill(tmp_path / "then", **changes)
    with pytest.raises(BenchError, match="its results are of .*; this is a processor, 1 threads"):
        stored.check(study("reference", "warp"), then, options, print)


def test_a_cell_that_was_other_work_then_is_not_compared(toy, tmp_path):
    tree, options = toy
    other = fill(tmp_path / "other", settings='{"task":"latency","workload":{"name":"other"}}')
    asked = study("reference", "warp", folder=str(tree.folder))
    with pytest.raises(BenchError, match="other settings"):
        stored.check(asked, other, options, print)


def test_mistakes_are_told(toy, tmp_path):
    _, options = toy
    with pytest.raises(BenchError, match="needs a variant with `workload: reference`"):
        stored.check(study("warp"), fill(tmp_path / "then"), options, print)
    with pytest.raises(BenchError, match="has no timings of study `toy`"):
        stored.check(study("reference", "warp"), str(tmp_path / "empty"), options, print)
