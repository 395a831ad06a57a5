"""Where each output pixel is read: what all the kernels share.

Pixels of both images are counted from their middles wherever a map is applied: a matrix is one from
such output pixels, (u, v, 1), to such image pixels. Nothing here is a grid in memory.
"""

# pyright: reportArgumentType=false, reportAssignmentType=false
# For a constant is what Triton says it is, not what it is in Python.

import triton
import triton.language as tl

# Nearer to 0 than this the last coordinate of a homography leaves no point.
HORIZON = tl.constexpr(1e-6)
# Kernels are compiled for all sizes at once; of the channels it matters whether 16 divides them.
SIZES = ["in_height", "in_width", "height", "width"]
# The axes of a block of pixels and channels. Lanes that are neighbours have what is contiguous in
# memory; where Triton knows that of neither axis, as where an image is read pixel by pixel, what is
# neighbouring along the last axis, and up to its release 3.6 along the first. That must be pixels.
IS_FIRST = tuple(map(int, triton.__version__.split(".")[:2])) <= (3, 6)
PIXELS = tl.constexpr(0 if IS_FIRST else 1)
CHANNELS = tl.constexpr(1 if IS_FIRST else 0)
AFFINE = tl.constexpr(0)
PROJECTIVE = tl.constexpr(1)
DENSE = tl.constexpr(2)


@triton.jit
def place(height, width, groups, TILE_Y: tl.constexpr, TILE_X: tl.constexpr):
    """Which image, which group of its channels, which tile and pixels a program has."""
    program = tl.program_id(0)
    across = tl.cdiv(width, TILE_X)
    tiles = across * tl.cdiv(height, TILE_Y)
    tile = program % tiles
    lane = tl.arange(0, TILE_Y * TILE_X)
    row = tile // across * TILE_Y + lane // TILE_X
    column = tile % across * TILE_X + lane % TILE_X
    return program // tiles // groups, program // tiles % groups, tile, row, column


@triton.jit
def by_pixel(x):
    """A number a pixel, as a block of pixels and channels."""
    return tl.expand_dims(x, CHANNELS)


@triton.jit
def by_channel(x):
    """A number a channel, as a block of pixels and channels."""
    return tl.expand_dims(x, PIXELS)


@triton.jit
def span(size, ALIGN: tl.constexpr):
    """How many pixels lie between -1 and 1."""
    return (size - 1 if ALIGN else size) * 1.0


@triton.jit
def middle(size):
    """The coordinate of the middle of a side."""
    return (size - 1) * 0.5


@triton.jit
def bounded(x):
    """A number whose products with sizes stay finite."""
    return tl.minimum(tl.maximum(x, -1e30), 1e30)


@triton.jit
def matrix_of(
    theta, in_height, in_width, height, width, x_u, x_v, y_u, y_v,
    KIND: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """The nine numbers of a map in pixels, by rows; with a NaN where `theta` is not finite.

    `x_u` is how many pixels of x between -1 and 1 there are for each of u, and so are the others:
    given, for each is a division that all programs would do.
    """
    a, b, c = tl.load(theta), tl.load(theta + 1), tl.load(theta + 2)
    d, e, f = tl.load(theta + 3), tl.load(theta + 4), tl.load(theta + 5)
    g, h, i = 0.0, 0.0, 1.0
    # Zero, or NaN.
    doubt = (a * 0.0 + b * 0.0 + c * 0.0) + (d * 0.0 + e * 0.0 + f * 0.0)
    if KIND == PROJECTIVE:
        g, h, i = tl.load(theta + 6), tl.load(theta + 7), tl.load(theta + 8)
        doubt += g * 0.0 + h * 0.0 + i * 0.0
        g = bounded(g * tl.div_rn(2.0, tl.maximum(span(width, ALIGN), 1.0)))
        h = bounded(h * tl.div_rn(2.0, tl.maximum(span(height, ALIGN), 1.0)))
        i = bounded(i)
    a, b, d, e = bounded(a * x_u), bounded(b * x_v), bounded(d * y_u), bounded(e * y_v)
    c = bounded(c * (span(in_width, ALIGN) * 0.5)) + doubt
    f = bounded(f * (span(in_height, ALIGN) * 0.5)) + doubt
    return a, b, c, d, e, f, g, h, i


@triton.jit
def send(m, u, v, KIND: tl.constexpr):
    """Where a matrix sends points, and 1 / z of a homography; NaN where there is no such point."""
    x = m[0] * u + (m[1] * v + m[2])
    y = m[3] * u + (m[4] * v + m[5])
    inverse = 1.0
    if KIND == PROJECTIVE:
        z = m[6] * u + (m[7] * v + m[8])
        far = tl.abs(z) < HORIZON
        inverse = tl.where(far, float("nan"), tl.div_rn(1.0, tl.where(far, 1.0, z)))
        x, y = x * inverse, y * inverse
    return x, y, inverse


@triton.jit
def source(
    map, map_n, map_y, map_x, map_i, n, row, column, is_in,
    in_height, in_width, height, width, x_u, x_v, y_u, y_v, KIND: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """The source in pixels of output pixels, counted from pixel 0, 1 / z, and which are found."""
    inverse = 1.0
    start = map + n.to(tl.int64) * map_n
    if KIND == DENSE:
        at = start + row.to(tl.int64) * map_y + column.to(tl.int64) * map_x
        x = tl.load(at, mask=is_in, other=0.0) * (span(in_width, ALIGN) * 0.5)
        y = tl.load(at + map_i, mask=is_in, other=0.0) * (span(in_height, ALIGN) * 0.5)
    else:
        m = matrix_of(
            start, in_height, in_width, height, width, x_u, x_v, y_u, y_v, KIND, ALIGN
        )  # fmt: skip
        u, v = column.to(tl.float32) - middle(width), row.to(tl.float32) - middle(height)
        x, y, inverse = send(m, u, v, KIND)
    x, y = x + middle(in_width), y + middle(in_height)
    found = is_in & (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
    return tl.where(found, x, -2.0), tl.where(found, y, -2.0), inverse, found


@triton.jit
def side(x, size, is_read, NEAREST: tl.constexpr, BORDER: tl.constexpr):
    """The two pixels beside a coordinate, or the nearest one, along one axis.

    Returns the first one's number, whether it and the second are pixels, how far the coordinate
    lies beyond the first, and whether it is free to move.
    """
    # Beyond -2 and the size there is nothing to read or to feel. Not -1: the cell before pixel 0
    # has a slope.
    low = 0.0 if BORDER else -2.0
    high = (size - 1 if BORDER else size) * 1.0
    near = tl.minimum(tl.maximum(x, low), high)
    before = tl.floor(near + 0.5) if NEAREST else tl.floor(near)
    first = before.to(tl.int32)
    is_first = is_read & (first >= 0) & (first < size)
    is_second = is_read & (first >= -1) & (first < size - 1)
    return (
        first, by_pixel(is_first), by_pixel(is_second),
        by_pixel(near - before), by_pixel((x > low) & (x < high)),
    )  # fmt: skip


@triton.jit
def offset(y, x, step_y, step_x, INDEX: tl.constexpr):
    """Of the first pixels of both axes."""
    return by_pixel(y.to(INDEX) * step_y + x.to(INDEX) * step_x)


@triton.jit
def which(channel, channels, WHOLE: tl.constexpr):
    """Which channels there are; where all groups are whole no comparison is left."""
    if WHOLE:
        return by_channel(tl.full(channel.shape, True, tl.int1))
    return by_channel(channel < channels)


@triton.jit
def read(at, mask):
    """Pixels in float32, 0 where there are none."""
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def corners(at, step_y, step_x, mask, is_y0, is_y1, is_x0, is_x1):
    """The four pixels beside points, by rows, from pointers to the first ones."""
    # From pointer to pointer: a step of one number costs no instruction.
    south = at + step_y
    nw, ne = read(at, mask & is_y0 & is_x0), read(at + step_x, mask & is_y0 & is_x1)
    sw, se = read(south, mask & is_y1 & is_x0), read(south + step_x, mask & is_y1 & is_x1)
    return nw, ne, sw, se
