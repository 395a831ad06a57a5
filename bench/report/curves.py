"""Learning curves over seeds, aggregated as columns: a study can have a million points."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from ..results.arrow import items, numbers, words
from .findings import Curve

CURVE_STEPS = 100


def curves(table: pa.Table, variant_of: Mapping[str, str]) -> tuple[Curve, ...]:
    """Mean, lowest and highest seed of every curve, at `CURVE_STEPS` steps at most.

    A value that is not finite is left out.
    """
    rows, points = items(table, "curves")
    order = list(dict.fromkeys(variant_of.values()))
    place = {name: i for i, name in enumerate(order)}
    ids = table.column("trial_id").to_pylist()
    variants = np.array([place[variant_of[i]] for i in ids], dtype=np.int64)[rows]
    values = numbers(points.field("value"))
    which, names = words(points.field("name"))
    steps = numbers(points.field("step"))
    kept = np.isfinite(values)
    variants, which, steps, values = variants[kept], which[kept], steps[kept], values[kept]
    if len(values) == 0:
        return ()
    sorting = np.lexsort((steps, which, variants))
    variants, which, steps, values = (a[sorting] for a in (variants, which, steps, values))
    curve_begins = _begins(variants, which)
    begins = _begins(variants, which, steps)
    counts = np.diff([*begins, len(values)])
    mean = np.add.reduceat(values, begins) / counts
    low, high = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
    found = []
    ends = [*curve_begins[1:], len(values)]
    for begin, end in zip(curve_begins, ends, strict=True):
        first, last = np.searchsorted(begins, (begin, end))
        shown = first + _thinned(last - first)
        found.append(
            Curve(
                variant=order[variants[begin]],
                name=names[which[begin]],
                steps=tuple(steps[begins[shown]].tolist()),
                mean=tuple(mean[shown].tolist()),
                low=tuple(low[shown].tolist()),
                high=tuple(high[shown].tolist()),
                seeds=tuple(counts[shown].tolist()),
            )
        )
    return tuple(found)


def _begins(*keys: np.ndarray) -> np.ndarray:
    """Where in sorted rows a new key begins."""
    new = np.zeros(len(keys[0]), dtype=bool)
    new[0] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def _thinned(count: int) -> np.ndarray:
    """Places of at most `CURVE_STEPS` of `count` points, evenly, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_STEPS)).round().astype(int))
