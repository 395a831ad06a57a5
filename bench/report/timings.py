"""Timed blocks as speeds: the process, one a round, is the unit of replication."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..results.arrow import items, numbers, words
from ..statistics import geometric_interval
from .findings import Distribution, Speed

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Process:
    """What one process timed of one mode: milliseconds a step of each block, and the flags."""

    trial_id: str
    run_id: str
    round: int
    mode: str
    ms: np.ndarray
    flags: Mapping[str, int]


def processes(table: pa.Table) -> list[Process]:
    """The timings of good attempts, without the blocks of their warm-up."""
    rows, blocks = items(table, "timings")
    whose = table.select(["trial_id", "run_id", "round"]).to_pylist()
    which, modes = words(blocks.field("mode"))
    ms = 1e3 * numbers(blocks.field("seconds")) / numbers(blocks.field("iterations"))
    flags = blocks.field("flags").to_pylist()
    cold = np.flatnonzero(numbers(blocks.field("warmup")) == 0)
    cold = cold[np.lexsort((cold, which[cold], rows[cold]))]
    changes = (np.diff(rows[cold]) != 0) | (np.diff(which[cold]) != 0)
    found = []
    for kept in np.split(cold, np.flatnonzero(changes) + 1):
        if len(kept) == 0:
            continue
        attempt = whose[rows[kept[0]]]
        found.append(
            Process(
                trial_id=attempt["trial_id"],
                run_id=attempt["run_id"],
                round=attempt["round"],
                mode=modes[which[kept[0]]],
                ms=ms[kept],
                flags=Counter(flag for i in kept for flag in flags[i]),
            )
        )
    return found


def speeds(found: Iterable[Process], batch: int | None) -> dict[str, Speed]:
    """Of one variant's processes the speed of each mode, not yet compared."""
    rounds: dict[str, dict[tuple[str, int], float]] = {}
    for process in found:
        place = rounds.setdefault(process.mode, {})
        place[(process.run_id, process.round)] = float(np.median(process.ms))
    result = {}
    for mode, medians in rounds.items():
        ms = geometric_interval(list(medians.values()))
        per_s = 1e3 * batch / ms.mean if batch and mode == "train_step" else None
        result[mode] = Speed(mode, ms, per_s, None, medians)
    return result


def distributions(
    found: Iterable[Process], variant_of: Mapping[str, str]
) -> tuple[Distribution, ...]:
    """Quantiles of each process's blocks."""
    return tuple(
        Distribution(
            variant=variant_of[p.trial_id],
            mode=p.mode,
            trial_id=p.trial_id,
            run_id=p.run_id,
            round=p.round,
            quantiles=tuple(float(q) for q in np.quantile(p.ms, QUANTILES)),  # type: ignore[arg-type]
            blocks=len(p.ms),
            flags=dict(p.flags),
        )
        for p in found
    )
