"""Which attempts speak for a trial."""

from typing import Any

import pyarrow as pa

from .arrow import pick, records

KEYS = ["trial_id", "phase", "status", "failure_kind", "attempt", "started_at", "round", "file"]


def best_attempts(table: pa.Table) -> pa.Table:
    """Of each phase (of timing: of each round) of each trial the newest good attempt.

    Where none is good, the newest failure stands in. An attempt that its run's death cut short says
    nothing of a trial, and is left out.
    """
    best: dict[tuple[str, str, int], tuple[tuple, int]] = {}
    for i, row in enumerate(records(table, KEYS)):
        if row["failure_kind"] == "interrupted":
            continue
        key = (row["trial_id"], row["phase"], -1 if row["round"] is None else row["round"])
        rank = _rank(row)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, i)
    return pick(table, [best[key][1] for key in sorted(best)])


def _rank(row: dict[str, Any]) -> tuple:
    return row["status"] == "done", row["attempt"], row["started_at"], row["file"]
