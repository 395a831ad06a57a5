"""What lies outside the image, as a rule on pixel coordinates."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..grid import map_axes

Padding = Literal["zeros", "border", "reflection"]


def check_padding(padding: str) -> None:
    """Refuse a padding that is not known."""
    if padding not in get_args(Padding):
        raise ValueError(f'`padding` must be "zeros", "border" or "reflection", got {padding!r}.')


def pad_pixels(
    pixels: Float[Tensor, "*batch dims"],
    size: Sequence[int],
    *,
    padding: Padding,
    align_corners: bool,
) -> Float[Tensor, "*batch dims"]:
    """Bring pixel coordinates into an image of this size, as `grid_sample` of torch does.

    "zeros" leaves them, since no pixel is there to be read. "border" moves them to the nearest
    centre of a pixel. "reflection" mirrors them at -1 and 1: at the outer edges of the image, or
    with `align_corners` at the centres of the outer pixels.
    """
    check_padding(padding)
    if padding == "zeros":
        return pixels
    if padding == "border":
        return map_axes(_border, pixels, size)
    return map_axes(lambda x, n: _reflection(x, n, align_corners), pixels, size)


def _border(x: Tensor, n: int) -> Tensor:
    return x.clamp(0, n - 1)


def _reflection(x: Tensor, n: int, align_corners: bool) -> Tensor:
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if span == 0:
        return x * 0
    beyond = torch.remainder(x - low, 2 * span)
    return _border(torch.minimum(beyond, 2 * span - beyond) + low, n)
