"""What a workload is: settings become steps that can be timed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ...results import Metric
from ..task import Place


@dataclass(frozen=True)
class Prepared:
    """Steps by mode, ready to be timed one mode after the other, and what is known without.

    `quality` computes what tells whether the work is done as well as before; `check` asks for it.
    A `numeric_error` is relative to the same in float64, by the reference where there is one.
    """

    steps: Mapping[str, Callable[[], object]]
    metrics: tuple[Metric, ...] = ()
    quality: Callable[[], tuple[Metric, ...]] = tuple


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


def numeric_error(given: Sequence[Tensor], exact: Sequence[Tensor]) -> Metric:
    """The largest distance of tensors from exact ones, relative to the largest exact value."""
    errors = [
        float((ours.double() - theirs).abs().max() / theirs.abs().max())
        for ours, theirs in zip(given, exact, strict=True)
    ]
    return Metric("numeric_error", max(errors), "relative", False)
