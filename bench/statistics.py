"""Intervals, paired differences over seeds, and paired ratios over rounds of timing.

Of SciPy only `special` is imported: `stdtr` is Student's t and `stdtrit` its quantile;
`scipy.stats` takes seconds to import.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95

Round = TypeVar("Round", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds or rounds and its 95 % t-interval; without one where `n` is below 2."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean of values with its Student t-interval (over seeds, not over examples).

    Raises:
        ValueError: There are no values.

    Example:
        >>> estimate = mean_interval([1.0, 2.0, 3.0])
        >>> round(estimate.mean, 3), round(estimate.low, 3), round(estimate.high, 3)
        (2.0, -0.484, 4.484)
    """
    data = np.asarray(values, dtype=float)
    if data.size == 0:
        raise ValueError("`values` must not be empty.")
    if data.size == 1:
        return Estimate(float(data[0]), None, None, 1)
    mean, error = float(data.mean()), float(data.std(ddof=1) / np.sqrt(data.size))
    half = float(stdtrit(data.size - 1, (1 + LEVEL) / 2)) * error
    return Estimate(mean, mean - half, mean + half, int(data.size))


def interquartile_mean(values: Sequence[float]) -> Estimate:
    """Mean of the middle half of values with its 95 % interval (Yuen 1974, winsorised variance).

    Nearly as narrow as that of the mean where values are normal, and what befell up to a quarter
    of them on either side does not move it.

    Raises:
        ValueError: There are no values.

    Example:
        >>> interquartile_mean([1.0, 2.0, 3.0, 1000.0]).mean
        2.5
    """
    data = np.sort(np.asarray(values, dtype=float))
    if data.size < 4:
        return mean_interval(values)
    cut = data.size // 4
    kept = data[cut : data.size - cut]
    mean, winsorised = float(kept.mean()), np.clip(data, kept[0], kept[-1])
    error = winsorised.std(ddof=1) / 0.5 / math.sqrt(data.size)
    half = float(stdtrit(kept.size - 1, (1 + LEVEL) / 2) * error)
    return Estimate(mean, mean - half, mean + half, int(data.size))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Mean difference over the seeds that both have; None where they share no seed."""
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    return mean_interval([ours[seed] - theirs[seed] for seed in shared])


def ratio_of_rounds(base: Mapping[Round, float], head: Mapping[Round, float]) -> Estimate | None:
    """How many times as long `head` takes as `base`, over the rounds that both have.

    In a round the two are timed side by side, each in a process of its own, so what drifts from
    round to round cancels in the ratio. The geometric mean of the ratios and its t-interval on the
    logarithm; None where they share no round.

    Args:
        base: Seconds by round; the process is the unit, so one number a process.
        head: Likewise.

    Example:
        >>> ratio = ratio_of_rounds({0: 1.0, 1: 2.0, 2: 4.0}, {0: 2.0, 1: 4.0, 2: 8.0})
        >>> ratio.mean, ratio.low, ratio.high
        (2.0, 2.0, 2.0)
    """
    shared = [key for key in base if key in head]
    if not shared:
        return None
    return geometric_interval([head[key] / base[key] for key in shared])


def geometric_interval(values: Sequence[float]) -> Estimate:
    """Geometric mean of positive values, with the t-interval of the mean of their logarithms.

    Example:
        >>> estimate = geometric_interval([1.0, 2.0, 4.0])
        >>> round(estimate.mean, 3), round(estimate.low, 3), round(estimate.high, 3)
        (2.0, 0.357, 11.19)
    """
    logs = mean_interval([float(np.log(value)) for value in values])
    low, high = (None if b is None else float(np.exp(b)) for b in (logs.low, logs.high))
    return Estimate(float(np.exp(logs.mean)), low, high, logs.n)


def t_test(estimate: Estimate) -> float | None:
    """Two-sided p of Student's t-test that the mean is 0; None where there is no interval.

    Example:
        >>> round(t_test(mean_interval([1.0, 2.0, 3.0])), 4)
        0.0742
    """
    if estimate.low is None or estimate.high is None:
        return None
    half = (estimate.high - estimate.low) / 2
    if half == 0:
        return 0.0 if estimate.mean else 1.0
    t = estimate.mean / half * float(stdtrit(estimate.n - 1, (1 + LEVEL) / 2))
    return 2 * float(stdtr(estimate.n - 1, -abs(t)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that bound the chance of any false claim among them.

    Example:
        >>> holm([0.04, 0.01, 0.03])
        [0.06, 0.03, 0.06]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the median, infinite where there are too few values.

    From order statistics, so it supposes no distribution: the interval of ranks holds 95 % of the
    binomial distribution of how many values lie below the median.
    """
    ordered, n = sorted(values), len(values)
    reach = 1.96 * math.sqrt(n) / 2
    low, high = math.floor(n / 2 - reach), math.ceil(n / 2 + reach)
    if low < 0 or high > n - 1:
        return math.inf
    return (ordered[high] - ordered[low]) / 2
