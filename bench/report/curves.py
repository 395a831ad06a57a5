"""Learning curves over seeds, aggregated where the rows lie: a study can have a million points."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from .findings import Curve

CURVE_STEPS = 100


def curves(table: pa.Table, variant_of: Mapping[str, str]) -> tuple[Curve, ...]:
    """Mean, lowest and highest seed of every curve, at `CURVE_STEPS` steps at most.

    A value that is not finite is left out.
    """
    column = table.column("curves").combine_chunks()
    points = pa.Table.from_struct_array(column.flatten())
    if points.num_rows == 0:
        return ()
    order = list(dict.fromkeys(variant_of.values()))
    place = {name: i for i, name in enumerate(order)}
    ids = table.column("trial_id").to_pylist()
    whose = np.array([place[variant_of[i]] for i in ids])
    counts = column.value_lengths().fill_null(0).to_numpy()
    points = points.append_column("variant", pa.array(np.repeat(whose, counts)))
    points = points.filter(pa.array(np.isfinite(points.column("value").to_numpy())))
    keys = ["variant", "name", "step"]
    kinds = ("mean", "min", "max", "count")
    grouped = points.group_by(keys).aggregate([("value", kind) for kind in kinds])
    grouped = grouped.sort_by([(key, "ascending") for key in keys])
    whose = grouped.column("variant").to_numpy()
    names = grouped.column("name").to_pylist()
    steps = grouped.column("step").to_numpy()
    values = {kind: grouped.column(f"value_{kind}").to_numpy() for kind in kinds}
    found, begin = [], 0
    for end in range(1, len(names) + 1):
        if end < len(names) and (whose[end], names[end]) == (whose[begin], names[begin]):
            continue
        kept = begin + _thinned(end - begin)
        found.append(
            Curve(
                variant=order[whose[begin]],
                name=names[begin],
                steps=tuple(steps[kept].tolist()),
                mean=tuple(values["mean"][kept].tolist()),
                low=tuple(values["min"][kept].tolist()),
                high=tuple(values["max"][kept].tolist()),
                seeds=tuple(values["count"][kept].tolist()),
            )
        )
        begin = end
    return tuple(found)


def _thinned(count: int) -> np.ndarray:
    """Places of at most `CURVE_STEPS` of `count` points, evenly, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_STEPS)).round().astype(int))
