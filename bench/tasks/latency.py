"""Latency: how long a workload takes, and nothing of accuracy."""

from collections.abc import Mapping
from typing import Any

import torch

from .. import build
from ..errors import BenchError
from ..measurement import flops, measure
from .task import Measured, Place
from .workloads.workload import Workload


class Latency:
    """Time of a workload; nothing is trained, so its trials have a timing phase alone."""

    needs = ("workload",)
    phases = ("timing",)

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Build the workload once, and find its data."""
        workload(settings, place).check(settings, place)

    def accuracy(self, settings: Mapping[str, Any], seed: int, place: Place) -> Measured:
        """There is none."""
        raise BenchError("task `latency` has no accuracy")

    def timing(
        self,
        settings: Mapping[str, Any],
        seed: int,
        place: Place,
        weights: Mapping[str, torch.Tensor],
    ) -> Measured:
        """Time each mode of the workload."""
        prepared = workload(settings, place).prepare(settings, seed, place)
        timed = [measure(mode, step, place.device) for mode, step in prepared.steps.items()]
        counted = [m for mode, step in prepared.steps.items() for m in flops(mode, step)]
        metrics = [*prepared.metrics, *counted, *(m for one in timed for m in one.metrics)]
        return Measured(tuple(metrics), timings=tuple(s for one in timed for s in one.samples))


def workload(settings: Mapping[str, Any], place: Place) -> Workload:
    """The workload that settings name."""
    return build.build("workload", settings["workload"], place.folder)
