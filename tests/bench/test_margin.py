"""The margin test against SciPy and by simulation; verdicts, and what could have been seen."""

import importlib.util
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats

from bench import margin

m: Any = margin
stats: Any = scipy_stats

LOGS = st.lists(st.integers(-100, 100).map(lambda x: x / 1000), min_size=6, max_size=12)
MARGIN = 0.015


def load_simulation():
    file = Path(__file__).parents[2] / "docs" / "simulate_gate.py"
    spec: Any = importlib.util.spec_from_file_location("simulate_gate", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(LOGS.filter(lambda logs: len(set(logs)) > 1), st.sampled_from([0.0, 0.0148888]))
def test_p_values_and_intervals_are_scipys(logs, bound):
    change = m.paired_change(logs)
    above = stats.ttest_1samp(logs, bound, alternative="greater")
    below = stats.ttest_1samp(logs, bound, alternative="less")
    assert math.isclose(change.p_above(bound), above.pvalue, rel_tol=1e-6, abs_tol=1e-12)
    assert math.isclose(change.p_below(bound), below.pvalue, rel_tol=1e-6, abs_tol=1e-12)
    low, high = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert math.isclose(change.ratio.low, math.exp(low), rel_tol=1e-9)
    assert math.isclose(change.ratio.high, math.exp(high), rel_tol=1e-9)


def test_unpaired_changes_are_welchs():
    random = np.random.default_rng(0)
    base, head = random.normal(0, 0.01, 6), random.normal(0.03, 0.03, 9)
    change = m.unpaired_change(base.tolist(), head.tolist())
    test = stats.ttest_ind(head, base, equal_var=False, alternative="greater")
    assert math.isclose(change.p_above(0.0), test.pvalue, rel_tol=1e-9)
    assert math.isclose(change.df, test.df, rel_tol=1e-9)
    assert change.paired == () and m.robust(change, "PASS", MARGIN) is None


@given(LOGS)
def test_the_robust_twin_is_by_hand_and_by_permutation(logs):
    pairs = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(logs, 2)]
    assert math.isclose(m.hodges_lehmann(logs), float(np.median(pairs)), abs_tol=1e-12)
    signs = itertools.product([-1, 1], repeat=len(logs))
    sums = [sum(s * abs(x) for s, x in zip(sign, logs, strict=True)) for sign in signs]
    assert math.isclose(m.sign_flip(logs), np.mean([s >= sum(logs) - 1e-12 for s in sums]))


def rounds(mean, count=6, spread=0.003):
    """Rounds whose mean is `mean`, spread evenly about it."""
    return m.paired_change((mean + np.linspace(-spread, spread, count)).tolist())


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (rounds(0.05), "REGRESSION"),
        (rounds(0.0), "PASS"),
        (rounds(-0.2), "PASS"),
        (rounds(0.0149), "INCONCLUSIVE"),
        (rounds(0.0149, count=16, spread=0.02), "INCONCLUSIVE"),
        (rounds(0.05, count=5), "INCONCLUSIVE"),
        (rounds(0.05, spread=0.2), "INCONCLUSIVE"),
        (rounds(0.05, spread=0.0), "REGRESSION"),
        (rounds(0.0, spread=0.0), "PASS"),
    ],
    ids=range(9),
)
def test_verdicts_of_a_cell(change, verdict):
    assert m.verdicts({"cell": change}, MARGIN) == {"cell": verdict}


def test_a_slowdown_must_hold_among_all_cells():
    """Noisy rounds beyond the margin: by itself a regression, not among a hundred such cells."""
    one = rounds(0.12, spread=0.1)
    assert one.p_above(math.log1p(MARGIN)) < m.LEVELS[0]
    assert m.verdicts({"a": one}, MARGIN)["a"] == "REGRESSION"
    many = {"a": one} | {str(i): rounds(0.0) for i in range(99)}
    assert m.verdicts(many, MARGIN)["a"] == "INCONCLUSIVE"


def test_one_wild_round_is_flagged():
    logs = [0.0, 0.001, -0.001, 0.0005, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert m.robust(m.paired_change(logs), "PASS", MARGIN).agrees
    wild = m.paired_change([0.01] * 9 + [1.0])
    assert not m.robust(wild, "REGRESSION", MARGIN).agrees
    assert m.robust(wild, "INCONCLUSIVE", MARGIN).agrees
    assert wild.ratio.mean > 1.1 and m.robust(wild, "PASS", MARGIN).ratio < 1.02


def test_what_can_be_seen_is_seen_that_often():
    """By simulation, at the last look by itself."""
    random, deviation, n = np.random.default_rng(0), 0.02, 16
    seen = m.detectable(deviation, n, MARGIN)
    logs = random.normal(math.log1p(seen), deviation, (4000, n))
    t = (logs.mean(1) - math.log1p(MARGIN)) / (logs.std(1, ddof=1) / math.sqrt(n))
    assert abs(np.mean(t > stats.t.ppf(1 - m.LEVELS[-1], n - 1)) - 0.8) < 0.03
    assert [m.rounds_needed(d, MARGIN) for d in (0.005, 0.01, 0.02, 0.03)] == [6, 10, 16, None]


def test_the_looks_together_spend_five_per_cent():
    """At the margin itself, where errors are most likely, each way."""
    random = np.random.default_rng(1)
    logs = random.normal(math.log1p(MARGIN), 0.01, (20_000, m.LOOKS[-1]))
    state = np.zeros(len(logs))
    for n, alpha in zip(m.LOOKS, m.LEVELS, strict=True):
        part = logs[:, :n]
        t = (part.mean(1) - math.log1p(MARGIN)) / (part.std(1, ddof=1) / math.sqrt(n))
        edge = stats.t.ppf(1 - alpha, n - 1)
        state = np.where(state == 0, np.where(t > edge, 1, np.where(t < -edge, -1, 0)), state)
    assert 0.04 < np.mean(state == 1) < 0.055
    assert 0.04 < np.mean(state == -1) < 0.055


@pytest.mark.parametrize("noise", ["normal", "heavy tails", "disturbed", "drift"])
def test_the_gate_is_as_right_as_it_says(noise):
    """The short version of docs/simulate_gate.py, whose long one is committed."""
    simulation = load_simulation()
    draw = simulation.NOISES[noise]
    calm = simulation.simulate(draw, 0.02, 0.0, 150)
    assert calm.false_alarm <= 0.05
    small = simulation.simulate(draw, 0.02, 0.03, 150)
    assert small.found >= 0.72 and small.passed <= 0.05 and small.false_alarm <= 0.05
    assert simulation.simulate(draw, 0.02, 0.05, 100).found >= 0.93


def test_the_verdict_in_all():
    P, R, I, M = "PASS", "REGRESSION", "INCONCLUSIVE", "MISSING"  # noqa: E741
    assert m.overall({"a": P, "b": P}) == P
    assert m.overall({"a": P, "b": I}) == I
    assert m.overall({"a": P, "b": I, "c": M}) == M
    assert m.overall({"a": M, "b": R}) == R
    assert m.overall({}) == M
    assert m.overall({"a": P, "b": I}, ungated=["b"]) == P
    assert m.overall({"b": I}, ungated=["b"]) == I
    assert m.overall({"a": P, "b": R}, ungated=["b"]) == R


def test_the_geometric_mean_is_over_cells_with_an_interval_over_rounds():
    changes = {"a": m.paired_change([0.1, 0.3]), "b": m.paired_change([-0.1, 0.1])}
    mean = m.geometric_mean(changes)
    assert math.isclose(mean.mean, math.exp(0.1)) and mean.n == 2
    low, high = stats.ttest_1samp([0.0, 0.2], 0).confidence_interval(0.95)
    assert math.isclose(mean.low, math.exp(low)) and math.isclose(mean.high, math.exp(high))
    assert m.geometric_mean({}) is None
    assert m.geometric_mean({"a": m.unpaired_change([0, 1], [0, 1])}).low is None
