"""Backward to the image, of a grid: each output pixel adds to the pixels that it read.

Points lie anywhere, so this takes atomic sums, whose order changes from run to run.
"""

# pyright: reportArgumentType=false, reportAssignmentType=false
# For a constant is what Triton says it is, not what it is in Python.

import triton
import triton.language as tl

from .points import DENSE, SIZES, by_channel, by_pixel, offset, place, read, side, source, which


@triton.jit(do_not_specialize=SIZES)
def scatter(
    result, result_n, result_c, result_y, result_x,
    map, map_n, map_y, map_x, map_i,
    gradient, gradient_n, gradient_c, gradient_p,
    channels, in_height, in_width, height, width, x_u, x_v, y_u, y_v,
    ALIGN: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
    INDEX: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add to the gradient by the image, which is zero before: a program a tile of output pixels."""
    n, group, _, row, column = place(height, width, tl.cdiv(channels, DEPTH), TILE_Y, TILE_X)
    is_in = (row < height) & (column < width)
    x, y, _, found = source(
        map, map_n, map_y, map_x, map_i, n, row, column, is_in,
        in_height, in_width, height, width, x_u, x_v, y_u, y_v, DENSE, ALIGN,
    )  # fmt: skip
    y0, is_y0, is_y1, fy, _ = side(y, in_height, found, NEAREST, BORDER)
    x0, is_x0, is_x1, fx, _ = side(x, in_width, found, NEAREST, BORDER)
    channel = group * DEPTH + tl.arange(0, DEPTH)
    mask = which(channel, channels, WHOLE)
    at = by_channel(channel.to(INDEX) * gradient_c)
    at += by_pixel((row.to(INDEX) * width + column) * gradient_p)
    start = gradient + n.to(tl.int64) * gradient_n
    g = read(start + at, mask & by_pixel(found))
    to = result + n.to(tl.int64) * result_n + by_channel(channel.to(INDEX) * result_c)
    to += offset(y0, x0, result_y, result_x, INDEX)
    if NEAREST:
        tl.atomic_add(to, g, mask=mask & is_y0 & is_x0, sem="relaxed")
    else:
        south = g * fy
        north = g - south
        below = to + result_y
        ne, se = north * fx, south * fx
        tl.atomic_add(to, north - ne, mask=mask & is_y0 & is_x0, sem="relaxed")
        tl.atomic_add(to + result_x, ne, mask=mask & is_y0 & is_x1, sem="relaxed")
        tl.atomic_add(below, south - se, mask=mask & is_y1 & is_x0, sem="relaxed")
        tl.atomic_add(below + result_x, se, mask=mask & is_y1 & is_x1, sem="relaxed")
