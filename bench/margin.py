"""The margin test: is one arm slower than the other by more than a margin, in up to three looks?

Of two arms that were timed side by side each round gives one number, the logarithm of the ratio of
their times. Its mean is compared with the margin after 6, 10 and 16 rounds. REGRESSION: the one-
sided interval of the mean lies beyond the margin. PASS: it lies within. Else more rounds, and after
the last look INCONCLUSIVE.

`LEVELS` are the one-sided levels of the looks. Together they give 5 %: of arms whose true ratio is
the margin itself, no more than that are ever called REGRESSION, and no more PASS (SciPy has no
sequential t-test; docs/simulate_gate.py shows the rates). Most of it is spent at the last look,
where it is needed for small changes; large ones are seen at the first.

That any cell is called REGRESSION when nothing changed is bounded over all cells: it takes, beside
the margin, a p value against no slowdown at all that holds after Holm's correction. For this the
looks share 5 % by Bonferroni's inequality, which supposes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from .statistics import Estimate, holm, mean_interval

LOOKS = (6, 10, 16)
LEVELS = (0.01, 0.015, 0.035)
FAMILY = 0.05
POWER = 0.8

Verdict = Literal["PASS", "REGRESSION", "INCONCLUSIVE", "MISSING"]


@dataclass(frozen=True)
class Change:
    """How much longer head takes than base, as a logarithm; `df` are degrees of freedom.

    Attributes:
        mean: Mean of the logarithm of head's time over base's.
        error: Its standard error.
        df: Degrees of freedom of `error`.
        rounds: How many rounds each arm has.
        paired: The logarithm of each round, where the arms were timed side by side.
    """

    mean: float
    error: float
    df: float
    rounds: int
    paired: tuple[float, ...] = ()

    @property
    def deviation(self) -> float:
        """Standard deviation of one round."""
        return self.error * math.sqrt(self.rounds)

    @property
    def ratio(self) -> Estimate:
        """Head's time over base's with its 95 % t-interval."""
        half = float(stdtrit(self.df, 0.975)) * self.error
        bounds = (math.exp(self.mean + sign * half) for sign in (0, -1, 1))
        return Estimate(*bounds, n=self.rounds)

    def p_above(self, bound: float) -> float:
        """One-sided p of the t-test that the mean is not above `bound`, a logarithm."""
        return self._p(self.mean - bound)

    def p_below(self, bound: float) -> float:
        """One-sided p of the t-test that the mean is not below `bound`."""
        return self._p(bound - self.mean)

    def _p(self, distance: float) -> float:
        if self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stdtr(self.df, -distance / self.error))


@dataclass(frozen=True)
class Robust:
    """The same change by statistics that no single round can move far."""

    ratio: float
    agrees: bool


def paired_change(logs: Sequence[float]) -> Change:
    """The change by rounds in which both arms were timed side by side; at least two."""
    data = np.asarray(logs, dtype=float)
    error = float(data.std(ddof=1)) / math.sqrt(data.size)
    return Change(float(data.mean()), error, data.size - 1, data.size, tuple(data.tolist()))


def unpaired_change(base: Sequence[float], head: Sequence[float]) -> Change:
    """The change between arms that were not timed side by side, by Welch's t-test.

    Args:
        base: The logarithm of the time, one number a round, at least two.
        head: Likewise.
    """
    arms = [np.asarray(arm, dtype=float) for arm in (base, head)]
    mean = float(arms[1].mean() - arms[0].mean())
    parts = [float(arm.var(ddof=1)) / arm.size for arm in arms]
    spread = sum(part**2 / (arm.size - 1) for part, arm in zip(parts, arms, strict=True))
    df = sum(parts) ** 2 / spread if spread else float(min(arm.size for arm in arms) - 1)
    return Change(mean, math.sqrt(sum(parts)), df, min(arm.size for arm in arms))


def level(rounds: int) -> float:
    """The level of the last look that so many rounds allow; 0 before the first."""
    return max((a for n, a in zip(LOOKS, LEVELS, strict=True) if n <= rounds), default=0.0)


def verdicts(changes: Mapping[str, Change], margin: float) -> dict[str, Verdict]:
    """The verdict of every cell after the rounds that it has.

    Args:
        changes: By cell. Cells without data do not belong here: they are MISSING.
        margin: A share: 0.015 is 1.5 %.
    """
    adjusted = dict(zip(changes, holm([c.p_above(0.0) for c in changes.values()]), strict=True))
    return {cell: _verdict(c, adjusted[cell], margin) for cell, c in changes.items()}


def _verdict(change: Change, p_slower: float, margin: float) -> Verdict:
    bound, alpha = math.log1p(margin), level(change.rounds)
    if change.p_above(bound) < alpha and p_slower < alpha * FAMILY / sum(LEVELS):
        return "REGRESSION"
    return "PASS" if change.p_below(bound) < alpha else "INCONCLUSIVE"


def detectable(deviation: float, rounds: int, margin: float) -> float:
    """The slowdown that so many rounds find with probability 0.8, as a share.

    Args:
        deviation: Standard deviation of one round's logarithm.
        rounds: At least the first look's.
        margin: A share.
    """
    quantiles = stdtrit(rounds - 1, np.array([1 - level(rounds), POWER]))
    reach = float(quantiles.sum()) * deviation / math.sqrt(rounds)
    return math.expm1(math.log1p(margin) + reach)


def rounds_needed(deviation: float, margin: float) -> int | None:
    """At which look a slowdown of twice the margin is found with probability 0.8; None: at none."""
    reach = (n for n in LOOKS if detectable(deviation, n, margin) <= 2 * margin)
    return next(reach, None)


def robust(change: Change, verdict: Verdict, margin: float) -> Robust | None:
    """The Hodges-Lehmann estimate, and whether it and the sign-flip test agree with a verdict.

    They disagree where the estimate lies on the other side of the margin, or where flipping signs
    of the rounds' distances from it gives as large a sum in more than 5 % of all ways. None where
    the rounds are not paired.
    """
    if not change.paired:
        return None
    data, bound = np.asarray(change.paired), math.log1p(margin)
    estimate = hodges_lehmann(data)
    agrees = True
    if verdict in ("REGRESSION", "PASS"):
        sign = 1 if verdict == "REGRESSION" else -1
        distances = sign * (data - bound)
        agrees = sign * (estimate - bound) > 0 and sign_flip(distances) <= 0.05
    return Robust(math.exp(estimate), agrees)


def hodges_lehmann(values: Sequence[float] | np.ndarray) -> float:
    """Median of the means of all pairs, a value with itself included.

    Example:
        >>> hodges_lehmann([1.0, 2.0, 30.0])
        8.75
    """
    data = np.asarray(values, dtype=float)
    first, second = np.triu_indices(data.size)
    return float(np.median((data[first] + data[second]) / 2))


def sign_flip(values: Sequence[float] | np.ndarray) -> float:
    """Exact one-sided p of the sign-flip test that the values lie no higher than around 0.

    Example:
        >>> sign_flip([1.0, 2.0, 3.0])
        0.125
    """
    data = np.asarray(values, dtype=float)
    sums = np.zeros(1)
    for value in np.abs(data):
        sums = np.concatenate([sums - value, sums + value])
    # Sums of the same numbers in another order differ in the last digits.
    return float(np.mean(sums >= data.sum() - 1e-9 * np.abs(data).sum()))


def overall(verdicts: Mapping[str, Verdict], ungated: Sequence[str] = ()) -> Verdict:
    """The verdict of a check: the worst of its cells, PASS only if all that can be gated pass.

    A cell that cannot be gated here says nothing but REGRESSION or MISSING; where no other is
    left, nothing passes.
    """
    for worst in ("REGRESSION", "MISSING"):
        if worst in verdicts.values():
            return worst
    gated = [verdict for cell, verdict in verdicts.items() if cell not in ungated]
    if not verdicts:
        return "MISSING"
    return "PASS" if gated and all(v == "PASS" for v in gated) else "INCONCLUSIVE"


def geometric_mean(changes: Mapping[str, Change]) -> Estimate | None:
    """Geometric mean of head's time over base's over cells, its t-interval over shared rounds."""
    if not changes:
        return None
    means = np.array([change.mean for change in changes.values()])
    paired = [change.paired for change in changes.values()]
    if not all(paired):
        return Estimate(math.exp(means.mean()), None, None, min(c.rounds for c in changes.values()))
    shared = min(len(logs) for logs in paired)
    rounds = np.array([logs[:shared] for logs in paired]).mean(axis=0)
    logs = mean_interval(rounds.tolist())
    low, high = (None if b is None else math.exp(b) for b in (logs.low, logs.high))
    return Estimate(math.exp(logs.mean), low, high, logs.n)
