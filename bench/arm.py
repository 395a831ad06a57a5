"""One arm of a comparison of two commits: time all cells of a study once, in this one process.

`python -m bench.arm`, run in the worktree of a commit, reads one request as JSON from standard
input and writes one answer as JSON to standard output; what libraries print goes to standard error.
The settings of the cells come with the request, so that both commits time the same.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .conditions import pin
from .environment import code_hash, environment
from .jobs import one_line
from .measurement import measure
from .results.schema import PROTOCOL
from .tasks.latency import workload
from .tasks.task import Place
from .trial import device_name


def measure_cells(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time every cell of a study of the task `latency`, in the order of the request.

    Args:
        request: `cells`, a list of `{name, settings}` with a variant's settings; `device`;
            `threads`; `data_dir`, a folder or None; `folder`, that of the user's own code.

    Returns:
        `protocol`, `code_hash`, `environment`, `device_name`, `threads`, `cpus` (how many this
        process may use), and `cells`, a list in the order of the request:
        `{name, failure, seconds, samples, metrics}` with the fields of `TimingSample` and `Metric`.
        A cell that fails has its failure as one line, and no samples.
    """
    torch.set_num_threads(request["threads"])
    cpus = pin(request["threads"])
    data_dir = request["data_dir"]
    place = Place(
        torch.device(request["device"]),
        None if data_dir is None else Path(data_dir),
        Path(request["folder"]),
    )
    return {
        "protocol": PROTOCOL,
        "code_hash": code_hash(),
        "environment": environment(),
        "device_name": device_name(request["device"]),
        "threads": request["threads"],
        "cpus": cpus,
        "cells": [_cell(cell, place) for cell in request["cells"]],
    }


def _cell(cell: Mapping[str, Any], place: Place) -> dict[str, Any]:
    begun = time.perf_counter()
    samples, metrics, failure = [], [], None
    try:
        torch.manual_seed(0)
        prepared = workload(cell["settings"], place).prepare(cell["settings"], 0, place)
        metrics += prepared.metrics
        for mode, step in prepared.steps.items():
            timed = measure(mode, step, place.device)
            samples += timed.samples
            metrics += timed.metrics
    except Exception as error:
        samples, metrics, failure = [], [], one_line(error)
    return {
        "name": cell["name"],
        "failure": failure,
        "seconds": time.perf_counter() - begun,
        "samples": [dataclasses.asdict(sample) for sample in samples],
        "metrics": [dataclasses.asdict(metric) for metric in metrics],
    }


def main() -> None:
    """Answer the request on standard input."""
    with contextlib.redirect_stdout(sys.stderr):
        answer = measure_cells(json.load(sys.stdin))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
