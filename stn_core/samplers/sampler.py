"""The role of a sampler: read the feature map at the grid."""

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..grid import is_traced
from .padding import Padding, Rule, check_padding, fill_of

# In image sides. Pixel indices of farther points overflow in torch, and give NaN where 0 is meant.
FARTHEST = 1e6


class Sampler(nn.Module, ABC):
    """How an image is read at source points: the sum over pixels of Jaderberg et al., 2015, eq. 3.

    A kind is one final subclass: it states the promises below and writes `sample`.

    Attributes:
        interpolates: Whether the output at the centre of a pixel is that pixel.
        has_exact_gradient: Whether the gradient is the derivative of the output, where that exists.
        is_pointwise: Whether an output pixel depends on its own point alone.
    """

    interpolates: bool
    has_exact_gradient: bool
    is_pointwise: bool

    @abstractmethod
    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        """Read the image at the grid, as a linear function of the image.

        Both come checked, of one dtype, float32 or float64, and the grid is finite: a point with a
        coordinate that is not is `FARTHEST` from the centre on every axis.
        """

    @final
    def forward(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Padding,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        """The output, of the image's dtype, computed at least in float32 whatever that is.

        A point with a coordinate that is not finite gives NaN in its output pixel and no gradient,
        and touches nothing else; one that is not pointwise does without it for the pixels beside
        it. (torch gives a number for some of them.)

        Args:
            image: The feature map, 2-D or 3-D.
            grid: Source points in normalised coordinates.
            padding: What lies outside the image: "zeros", "border", "reflection", or a value to
                fill it with, one number or a tuple of one per channel. The image is then read as
                its difference from that value, so it is kept to rounding at the value's size.
            align_corners: The convention of the grid.

        Raises:
            TypeError: If `image` is not of floating point.
            ValueError: If a shape or `padding` is not as required.
        """
        _check(image, grid)
        check_padding(padding)
        dtype = torch.promote_types(torch.promote_types(image.dtype, grid.dtype), torch.float32)
        points, source = grid.to(dtype), image.to(dtype)
        points, is_lost = bring_near(points)
        if isinstance(padding, str):
            output = self.sample(source, points, padding=padding, align_corners=align_corners)
        else:
            fill = fill_of(padding, source)
            difference = source - fill
            output = self.sample(difference, points, padding="zeros", align_corners=align_corners)
            output = output + fill
        if is_lost is not None:
            output = output.masked_fill(is_lost.unsqueeze(1), math.nan)
        return output.to(image.dtype)


def bring_near(points: Float[Tensor, "batch *out_size dims"]) -> tuple[Tensor, Tensor | None]:
    """Points as `sample` has them, and which are lost, or None where there is none."""
    if _are_near(points):
        return points, None
    is_finite = points.detach().abs().amax(-1, keepdim=True) < math.inf
    near = torch.where(is_finite, points.clamp(-FARTHEST, FARTHEST), FARTHEST)
    return near, ~is_finite.squeeze(-1)


def _are_near(points: Tensor) -> bool:
    """Whether no point is lost, or so far that it must be moved, where it costs little to know."""
    if points.device.type != "cpu" or is_traced() or points.numel() == 0:
        return False
    # No less than any coordinate, and several times as quick as their extremes. Of a NaN it is one.
    return bool(torch.linalg.vector_norm(points.detach()) <= FARTHEST)


def _check(image: Tensor, grid: Tensor) -> None:
    dims = image.ndim - 2
    if dims not in (2, 3) or 0 in image.shape[2:]:
        raise ValueError(
            "`image` must have shape (batch, channels, [depth,] height, width) and no side of "
            f"length 0, got {tuple(image.shape)}."
        )
    if not image.is_floating_point():
        raise TypeError(f"`image` must be of floating point, got {image.dtype}.")
    if grid.ndim != image.ndim or grid.shape[0] != image.shape[0] or grid.shape[-1] != dims:
        size = "height, width" if dims == 2 else "depth, height, width"
        raise ValueError(
            f"`grid` must have shape ({image.shape[0]}, {size}, {dims}), got {tuple(grid.shape)}."
        )
