"""Intervals against SciPy's, and what cannot be said."""

import math

import pytest
from hypothesis import assume, given, strategies as st
from scipy import stats

from bench.statistics import Estimate, mean_interval, paired_difference

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
