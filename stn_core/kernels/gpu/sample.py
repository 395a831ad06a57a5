"""Forward, and backward to the map: each output pixel reads its four neighbours."""

# pyright: reportArgumentType=false, reportAssignmentType=false
# For a constant is what Triton says it is, not what it is in Python.

import triton
import triton.language as tl

from .points import (
    CHANNELS,
    DENSE,
    PROJECTIVE,
    SIZES,
    by_channel,
    by_pixel,
    corners,
    middle,
    offset,
    place,
    read,
    side,
    source,
    span,
    which,
)


@triton.jit(do_not_specialize=SIZES)
def forward(
    image, image_n, image_c, image_y, image_x,
    map, map_n, map_y, map_x, map_i,
    output, output_n, output_c, output_p,
    channels, in_height, in_width, height, width, x_u, x_v, y_u, y_v,
    KIND: tl.constexpr, ALIGN: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
    INDEX: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """The warped image: a program a tile of its pixels and a group of its channels."""
    n, group, _, row, column = place(height, width, tl.cdiv(channels, GROUP), TILE_Y, TILE_X)
    is_in = (row < height) & (column < width)
    x, y, _, found = source(
        map, map_n, map_y, map_x, map_i, n, row, column, is_in,
        in_height, in_width, height, width, x_u, x_v, y_u, y_v, KIND, ALIGN,
    )  # fmt: skip
    y0, is_y0, is_y1, fy, _ = side(y, in_height, found, NEAREST, BORDER)
    x0, is_x0, is_x1, fx, _ = side(x, in_width, found, NEAREST, BORDER)
    from_nw = offset(y0, x0, image_y, image_x, INDEX)
    pixel = by_pixel((row.to(INDEX) * width + column) * output_p)
    is_found = by_pixel(found)
    first = group * GROUP
    for c in range(first, tl.minimum(first + GROUP, channels), DEPTH):
        channel = c + tl.arange(0, DEPTH)
        mask = which(channel, channels, WHOLE)
        start = image + n.to(tl.int64) * image_n + by_channel(channel.to(INDEX) * image_c)
        start += from_nw
        if NEAREST:
            value = read(start, mask & is_y0 & is_x0)
        else:
            value, ne, sw, se = corners(
                start, image_y, image_x, mask, is_y0, is_y1, is_x0, is_x1
            )  # fmt: skip
            value += fx * (ne - value)
            value += fy * (sw + fx * (se - sw) - value)
        value = tl.where(is_found, value, float("nan"))
        to = output + n.to(tl.int64) * output_n + pixel + by_channel(channel.to(INDEX) * output_c)
        tl.store(to, value.to(output.dtype.element_ty), mask=mask & by_pixel(is_in))


@triton.jit(do_not_specialize=SIZES)
def slopes(
    image, image_n, image_c, image_y, image_x,
    map, map_n, map_y, map_x, map_i,
    gradient, gradient_n, gradient_c, gradient_p,
    parts,
    channels, in_height, in_width, height, width, x_u, x_v, y_u, y_v,
    KIND: tl.constexpr, ALIGN: tl.constexpr, BORDER: tl.constexpr,
    INDEX: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """The gradient by the map, in parts to be summed: of each group of channels, and each tile.

    Of a matrix `parts` is (batch, groups * tiles, 6 or 9), of a grid (batch, groups, 2, pixels).
    """
    groups = tl.cdiv(channels, GROUP)
    n, group, tile, row, column = place(height, width, groups, TILE_Y, TILE_X)
    is_in = (row < height) & (column < width)
    x, y, inverse, found = source(
        map, map_n, map_y, map_x, map_i, n, row, column, is_in,
        in_height, in_width, height, width, x_u, x_v, y_u, y_v, KIND, ALIGN,
    )  # fmt: skip
    y0, is_y0, is_y1, fy, free_y = side(y, in_height, found, False, BORDER)
    x0, is_x0, is_x1, fx, free_x = side(x, in_width, found, False, BORDER)
    from_nw = offset(y0, x0, image_y, image_x, INDEX)
    pixel = by_pixel((row.to(INDEX) * width + column) * gradient_p)
    is_found = by_pixel(found)
    of_x, of_y = tl.zeros_like(fx), tl.zeros_like(fy)
    first = group * GROUP
    for c in range(first, tl.minimum(first + GROUP, channels), DEPTH):
        channel = c + tl.arange(0, DEPTH)
        mask = which(channel, channels, WHOLE)
        start = image + n.to(tl.int64) * image_n + by_channel(channel.to(INDEX) * image_c)
        start += from_nw
        nw, ne, sw, se = corners(start, image_y, image_x, mask, is_y0, is_y1, is_x0, is_x1)
        at = gradient + n.to(tl.int64) * gradient_n + pixel
        at += by_channel(channel.to(INDEX) * gradient_c)
        g = read(at, mask & is_found)
        across, twist = ne - nw, (se - sw) - (ne - nw)
        of_x += by_pixel(tl.sum(g * (across + fy * twist), CHANNELS))
        of_y += by_pixel(tl.sum(g * ((sw - nw) + fx * twist), CHANNELS))
    if BORDER:
        of_x, of_y = tl.where(free_x, of_x, 0.0), tl.where(free_y, of_y, 0.0)
    of_x, of_y = tl.sum(of_x, CHANNELS), tl.sum(of_y, CHANNELS)
    half_x, half_y = span(in_width, ALIGN) * 0.5, span(in_height, ALIGN) * 0.5
    part = n.to(tl.int64) * groups + group
    if KIND == DENSE:
        pixels = height * width
        at = parts + part * 2 * pixels + row.to(tl.int64) * width + column
        tl.store(at, of_x * half_x, mask=is_in)
        tl.store(at + pixels, of_y * half_y, mask=is_in)
    else:
        COUNT: tl.constexpr = 9 if KIND == PROJECTIVE else 6
        tiles = tl.cdiv(width, TILE_X) * tl.cdiv(height, TILE_Y)
        to = parts + (part * tiles + tile) * COUNT
        u = (column.to(tl.float32) - middle(width)) * (2.0 / tl.maximum(span(width, ALIGN), 1.0))
        v = (row.to(tl.float32) - middle(height)) * (2.0 / tl.maximum(span(height, ALIGN), 1.0))
        if KIND == PROJECTIVE:
            of_x, of_y = tl.where(found, of_x * inverse, 0.0), tl.where(found, of_y * inverse, 0.0)
            of_z = -(of_x * (x - middle(in_width)) + of_y * (y - middle(in_height)))
            put_sums(to + 6, of_z, u, v)
        put_sums(to, of_x * half_x, u, v)
        put_sums(to + 3, of_y * half_y, u, v)


@triton.jit
def put_sums(to, by, u, v):
    """The gradient of a row of the matrix."""
    tl.store(to, tl.sum(by * u))
    tl.store(to + 1, tl.sum(by * v))
    tl.store(to + 2, tl.sum(by))
