"""Checks of a toy repository: every verdict, what is missing, and what is left behind."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from toy import repository, run

from bench.check import gate, lockstep
from bench.errors import BenchError, InfrastructureError
from bench.results import ResultStore
from bench.results.schema import PROTOCOL
from bench.study.study import Study

SAME = {"warp": {"modes": {"forward": 0.001}}, "batches": {"modes": {"batch": 0.002}}}


def study(*names, **changes):
    variants = [{"name": name, "workload": {"name": name}} for name in names or SAME]
    fields = {
        "name": "toy", "question": "?", "task": "latency", "folder": "/nowhere", "seeds": 1,
        "variants": variants, "phases": ("timing",), "resources": {},
    }  # fmt: skip
    return Study.model_validate(fields | changes)


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A function that checks `head` against `base`, and gives findings, store and what was said."""

    def check(head, base=SAME, most=16, **changes):
        tree = repository(tmp_path, base, head, PROTOCOL)
        monkeypatch.setattr(gate, "working_tree", lambda: tree)
        options = gate.Options(str(tmp_path / "store"), "cpu", None, most)
        said = []
        names = changes.pop("names", ())
        found = gate.check(study(*names, **changes), "HEAD", options, said.append)
        assert run(tree.folder, "worktree", "list").count("\n") == 0
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".stn")] == []
        return found, ResultStore(options.results), said

    return check


def verdicts(found):
    return {cell.cell: cell.verdict for cell in found.cells}


def test_nothing_changed(checked):
    found, store, said = checked(SAME)
    assert found.verdict == "PASS"
    assert verdicts(found) == {"warp [forward]": "PASS", "batches [batch]": "PASS"}
    assert all(cell.rounds == 6 and cell.detectable < 0.03 for cell in found.cells)
    assert abs(found.mean.mean - 1) < 0.01 and found.mean.low < found.mean.high
    assert said[-1] == "after 6 rounds: PASS"
    assert "calibrate` has not been run" in found.notes[0]
    table = store.read().table.to_pylist()
    assert len(table) == 2 * 2 * 6
    assert {row["round"] for row in table} == set(range(6))
    assert {json.loads(row["environment"])["arm"] for row in table} == {"base", "head"}
    # A fresh process an arm and a round, and its first arm takes turns.
    assert len({row["file"] for row in table}) == len(table)


NOISY = SAME | {"noise": 0.4, "fixed": True}
CASES = {
    # name: base, head, verdict, words of the reason
    "slower": ({"speed": 1.0}, {"speed": 1.05}, "REGRESSION", ""),
    "faster": ({"speed": 1.0}, {"speed": 0.5}, "PASS", ""),
    "exact": ({"numeric_error": 1e-7}, {"numeric_error": 3e-6}, "PASS", ""),
    "inexact": (
        {"numeric_error": 1e-7}, {"numeric_error": 2e-3, "speed": 0.5},
        "REGRESSION", "the speed-up is void: error grew from 1e-07 to 0.002",
    ),
    "no number": ({"numeric_error": 1e-7}, {"numeric_error": math.nan}, "REGRESSION", "grew"),
    "worse": (
        {"test_error": 5.0}, {"test_error": 9.0, "speed": 0.5},
        "REGRESSION", "the speed-up is void: test error grew from 5 to 9 points",
    ),
    "silent": ({"test_error": 5.0}, {}, "MISSING", "head's test error is no longer told"),
    "raises": ({}, {"raise": "ValueError: no"}, "MISSING", "head, round 1: ValueError: no"),
    "raised": ({"raise": "KeyError: x"}, {}, "MISSING", "base, round 1: KeyError: x"),
    "dies": ({}, {"die": "killed"}, "MISSING", "head, round 1: its process ended with status 1"),
    "vanished": ({}, None, "MISSING", "head, round 1: KeyError: 'vanished'"),
    "empty": ({}, {"modes": {}}, "MISSING", "the arms have no mode in common"),
}  # fmt: skip


def told(case):
    if case is None or "modes" in case or "raise" in case or "die" in case:
        return case
    metrics = {name: value for name, value in case.items() if name != "speed"}
    return {"modes": {"step": 0.001 * case.get("speed", 1.0)}, "metrics": metrics}


def test_every_verdict_has_its_cell(checked):
    base = {name: told(case[0]) for name, case in CASES.items()}
    head = {name: told(case[1]) for name, case in CASES.items() if case[1] is not None}
    found, _, _ = checked(head, base, names=CASES)
    cells = {cell.cell.partition(" [")[0]: cell for cell in found.cells}
    assert {name: cell.verdict for name, cell in cells.items()} == {
        name: case[2] for name, case in CASES.items()
    }
    assert {n: c.reason for n, c in cells.items() if CASES[n][3] not in c.reason} == {}
    assert abs(cells["slower"].ratio.mean - 1.05) < 0.01
    assert cells["slower"].robust.agrees
    assert found.verdict == "REGRESSION"


def test_noise_ends_inconclusive_after_all_rounds(checked):
    found, _, said = checked(NOISY, NOISY)
    assert found.verdict == "INCONCLUSIVE"
    assert max(cell.rounds for cell in found.cells) == 16
    assert "after 6 rounds: INCONCLUSIVE" in said


@pytest.mark.parametrize(("word", "other"), [("protocol", "0"), ("questions", 1)])
def test_a_base_that_cannot_run_is_missing(checked, word, other):
    found, store, _ = checked(SAME, SAME | {word: other})
    assert found.verdict == "MISSING" and len(found.cells) == 2
    assert f"measures by {word} {other}" in found.cells[0].reason
    assert store.read().table.num_rows == 0


def test_a_base_without_the_gate_is_missing(tmp_path, monkeypatch):
    tree = repository(tmp_path, SAME, SAME, PROTOCOL)
    run(tree.folder, "rm", "-q", "bench/arm.py")
    run(tree.folder, "commit", "-q", "-m", "without")
    run(tree.folder, "checkout", "-q", "HEAD~1", "--", "bench")
    monkeypatch.setattr(gate, "working_tree", lambda: tree)
    found = gate.check(study(), "HEAD", gate.Options(str(tmp_path / "s"), "cpu", None), print)
    assert found.verdict == "MISSING"
    assert "No module named bench.arm" in found.cells[0].reason


def test_nothing_but_failures_ends_after_a_round(checked):
    broken = {name: {"raise": "ValueError: no"} for name in SAME}
    found, store, _ = checked(broken)
    assert found.verdict == "MISSING"
    assert {row["round"] for row in store.read().table.to_pylist()} == {0}


def test_a_working_tree_that_cannot_run_is_an_error(checked):
    with pytest.raises(InfrastructureError, match="head .* cannot be measured: AttributeError"):
        checked([])


def test_mistakes_are_told_in_one_line(checked, tmp_path, monkeypatch):
    with pytest.raises(BenchError, match="its task is `classify`; check and calibrate need"):
        checked(SAME, task="classify", phases=("accuracy", "timing"))
    tree = gate.working_tree()
    options = gate.Options(str(tmp_path / "s"), "cpu", None)
    with pytest.raises(BenchError, match="--against nowhere: neither a commit nor a store"):
        gate.check(study(), "nowhere", options, print)
    assert tree


def test_calibration_is_read_by_check(tmp_path, monkeypatch):
    speeds = SAME | {"noise": 0.002}
    tree = repository(tmp_path, speeds, speeds, PROTOCOL)
    monkeypatch.setattr(gate, "working_tree", lambda: tree)
    options = gate.Options(str(tmp_path / "store"), "cpu", None)
    machine, floor = gate.calibrate(study(), options, 6, print)
    assert machine.cpu == "a processor"
    assert {cell.cell: cell.needed for cell in floor} == {"warp [forward]": 6, "batches [batch]": 6}
    assert all(0 < cell.deviation < 0.005 and cell.rounds == 6 for cell in floor)
    (tree.folder / "speeds.json").write_text(json.dumps(SAME | {"noise": 0.6}))
    _, floor = gate.calibrate(study(), options, 6, print)
    assert [cell.needed for cell in floor] == [None, None] and floor[0].rounds == 12
    (tree.folder / "speeds.json").write_text(json.dumps(SAME))
    found = gate.check(study(), "HEAD", options, print)
    assert found.verdict == "INCONCLUSIVE"
    assert all("cannot be gated here" in cell.reason for cell in found.cells)
    # Another machine's calibration says nothing of this one.
    for place in ("speeds.json",):
        (tree.folder / place).write_text(json.dumps(SAME | {"cpu": "another"}))
    run(tree.folder, "commit", "-qam", "another")
    found = gate.check(study(), "HEAD", options, print)
    assert found.verdict == "PASS" and found.cells[0].gated is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path, number):
    tree = repository(tmp_path, SAME, SAME, PROTOCOL)
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from bench.check import gate, lockstep\n"
        "from bench.check.trees import Tree\n"
        "from test_check_gate import study\n"
        "lockstep.TURNS = (100000, 100000)\n"
        "folder = Path(sys.argv[1]) / 'repo'\n"
        "gate.working_tree = lambda: Tree(folder, sys.executable, 'c', 'head')\n"
        "gate.check(study(), 'HEAD', gate.Options(sys.argv[1] + '/store', 'cpu', None), print)\n"
    )
    here = os.path.dirname(__file__)
    words = [
        sys.executable,
        "-c",
        code,
        str(tmp_path),
        os.path.dirname(os.path.dirname(here)),
        here,
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.time() + 60
    while not list(tmp_path.glob(".stn-bench-*/tree/bench/arm.py")):
        assert time.time() < until and process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    process.wait(20)
    left = list(tmp_path.glob(".stn-bench-*"))
    if number == signal.SIGKILL:
        # What nobody could tidy up the next check does.
        assert left
        with gate.checkout(tree, tree.commit):
            assert len(list(tmp_path.glob(".stn-bench-*"))) == 1
        left = list(tmp_path.glob(".stn-bench-*"))
    assert left == []
    assert run(tree.folder, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(("scatter", "turns"), [(0.0, [8]), (0.02, range(12, 60)), (1.0, [60])])
def test_a_mode_has_as_many_turns_as_its_ratios_scatter(scatter, turns):
    draw = random.Random(0)
    speed, logs = draw.gauss(0, 3), ([], [])
    while not lockstep._known(logs, 60):
        speed += draw.gauss(0, 3)  # what both arms share does not count
        for own in logs:
            own.append(speed + draw.gauss(0, scatter / 2**0.5))
    assert len(logs[0]) in turns


def test_a_mode_that_one_arm_alone_has_is_missing(checked):
    both = {"warp": {"modes": {"forward": 0.001, "backward": 0.002}}}
    found, _, _ = checked({"warp": {"modes": {"forward": 0.001}}}, both, names=("warp",))
    assert verdicts(found) == {"warp [forward]": "PASS", "warp [backward]": "MISSING"}
    assert found.verdict == "MISSING"
    assert "only one arm has it" in [cell.reason for cell in found.cells]


def test_an_arm_that_does_not_answer_in_time_is_ended(checked, monkeypatch):
    monkeypatch.setattr(lockstep, "LIMIT_SECONDS", 2.0)
    hangs = {"warp": {"modes": {"step": 0.001}, "hang": 3}, "batches": SAME["batches"]}
    found, _, _ = checked(hangs, most=2)
    cells = {cell.cell.partition(" [")[0]: cell for cell in found.cells}
    assert cells["warp"].verdict == "MISSING" and "no answer in 2 s" in cells["warp"].reason
    assert cells["batches"].verdict != "MISSING"


def test_the_order_of_a_turn_does_not_move_its_ratio():
    # The second block in a row of one arm is quicker: its data are still in the caches.
    first = [0.0 if turn % 2 else -0.1 for turn in range(40)]
    last = [0.05 - 0.1 if turn % 2 else 0.05 for turn in range(40)]
    found = lockstep.log_ratio(first, last)
    assert found.mean == pytest.approx(0.05, abs=1e-12)
    assert found.high == pytest.approx(found.low, abs=1e-12)


def test_both_arms_have_the_same_inputs():
    quick = lockstep.Ready({"forward": (1e-4, 700), "backward": (1.0, 3)}, (), ())
    slow = lockstep.Ready({"forward": (2e-4, 300), "other": (1.0, 3)}, (), ())
    (plan,) = lockstep._plans([slow, quick]).values()
    assert plan.made == 700 and plan.steps == 100 and plan.untimed == 1
    assert [plan.before(0, made) for made in (300, 700)] == [401, 1]
    assert [plan.before(1, made) for made in (300, 700)] == [1, 1]
