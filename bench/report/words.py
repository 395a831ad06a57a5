"""The answer in words: only what the statistics allow, and what is missing for more."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..statistics import Estimate
from ..study import Study
from .findings import Difference, Findings, Measure, VariantRow
from .tables import bounds, interval, number

FEW = 3
# A gain of more percent is said as a factor.
MANIFOLD = 100


def answer(findings: Findings) -> list[str]:
    """The study's answer in sentences, with numbers and intervals, the most important first.

    Each comparison has a sentence where there are few; where there are many they are summed up,
    and `details` has each.
    """
    told = _told(findings)
    if findings.study.profile and told:
        profile = findings.study.profile
        told[0] = f"{profile[0].upper()}{profile[1:]} profile, not the full setting: {told[0]}"
    return [*told, *missing(findings)]


def details(findings: Findings) -> list[str]:
    """A sentence for every comparison, where `answer` only sums them up."""
    compared = _compared(findings)
    return [_comparison(findings, row) for row in compared] if len(compared) > FEW else []


def missing(findings: Findings) -> list[str]:
    """What failed, is missing, or is no number."""
    counts, sentences = findings.counts, []
    if counts["done"] < counts["trials"]:
        kinds = Counter((trial.kind or "").replace("_", " ") for trial in findings.failures)
        why = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common() if kind)
        sentences.append(
            f"Of {counts['trials']} trials {counts['done']} are done, {counts['failed']} failed"
            f"{f' ({why})' if why else ''}, {counts['missing']} are missing and "
            f"{counts['running']} are running."
        )
    if findings.not_finite and findings.measure:
        n = len(findings.not_finite)
        sentences.append(
            f"The {findings.measure.title} of {n} {_plural('trial', n)} is no finite number and is "
            "left out."
        )
    return sentences


def settings_line(findings: Findings) -> str:
    """How the study was run, where that was not as the file says."""
    study = findings.study
    parts = [f"profile `{study.profile}`"] if study.profile else []
    parts += [f"overrides {' '.join(study.overrides)}"] if study.overrides else []
    return "; ".join(parts)


def notes(findings: Findings) -> str:
    """How to read the numbers, in one paragraph."""
    measure, seconds, parts = findings.measure, findings.seconds, []
    if measure:
        parts.append(
            f"Intervals of the {measure.title} are Student's t over seeds; differences are paired "
            f"by seed. The {measure.title} is that of the last step; nothing was chosen on the "
            "test set."
        )
    if findings.comparisons > 1:
        parts.append(
            "Each interval is a 95 % interval by itself. What is said in words rests on p after "
            f"Holm's correction for all {findings.comparisons} differences."
        )
    if findings.modes:
        parts.append(
            "Of times the process is the unit: each is the median over blocks after warm-up in a "
            "process of its own, one a round, when nothing else ran; intervals are over rounds, "
            "and ratios are paired by round."
        )
    if findings.effects:
        parts.append(
            "A main effect is a mean over all settings of the other factors; an interaction is how "
            "much one effect changes with the other; both are paired by seed."
        )
    parts += starts(findings.study)
    spent = [f"{seconds['accuracy']:.0f} s of training and testing"] if seconds["accuracy"] else []
    spent += [f"{seconds['timing']:.0f} s of timing"] if seconds["timing"] else []
    parts += [f"Attempts took {' and '.join(spent)} in all."] if spent else []
    return " ".join(parts)


def starts(study: Study) -> list[str]:
    """Of networks that can start from pretrained weights, whether they did, a sentence each."""
    found: dict[tuple[str, bool], list[str]] = {}
    for variant in study.variants:
        for network in dict.fromkeys(_networks(variant.model or {})):
            found.setdefault(network, []).append(variant.name)
    sentences: list[str] = []
    for (name, pretrained), variants in found.items():
        how = "from pretrained weights" if pretrained else "from scratch"
        where = f" in {', '.join(variants)}" if (name, not pretrained) in found else ""
        sentences.append(f"`{name}` starts {how}{where}.")
    return sentences


def _networks(settings: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """`(name, pretrained)` of each network of a model that says whether it is pretrained."""
    if isinstance(settings.get("pretrained"), bool):
        yield settings.get("architecture", settings.get("name", "")), settings["pretrained"]
    for value in settings.values():
        if isinstance(value, Mapping):
            yield from _networks(value)


def _told(findings: Findings) -> list[str]:
    """What the results say of the question."""
    counts = findings.counts
    if not any(row.score or row.speeds for row in findings.rows):
        if counts["failed"] and counts["failed"] == counts["trials"]:
            first = next((trial.failure for trial in findings.failures if trial.failure), None)
            what = "The only trial" if counts["trials"] == 1 else f"All {counts['trials']} trials"
            return [f"{what} failed, so there is no answer: {first or 'no reason is recorded.'}"]
        return ["No trial of this study has a result yet, so there is no answer."]
    compared = _compared(findings)
    if not compared:
        why = "names no baseline" if len(findings.rows) > 1 else "has one variant"
        return [*_alone(findings), f"The study {why}, so nothing is compared."]
    if len(compared) <= FEW:
        return [_comparison(findings, row) for row in compared]
    arms: dict[tuple[str, str], list[VariantRow]] = {}
    for row in compared:
        arms.setdefault((row.arm, _arm(findings, row.baseline)), []).append(row)
    if len(findings.points) > 1 and len(arms) <= FEW:
        return [_over_points(findings, *arm, rows) for arm, rows in arms.items()]
    return [_over_all(findings, compared)]


def _compared(findings: Findings) -> list[VariantRow]:
    return [row for row in findings.rows if row.baseline and not row.is_baseline]


def _arm(findings: Findings, name: str | None) -> str:
    return next((row.arm for row in findings.rows if row.variant == name), name or "")


def _alone(findings: Findings) -> list[str]:
    """What there is to say of a study with one variant."""
    measure, row = findings.measure, findings.rows[0]
    if len(findings.rows) > 1 or measure is None or row.score is None:
        return []
    how = f"{row.score.n} seeds" if row.score.n > 1 else "one seed: no interval"
    return [
        f"The {measure.title} of {row.variant} is {interval(row.score)} {measure.unit} ({how})."
    ]


def _comparison(findings: Findings, row: VariantRow) -> str:
    """One variant against its baseline, in accuracy and in speed."""
    ours, theirs = row.variant, row.baseline or ""
    if row.point:
        ours, theirs = row.arm, _arm(findings, row.baseline)
    cost = _cost(row, findings.modes)
    if findings.measure is None:
        said = (
            f"{ours} {cost} against {theirs}"
            if cost
            else f"{ours} and {theirs} share no round of timing, so they cannot be compared"
        )
    else:
        said = _accuracy(findings.measure, row, ours, theirs)
        joint = " and " if row.difference and row.difference.tells else "; it "
        said += f"{joint}{cost}" if cost else ""
    return f"At {row.point}: {said}." if row.point else f"{said[0].upper()}{said[1:]}."


def _accuracy(measure: Measure, row: VariantRow, ours: str, theirs: str) -> str:
    difference, what = row.difference, measure.title
    if difference is None:
        return f"{ours} and {theirs} share no seed with a result, so they cannot be compared"
    size = f"{number(difference.estimate.mean)} {measure.points}"
    if difference.estimate.low is None:
        return (
            f"{ours} differs from {theirs} by {size} of {what} on one seed, which gives no "
            "interval, so nothing can be concluded"
        )
    if difference.tells:
        verb = "lowers" if difference.estimate.mean < 0 else "raises"
        return f"{ours} {verb} the {what} by {_size(measure, difference)} against {theirs}"
    inside = f"{size} {bounds(difference.estimate)}, {difference.estimate.n} seeds"
    why = "the interval includes 0"
    if difference.estimate.excludes_zero:
        p = number(difference.p_holm, 3)
        why = f"among so many comparisons that can be chance: p {p} after Holm's correction"
    return f"whether {ours} changes the {what} of {theirs} cannot be told ({inside}; {why})"


def _size(measure: Measure, difference: Difference) -> str:
    """How large a change is whose sign the verb says, with its interval."""
    estimate = difference.estimate
    low, high = estimate.low or 0.0, estimate.high or 0.0
    ends = (low, high) if estimate.mean > 0 else (-high, -low)
    size = Estimate(abs(estimate.mean), ends[0], ends[1], estimate.n)
    return f"{number(size.mean)} {measure.points} {bounds(size)} ({size.n} seeds)"


def _cost(row: VariantRow, modes: tuple[str, ...]) -> str:
    """`costs 11.0 % [9.0, 13.0] of training throughput (4 rounds)`; empty where none is known."""
    mode = next((m for m in modes if _ratio(row, m)), None)
    ratio = _ratio(row, mode) if mode else None
    if mode is None or ratio is None:
        return ""
    lost, what, n = _lost(ratio.estimate.mean), _throughput(mode), ratio.estimate.n
    verb, sign = ("costs", 1) if lost >= 0 else ("gains", -1)
    if ratio.estimate.low is None or ratio.estimate.high is None:
        alone = "(one round: no interval)"
        if lost < -MANIFOLD:
            return f"has {number(1 - lost / 100, 1)} times the {what} {alone}"
        return f"{verb} {number(sign * lost, 1)} % of {what} {alone}"
    low, high = sorted(sign * _lost(end) for end in (ratio.estimate.low, ratio.estimate.high))
    size = f"{number(sign * lost, 1)} % {bounds(Estimate(lost, low, high, n), 1)}"
    if ratio.tells and lost < -MANIFOLD:
        factor = Estimate(1 - lost / 100, 1 + low / 100, 1 + high / 100, n)
        return f"has {number(factor.mean, 1)} {bounds(factor, 1)} times the {what} ({n} rounds)"
    if ratio.tells:
        return f"{verb} {size} of {what} ({n} rounds)"
    times = f"{number(ratio.estimate.mean)} {bounds(ratio.estimate)} times"
    return f"takes {times} as long a step ({n} rounds), so what it costs cannot be told"


def _over_points(findings: Findings, ours: str, theirs: str, rows: list[VariantRow]) -> str:
    """What one arm does at all points of `vary`."""
    measure, clauses = findings.measure, []
    if measure:
        told, untold = _changes(rows)
        clauses += [
            f"{verb}s the {measure.title} at {len(those)} of {len(rows)} points, most at "
            f"{those[0].point}: by {_size(measure, _difference(those[0]))}"
            for verb, those in told.items()
        ]
        if untold:
            clauses.append(f"at {untold} of {len(rows)} points no difference can be told")
    clauses += _costs(findings, rows)
    return f"{ours} against {theirs}: {'; '.join(clauses)}."


def _over_all(findings: Findings, rows: list[VariantRow]) -> str:
    """What many comparisons come to."""
    bases = {row.baseline for row in rows}
    base = f"with {rows[0].baseline}" if len(bases) == 1 else "with their baselines"
    measure, clauses = findings.measure, []
    if measure:
        told, untold = _changes(rows)
        clauses += [
            f"{len(those)} {verb}{'s' if len(those) == 1 else ''} the {measure.title}, most "
            f"{those[0].variant}: by {_size(measure, _difference(those[0]))}"
            for verb, those in told.items()
        ]
        if untold:
            clauses.append(f"of {untold} no difference can be told")
    clauses += _costs(findings, rows)
    return f"Of {len(rows)} variants compared {base}: {'; '.join(clauses)}."


def _changes(rows: list[VariantRow]) -> tuple[dict[str, list[VariantRow]], int]:
    """By verb those that change for certain, the largest first; and how many others there are."""
    told = [row for row in rows if row.difference and row.difference.tells]
    told.sort(key=lambda row: -abs(_difference(row).estimate.mean))
    found = {
        verb: [row for row in told if sign * _difference(row).estimate.mean > 0]
        for verb, sign in (("lower", -1), ("raise", 1))
    }
    found = {verb: those for verb, those in found.items() if those}
    return found, len(rows) - sum(map(len, found.values()))


def _difference(row: VariantRow) -> Difference:
    assert row.difference is not None
    return row.difference


def _costs(findings: Findings, rows: list[VariantRow]) -> list[str]:
    mode = next((m for m in findings.modes if any(_ratio(row, m) for row in rows)), None)
    if mode is None:
        return []
    ratios = [ratio for row in rows if (ratio := _ratio(row, mode))]
    changes = sorted(-_lost(ratio.estimate.mean) for ratio in ratios)
    if changes[-1] > MANIFOLD:
        ends = " to ".join(number(1 + change / 100, 1) for change in (changes[0], changes[-1]))
        return [f"{_throughput(mode)} is {ends} times as high"]
    ends = " to ".join(number(change, 1) for change in (changes[0], changes[-1]))
    return [f"{_throughput(mode)} changes by {ends} %"]


def _ratio(row: VariantRow, mode: str) -> Difference | None:
    return row.speeds[mode].ratio if mode in row.speeds else None


def _throughput(mode: str) -> str:
    return "training throughput" if mode == "train_step" else f"{mode.replace('_', ' ')} throughput"


def _lost(ratio: float) -> float:
    """Share of throughput, in percent, that goes when a step takes `ratio` times as long."""
    return 100 * (1 - 1 / ratio)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
