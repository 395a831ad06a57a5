"""Backward to the image, of a matrix: each pixel of it gathers from the output pixels that read it.

No atomics and no zeroing: a number is written once, in its own type, from sums in one order.

The output pixels that read a pixel lie where the map sends them into a square around it. Mostly
that is a small box, by the inverse: each lane has a pixel, and goes through its box. Pixels whose
box is large, or has no end (the map is singular or nearly, a horizon is near, an edge goes on
outside), take turns: each lane has a row of the output, and goes through the interval of it that
the map sends into the square, which needs no inverse.
"""

# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
# For a constant is what Triton says it is, not what it is in Python.

import triton
import triton.language as tl

from .points import (
    AFFINE,
    PIXELS,
    PROJECTIVE,
    SIZES,
    by_channel,
    by_pixel,
    matrix_of,
    middle,
    place,
    read,
    send,
    which,
)

# Output pixels in a box, at most; beyond it lanes are rows. At an edge that goes on outside there
# are few such pixels in a tile, for which the others should not wait.
MOST = tl.constexpr(1024.0)
MOST_AT_EDGE = tl.constexpr(64.0)
# Beyond the square, in pixels, for coordinates are rounded.
SLACK = tl.constexpr(0.01)


@triton.jit(do_not_specialize=SIZES)
def gather(
    result, result_n, result_c, result_p,
    map, map_n,
    gradient, gradient_n, gradient_c, gradient_p,
    channels, in_height, in_width, height, width, x_u, x_v, y_u, y_v,
    KIND: tl.constexpr, ALIGN: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
    INDEX: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The gradient by the image: a program a tile of its pixels and a group of its channels."""
    n, group, _, row, column = place(in_height, in_width, tl.cdiv(channels, DEPTH), TILE_Y, TILE_X)
    is_in = (row < in_height) & (column < in_width)
    m = matrix_of(
        map + n.to(tl.int64) * map_n, in_height, in_width, height, width, x_u, x_v, y_u, y_v,
        KIND, ALIGN,
    )  # fmt: skip
    channel = group * DEPTH + tl.arange(0, DEPTH)
    is_channel = which(channel, channels, WHOLE)
    start = gradient + n.to(tl.int64) * gradient_n + by_channel(channel.to(INDEX) * gradient_c)
    to = result + n.to(tl.int64) * result_n
    u0, u1, v0, v1, across, down, is_edge = boxes(
        m, row, column, is_in, in_height, in_width, height, width, KIND, NEAREST, BORDER
    )
    most = tl.where(is_edge, MOST_AT_EDGE, MOST)
    is_boxed = across * down <= most
    widest = tl.max(tl.where(is_boxed, across, 0.0))
    tallest = tl.max(tl.where(is_boxed, down, 0.0))
    is_boxed = is_boxed & (row * 0.0 + widest * tallest <= MOST)
    widest = tl.where(widest * tallest <= MOST, widest, 0.0)
    none = by_pixel(row * 0.0) + by_channel(channel * 0.0)
    total = boxed(
        m, row, column, u0, u1, v0, v1, widest.to(tl.int32), tallest.to(tl.int32), none, is_channel,
        start, gradient_p, in_height, in_width, height, width,
        KIND, NEAREST, BORDER, INDEX,
    )  # fmt: skip
    at = by_channel(channel.to(INDEX) * result_c)
    at += by_pixel((row.to(INDEX) * in_width + column) * result_p)
    mask = is_channel & by_pixel(is_in & is_boxed)
    tl.store(to + at, total.to(result.dtype.element_ty), mask=mask)
    lane = tl.arange(0, TILE_Y * TILE_X)
    waiting = tl.where(is_in & (is_boxed == 0), lane, TILE_Y * TILE_X)
    pixel = tl.min(waiting)
    while pixel < TILE_Y * TILE_X:
        y, x = tl.min(row) + pixel // TILE_X, tl.min(column) + pixel % TILE_X
        sums = none
        for first in range(0, height, TILE_Y * TILE_X):
            v = first + lane
            for SIDE in tl.static_range(2 if KIND == PROJECTIVE else 1):
                sign = 1.0 - 2.0 * SIDE
                low, high = interval(
                    m, y, x, v, sign, in_height, in_width, height, width, KIND, NEAREST, BORDER
                )
                for i in range(0, tl.max(high - low) + 1):
                    sums += gathered(
                        m, y, x, low + i, v, (low + i <= high) & (v < height), sign,
                        is_channel, start, gradient_p,
                        in_height, in_width, height, width,
                        KIND, NEAREST, BORDER, INDEX,
                    )  # fmt: skip
        spot = channel.to(INDEX) * result_c + (y.to(INDEX) * in_width + x) * result_p
        value = tl.sum(sums, PIXELS).to(result.dtype.element_ty)
        tl.store(to + spot, value, mask=channel < channels)
        pixel = tl.min(tl.where(waiting > pixel, waiting, TILE_Y * TILE_X))


@triton.jit
def boxed(
    m, row, column, u0, u1, v0, v1, widest, tallest, total, is_channel,
    start, gradient_p, in_height, in_width, height, width,
    KIND: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
    INDEX: tl.constexpr,
):  # fmt: skip
    """What pixels get of the output pixels in their boxes."""
    if KIND == AFFINE and not NEAREST:
        # Nothing is sent but a box's first pixel: from there distances grow by the same.
        u, v = u0.to(tl.float32) - middle(width), v0.to(tl.float32) - middle(height)
        x, y, _ = send(m, u, v, KIND)
        x, y = x + (middle(in_width) - column), y + (middle(in_height) - row)
        at = (v0.to(INDEX) * width + u0) * gradient_p
        for j in range(0, tallest):
            x_j, y_j = x + m[1] * (j * 1.0), y + m[4] * (j * 1.0)
            at_i, is_row = at, v0 + j <= v1
            for i in range(0, widest):
                x_i, y_i = x_j + m[0] * (i * 1.0), y_j + m[3] * (i * 1.0)
                weight = hat(x_i, column, in_width, BORDER) * hat(y_i, row, in_height, BORDER)
                is_read = is_row & (u0 + i <= u1) & (weight > 0.0)
                mask = is_channel & by_pixel(is_read)
                total += by_pixel(weight) * read(start + by_pixel(at_i), mask)
                at_i += gradient_p
            at += width * gradient_p
    else:
        for j in range(0, tallest):
            for i in range(0, widest):
                u, v = u0 + i, v0 + j
                total += gathered(
                    m, row, column, u, v, (u <= u1) & (v <= v1), 0.0, is_channel,
                    start, gradient_p, in_height, in_width, height, width,
                    KIND, NEAREST, BORDER, INDEX,
                )  # fmt: skip
    return total


@triton.jit
def gathered(
    m, row, column, u, v, is_asked, sign, is_channel,
    start, gradient_p, in_height, in_width, height, width,
    KIND: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
    INDEX: tl.constexpr,
):  # fmt: skip
    """What pixels get of output pixels (u, v), where z has this sign if it has one."""
    x, y, inverse = send(
        m, u.to(tl.float32) - middle(width), v.to(tl.float32) - middle(height), KIND
    )
    if BORDER:
        # Outside, and where there is no point, a weight is zero; but an edge takes what is clamped.
        is_asked = is_asked & (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
    if KIND == PROJECTIVE:
        is_asked = is_asked & (inverse * sign >= 0.0)
    weight = share(x, column, in_width, NEAREST, BORDER) * share(y, row, in_height, NEAREST, BORDER)
    is_read = is_asked & (weight > 0.0)
    at = start + by_pixel((v.to(INDEX) * width + u) * gradient_p)
    return by_pixel(weight) * read(at, is_channel & by_pixel(is_read))


@triton.jit
def hat(distance, pixel, size, BORDER: tl.constexpr):
    """The weight that a coordinate at this distance from a pixel gives it, bilinear."""
    if BORDER:
        distance = tl.minimum(tl.maximum(distance, -pixel * 1.0), (size - 1 - pixel) * 1.0)
    return tl.maximum(1.0 - tl.abs(distance), 0.0)


@triton.jit
def share(x, pixel, size, NEAREST: tl.constexpr, BORDER: tl.constexpr):
    """The weight that a coordinate, counted from the middle, gives a pixel of that side."""
    x = x + middle(size)
    if BORDER:
        x = tl.minimum(tl.maximum(x, 0.0), (size - 1) * 1.0)
    if NEAREST:
        return tl.where(tl.floor(x + 0.5) == pixel, 1.0, 0.0)
    distance = tl.abs(x - pixel)
    return tl.where(distance < 1.0, 1.0 - distance, 0.0)


@triton.jit
def square(pixel, size, NEAREST: tl.constexpr):
    """From where to where a pixel is read along one axis, counted from the middle."""
    reach = (0.5 if NEAREST else 1.0) + SLACK
    x = pixel.to(tl.float32) - middle(size)
    return x - reach, x + reach


@triton.jit
def boxes(
    m, row, column, is_in, in_height, in_width, height, width,
    KIND: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
):  # fmt: skip
    """For each pixel a box with all output pixels that read it, its sides, and whether it is open.

    A box that has no end is as wide as none may be.
    """
    is_edge = column < 0
    left, right = square(column, in_width, NEAREST)
    top, bottom = square(row, in_height, NEAREST)
    half_u, half_v = middle(width), middle(height)
    if BORDER:
        x0, x1, y0, y1 = extent(m, half_u, half_v, KIND)
        left = tl.where(column == 0, tl.minimum(left, x0 - SLACK), left)
        right = tl.where(column == in_width - 1, tl.maximum(right, x1 + SLACK), right)
        top = tl.where(row == 0, tl.minimum(top, y0 - SLACK), top)
        bottom = tl.where(row == in_height - 1, tl.maximum(bottom, y1 + SLACK), bottom)
        is_edge = (column == 0) | (column == in_width - 1) | (row == 0) | (row == in_height - 1)
    u_nw, v_nw, z_nw, sure_nw = back(m, left, top, KIND)
    u_ne, v_ne, z_ne, sure_ne = back(m, right, top, KIND)
    u_sw, v_sw, z_sw, sure_sw = back(m, left, bottom, KIND)
    u_se, v_se, z_se, sure_se = back(m, right, bottom, KIND)
    is_sure = sure_nw & sure_ne & sure_sw & sure_se
    if KIND == PROJECTIVE:
        # A square comes from one piece of the plane, if no corner of it is behind the horizon.
        z0, z1 = range_of(z_nw, z_ne, z_sw, z_se)
        is_sure = is_sure & ((z0 > 0.0) | (z1 < 0.0))
    u0, u1 = range_of(u_nw, u_ne, u_sw, u_se)
    v0, v1 = range_of(v_nw, v_ne, v_sw, v_se)
    u0, u1 = whole(u0 + half_u, u1 + half_u, width, SLACK)
    v0, v1 = whole(v0 + half_v, v1 + half_v, height, SLACK)
    # A map that is not finite reads nothing: NaN is no size.
    across = tl.where(is_sure, (u1 - u0 + 1) * 1.0, MOST + 1.0) + m[2] * 0.0
    down = tl.where(is_sure, (v1 - v0 + 1) * 1.0, 1.0)
    is_read = is_in & (across > 0.0) & (down > 0.0)
    across, down = tl.where(is_read, across, 0.0), tl.where(is_read, down, 0.0)
    return u0, u1, v0, v1, across, down, is_edge


@triton.jit
def range_of(a, b, c, d):
    """The least and the largest of four."""
    low = tl.minimum(tl.minimum(a, b), tl.minimum(c, d))
    return low, tl.maximum(tl.maximum(a, b), tl.maximum(c, d))


@triton.jit
def whole(low, high, size, slack):
    """The first and the last of the pixels of a side between two numbers."""
    first = tl.ceil(tl.minimum(tl.maximum(low - slack, 0.0), size * 1.0))
    last = tl.floor(tl.minimum(tl.maximum(high + slack, -1.0), size - 1.0))
    return first.to(tl.int32), last.to(tl.int32)


@triton.jit
def back(m, x, y, KIND: tl.constexpr):
    """What a matrix sends to these points, with z up to a factor, and whether that is sure."""
    a, b, c, d, e, f, g, h, i = m
    if KIND == AFFINE:
        # What is left of it: but for four products the same for all pixels.
        u = e * x - b * y + (b * f - c * e)
        v = a * y - d * x + (c * d - a * f)
        z = a * e - b * d
        size = tl.abs(a * e) + tl.abs(b * d)
    else:
        u = (e * i - f * h) * x + (c * h - b * i) * y + (b * f - c * e)
        v = (f * g - d * i) * x + (a * i - c * g) * y + (c * d - a * f)
        z = (d * h - e * g) * x + (b * g - a * h) * y + (a * e - b * d)
        size = (tl.abs(d * h) + tl.abs(e * g)) * tl.abs(x)
        size += (tl.abs(b * g) + tl.abs(a * h)) * tl.abs(y)
        size += tl.abs(a * e) + tl.abs(b * d)
    # Of what cancels little is left to be sure of.
    is_fit = (tl.abs(z) > 0.01 * size) & (tl.abs(z) > 1e-20) & (size < 1e20)
    inverse = tl.where(is_fit, 1.0 / z, float("nan"))
    u, v = u * inverse, v * inverse
    is_sure = (tl.abs(u) < 1e9) & (tl.abs(v) < 1e9)
    return tl.where(is_sure, u, 0.0), tl.where(is_sure, v, 0.0), z, is_sure


@triton.jit
def extent(m, half_u, half_v, KIND: tl.constexpr):
    """Between which coordinates the whole output lies; infinite where a horizon crosses it."""
    x_nw, y_nw, z_nw = send(m, -half_u, -half_v, KIND)
    x_ne, y_ne, z_ne = send(m, half_u, -half_v, KIND)
    x_sw, y_sw, z_sw = send(m, -half_u, half_v, KIND)
    x_se, y_se, z_se = send(m, half_u, half_v, KIND)
    x0, x1 = range_of(x_nw, x_ne, x_sw, x_se)
    y0, y1 = range_of(y_nw, y_ne, y_sw, y_se)
    if KIND == PROJECTIVE:
        z0, z1 = range_of(z_nw, z_ne, z_sw, z_se)
        is_near = (z0 > 0.0) | (z1 < 0.0)
        x0, x1 = tl.where(is_near, x0, -1e30), tl.where(is_near, x1, 1e30)
        y0, y1 = tl.where(is_near, y0, -1e30), tl.where(is_near, y1, 1e30)
    return x0, x1, y0, y1


@triton.jit
def interval(
    m, row, column, v, sign, in_height, in_width, height, width,
    KIND: tl.constexpr, NEAREST: tl.constexpr, BORDER: tl.constexpr,
):  # fmt: skip
    """The first and the last pixel of rows v of the output that may read a pixel."""
    v = v.to(tl.float32) - middle(height)
    x, y, z = m[1] * v + m[2], m[4] * v + m[5], m[7] * v + m[8]
    half = middle(width)
    low, high = v * 0.0 - half - 1.0, v * 0.0 + half + 1.0
    left, right = square(column, in_width, NEAREST)
    top, bottom = square(row, in_height, NEAREST)
    # An edge goes on outside.
    is_left, is_right = (column == 0) & BORDER, (column == in_width - 1) & BORDER
    is_top, is_bottom = (row == 0) & BORDER, (row == in_height - 1) & BORDER
    low, high = cut(low, high, sign * (m[0] - left * m[6]), sign * (x - left * z), is_left)
    low, high = cut(low, high, sign * (right * m[6] - m[0]), sign * (right * z - x), is_right)
    low, high = cut(low, high, sign * (m[3] - top * m[6]), sign * (y - top * z), is_top)
    low, high = cut(low, high, sign * (bottom * m[6] - m[3]), sign * (bottom * z - y), is_bottom)
    if KIND == PROJECTIVE:
        low, high = cut(low, high, sign * m[6], sign * z, False)
    return whole(low + half, high + half, width, 1.0)


@triton.jit
def cut(low, high, slope, start, is_open):
    """The part of an interval where slope * u + start >= 0, or all of it where a side is open."""
    slope += start * 0.0
    at = -start / tl.where(slope == 0.0, 1.0, slope)
    none = (slope == 0.0) & (start < 0.0) & (is_open == 0)
    low = tl.where((slope > 0.0) & (is_open == 0), tl.maximum(low, at), low)
    high = tl.where((slope < 0.0) & (is_open == 0), tl.minimum(high, at), high)
    return low, tl.where(none, low - 9.0, high)
