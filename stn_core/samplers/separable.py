"""The sum of eq. 3 over the pixels near a point, for kernels that are a product over the axes."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..grid import to_pixels
from .padding import Rule, pad_side


def separable_sum(
    image: Float[Tensor, "batch channels *in_size"],
    grid: Float[Tensor, "batch *out_size dims"],
    weigh: Callable[[Tensor], Tensor],
    reach: int,
    *,
    padding: Rule,
    align_corners: bool,
) -> Float[Tensor, "batch channels *out_size"]:
    """Sum the pixels around each point (Jaderberg et al., 2015, eq. 3), the image extended outside.

    `padding` acts on the pixels that are read, not on the point: the image goes on for ever, as
    zeros, as its edge or mirrored, and the kernel lies on that. The `(2 reach) ** dims` pixels of
    all points are held at once.

    Args:
        image: As for `Sampler.sample`.
        grid: As for `Sampler.sample`.
        weigh: From the distances of points and pixels on one axis, `batch taps points`, to weights.
        reach: How many pixels on each side of a point are read.
        padding: As for `Sampler.sample`.
        align_corners: As for `Sampler.sample`.
    """
    size = image.shape[2:]
    pixels = to_pixels(grid, size, align_corners=align_corners).flatten(1, -2)
    steps = torch.arange(1 - reach, reach + 1, dtype=pixels.dtype, device=pixels.device)
    steps = steps.unsqueeze(-1)
    index = torch.zeros_like(pixels[:, None, :, 0], dtype=torch.long)
    is_inside = torch.ones_like(index, dtype=torch.bool)
    weights: list[Tensor] = []
    for x, n in zip(reversed(pixels.unsqueeze(1).unbind(-1)), size, strict=True):
        # Distances from the fraction: far from the image, x and its neighbours are one number.
        first = torch.floor(x)
        weights.append(weigh(x - first - steps))
        taps = pad_side(first.detach() + steps, n, padding, align_corners)
        is_here = (taps >= 0) & (taps < n)
        is_inside = (is_inside.unsqueeze(2) & is_here.unsqueeze(1)).flatten(1, 2)
        taps = taps.clamp(0, n - 1).long()
        index = (index.unsqueeze(2) * n + taps.unsqueeze(1)).flatten(1, 2)
    values = image.flatten(2)
    if padding == "zeros":
        values = pad(values, (0, 1))
        index = torch.where(is_inside, index, math.prod(size))
    index = index.flatten(1).unsqueeze(1).expand(-1, image.shape[1], -1)
    values = values.gather(-1, index).unflatten(-1, (*[2 * reach] * len(size), pixels.shape[1]))
    for weight in weights:
        spread = weight.unflatten(1, (2 * reach, *[1] * (values.ndim - 4)))
        values = (values * spread.unsqueeze(1)).sum(2)
    return values.unflatten(-1, grid.shape[1:-1])
