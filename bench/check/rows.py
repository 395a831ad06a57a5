"""What a check leaves in its store: a row a variant, arm and round; and the cells read from rows.

A cell is a mode of a variant. Two arms are told apart by `arm` in the row's environment, `base` or
`head` (or `a` and `b`, both the same code); `purpose` there is `check` or `calibrate`.
"""

import dataclasses
import datetime
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..results import Attempt
from ..study.study import canonical_json, trial_id
from .lockstep import Timed, log_ratio

Row = Mapping[str, Any]
COLUMNS = [
    "study", "variant", "phase", "status", "failure", "device", "device_name", "threads",
    "protocol", "round", "run_id", "started_at", "environment", "settings", "metrics", "timings",
]  # fmt: skip

NOT_TIMED = "NotTimed: the arms have no mode in common, or the other one failed"


@dataclass(frozen=True)
class Machine:
    """What must be the same for two timings to be compared."""

    device: str
    device_name: str
    cpu: str
    threads: int
    protocol: str

    def __str__(self) -> str:
        device = self.cpu if self.device == "cpu" else f"{self.device_name}, {self.cpu}"
        return f"{device}, {self.threads} threads, protocol {self.protocol}"


@dataclass(frozen=True)
class Cell:
    """What the rounds of a run say of a cell.

    Attributes:
        seconds: Of a step, median over blocks: by arm, then by round.
        logs: Logarithm of the second arm's time over the first's, by round.
        flagged: Share of blocks that something disturbed.
    """

    seconds: Mapping[str, Mapping[int, float]]
    logs: Mapping[int, float]
    flagged: float


def attempt(
    timed: Timed, facts: Row, settings: Mapping[str, Any], run: Mapping[str, Any]
) -> Attempt:
    """The row of a variant in one arm and one round.

    Args:
        timed: What was measured.
        facts: What the arm said of itself.
        settings: Of the variant.
        run: `study`, `run_id`, `round`, `device`, `threads`, `purpose`, and `arms`: their names.
    """
    number, arms, failure = run["round"], run["arms"], timed.failure
    if failure is None and all(sample.warmup for sample in timed.samples):
        failure = NOT_TIMED
    environment = {
        **facts["environment"],
        "arm": timed.arm,
        "purpose": run["purpose"],
        "cpus_used": facts["cpus"],
    }
    return Attempt(
        trial_id=trial_id(settings, number, run["device"]),
        study=run["study"],
        variant=timed.variant,
        seed=number,
        phase="timing",
        attempt=1 + len(arms) * number + arms.index(timed.arm),
        status="done" if failure is None else "failed",
        phases=("timing",),
        settings=canonical_json(settings),
        device=run["device"],
        device_name=facts["device_name"],
        threads=run["threads"],
        deterministic=True,
        run_id=run["run_id"],
        host=os.uname().nodename,
        started_at=datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=timed.seconds),
        seconds=timed.seconds,
        code_hash=facts["code_hash"],
        environment=json.dumps(environment, sort_keys=True),
        protocol=f"{facts['protocol']}.{facts['questions']}",
        round=number,
        failure=failure,
        failure_kind=None if failure is None else "exception",
        metrics=timed.metrics,
        timings=timed.samples,
    )


def as_row(attempt: Attempt) -> Row:
    """An attempt as a store gives it back."""
    return dataclasses.asdict(attempt)


def arm_of(row: Row) -> str:
    """Which arm a row is of; `head` where it was no comparison."""
    return json.loads(row["environment"]).get("arm", "head")


def machine_of(row: Row) -> Machine:
    """The machine that a row was measured on."""
    environment = json.loads(row["environment"])
    return Machine(
        row["device"], row["device_name"], environment.get("cpu", ""), row["threads"],
        row["protocol"],
    )  # fmt: skip


def cells(rows: Iterable[Row], arms: Sequence[str]) -> dict[str, Cell]:
    """The cells of one run, in the order in which they come.

    Args:
        rows: Of one run; those without data are left out.
        arms: The first and the second arm, or one alone.
    """
    blocks: dict[str, dict[tuple[str, int], dict[int, float]]] = {}
    flags: dict[str, list[bool]] = {}
    for row in rows:
        if row["status"] != "done" or arm_of(row) not in arms:
            continue
        for sample in row["timings"]:
            # One that was warmed up and not timed is a cell without data: only one arm has it.
            cell = cell_name(row["variant"], sample["mode"])
            sides, marks = blocks.setdefault(cell, {}), flags.setdefault(cell, [])
            if not sample["warmup"]:
                place = sides.setdefault((arm_of(row), row["round"]), {})
                place[sample["sample"]] = sample["seconds"] / sample["iterations"]
                marks.append(bool(sample["flags"]))
    found: dict[str, Cell] = {}
    for cell, timed in blocks.items():
        rounds = sorted({number for _, number in timed})
        seconds = {
            arm: {n: median(timed[arm, n].values()) for n in rounds if (arm, n) in timed}
            for arm in arms
        }
        logs = {}
        for n in rounds:
            sides = [timed.get((arm, n), {}) for arm in arms]
            shared = set.intersection(*map(set, sides)) if len(sides) == 2 else set()
            if shared:
                turns = sorted(shared)
                first, last = ([math.log(side[turn]) for turn in turns] for side in sides)
                logs[n] = log_ratio(first, last).mean
        found[cell] = Cell(seconds, logs, sum(flags[cell]) / max(1, len(flags[cell])))
    return found


def cell_name(variant: str, mode: str) -> str:
    """What a mode of a variant is called in words."""
    return f"{variant} [{mode}]"


def variant_of(cell: str) -> str:
    """The variant that a cell is a mode of; nothing of a variant without a mode."""
    return cell.rpartition(" [")[0]


def of_settings(rows: Iterable[Row], cells: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The rows whose variant had the settings that it has in `cells`: the same work."""
    wanted = {name: canonical_json(settings) for name, settings in cells.items()}
    return [
        row
        for row in rows
        if canonical_json(json.loads(row["settings"])) == wanted.get(row["variant"])
    ]


def purpose_of(row: Row) -> str:
    """What a row was measured for: `check` or `calibrate`; nothing where it was neither."""
    return json.loads(row["environment"]).get("purpose", "")


def metrics(rows: Iterable[Row], name: str) -> dict[str, dict[str, dict[int, float]]]:
    """Values of a metric by variant, then by arm, then by round."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        for metric in row["metrics"]:
            if metric["name"] == name:
                arms = found.setdefault(row["variant"], {})
                arms.setdefault(arm_of(row), {})[row["round"]] = metric["value"]
    return found
