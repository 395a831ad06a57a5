"""The data pipeline: training batches, drawn and distorted."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge

from ..resident import resident, splits
from ..task import Place
from .workload import Prepared


class Batches:
    """One training batch of a data set, `batch`: drawn and distorted on the device.

    Args:
        batch_size: How many examples.
    """

    needs = ("dataset",)

    def __init__(self, *, batch_size: Annotated[int, Ge(1)] = 256) -> None:
        self.batch_size = batch_size

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Find the data."""
        splits(settings, place)

    def prepare(self, settings: Mapping[str, Any], seed: int, place: Place) -> Prepared:
        """Read the data."""
        data = resident(settings, seed, place)
        return Prepared({"batch": lambda: data.batch(self.batch_size)})
