"""Timed blocks as speeds: the process, one a round, is the unit of replication."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

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
    """The timings of chosen attempts, without the blocks of their warm-up."""
    good = [row["phase"] == "timing" and row["status"] == "done" for row in _narrow(table)]
    table = table.filter(pa.array(good, pa.bool_()))
    if table.num_rows == 0:
        return []
    column = table.column("timings").combine_chunks()
    blocks = pa.Table.from_struct_array(column.flatten())
    modes = blocks.column("mode").to_pylist()
    warm = blocks.column("warmup").to_numpy()
    ms = 1e3 * blocks.column("seconds").to_numpy() / blocks.column("iterations").to_numpy()
    flags = blocks.column("flags").to_pylist()
    ends = np.cumsum(column.value_lengths().fill_null(0).to_numpy())
    found = []
    for row, begin, end in zip(_narrow(table), [0, *ends[:-1]], ends, strict=True):
        by_mode: dict[str, list[int]] = {}
        for i in range(begin, end):
            if not warm[i]:
                by_mode.setdefault(modes[i], []).append(i)
        for mode, kept in by_mode.items():
            counted = Counter(flag for i in kept for flag in flags[i])
            found.append(
                Process(row["trial_id"], row["run_id"], row["round"] or 0, mode, ms[kept], counted)
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


def _narrow(table: pa.Table) -> list[dict[str, Any]]:
    return table.select(["trial_id", "phase", "status", "run_id", "round"]).to_pylist()
