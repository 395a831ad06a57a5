"""What one attempt leaves behind: the row of the store, version 2."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

SCHEMA_VERSION = 2

# Version of the timing protocol, which `bench.measurement` implements.
PROTOCOL = "2"

# How an attempt can fail: what its code raised, files of a data set that are damaged, a loss that
# is not finite, no memory left on the GPU or on the host, a time limit, a worker or a whole node
# that is gone, a store that cannot be reached or is full. `interrupted`: its run was killed, so it
# says nothing of the trial.
FailureKind = Literal[
    "exception", "bad_data", "diverged", "out_of_memory", "out_of_host_memory", "timeout",
    "lost", "node_lost", "store", "disk_full", "interrupted",
]  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One number of a trial; `test_error` is in percent."""

    name: str
    value: float
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve."""

    name: str
    step: int
    value: float


@dataclass(frozen=True)
class TimingSample:
    """One block: `iterations` equal steps took `seconds` in all; warm-up is kept, and flagged.

    `flags` say what disturbed it: no sample is dropped for them.
    """

    mode: str
    sample: int
    seconds: float
    iterations: int
    warmup: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """What a transformer was given, or gave, for one example at one step of training.

    Attributes:
        kind: `input` or `output` of the transformer, or an `error` of the model.
        transformer: Where it stands in the model; empty for an `error`.
        step: Step of training.
        example: Which example of the fixed ones.
        png: The picture.
        outline: Closed polyline `x0, y0, x1, y1, …` in pixel coordinates of the input: where the
            output was read; empty if there is none.
        label: The true class.
        predicted: The class that the model gave.
    """

    kind: Literal["input", "output", "error"]
    transformer: str
    step: int
    example: int
    png: bytes
    outline: tuple[float, ...] = ()
    label: str = ""
    predicted: str = ""


@dataclass(frozen=True)
class Attempt:
    """One try at one phase of one trial.

    Attributes:
        settings: Canonical JSON of task, data set, model and train.
        phases: The phases that the trial has.
        failure: One line, `Class: message`; None where the attempt is good.
        protocol: Version of the timing protocol; None in the accuracy phase.
        round: Round of timing, from 0; None in the accuracy phase.
        code_hash: Hash of the code that computed it; a trial is stale when that has changed since.
        environment: JSON of commit, versions, machine; of `workers` where several trained it.
    """

    trial_id: str
    study: str
    variant: str
    seed: int
    phase: str
    attempt: int
    status: Literal["done", "failed"]
    phases: tuple[str, ...]
    settings: str
    device: str
    device_name: str
    threads: int
    deterministic: bool
    run_id: str
    host: str
    started_at: datetime.datetime
    seconds: float
    code_hash: str
    environment: str
    protocol: str | None = None
    round: int | None = None
    failure: str | None = None
    failure_kind: FailureKind | None = None
    traceback: str | None = None
    metrics: tuple[Metric, ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    timings: tuple[TimingSample, ...] = ()
    pictures: tuple[Picture, ...] = ()
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def key(self) -> str:
        """`<trial>.<phase>.<attempt>`, the name of its file but for the hash."""
        return f"{self.trial_id}.{self.phase}.{self.attempt}"


_TEXT = pa.string()
SCHEMA = pa.schema(
    [
        pa.field("schema_version", pa.int32(), nullable=False),
        pa.field("trial_id", _TEXT, nullable=False),
        pa.field("study", _TEXT, nullable=False),
        pa.field("variant", _TEXT, nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("phase", _TEXT, nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("status", _TEXT, nullable=False),
        pa.field("failure", _TEXT),
        pa.field("failure_kind", _TEXT),
        pa.field("traceback", _TEXT),
        pa.field("phases", pa.list_(_TEXT)),
        pa.field("settings", _TEXT),
        pa.field("device", _TEXT),
        pa.field("device_name", _TEXT),
        pa.field("threads", pa.int32()),
        pa.field("deterministic", pa.bool_()),
        pa.field("protocol", _TEXT),
        pa.field("round", pa.int32()),
        pa.field("run_id", _TEXT),
        pa.field("host", _TEXT),
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("seconds", pa.float64()),
        pa.field("code_hash", _TEXT),
        pa.field("environment", _TEXT),
        pa.field(
            "metrics",
            pa.list_(
                pa.struct(
                    {
                        "name": _TEXT,
                        "value": pa.float64(),
                        "unit": _TEXT,
                        "higher_is_better": pa.bool_(),
                    }
                )
            ),
        ),
        pa.field(
            "curves",
            pa.list_(pa.struct({"name": _TEXT, "step": pa.int64(), "value": pa.float64()})),
        ),
        pa.field(
            "timings",
            pa.list_(
                pa.struct(
                    {
                        "mode": _TEXT,
                        "sample": pa.int32(),
                        "seconds": pa.float64(),
                        "iterations": pa.int32(),
                        "warmup": pa.bool_(),
                        "flags": pa.list_(_TEXT),
                    }
                )
            ),
        ),
        pa.field(
            "pictures",
            pa.list_(
                pa.struct(
                    {
                        "kind": _TEXT,
                        "transformer": _TEXT,
                        "step": pa.int64(),
                        "example": pa.int32(),
                        "png": pa.binary(),
                        "outline": pa.list_(pa.float64()),
                        "label": _TEXT,
                        "predicted": _TEXT,
                    }
                )
            ),
        ),
    ],
    metadata={"stn_bench.schema_version": str(SCHEMA_VERSION)},
)

# The rows as a reader sees them: with the name of the file that each came in, hash included.
READ_SCHEMA = SCHEMA.append(pa.field("file", _TEXT, nullable=False))


def to_table(attempt: Attempt) -> pa.Table:
    """The attempt as a table of one row."""
    row: dict[str, Any] = dict(vars(attempt))
    for name in ("metrics", "curves", "timings", "pictures"):
        row[name] = [vars(item) for item in row[name]]
    return pa.Table.from_pylist([row], schema=SCHEMA)


def step_seconds(timings: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Seconds of a step in each block of an attempt, by mode; the blocks of warm-up left out."""
    found: dict[str, list[float]] = {}
    for sample in timings:
        if not sample["warmup"]:
            found.setdefault(sample["mode"], []).append(sample["seconds"] / sample["iterations"])
    return found


def upgraded(table: pa.Table) -> pa.Table:
    """Rows of version 1 as rows of version 2: of no round, without pictures, no sample flagged."""
    new = {"schema_version": SCHEMA_VERSION, "round": None, "pictures": []}
    rows = [
        {**row, **new, "timings": [{**s, "flags": []} for s in row.get("timings") or []]}
        for row in table.to_pylist()
    ]
    schema = READ_SCHEMA if "file" in table.column_names else SCHEMA
    return pa.Table.from_pylist(rows, schema=schema)
