"""Findings of studies whose every number a test chooses."""

import datetime
from typing import Any

import pyarrow as pa

from bench.ledger import asked_for, study_account
from bench.report.answer import findings
from bench.results import Attempt, CurvePoint, Metric, TimingSample
from bench.results.schema import PROTOCOL, READ_SCHEMA, to_table
from bench.study import load_study
from bench.study.study import canonical_json

HEAD = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {name: digits}
  model: {name: cnn, transformer: {transform: affine}}
  train: {steps: 10, batch_size: 30, lr: 1e-3}
"""
TWO = """\
variants: [{name: CNN, set: {model.transformer: null}}, {name: ST}]
baseline: {model.transformer: null}
"""
START = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
ENVIRONMENT = (
    '{"commit":"c0ffee","dirty":null,"python":"3.11","packages":{"torch":"2"},'
    '"platform":"Linux","cpu":"a CPU","cpus":2}'
)


def make_study(folder, design=TWO, seeds=3, rounds=2, **options):
    file = folder / "study.yaml"
    file.write_text(f"{HEAD}{design}seeds: {seeds}\nrounds: {rounds}\n")
    return load_study(file, **options)


def row(trial, phase="accuracy", **fields) -> Attempt:
    """The row of a good attempt, or with `failure` of a failed one."""
    failed = "failure" in fields
    base = {
        "trial_id": trial.trial_id, "study": trial.study, "variant": trial.variant,
        "seed": trial.seed, "phase": phase, "attempt": 1, "status": "failed" if failed else "done",
        "phases": trial.phases, "settings": canonical_json(trial.settings), "device": "cpu",
        "device_name": "a CPU", "threads": 1, "deterministic": True, "run_id": "run",
        "host": "host", "started_at": START, "seconds": 2.0, "code_hash": "0",
        "environment": ENVIRONMENT, "failure_kind": "exception" if failed else None,
        "protocol": PROTOCOL if phase == "timing" else None,
    }  # fmt: skip
    return Attempt(**(base | fields))


def accuracy(trial, error: float, **metrics: float) -> Attempt:
    """A trial that was trained to an error."""
    given = (Metric("test_error", error, "percent", False),)
    given += tuple(Metric(name, value, "count", False) for name, value in metrics.items())
    curves = (CurvePoint("test_error", 10, error + 5), CurvePoint("test_error", 20, error))
    return row(trial, metrics=given, curves=curves)


def timing(trial, round_: int, *, flags=(), **ms: float) -> Attempt:
    """A round of timing: a block of warm-up, then three of each mode around its milliseconds."""
    samples = [
        TimingSample(mode, i, 4e-3 * value * shift, 4, i == 0, flags if i == 1 else ())
        for mode, value in ms.items()
        for i, shift in enumerate((9, 0.9, 1, 1.2))
    ]
    return row(trial, "timing", round=round_, attempt=round_ + 1, timings=tuple(samples))


def rows_of(attempts) -> pa.Table:
    """Rows as a store would read them."""
    tables = [
        to_table(one).append_column("file", [[f"{i}.parquet"]]).select(READ_SCHEMA.names)
        for i, one in enumerate(attempts)
    ]
    table = pa.concat_tables(tables) if tables else READ_SCHEMA.empty_table()
    return table.cast(READ_SCHEMA)


def find(study, attempts) -> Any:
    """The findings of a study from rows that no store has held."""
    table = rows_of(attempts)
    state = study_account(study, table, [], "cpu")
    return findings(study, state, asked_for(study, table), "stn-bench report study")


def trained(study, errors, step_ms=None):
    """Rows of every trial: `errors` gives by variant one error a seed, `step_ms` a time a round."""
    rows = []
    for trial in study.trials("cpu"):
        given = errors[trial.variant]
        if trial.seed < len(given):
            rows.append(accuracy(trial, given[trial.seed]))
        if step_ms and "timing" in trial.phases:
            rows += [timing(trial, i, train_step=v) for i, v in enumerate(step_ms[trial.variant])]
    return rows
