"""What lies outside the image, as a rule on pixel coordinates."""

from collections.abc import Sequence
from typing import Literal, TypeGuard, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..grid import map_axes

Rule = Literal["zeros", "border", "reflection"]
Padding = Rule | float | tuple[float, ...]


def check_padding(padding: object) -> None:
    """Refuse a padding that is neither a rule nor a fill value."""
    values = padding if isinstance(padding, tuple) else (padding,)
    if padding in get_args(Rule) or (values and all(map(_is_finite_number, values))):
        return
    raise ValueError(
        '`padding` must be "zeros", "border", "reflection", a finite number of float32, '
        f"or a tuple of one such number per channel, got {padding!r}."
    )


def fill_of(
    padding: float | tuple[float, ...], image: Float[Tensor, "batch channels *size"]
) -> Float[Tensor, "1 channels *ones"] | float:
    """The value outside the image, to be broadcast on it, as `fills_of` has it."""
    if not isinstance(padding, tuple):
        return padding
    ones = (1,) * (image.ndim - 1)
    values = fills_of(padding, image.shape[1])
    return torch.cat([image.new_full((1, *ones), value) for value in values], dim=1)


def fills_of(padding: float | tuple[float, ...], channels: int) -> tuple[float, ...]:
    """The value outside the image, for each channel.

    Raises:
        ValueError: If there is a value per channel and their number is not that of the channels.
    """
    values = padding if isinstance(padding, tuple) else (padding,) * channels
    if len(values) != channels:
        raise ValueError(
            f"`padding` must have one value for each of the {channels} channels, got {len(values)}."
        )
    return values


def pad_pixels(
    pixels: Float[Tensor, "*batch dims"],
    size: Sequence[int],
    *,
    padding: Rule,
    align_corners: bool,
) -> Float[Tensor, "*batch dims"]:
    """Bring pixel coordinates into an image of this size, as `grid_sample` of torch does.

    "zeros" leaves them, since no pixel is there to be read. "border" moves them to the nearest
    centre of a pixel. "reflection" mirrors them at -1 and 1: at the outer edges of the image, or
    with `align_corners` at the centres of the outer pixels.
    """
    return map_axes(lambda x, n: pad_side(x, n, padding, align_corners), pixels, size)


def pad_side(
    x: Float[Tensor, "*points"], n: int, padding: Rule, align_corners: bool
) -> Float[Tensor, "*points"]:
    """`pad_pixels` for one coordinate, on a side of n pixels."""
    if padding == "zeros":
        return x
    if padding == "reflection":
        x = _reflection(x, n, align_corners)
    return x.clamp(0, n - 1)


def _reflection(x: Tensor, n: int, align_corners: bool) -> Tensor:
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if span == 0:
        return x * 0
    beyond = torch.remainder(x - low, 2 * span)
    return torch.minimum(beyond, 2 * span - beyond) + low


_LARGEST = torch.finfo(torch.float32).max


def _is_finite_number(value: object) -> TypeGuard[float]:
    # Of float32, which the image may have.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= _LARGEST
