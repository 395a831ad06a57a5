"""A sampler whose gradient sees farther than the pixels that it reads."""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from ..grid import from_pixels, to_pixels
from .padding import Rule
from .sampler import Sampler

# Of the expected squared length of the taps. It decides only where they lie almost on a line.
_RIDGE = 1e-5


@final
class LinearisedMultisample(Sampler):
    """Bilinear, with the slope of a fitted plane as gradient by the grid (Jiang et al., 2019).

    A plane through the bilinear value is fitted, by least squares, to bilinear readings at random
    points nearby. Its slope is the gradient by the grid: not the derivative of the output, which
    knows two pixels an axis, but how the image changes over the reach of the noise, so that a
    localisation network feels what it does not touch yet. The output, and the gradient by the
    image, are those of `Bilinear`.

    The readings are drawn from torch's generator, only where a gradient by the grid is asked for;
    `torch.func.vmap` then needs its `randomness`. Where they lie almost on a line or in a plane, so
    that the slope across is not determined, a small ridge makes it zero. (The authors' code puts
    zero for all slopes of such a point, spreads points by a quarter of an output pixel besides, and
    can fit the value too.)

    Args:
        taps: How many points besides the centre.
        noise: The standard deviation of their distance from it on each axis, in pixels of the
            image. The farther, the wider the basin of convergence, and the coarser.

    Raises:
        ValueError: If `taps` is less than 3 or `noise` is not positive.

    Example:
        >>> image, grid = torch.eye(5)[None, None], torch.zeros(1, 1, 1, 2, requires_grad=True)
        >>> LinearisedMultisample()(image, grid, padding="zeros", align_corners=True).item()
        1.0
    """

    interpolates = True
    has_exact_gradient = False
    is_pointwise = True

    def __init__(self, taps: int = 7, noise: float = 1.0) -> None:
        super().__init__()
        if taps < 3:
            raise ValueError(f"`taps` must be at least 3, got {taps}.")
        if not 0 < noise < math.inf:
            raise ValueError(f"`noise` must be a positive number of pixels, got {noise}.")
        self.taps = taps
        self.noise = noise

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        centre = grid_sample(
            image, grid.detach(), padding_mode=padding, align_corners=align_corners
        )
        if not (torch.is_grad_enabled() and grid.requires_grad):
            return centre
        pixels = to_pixels(grid, image.shape[2:], align_corners=align_corners)
        slopes = self._slopes(
            image.detach(), centre.detach(), pixels.detach(), padding, align_corners
        )
        moves = (pixels - pixels.detach()).unsqueeze(1).unbind(-1)
        return centre + sum(slope * move for slope, move in zip(slopes, moves, strict=True))

    def _slopes(
        self,
        image: Tensor,
        centre: Tensor,
        pixels: Tensor,
        padding: Rule,
        align_corners: bool,
    ) -> list[Tensor]:
        """The slope of the plane along x, y and z, per pixel of the image."""
        dims = pixels.shape[-1]
        ridge = _RIDGE * self.taps * self.noise**2
        matrix = [[centre.new_tensor(ridge * (i == j)) for j in range(dims)] for i in range(dims)]
        right = [torch.zeros_like(centre) for _ in range(dims)]
        for _ in range(self.taps):
            offset = self.noise * torch.randn_like(pixels)
            points = from_pixels(pixels + offset, image.shape[2:], align_corners=align_corners)
            reading = grid_sample(image, points, padding_mode=padding, align_corners=align_corners)
            steps = offset.unsqueeze(1).unbind(-1)
            for i, step in enumerate(steps):
                matrix[i] = [m + step * other for m, other in zip(matrix[i], steps, strict=True)]
                right[i] = right[i] + step * (reading - centre)
        return _solve(matrix, right)

    def extra_repr(self) -> str:
        return f"taps={self.taps}, noise={self.noise}"


def _solve(matrix: list[list[Tensor]], right: list[Tensor]) -> list[Tensor]:
    """Solve a positive definite system of tensors, by elimination: it is 2 x 2 or 3 x 3."""
    size = len(right)
    matrix, right = [list(row) for row in matrix], list(right)
    for pivot in range(size):
        for row in range(size):
            if row != pivot:
                share = matrix[row][pivot] / matrix[pivot][pivot]
                matrix[row] = [
                    a - share * b for a, b in zip(matrix[row], matrix[pivot], strict=True)
                ]
                right[row] = right[row] - share * right[pivot]
    return [value / matrix[i][i] for i, value in enumerate(right)]
