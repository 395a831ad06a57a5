"""Rows of checks, as a store gives them back."""

import dataclasses
import json

from attempts import attempt

from bench.results import Metric, TimingSample

REFERENCE = {"task": "latency", "workload": {"name": "reference"}}


def row(
    variant="warp",
    seconds=0.01,
    number=0,
    arm="head",
    run="run",
    commit="c0",
    error=None,
    **changes,
):
    """A timing of one variant, in four blocks, in one arm and one round."""
    settings = {"task": "latency", "workload": {"name": variant}}
    environment = {"commit": commit, "dirty": None, "cpu": "a processor", "arm": arm}
    fields = {
        "trial": variant.encode().hex().ljust(16, "0")[:16],
        "study": "gate", "variant": variant, "seed": number, "round": number, "run_id": run,
        "settings": json.dumps(settings), "environment": json.dumps(environment),
        "number": number + 1,
        "timings": tuple(TimingSample("step", i, seconds, 1, False) for i in range(4)),
        "metrics": () if error is None else (Metric("numeric_error", error, "relative", False),),
    }  # fmt: skip
    return attempt(phase="timing", **(fields | changes))


def as_rows(attempts):
    """Attempts as rows."""
    return [dataclasses.asdict(one) for one in attempts]
