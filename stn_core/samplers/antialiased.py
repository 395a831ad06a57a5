"""A sampler that averages the area of an output pixel, so that shrinking does not alias."""

import itertools
import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from ..grid import to_pixels
from .padding import Rule
from .sampler import FARTHEST, Sampler, bring_near


@final
class Antialiased(Sampler):
    """The mean of bilinear readings over the area of each output pixel, where the grid shrinks.

    The area is spanned by the steps of the grid to the pixels beside it, the columns of its local
    Jacobian. `max_shrink ** dims` readings are spread over it; along an axis that steps by one
    pixel of the image or less they coincide, which is the bilinear kernel. A step is the shorter of
    the two on both sides of a pixel, so that a seam or a lost point blurs nothing. An output side
    of one pixel has no step, and is read as by the bilinear kernel.

    Args:
        max_shrink: How many pixels of the image a step may be long for the readings to cover it
            without gaps. Longer ones still get as many readings, with gaps between them, and alias
            the more the longer they are. The time grows as its power of `dims`, and where there
            is no kernel the memory by a grid per reading.

    Raises:
        ValueError: If `max_shrink` is less than 2.

    Example:
        >>> from stn_core import canonical_grid
        >>> image = torch.tensor([[[[0.0, 1, 0, 1, 0, 1, 0, 1]]]])
        >>> grid = canonical_grid((1, 2), align_corners=False)[None]
        >>> Antialiased()(image, grid, padding="border", align_corners=False).round(decimals=1)
        tensor([[[[0.5000, 0.5000]]]])
    """

    interpolates = True
    has_exact_gradient = True
    is_pointwise = False

    def __init__(self, max_shrink: int = 4) -> None:
        super().__init__()
        if max_shrink < 2:
            raise ValueError(f"`max_shrink` must be at least 2, got {max_shrink}.")
        self.max_shrink = max_shrink

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        sides = _sides(grid, image.shape[2:], align_corners)
        output = image.new_zeros(())
        for count, place in enumerate(itertools.product(self._places(), repeat=len(sides)), 1):
            points = grid
            for share, side in zip(place, sides, strict=True):
                points = points + share * side
            reading = grid_sample(
                image, points, mode="bilinear", padding_mode=padding, align_corners=align_corners
            )
            # A running mean, for it keeps equal readings as they are to the last bit.
            output = reading if count == 1 else torch.lerp(output, reading, 1 / count)
        return output

    def _places(self) -> list[float]:
        # Evenly in (-1/2, 1/2), but as wide as to have the variance of the whole interval.
        n = self.max_shrink
        return [((i + 0.5) / n - 0.5) / math.sqrt(1 - 1 / n**2) for i in range(n)]

    def extra_repr(self) -> str:
        return f"max_shrink={self.max_shrink}"


def areas_of_points(
    grid: Float[Tensor, "batch height width 2"], size: Sequence[int], *, align_corners: bool
) -> Float[Tensor, "batch_of_three height width 2"]:
    """For the fused kernel, of each image its points and the sides of their areas."""
    near, _ = bring_near(grid)
    maps = (grid, *_sides(near, tuple(size), align_corners))
    return torch.stack([m.movedim(-1, 1) for m in maps], dim=1).flatten(0, 1).movedim(1, -1)


def areas_of_matrix(
    matrix: Float[Tensor, "batch 2 3"],
    size: Sequence[int],
    output_size: Sequence[int],
    *,
    align_corners: bool,
) -> Float[Tensor, "batch_of_three 2 3"]:
    """For the fused kernel, of each image its matrix, and the sides of the area as translations."""
    height, width = (n - 1 if align_corners else n for n in size)
    maps = [matrix]
    # A size begins with the rows, a matrix with x.
    for axis, n in zip((1, 0), output_size, strict=True):
        length = 2 / (n - 1 if align_corners else n) if n > 1 else 0.0
        step = matrix[:, :, axis]
        # Where points are lost, or so far that no step is known, there is no side.
        is_near = (step.detach().abs() < FARTHEST).all(1, keepdim=True)
        step = length * torch.where(is_near, step, 0.0)
        x, y = step.split(1, dim=-1)
        side = _side(step, (width / 2 * x).square() + (height / 2 * y).square())
        maps.append(torch.cat([torch.zeros_like(matrix[:, :, :2]), side.unsqueeze(-1)], dim=-1))
    return torch.stack(maps, dim=1).flatten(0, 1)


def _side(step: Tensor, squared: Tensor) -> Tensor:
    """The side of the area for a step, and its square in pixels.

    A step of s pixels gives a side of s - 1 / s. The bilinear kernel has a variance of 1/6 itself,
    and with it the readings have the variance of a step, s * s / 12, but for 1 / (12 s * s).
    """
    return step * (1 - 1 / squared.clamp(min=1))


def _sides(grid: Tensor, size: tuple[int, ...], align_corners: bool) -> list[Tensor]:
    """For each output axis, the side of the area that readings are spread over, as grid steps."""
    pixels = to_pixels(grid, size, align_corners=align_corners)
    is_lost = grid.detach().abs().amax(-1, keepdim=True) >= FARTHEST
    sides: list[Tensor] = []
    for axis in range(1, grid.ndim - 1):
        last = grid.shape[axis] - 1
        squared = pixels.diff(dim=axis).square().sum(-1, keepdim=True)
        is_known = ~(is_lost.narrow(axis, 0, last) | is_lost.narrow(axis, 1, last))
        rank_before, rank_after = _beside(
            squared.detach().masked_fill(~is_known, math.inf), axis, math.inf
        )
        is_before = rank_before <= rank_after
        step = torch.where(is_before, *_beside(grid.diff(dim=axis), axis, 0.0))
        squared = torch.where(is_before, *_beside(squared, axis, 0.0))
        side = _side(step, squared)
        sides.append(torch.where(torch.minimum(rank_before, rank_after) < math.inf, side, 0.0))
    return sides


def _beside(steps: Tensor, axis: int, end: float) -> tuple[Tensor, Tensor]:
    """For each pixel of an axis, the step from the one before and to the one after."""
    edge = torch.full_like(steps.sum(axis, keepdim=True), end)
    return torch.cat([edge, steps], dim=axis), torch.cat([steps, edge], dim=axis)
