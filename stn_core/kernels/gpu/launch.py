"""Give a GPU its work: how a warp and its gradients are cut into programs.

Tensors are those of the operators in `stn_core.kernels.fused`, laid out as they lay them out: what
comes of a call is contiguous or in channels-last format, and `steps` are its steps from image to
image, channel to channel and pixel to pixel.
"""

# pyright: reportArgumentType=false, reportAssignmentType=false
# For a constant is what Triton says it is, not what it is in Python.

import warnings
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .gather import gather
from .points import AFFINE, DENSE, PROJECTIVE
from .sample import forward as sample, slopes
from .scatter import scatter

Steps = tuple[int, int, int]

# Offsets inside an image need more than 32 bits from here on.
_MANY = 1 << 31
# From so many channels on, in channels-last format, they are what lanes that are neighbours have.
_DEEP = 16
# Fewer channels than this are taken one by one, for blocks are powers of 2.
_FEW = 4
# Channels that a program sums up for the gradient by the map, or as many as it takes at once.
_GROUP = 32
# Times as many pixels a program, at most, where one more costs little; numbers that it has at once,
# at most; and programs that keep all of a large GPU at work.
_LANES, _BLOCK, _ENOUGH = 4, 2048, 2048
# The widths of tiles: the one is taken that leaves the fewest lanes idle, else the first. So the 32
# lanes of a warp are two rows or four: turned by up to 45 degrees they read six lines of memory at
# a time, and a row of 32 nine.
_WIDTHS = (16, 8)


def forward(
    image: Tensor, map: Tensor, output: Tensor, steps: Steps,
    *, nearest: bool, border: bool, align_corners: bool,
) -> None:  # fmt: skip
    """Fill the output."""
    cut = _in_turns(_cut(output, steps, image.stride(1), _LANES), output, 1)
    with torch.cuda.device_of(image):
        sample[(_programs(output, cut, cut["GROUP"]),)](
            *(image, *image.stride(), map, *_map_steps(map), output, *steps),
            *_sizes(image, output), *_ratios(image, output, align_corners),
            **cut, KIND=_kind(map), ALIGN=align_corners, NEAREST=nearest, BORDER=border,
            INDEX=_index(image, output),
        )  # fmt: skip


def by_map(
    gradient: Tensor, steps: Steps, image: Tensor, map: Tensor, result: Tensor,
    *, border: bool, align_corners: bool,
) -> None:  # fmt: skip
    """Fill the gradient by the map: parts of its sums, then the sums of those, in a fixed order."""
    cut = _in_turns(_cut(gradient, steps, image.stride(1), _LANES), gradient, _GROUP)
    groups = triton.cdiv(image.shape[1], cut["GROUP"])
    programs = _programs(gradient, cut, cut["GROUP"])
    if map.ndim == 4:
        # A plane for x and one for y.
        result = result.movedim(-1, 1)
        shape = len(map), groups, *result.shape[1:]
    else:
        shape = len(map), programs // len(map), *result.shape[1:]
    parts = result.unsqueeze(1) if shape[1] == 1 else result.new_empty(shape)
    with torch.cuda.device_of(image):
        slopes[(programs,)](
            *(image, *image.stride(), map, *_map_steps(map), gradient, *steps, parts),
            *_sizes(image, gradient), *_ratios(image, gradient, align_corners),
            **cut, KIND=_kind(map), ALIGN=align_corners, BORDER=border,
            INDEX=_index(image, gradient),
        )  # fmt: skip
        if shape[1] > 1:
            torch.sum(parts, 1, out=result)


def by_image(
    gradient: Tensor, steps: Steps, map: Tensor, result: Tensor, result_steps: Steps,
    *, nearest: bool, border: bool, align_corners: bool,
) -> None:  # fmt: skip
    """Fill the gradient by the image."""
    options: dict[str, Any] = {
        "ALIGN": align_corners, "NEAREST": nearest, "BORDER": border,
        "INDEX": _index(result, gradient),
    }  # fmt: skip
    sizes = *_sizes(result, gradient), *_ratios(result, gradient, align_corners)
    if map.ndim == 4:
        return _scatter(gradient, steps, map, result, sizes, options)
    cut = _cut(result, result_steps, steps[1], 1)
    with torch.cuda.device_of(result):
        gather[(_programs(result, cut, cut["DEPTH"]),)](
            *(result, *result_steps, map, map.shape[1] * 3, gradient, *steps, *sizes),
            **cut, **options, KIND=_kind(map),
        )  # fmt: skip


def _scatter(gradient, steps, map, result, sizes, options) -> None:
    if torch.are_deterministic_algorithms_enabled():
        said = 'The backend "fused" sums the gradient of an image read by a grid in no fixed order.'
        if not torch.is_deterministic_algorithms_warn_only_enabled():
            raise RuntimeError(said)
        warnings.warn(said, stacklevel=2)
    # In channels-last format neighbouring lanes' sums go to memory as one; in 16 bits sums of many
    # would not grow.
    is_deep = result.shape[1] % _DEEP == 0
    form = torch.channels_last if is_deep else torch.contiguous_format
    if result.dtype == torch.float32 and result.is_contiguous(memory_format=form):
        sums = result.zero_()
    else:
        sums = torch.zeros_like(result, dtype=torch.float32, memory_format=form)
    cut = _shape(gradient, is_deep, 1)
    with torch.cuda.device_of(result):
        scatter[(_programs(gradient, cut, cut["DEPTH"]),)](
            *(sums, *sums.stride(), map, *_map_steps(map), gradient, *steps, *sizes),
            **cut, **options,
        )  # fmt: skip
    if sums is not result:
        result.copy_(sums)


def _cut(output: Tensor, steps: Steps, channel_step: int, most: int) -> dict[str, Any]:
    """What of the output's pixels and channels a program takes."""
    is_deep = output.shape[1] >= _DEEP and steps[1] == channel_step == 1
    return _shape(output, is_deep, most)


def _shape(output: Tensor, is_deep: bool, most: int) -> dict[str, Any]:
    channels, width = output.shape[1], output.shape[3]
    depth = min(triton.next_power_of_2(channels), 64 if is_deep else 8)
    column = 8 if is_deep else min(_WIDTHS, key=lambda n: triton.cdiv(width, n) * n)

    def tile(pixels: int) -> dict[str, Any]:
        return {"TILE_Y": pixels // column, "TILE_X": column, "DEPTH": depth}

    pixels = 32 if is_deep else 128 if depth >= 4 else 256
    largest = min(most * pixels, _BLOCK // depth)
    # What a program computes before it reads a pixel is much, so where there are many programs
    # each takes more pixels.
    while 2 * pixels <= largest and _programs(output, tile(2 * pixels), depth) >= _ENOUGH:
        pixels *= 2
    # Of Triton's releases some fuse products with sums unasked and some do not.
    return {**tile(pixels), "WHOLE": channels % depth == 0, "enable_fp_fusion": True}


def _in_turns(cut: dict[str, Any], output: Tensor, least: int) -> dict[str, Any]:
    """The same where a program takes its channels in turns, at least so many."""
    channels = output.shape[1]
    depth = 1 if channels < _FEW else cut["DEPTH"]
    group = channels if channels < _FEW else max(depth, least)
    return {**cut, "DEPTH": depth, "GROUP": group, "WHOLE": channels % depth == 0}


def _programs(output: Tensor, cut: dict[str, Any], group: int) -> int:
    batch, channels, height, width = output.shape
    tiles = triton.cdiv(height, cut["TILE_Y"]) * triton.cdiv(width, cut["TILE_X"])
    return batch * triton.cdiv(channels, group) * tiles


def _sizes(image: Tensor, output: Tensor) -> tuple[int, ...]:
    return image.shape[1], *image.shape[2:], *output.shape[2:]


def _ratios(image: Tensor, output: Tensor, align_corners: bool) -> tuple[float, ...]:
    """Each side of the image by each of the output: x by u, x by v, y by u, y by v."""
    (in_height, in_width), (height, width) = (
        [n - align_corners for n in tensor.shape[2:]] for tensor in (image, output)
    )
    out = max(width, 1), max(height, 1)
    return tuple(side / by for side in (in_width, in_height) for by in out)


def _kind(map: Tensor) -> int:
    return (DENSE if map.ndim == 4 else AFFINE if map.shape[1] == 2 else PROJECTIVE).value


def _map_steps(map: Tensor) -> tuple[int, ...]:
    return map.stride() if map.ndim == 4 else (map.shape[1] * 3, 0, 0, 0)


def _index(*tensors: Tensor) -> tl.dtype:
    """The type of offsets inside an image."""

    def length(tensor: Tensor) -> int:
        one = zip(tensor.shape[1:], tensor.stride()[1:], strict=True)
        return sum((n - 1) * step for n, step in one)

    return tl.int64 if max(map(length, tensors)) >= _MANY else tl.int32
