"""What users of spatial transformers suffer from, as numbers to log at each step.

All are functions of a grid, `transformer.grid(theta, size)`, in normalised coordinates. A grid of
16 by 16 points says as much of a smooth transform as that of the whole output, and costs less: on
one core, for a batch of 256 in the paper's MNIST ST-CNN, `outside_share`, `folding_share` and
`collapse` together take 1.3 % of a training step (0.4 % at 8 by 8, 2.8 % at 28 by 28), `outline`
0.04 %. Nothing here has a gradient but `jacobian_determinant` and `outline`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Rounding moves the outermost points of an identity by some 1e-7.
_ROUNDING = 1e-6


class Collapse(NamedTuple):
    """Which transformers have stopped being of use, and how.

    Attributes:
        shrunk: The output shows (nearly) one point or line of the image.
        outside: Every point that is read lies outside the image.
        constant: All inputs are warped alike, as they are before training; False for one input.

    Example:
        >>> grid = torch.zeros(2, 4, 4, 2)
        >>> collapse(grid, align_corners=False).shrunk
        tensor([True, True])
    """

    shrunk: Bool[Tensor, " batch"]
    outside: Bool[Tensor, " batch"]
    constant: Bool[Tensor, ""]


def outside_share(grid: Float[Tensor, "batch *size dims"]) -> Float[Tensor, " batch"]:
    """The share of source points outside [-1, 1], where padding decides; NaN counts as outside.

    Zero for an identity. A crop that grows beyond the image, the zooming out that a fill value
    unlike the background teaches (pytorch/tutorials#1117), shows here first.

    Args:
        grid: Source points in normalised coordinates.

    Example:
        >>> outside_share(torch.tensor([[[[0.0, 0.0], [0.0, 1.5]]]]))
        tensor([0.5000])
    """
    is_inside = (grid.detach().abs() <= 1 + _ROUNDING).all(-1)
    return (~is_inside).flatten(1).to(grid.dtype).mean(1)


def jacobian_determinant(
    grid: Float[Tensor, "batch *size dims"], *, align_corners: bool
) -> Float[Tensor, " batch *cells"]:
    """The determinant of the local Jacobian: by how much an area of the output grows in the image.

    1 for the identity, s^2 for a scale of s, negative where the image is mirrored or folded, 0
    where it is squeezed flat. One value per cell between neighbouring points, n - 1 on a side of n,
    by forward differences, which are exact for affine maps; so none where a side is one pixel.

    Args:
        grid: Source points in normalised coordinates.
        align_corners: The convention of the grid.

    Raises:
        ValueError: If the points have not as many coordinates as the grid has sides.

    Example:
        >>> grid = torch.stack(torch.meshgrid([torch.tensor([-0.5, 0.5])] * 2, indexing="xy"), -1)
        >>> jacobian_determinant(grid[None], align_corners=False)
        tensor([[[1.]]])
    """
    size = grid.shape[1:-1]
    dims = grid.shape[-1]
    if dims not in (2, 3) or len(size) != dims:
        raise ValueError(
            "`grid` must have shape (batch, height, width, 2) or (batch, depth, height, width, 3), "
            f"got {tuple(grid.shape)}."
        )
    columns = []
    for axis in range(dims, 0, -1):
        n = grid.shape[axis]
        difference = grid.diff(dim=axis) * ((n - 1 if align_corners else n) / 2)
        for other in range(1, dims + 1):
            if other != axis:
                difference = difference.narrow(other, 0, max(grid.shape[other] - 1, 0))
        columns.append(difference.unbind(-1))
    if dims == 2:
        (a, c), (b, d) = columns
        return a * d - b * c
    (a, d, g), (b, e, h), (c, f, i) = columns
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def folding_share(
    grid: Float[Tensor, "batch *size dims"], *, align_corners: bool
) -> Float[Tensor, " batch"]:
    """The share of cells where the map folds: a determinant that is not positive, or NaN.

    A mirrored image counts as folded everywhere. Zero where there is no cell.

    Args:
        grid: Source points in normalised coordinates.
        align_corners: The convention of the grid.

    Example:
        >>> grid = torch.tensor([[[[-1.0, -1], [1, -1], [0, -1]], [[-1, 1], [1, 1], [0, 1]]]])
        >>> folding_share(grid, align_corners=True)
        tensor([0.5000])
    """
    determinant = jacobian_determinant(grid.detach(), align_corners=align_corners).flatten(1)
    return (~(determinant > 0)).to(grid.dtype).sum(1) / max(determinant.shape[1], 1)


def collapse(
    grid: Float[Tensor, "batch *size dims"],
    *,
    align_corners: bool,
    smallest_scale: float = 0.01,
    tolerance: float = 1e-6,
) -> Collapse:
    """Say which transformers have collapsed.

    Args:
        grid: Source points in normalised coordinates, from a whole batch.
        align_corners: The convention of the grid.
        smallest_scale: The scale, as the root of the mean |determinant|, below which an output
            counts as shrunk. Never so where a side of the grid is one pixel.
        tolerance: By how much source points must differ somewhere between two inputs.

    Example:
        >>> grid = torch.full((2, 4, 4, 2), 3.0)
        >>> collapse(grid, align_corners=False).outside
        tensor([True, True])
    """
    grid = grid.detach()
    determinant = jacobian_determinant(grid, align_corners=align_corners).flatten(1).abs()
    area = determinant.sum(1) / max(determinant.shape[1], 1)
    shrunk = area < smallest_scale ** grid.shape[-1]
    if determinant.shape[1] == 0:
        shrunk = torch.zeros_like(shrunk)
    constant = grid.new_zeros((), dtype=torch.bool)
    if grid.shape[0] > 1:
        constant = ((grid - grid[:1]).abs() <= tolerance).all()
    return Collapse(shrunk, outside_share(grid) == 1, constant)


def outline(
    transform: Callable[[Tensor, Tensor], Tensor],
    theta: Float[Tensor, "batch ..."],
    *,
    dims: int = 2,
    points_per_edge: int = 16,
) -> Float[Tensor, "batch edges points dims"]:
    """Where a transformer looks: the source points of the edges of its output, to be drawn.

    In 2-D the four edges follow one another round the output, each without its last corner, which
    is the first of the next: `outline(...).flatten(1, 2)` is a closed polygon, in normalised
    coordinates of the image; `to_pixels` brings it on the image. In 3-D they are the twelve edges
    of the box, each with both corners.

    Args:
        transform: A transform, or any map from `theta` and points to source points.
        theta: A row per image.
        dims: 2 or 3.
        points_per_edge: At least 2; more where the transform bends lines.

    Raises:
        ValueError: If `dims` or `points_per_edge` is not as required.

    Example:
        >>> from stn_core.transforms import Attention
        >>> outline(Attention(), torch.tensor([[0.5, 0, 0]]), points_per_edge=2)[0, 0]
        tensor([[-0.5000, -0.5000],
                [ 0.0000, -0.5000]])
    """
    if dims not in (2, 3) or points_per_edge < 2:
        raise ValueError(
            "`dims` must be 2 or 3 and `points_per_edge` at least 2, "
            f"got dims={dims}, points_per_edge={points_per_edge}."
        )
    dtype = torch.promote_types(theta.dtype, torch.float32)
    if dims == 2:
        corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]]
        edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
        along = torch.arange(points_per_edge) / points_per_edge
    else:
        ends = (-1, 1)
        edges = [
            ([*lead, -1, *tail], [*lead, 1, *tail])
            for axis in range(3)
            for a in ends
            for b in ends
            for lead, tail in [([a, b][:axis], [a, b][axis:])]
        ]
        along = torch.linspace(0, 1, points_per_edge)
    start, end = torch.tensor(edges, dtype=dtype, device=theta.device).unbind(1)
    along = along.to(start)[:, None]
    return transform(theta, start[:, None] * (1 - along) + end[:, None] * along)
