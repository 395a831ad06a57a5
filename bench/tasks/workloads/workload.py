"""What a workload is: settings become steps that can be timed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ...results import Metric
from ..task import Place


@dataclass(frozen=True)
class Prepared:
    """Steps by mode, ready to be timed one mode after the other, and what is known without."""

    steps: Mapping[str, Callable[[], object]]
    metrics: tuple[Metric, ...] = ()


class Workload(Protocol):
    """A piece of work of its own, on random or real data that a seed decides.

    Attributes:
        needs: What it takes of a study's `base`: `dataset`, `model`, `train`.
    """

    needs: tuple[str, ...]

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Find what would make it fail; raises `BenchError`."""
        ...

    def prepare(self, settings: Mapping[str, Any], seed: int, place: Place) -> Prepared:
        """Make its inputs on the device."""
        ...
