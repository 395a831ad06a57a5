"""The thin-plate spline: control points pull the plane along, bending it least."""

from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..grid import canonical_grid
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
        if len(size) not in (2, 3) or min(size) < 2:
            raise ValueError(f"`size` must be 2 or 3 lengths of at least 2, got {tuple(size)}.")
        if ridge < 0:
            raise ValueError(f"`ridge` must be at least 0, got {ridge}.")
        self.size = tuple(size)
        self.dims = len(size)
        self.ridge = ridge
        self.num_params = len(self.identity)
        # As integers, so that `module.half()` and its kin, which cast every float, cannot round it.
        solution = _solution(self._control_points(), ridge).view(torch.int64)
        self.register_buffer("_solution", solution, persistent=False)

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return self._control_points().flatten()

    def basis(self, points: Float[Tensor, "*size dims"]) -> Float[Tensor, "*size control"]:
        """How much of each control point's displacement a point takes.

        It depends on the points only: the B of the paper's T_theta = M_theta B. It is computed in
        float64, since its terms cancel.
        """
        points64 = points.double()
        control = self._control_points(points.device)
        squared = (points64.unsqueeze(-2) - control).square().sum(-1)
        terms = [_kernel(squared, self.dims), torch.ones_like(points64[..., :1]), points64]
        # Neither autocast nor TF32 touches a product in float64.
        return (torch.cat(terms, dim=-1) @ self._solution.view(torch.float64)).to(points.dtype)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        offsets = theta - self._control_points(theta.device).flatten().to(theta.dtype)
        columns = offsets.unflatten(1, (-1, self.dims)).transpose(1, 2)
        no_shift = torch.zeros_like(columns[..., :1])
        return points + apply_matrix(torch.cat([columns, no_shift], dim=-1), self.basis(points))

    def extra_repr(self) -> str:
        return f"size={self.size}, ridge={self.ridge}"

    def _control_points(self, device: torch.device | None = None) -> Tensor:
        grid = canonical_grid(self.size, align_corners=True, dtype=torch.float64, device=device)
        return grid.flatten(0, -2)


def _solution(control: Tensor, ridge: float) -> Tensor:
    """The matrix from displacements of the control points to weights of kernel, 1 and points."""
    count, dims = control.shape
    squared = (control.unsqueeze(1) - control).square().sum(-1)
    bending = _kernel(squared, dims) + ridge * torch.eye(count, dtype=torch.float64)
    linear = torch.cat([torch.ones_like(control[:, :1]), control], dim=1)
    corner = torch.zeros(dims + 1, dims + 1, dtype=torch.float64)
    upper = torch.cat([bending, linear], dim=1)
    lower = torch.cat([linear.T, corner], dim=1)
    unit = torch.eye(count + dims + 1, count, dtype=torch.float64)
    return torch.linalg.solve(torch.cat([upper, lower]), unit).contiguous()


def _kernel(squared: Tensor, dims: int) -> Tensor:
    """r^2 log r in 2-D, -r in 3-D; 0 at 0, where the logarithm and the root have no gradient."""
    at_zero = squared == 0
    positive = squared.masked_fill(at_zero, 1.0)
    kernel = positive * positive.log() / 2 if dims == 2 else -positive.sqrt()
    return kernel.masked_fill(at_zero, 0.0)
