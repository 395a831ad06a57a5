"""The thin-plate spline: control points pull the plane along, bending it least."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..grid import canonical_grid, kept, shared_grid
from .linear import apply_matrix
from .transform import Transform


@final
class ThinPlateSpline(Transform):
    """A thin-plate spline through control points (Jaderberg et al., 2015, section 3.2).

    The control points are a regular target grid over the image, its outer ones at -1 and 1. `theta`
    is where each is read: (x, y) of the first, of the next one along x, and so on. So the identity
    is the grid itself, and is exact. In 3-D the spline is the triharmonic one, of kernel r.

    `size=(2, 10)` gives the fiducials of RARE and ASTER, on the top and the bottom edge.

    Args:
        size: How many control points a side has, as `(rows, columns)` or `(depth, rows, columns)`.
        ridge: What is added to the diagonal of the kernel matrix, as `smoothing` in SciPy: 0 goes
            through the control points, more bends less.

    Raises:
        ValueError: If `size` or `ridge` is not as required.

    Example:
        >>> spline = ThinPlateSpline((2, 2))
        >>> theta = spline.identity.float() + 0.5
        >>> spline(theta.unsqueeze(0), torch.zeros(1, 2))
        tensor([[[0.5000, 0.5000]]])
    """

    _solution: Tensor

    def __init__(self, size: tuple[int, ...] = (4, 4), *, ridge: float = 0.0) -> None:
        super().__init__()
        if isinstance(size, int) or len(size) not in (2, 3) or min(size) < 2:
            raise ValueError(f"`size` must be 2 or 3 lengths of at least 2, got {size}.")
        if ridge < 0:
            raise ValueError(f"`ridge` must be at least 0, got {ridge}.")
        self.size = tuple(size)
        self.dims = len(size)
        self.ridge = ridge
        self.num_params = len(self.identity)
        # What a traced graph takes, which cannot ask the cache.
        device = torch.get_default_device()
        self.register_buffer("_solution", self._solve(device), persistent=False)

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return _control_points(self.size).flatten()

    def basis(self, points: Float[Tensor, "*size dims"]) -> Float[Tensor, "*size control"]:
        """How much of each control point's displacement a point takes.

        It depends on the points only: the B of the paper's T_theta = M_theta B. It is computed in
        float64, since its terms cancel.
        """
        solution = self._solution
        # Elsewhere is also a module that was built on the meta device.
        if not torch.compiler.is_compiling() or solution.device != points.device:
            solution = self._solve(points.device)
        return _basis(points, self.size, solution)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return self._bend(theta, points, self.basis(points))

    def map_grid(
        self, theta: Float[Tensor, "batch num_params"], size: Sequence[int], *, align_corners: bool
    ) -> Float[Tensor, "batch *size dims"]:
        points = shared_grid(
            size, align_corners=align_corners, dtype=theta.dtype, device=theta.device
        )
        basis = self._planes(points, size, align_corners).movedim(0, -1)
        return self._bend(theta, points.unsqueeze(0), basis.unsqueeze(0))

    def fields(
        self, theta: Float[Tensor, "batch num_params"], size: Sequence[int], *, align_corners: bool
    ) -> tuple[Float[Tensor, "batch control dims"], Float[Tensor, " control *size"]]:
        """How far each control point is displaced, and how much of that each output pixel takes.

        The second is constant: it is computed in float64 and rounded once. Arguments as for `grid`.
        """
        self.check_theta(theta)
        theta = theta.to(torch.promote_types(theta.dtype, torch.float32))
        points = shared_grid(
            size, align_corners=align_corners, dtype=theta.dtype, device=theta.device
        )
        return self._displacements(theta), self._planes(points, size, align_corners)

    def extra_repr(self) -> str:
        return f"size={self.size}, ridge={self.ridge}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ThinPlateSpline":
        # `half`, `to` and `to_empty` end here; they would round the constants, or leave them unset.
        super()._apply(fn, recurse)
        self._solution = self._solve(self._solution.device)
        return self

    def _bend(self, theta: Tensor, points: Tensor, basis: Tensor) -> Tensor:
        columns = self._displacements(theta).transpose(1, 2)
        no_shift = torch.zeros_like(columns[..., :1])
        return points + apply_matrix(torch.cat([columns, no_shift], dim=-1), basis)

    def _displacements(self, theta: Tensor) -> Tensor:
        start = kept(_flat_identity, self.size, theta.dtype, theta.device)
        return (theta - start).unflatten(1, (-1, self.dims))

    def _planes(self, points: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
        """The basis of a grid's points, one plane in memory per control point."""
        if torch.compiler.is_compiling():
            return self.basis(points).movedim(-1, 0).contiguous()
        where = (tuple(size), align_corners, points.dtype, points.device)
        return kept(_grid_basis, self.size, self.ridge, *where)

    def _solve(self, device: torch.device) -> Tensor:
        return kept(_solution, self.size, self.ridge, device)


def _control_points(size: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    grid = canonical_grid(size, align_corners=True, dtype=torch.float64, device=device)
    return grid.flatten(0, -2)


def _flat_identity(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return _control_points(size, device).flatten().to(dtype)


def _solution(size: tuple[int, ...], ridge: float, device: torch.device) -> Tensor:
    """The matrix from displacements of the control points to weights of kernel, 1 and points."""
    control = _control_points(size, device)
    count, dims = control.shape
    squared = (control.unsqueeze(1) - control).square().sum(-1)
    unit = torch.eye(count + dims + 1, dtype=torch.float64, device=device)
    bending = _kernel(squared, dims) + ridge * unit[:count, :count]
    linear = torch.cat([torch.ones_like(control[:, :1]), control], dim=1)
    corner = torch.zeros_like(unit[count:, count:])
    upper = torch.cat([bending, linear], dim=1)
    lower = torch.cat([linear.T, corner], dim=1)
    return torch.linalg.solve(torch.cat([upper, lower]), unit[:, :count]).contiguous()


def _basis(points: Tensor, size: tuple[int, ...], solution: Tensor) -> Tensor:
    points64 = points.double()
    squared = (points64.unsqueeze(-2) - _control_points(size, points.device)).square().sum(-1)
    terms = [_kernel(squared, len(size)), torch.ones_like(points64[..., :1]), points64]
    # Neither autocast nor TF32 touches a product in float64.
    return (torch.cat(terms, dim=-1) @ solution).to(points.dtype)


def _grid_basis(
    size: tuple[int, ...],
    ridge: float,
    out_size: tuple[int, ...],
    align_corners: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    points = canonical_grid(out_size, align_corners=align_corners, dtype=dtype, device=device)
    basis = _basis(points, size, kept(_solution, size, ridge, device))
    return basis.movedim(-1, 0).contiguous()


def _kernel(squared: Tensor, dims: int) -> Tensor:
    """r^2 log r in 2-D, -r in 3-D; 0 at 0, where the logarithm and the root have no gradient."""
    at_zero = squared == 0
    positive = squared.masked_fill(at_zero, 1.0)
    kernel = positive * positive.log() / 2 if dims == 2 else -positive.sqrt()
    return kernel.masked_fill(at_zero, 0.0)
