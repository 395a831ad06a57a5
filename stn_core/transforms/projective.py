"""Projective maps (Jaderberg et al., 2015, section 3.2)."""

import math
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .linear import apply_matrix
from .matrices import inverse
from .transform import Transform, check_dims

# Where the last coordinate is smaller, its reciprocal squared would overflow in the gradient.
_HORIZON = 1e-6


@final
class Projective(Transform):
    """A homography: `theta` is its matrix row by row, without the last entry, which is 1.

    A point is divided by its last coordinate. Where that is 0, on the horizon, no source point
    exists: within 1e-6 of it the point is NaN, and so is its output pixel, and it has no gradient.
    Beyond the horizon the map goes on, as in OpenCV, with a negative last coordinate.

    Args:
        dims: 2 (8 parameters) or 3 (15 parameters).

    Example:
        >>> theta = torch.tensor([[1.0, 0, 0, 0, 1, 0, 0.5, 0]])
        >>> Projective()(theta, torch.tensor([[2.0, 1.0], [-2.0, 0.0]]))
        tensor([[[1.0000, 0.5000],
                 [   nan,    nan]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = (dims + 1) ** 2 - 1

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.eye(self.dims + 1, dtype=torch.float64).flatten()[:-1]

    def homography(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch columns columns"]:
        """The square matrices that `theta` stands for."""
        entries = torch.cat([theta, torch.ones_like(theta[:, :1])], dim=1)
        return entries.unflatten(1, (self.dims + 1, self.dims + 1))

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        mapped = apply_matrix(self.homography(theta), points)
        last = mapped[..., -1:]
        is_far = last.abs() < _HORIZON
        # Filled before and after the division, so that no infinite gradient meets a zero one.
        source = mapped[..., :-1] / last.masked_fill(is_far, 1.0)
        return source.masked_fill(is_far, math.nan)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map.

        Not finite where the matrix is singular, or where the inverse sends the centre to the
        horizon, since then its last entry is 0 and cannot be made 1.
        """
        entries = inverse(self.homography(theta)).flatten(1)
        return entries[:, :-1] / entries[:, -1:]
