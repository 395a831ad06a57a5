"""What a task is: it checks, trains and times a variant, and gives back plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from ..data_parallel import ALONE, Ranks
from ..results import CurvePoint, Metric, Picture, TimingSample
from ..resume import Halfway


@dataclass(frozen=True)
class Place:
    """Where a trial runs: its device, the folder of data sets, that of the user's own code.

    `halfway` is where a training keeps its state, `ranks` are the processes that it is shared by;
    two places that differ in these alone are one.
    """

    device: torch.device
    data_dir: Path | None
    folder: Path
    halfway: Halfway | None = field(default=None, compare=False)
    ranks: Ranks = field(default=ALONE, compare=False)


@dataclass(frozen=True)
class Measured:
    """What one phase of one trial found; `weights` are the trained ones."""

    metrics: tuple[Metric, ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    timings: tuple[TimingSample, ...] = ()
    pictures: tuple[Picture, ...] = ()
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)


class Task(Protocol):
    """A kind of trial. Its methods depend on their arguments and torch's seeded generator alone.

    One whose class says `data_parallel = True` hands `place.ranks` on to `train`.
    """

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Find what would make every trial of a variant fail; raises `BenchError`."""
        ...

    def accuracy(self, settings: Mapping[str, Any], seed: int, place: Place) -> Measured:
        """Train and evaluate."""
        ...

    def timing(
        self,
        settings: Mapping[str, Any],
        seed: int,
        place: Place,
        weights: Mapping[str, torch.Tensor],
    ) -> Measured:
        """Time the trained model."""
        ...
