"""What a report says, as numbers: every table, chart and sentence is made from these alone.

No format computes a number: what HTML, Markdown, CSV and LaTeX show is looked up here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..statistics import Estimate
from ..study import Study
from ..study.schema import Published


@dataclass(frozen=True)
class Measure:
    """What a study is judged by; `points` names a difference of it (percentage points)."""

    name: str
    title: str
    unit: str
    points: str
    higher_is_better: bool


@dataclass(frozen=True)
class Difference:
    """A variant against its baseline, or a level against another, paired by seed or by round.

    Attributes:
        estimate: Mean difference, or ratio of times; its interval is of this one alone.
        p: Of Student's paired t-test; None where there is no interval.
        p_holm: After Holm's correction for all comparisons of its kind; what is said in words
            rests on this one.
    """

    estimate: Estimate
    p: float | None
    p_holm: float | None

    @property
    def tells(self) -> bool:
        """Whether the statistics allow to say that there is a difference, and of which sign."""
        return self.p_holm is not None and self.p_holm < 0.05


@dataclass(frozen=True)
class Speed:
    """One timed mode of a variant; the process, one a round, is the unit, never the step.

    Attributes:
        mode: `forward`, `train_step`, or what a workload times.
        ms: Milliseconds a step: the geometric mean over rounds of each round's median, with its
            interval.
        per_s: Images a second of a training step: the batch over `ms`.
        ratio: Time over the baseline's, from log ratios paired by round: geometric mean and
            interval; None for the baseline itself, or without a common round.
        rounds: Median milliseconds of each round, by (run, round).
    """

    mode: str
    ms: Estimate
    per_s: float | None
    ratio: Difference | None
    rounds: Mapping[tuple[str, int], float]


@dataclass(frozen=True)
class VariantRow:
    """One variant: accuracy, speed, size, and what was published.

    Attributes:
        point: Label of the point of `vary` at which it is compared; empty where there is one.
        arm: Its name without the point.
        scores: The study's measure by seed.
        score: Their mean, with its interval over seeds.
        difference: Against the baseline; None for the baseline, or without a common seed.
        metrics: Every metric of its attempts by name (`validation_error`, `parameters`, …): of
            accuracy a mean over seeds, of timing one over rounds.
        speeds: By mode.
        flags: How many timed blocks bear each flag.
        blocks: How many blocks were timed, warm-up left out.
        on_front: No other variant at its point has both less error and more speed.
        trials: Their ids, seed by seed.
    """

    variant: str
    point: str
    arm: str
    baseline: str | None
    scores: Mapping[int, float]
    score: Estimate | None
    difference: Difference | None
    metrics: Mapping[str, Estimate]
    speeds: Mapping[str, Speed]
    flags: Mapping[str, int]
    blocks: int
    published: tuple[Published, ...]
    on_front: bool
    trials: tuple[str, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether others are compared with it."""
        return self.baseline == self.variant


@dataclass(frozen=True)
class Effect:
    """Main effect of a level of one factor, or interaction of two levels of two.

    A main effect is the mean, over all settings of the other factors, of level less reference; an
    interaction is how much the one effect changes with the other: a difference of differences.

    Attributes:
        factors: One name, or two.
        levels: The level of each.
        references: What each is compared with.
        cells: Over how many settings of the other factors it is a mean.
        difference: None where no seed has all variants that it needs.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    references: tuple[str, ...]
    cells: int
    difference: Difference | None


@dataclass(frozen=True)
class Curve:
    """A learning curve: mean over seeds, and a band from the lowest seed to the highest.

    Long curves are thinned to at most `curves.CURVE_STEPS` steps, first and last kept.
    """

    variant: str
    name: str
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Distribution:
    """Milliseconds a step of the blocks of one process: 5, 25, 50, 75 and 95 % quantiles."""

    variant: str
    mode: str
    trial_id: str
    run_id: str
    round: int
    quantiles: tuple[float, float, float, float, float]
    blocks: int
    flags: Mapping[str, int]


@dataclass(frozen=True)
class TrialRow:
    """One trial, whatever became of it.

    Attributes:
        status: `done`, `failed`, `running` or `missing`, as the ledger counts it.
        attempts: How many were made, those cut short included.
        score: The study's measure.
        metrics: All other metrics of its accuracy phase.
        seconds: What all its attempts took.
        kind: Kind of its newest failure; None where it is good or has not been tried.
        failure: Its message.
    """

    trial_id: str
    variant: str
    seed: int
    status: str
    attempts: int
    score: float | None
    metrics: Mapping[str, float]
    seconds: float
    kind: str | None
    failure: str | None


@dataclass(frozen=True)
class Span:
    """One attempt on the time line of its run.

    Attributes:
        lane: Number of the line among those of its device, so that no two attempts overlap.
        start: Seconds since the run's first attempt began.
    """

    trial_id: str
    variant: str
    seed: int
    phase: str
    round: int | None
    attempt: int
    status: str
    kind: str | None
    run_id: str
    device: str
    lane: int
    start: float
    seconds: float


@dataclass(frozen=True)
class Findings:
    """All that a report says, before it is put into words, tables, charts.

    Attributes:
        device: `cpu` or `cuda`: whose trials these are.
        measure: None where no trial has an accuracy (yet), or the study asks for speed alone.
        rows: In the study's order; those of one point stand together under `points`.
        points: Labels of the points of `vary`, in order; one empty label where there is one.
        comparisons: How many differences to a baseline Holm's correction was made for.
        not_finite: Trials that are done but whose measure is no finite number: left out.
        counts: Trials in each state: `trials, done, missing, failed, stale, running`.
        environments: A line for each distinct place and state of the code that rows came from.
        seconds: What attempts took in all, by phase.
        command: What makes this report again.
    """

    study: Study
    device: str
    measure: Measure | None
    rows: tuple[VariantRow, ...]
    points: tuple[str, ...]
    comparisons: int
    effects: tuple[Effect, ...]
    curves: tuple[Curve, ...]
    distributions: tuple[Distribution, ...]
    trials: tuple[TrialRow, ...]
    spans: tuple[Span, ...]
    not_finite: tuple[str, ...]
    counts: Mapping[str, int]
    environments: tuple[str, ...]
    seconds: Mapping[str, float]
    command: str

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """Timed modes of all variants: the training step first, then in the order they appear."""
        names = dict.fromkeys(mode for row in self.rows for mode in row.speeds)
        return tuple(sorted(names, key=lambda mode: mode != "train_step"))

    @property
    def failures(self) -> tuple[TrialRow, ...]:
        """The trials that failed and were not made good."""
        return tuple(trial for trial in self.trials if trial.status == "failed")
