"""Throughput over commits: ratios to the reference, and where their level changes."""

import itertools
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from gate_rows import as_rows, row
from hypothesis import given, settings, strategies as st

from bench import history
from bench.errors import BenchError

h: Any = history


def test_pieces_are_the_best_of_all():
    """Against every segmentation there is."""
    generator = np.random.default_rng(0)
    for _ in range(30):
        values = generator.normal(size=8) + np.repeat(generator.normal(scale=3, size=4), 2)
        penalty = h.PENALTY * math.log(8)

        def cost(changes, values=values, penalty=penalty):
            parts = itertools.pairwise([0, *changes, 8])
            return len(changes) * penalty + sum(
                ((values[a:b] - values[a:b].mean()) ** 2).sum() for a, b in parts
            )

        every = [c for n in range(8) for c in itertools.combinations(range(1, 8), n)]
        assert h.pieces(values.tolist(), 1.0) == list(min(every, key=cost))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_noise_alone_is_hardly_ever_a_change(seed):
    values = np.random.default_rng(seed).normal(size=40)
    assert len(h.pieces(values.tolist(), 1.0)) <= 2


def test_noise_alone_is_rarely_a_change():
    generator = np.random.default_rng(0)
    found = [h.pieces(generator.normal(size=40).tolist(), 1.0) for _ in range(200)]
    assert sum(map(bool, found)) <= 10


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0, 1.0]])
def test_nothing_changes_in_nothing(values):
    assert h.pieces(values, 0.0) == []


def rows(levels, machine=lambda i: 1.0, rounds=6, noise=0.003, **changes):
    """A cell at these levels of throughput, a commit each, on a machine that wanders."""
    draw = random.Random(0)
    return as_rows(
        row(name, machine(i) * seconds * (1 + draw.gauss(0, noise)), number, commit=f"c{i}",
            run=f"run{i}", minutes=i, **changes)
        for i, level in enumerate(levels)
        for number in range(rounds)
        for name, seconds in (("reference", 0.02), ("warp", 0.01 / level))
    )  # fmt: skip


def test_a_step_is_found_whatever_the_machine_does():
    (cell,) = h.history(rows([1.0] * 6 + [0.95] * 5, lambda i: 1 + 0.3 * (i % 3)), "gate")
    assert cell.cell == "warp [step]" and len(cell.points) == 11
    assert cell.points[0].ratio.low < 2 < cell.points[0].ratio.high
    (step,) = cell.steps
    assert step.commit == "c6" and step.confirmed and abs(step.factor - 0.95) < 0.01
    assert "c6: -4.9 % throughput" in h.text([cell]) and "c6 *" in h.text([cell])
    assert json.loads(h.as_json([cell]))[0]["steps"][0]["commit"] == "c6"


def test_the_newest_step_is_not_yet_confirmed():
    (cell,) = h.history(rows([1.0] * 8 + [0.9] * 2), "gate")
    assert [(step.commit, step.confirmed) for step in cell.steps] == [("c8", False)]
    assert "not yet confirmed by 3 commits" in h.text([cell])


def test_no_step_where_there_is_none():
    (cell,) = h.history(rows([1.0] * 10), "gate")
    assert cell.steps == () and "no change of level" in h.text([cell])


def test_commits_stand_as_git_has_them_not_as_they_were_measured():
    levels = rows([1.0, 0.8, 1.0, 0.8, 1.0, 0.8])
    order = ["c0", "c2", "c4", "c1", "c3", "c5"]
    (cell,) = h.history(levels, "gate", order)
    assert [point.commit for point in cell.points] == order
    assert [step.commit for step in cell.steps] == ["c1"]


@pytest.mark.parametrize("other", [{"device_name": "another"}, {"protocol": "another"}])
def test_machines_and_protocols_have_histories_of_their_own(other):
    both = rows([1.0] * 4) + rows([1.0] * 4, **other)
    assert len({cell.machine for cell in h.history(both, "gate")}) == 2


def test_uncommitted_changes_are_a_state_of_their_own():
    dirty = json.dumps({"commit": "c0", "dirty": "abcd", "cpu": "a processor", "arm": "head"})
    some = as_rows(row(name, environment=dirty) for name in ("reference", "warp"))
    (cell,) = h.history([*rows([1.0]), *some], "gate")
    assert [point.commit for point in cell.points] == ["c0", "c0+abcd"]


def test_mistakes_are_told():
    with pytest.raises(BenchError, match="no timings of study `other`"):
        h.history(rows([1.0]), "other")
    with pytest.raises(BenchError, match="has no reference cell: a variant with `workload: ref"):
        h.history([r for r in rows([1.0]) if r["variant"] == "warp"], "gate")


def test_commits_come_from_git(tmp_path):
    from toy import repository, run

    tree = repository(tmp_path, {}, {}, "2")
    run(tree.folder, "commit", "-q", "--allow-empty", "-m", "second")
    assert h.commits_in_order(tree.folder) == [tree.commit, run(tree.folder, "rev-parse", "HEAD")]
    assert h.commits_in_order(tmp_path) == []
