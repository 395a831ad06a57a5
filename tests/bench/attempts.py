"""Attempts as a worker would have written them, for tests of what reads them."""

import datetime
import json
from pathlib import Path
from typing import Any

from bench.results import Attempt, CurvePoint, Metric, TimingSample
from bench.results.schema import PROTOCOL

START = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)


def attempt(
    trial="a" * 16, phase="accuracy", number: Any = 1, *, minutes: Any = 0, **changes: Any
) -> Attempt:
    """A good attempt, or with `failure` a failed one; `minutes` is when it began."""
    failure = changes.get("failure")
    good = failure is None
    fields = {
        "trial_id": trial, "study": "study", "variant": "base", "seed": 0, "phase": phase,
        "attempt": number, "status": "done" if good else "failed",
        "phases": ("accuracy", "timing"),
        "settings": json.dumps({"train": {"batch_size": 32}}), "device": "cpu",
        "device_name": "a processor", "threads": 1, "deterministic": True, "run_id": "run",
        "host": "here", "started_at": START + datetime.timedelta(minutes=minutes), "seconds": 1.5,
        "code_hash": "code", "environment": "{}",
        "protocol": PROTOCOL if phase == "timing" else None,
        "round": 0 if phase == "timing" else None,
        "failure_kind": None if good else "exception",
        "traceback": None if good else "Traceback: …",
    }  # fmt: skip
    if good and phase == "accuracy":
        fields["metrics"] = (Metric("test_error", 4.0 + number, "percent", False),)
        fields["curves"] = tuple(CurvePoint("test_error", s, s / 2) for s in (10, 20))
    if good and phase == "timing":
        fields["timings"] = tuple(
            TimingSample(mode, i, seconds, 10, i == 0)
            for mode, times in {
                "forward": (9, 0.01, 0.03),
                "train_step": (9, 0.1, 0.2, 0.6),
            }.items()
            for i, seconds in enumerate(times)
        )
    return Attempt(**(fields | changes))


def rows(store):
    return store.read().table.sort_by("file").to_pylist()


def files(store, folder):
    return sorted(p for p in (Path(store.location) / folder).glob("*") if p.is_file())


def fill(store, count=3):
    return [store.write(attempt(f"{i:016x}", minutes=i)) for i in range(count)]
