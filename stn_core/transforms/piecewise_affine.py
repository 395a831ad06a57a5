"""Piecewise-affine velocities, integrated to a diffeomorphism (CPAB)."""

import math
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import pad

from .transform import Transform


@final
class PiecewiseAffine(Transform):
    """The flow of a continuous piecewise-affine velocity, CPAB (Freifeld et al., 2017).

    Each cell of a regular tessellation is cut into 4 triangles by its diagonals, as in libcpab, and
    the velocity is affine on each. Such velocities are given by their values at the vertices:
    `theta` holds these, (x, y) for the corners of the cells row by row, then for their centres.
    (libcpab takes coefficients of a basis of the same space from a singular value decomposition,
    which may turn with the LAPACK.) Beyond the image the velocity is that of the nearest edge.

    The velocity is integrated over one unit of time by `steps` steps of the classical Runge-Kutta
    method. -theta is the inverse: with the defaults to 1e-4, without folding, for entries up to 0.3
    on 3 x 3 cells, and in proportion to their sides on others.

    Args:
        size: How many cells a side has, as `(rows, columns)`.
        zero_boundary: Whether the velocity is zero on the edge of the image, which then maps to
            itself, and `theta` holds the inner vertices only.
        steps: How many steps of integration.

    Raises:
        ValueError: If `size` or `steps` is not as required.

    Example:
        >>> transform = PiecewiseAffine((2, 2), zero_boundary=False)
        >>> transform(torch.full((1, 26), 0.25), torch.zeros(1, 2))
        tensor([[[0.2500, 0.2500]]])
    """

    def __init__(
        self, size: tuple[int, int] = (3, 3), *, zero_boundary: bool = True, steps: int = 10
    ) -> None:
        super().__init__()
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"`size` must be 2 positive lengths, got {tuple(size)}.")
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {steps}.")
        self.dims = 2
        self.size = tuple(size)
        self.zero_boundary = zero_boundary
        self.steps = steps
        self._sides = tuple(n - 1 if zero_boundary else n + 1 for n in size)
        self.num_params = 2 * (math.prod(self._sides) + math.prod(size))

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        count = math.prod(self._sides) + math.prod(self.size)
        return torch.zeros(2 * count, dtype=torch.float64)

    def velocity(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size 2"]
    ) -> Float[Tensor, "batch *size 2"]:
        """The velocity that is integrated."""
        flat = points.flatten(1, -2)
        velocity = _velocity(self._vertices(theta), self.size, flat)
        return velocity.unflatten(1, points.shape[1:-1])

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size 2"]
    ) -> Float[Tensor, "batch *size 2"]:
        vertices = self._vertices(theta)
        moving = points.flatten(1, -2).expand(theta.shape[0], -1, -1)
        step = 1 / self.steps
        for _ in range(self.steps):
            first = _velocity(vertices, self.size, moving)
            second = _velocity(vertices, self.size, moving + step / 2 * first)
            third = _velocity(vertices, self.size, moving + step / 2 * second)
            fourth = _velocity(vertices, self.size, moving + step * third)
            moving = moving + step / 6 * (first + 2 * (second + third) + fourth)
        return moving.unflatten(1, points.shape[1:-1])

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map."""
        return -theta

    def extra_repr(self) -> str:
        return f"size={self.size}, zero_boundary={self.zero_boundary}, steps={self.steps}"

    def _vertices(self, theta: Tensor) -> Tensor:
        """Velocities at all corners, then at all centres: (batch, vertices, 2)."""
        split = 2 * math.prod(self._sides)
        corners = theta[:, :split].unflatten(1, (*self._sides, 2))
        if self.zero_boundary:
            corners = pad(corners, (0, 0, 1, 1, 1, 1))
        centres = theta[:, split:].unflatten(1, (-1, 2))
        return torch.cat([corners.flatten(1, 2), centres], dim=1)


def _velocity(vertices: Tensor, size: tuple[int, ...], points: Tensor) -> Tensor:
    """Interpolate between the vertices of the triangle that a point lies in; points are flat."""
    rows, columns = size
    x = (points[..., 0].clamp(-1, 1) + 1) * (columns / 2)
    y = (points[..., 1].clamp(-1, 1) + 1) * (rows / 2)
    column = x.detach().nan_to_num().floor().clamp(max=columns - 1)
    row = y.detach().nan_to_num().floor().clamp(max=rows - 1)
    x, y = x - column - 0.5, y - row - 0.5
    # One side of the triangle is an edge of the cell: left or right where x is farther out.
    is_side = x.detach().abs() >= y.detach().abs()
    out, along = torch.where(is_side, x, y), torch.where(is_side, y, x)
    is_far = out.detach() > 0
    corner = (row * (columns + 1) + column).long()
    across = torch.where(is_side, 1, columns + 1)
    start = corner + across * is_far
    end = start + torch.where(is_side, columns + 1, 1)
    centre = (rows + 1) * (columns + 1) + (row * columns + column).long()
    out = out.abs()
    shares = ((1 - 2 * out, centre), (out - along, start), (out + along, end))
    velocity = torch.zeros((), dtype=points.dtype, device=points.device)
    for share, vertex in shares:
        index = vertex.unsqueeze(-1).expand(vertices.shape[0], -1, 2)
        velocity = velocity + share.unsqueeze(-1) * vertices.gather(1, index)
    return velocity
