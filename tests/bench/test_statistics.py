"""Intervals against SciPy's, and what cannot be said."""

import math

import pytest
from hypothesis import assume, given, strategies as st
from scipy import stats

from bench.statistics import (
    Estimate,
    interquartile_mean,
    mean_interval,
    paired_difference,
    ratio_of_rounds,
)

VALUES = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=2, max_size=12)


def close(estimate, mean, interval):
    scale = 1e-9 * max(1.0, abs(mean), abs(interval.low), abs(interval.high))
    assert math.isclose(estimate.mean, mean, rel_tol=1e-9, abs_tol=scale)
    assert math.isclose(estimate.low, interval.low, rel_tol=1e-9, abs_tol=scale)
    assert math.isclose(estimate.high, interval.high, rel_tol=1e-9, abs_tol=scale)


@given(VALUES.filter(lambda values: len(set(values)) > 1))
def test_the_interval_is_scipys(values):
    result = stats.ttest_1samp(values, 0.0)
    estimate = mean_interval(values)
    close(estimate, sum(values) / len(values), result.confidence_interval(0.95))
    assert estimate.n == len(values)


@given(VALUES.filter(lambda values: len(values) >= 4 and len(set(values)) > 1))
def test_the_interquartile_mean_is_scipys(values):
    low, high = stats.mstats.trimmed_mean_ci(values, (0.25, 0.25), alpha=0.05)
    found = interquartile_mean(values)
    got = (found.mean, found.low, found.high)
    scale = 1e-6 * max(map(abs, values)) + 1e-9
    assert got == pytest.approx((stats.trim_mean(values, 0.25), low, high), rel=1e-6, abs=scale)


def test_of_three_values_none_is_cut_off():
    assert interquartile_mean([1.0, 2.0, 6.0]) == mean_interval([1.0, 2.0, 6.0])


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 100), st.floats(0, 100)), min_size=2,
                max_size=10, unique_by=lambda row: row[0]))  # fmt: skip
def test_the_paired_difference_is_scipys(rows):
    ours = {seed: round(one, 3) for seed, one, _ in rows}
    theirs = {seed: round(other, 3) for seed, _, other in reversed(rows)}
    differences = {ours[seed] - theirs[seed] for seed in ours}
    assume(max(differences) - min(differences) > 1e-6)
    order = sorted(ours)
    result = stats.ttest_rel([ours[s] for s in order], [theirs[s] for s in order])
    mean = math.fsum(ours[s] - theirs[s] for s in order) / len(order)
    close(paired_difference(ours, theirs), mean, result.confidence_interval(0.95))


def test_by_hand():
    """Student's quantile with 2 degrees of freedom has a closed form."""
    estimate = mean_interval([1.0, 2.0, 6.0])
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * math.sqrt(7.0) / math.sqrt(3)
    assert estimate.mean == 3.0
    assert estimate.low is not None and estimate.high is not None
    assert estimate.high - 3.0 == pytest.approx(half, rel=1e-9)
    assert 3.0 - estimate.low == pytest.approx(half, rel=1e-9)


def test_one_value_has_no_interval_and_excludes_nothing():
    assert mean_interval([5.0]) == Estimate(5.0, None, None, 1)
    assert not mean_interval([5.0]).excludes_zero


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 3)
    assert not mean_interval([0.0, 0.0]).excludes_zero


def test_no_values_are_refused():
    with pytest.raises(ValueError, match=r"^`values` must not be empty\.$"):
        mean_interval([])


def test_only_seeds_that_both_have_are_compared():
    estimate = paired_difference({0: 1.0, 1: 5.0, 7: 100.0}, {1: 2.0, 0: 3.0, 9: -100.0})
    assert estimate is not None
    assert (estimate.mean, estimate.n) == (0.5, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert paired_difference({}, {}) is None
    assert paired_difference({3: 1.0}, {3: 4.0}) == Estimate(-3.0, None, None, 1)


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [(0.1, 2, True), (-2, -0.1, True), (-1, 1, False), (0, 1, False), (-1, 0, False)],
)
def test_whether_zero_is_excluded(low, high, excludes):
    assert Estimate((low + high) / 2, low, high, 3).excludes_zero is excludes


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0.5, 2)), min_size=2, max_size=16))
def test_the_ratio_of_rounds_is_scipys_on_the_logarithm(rounds):
    base = {("run", i): seconds for i, (seconds, _) in enumerate(rounds)}
    head = {("run", i): seconds * ratio for i, (seconds, ratio) in reversed([*enumerate(rounds)])}
    logs = [math.log(head[key]) - math.log(base[key]) for key in base]
    assume(max(logs) - min(logs) > 1e-6)
    interval = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    estimate = ratio_of_rounds(base, head)
    assert estimate is not None and estimate.n == len(rounds)
    assert estimate.low is not None and estimate.high is not None
    assert estimate.mean == pytest.approx(stats.gmean([ratio for _, ratio in rounds]), rel=1e-9)
    assert math.log(estimate.low) == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert math.log(estimate.high) == pytest.approx(interval.high, rel=1e-6, abs=1e-9)
    turned = ratio_of_rounds(head, base)
    assert turned is not None and turned.mean == pytest.approx(1 / estimate.mean, rel=1e-9)


def test_only_rounds_that_both_have_are_compared():
    """A drift by half from round to round, which a comparison of means would take for an effect."""
    base = {0: 1.0, 1: 1.5, 2: 3.0, 9: 1.0}
    ratio = ratio_of_rounds(base, {0: 2.0, 1: 3.0, 2: 6.0, 8: 900.0})
    assert ratio is not None and ratio.n == 3
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2, 2, 2))
    one = ratio_of_rounds({0: 2.0}, {0: 3.0})
    assert one is not None and (one.low, one.high, one.n) == (None, None, 1)
    assert one.mean == pytest.approx(1.5)
    assert ratio_of_rounds({0: 2.0}, {1: 3.0}) is None
