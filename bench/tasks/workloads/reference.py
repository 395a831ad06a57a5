"""The machine itself: torch alone, nothing of this project, to hold other cells against."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from ...measurement import rotated
from ..task import Place
from .workload import Prepared

SHAPE = (32, 16, 32, 32)


class Reference:
    """A convolution, a reading at random places and a sum of torch's own, `forward`.

    What it gains or loses from commit to commit is the machine's, so `history` and a check against
    a store take other cells as ratios to it.
    """

    needs = ()

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Nothing can be wrong."""

    def prepare(self, settings: Mapping[str, Any], seed: int, place: Place) -> Prepared:
        """Draw inputs."""
        generator = torch.Generator(place.device).manual_seed(seed)

        def random(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator, device=place.device)

        kernel = random(SHAPE[1], SHAPE[1], 3, 3)
        inputs = rotated(
            lambda: (random(*SHAPE), 2 * random(SHAPE[0], *SHAPE[2:], 2) - 1), place.device
        )

        def forward() -> torch.Tensor:
            image, grid = inputs()
            with torch.no_grad():
                return F.grid_sample(F.conv2d(image, kernel), grid, align_corners=False).sum()

        return Prepared({"forward": forward})
