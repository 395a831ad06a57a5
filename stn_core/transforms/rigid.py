"""Rotations, alone and with a shift and a scale."""

from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .linear import apply_matrix, pad_column
from .matrices import eye
from .transform import Transform, check_dims

_SERIES_BELOW = 0.1
_SERIES = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800)


@final
class Rotation(Transform):
    """A rotation about the centre by `theta`, in radians.

    In 2-D `theta` is the angle: [[cos, -sin], [sin, cos]], so that a positive one shows the image
    turned counter-clockwise. In 3-D it is the rotation vector, the axis times the angle. What turns
    are normalised coordinates: an image that is not square is sheared as well.

    Args:
        dims: 2 (1 parameter) or 3 (3 parameters).

    Example:
        >>> Rotation()(torch.tensor([[torch.pi]]), torch.tensor([[1.0, 0.0]])).round()
        tensor([[[-1., -0.]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = _num_angles(dims)

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.zeros(_num_angles(self.dims), dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        return pad_column(rotation_matrix(theta))

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map."""
        return -theta


@final
class Rigid(Transform):
    """A rotation R as in `Rotation`, then a shift: `theta` = (angle, tx, ty) fills [R | t].

    Args:
        dims: 2 (3 parameters) or 3 (6 parameters).

    Example:
        >>> Rigid()(torch.tensor([[0.0, 0.5, 0.0]]), torch.ones(1, 2))
        tensor([[[1.5000, 1.0000]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = _num_angles(dims) + dims

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.zeros(_num_angles(self.dims) + self.dims, dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        angle, shift = theta[:, : -self.dims], theta[:, -self.dims :]
        return torch.cat([rotation_matrix(angle), shift.unsqueeze(-1)], dim=-1)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map."""
        angle, shift = -theta[:, : -self.dims], theta[:, -self.dims :]
        return torch.cat([angle, -_turn(angle, shift)], dim=-1)


@final
class Similarity(Transform):
    """A rotation R as in `Rotation`, a scale and a shift: `theta` = (s, angle, tx, ty), [s R | t].

    Args:
        dims: 2 (4 parameters) or 3 (7 parameters).

    Example:
        >>> Similarity()(torch.tensor([[2.0, 0.0, 0.5, 0.0]]), torch.ones(1, 2))
        tensor([[[2.5000, 2.0000]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = 1 + _num_angles(dims) + dims

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.eye(1, 1 + _num_angles(self.dims) + self.dims, dtype=torch.float64)[0]

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        angle, shift = theta[:, 1 : -self.dims], theta[:, -self.dims :]
        scaled = theta[:, :1, None] * rotation_matrix(angle)
        return torch.cat([scaled, shift.unsqueeze(-1)], dim=-1)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map; a scale of 0 gives infinity."""
        scale, angle = theta[:, :1].reciprocal(), -theta[:, 1 : -self.dims]
        return torch.cat([scale, angle, -scale * _turn(angle, theta[:, -self.dims :])], dim=-1)


def rotation_matrix(theta: Float[Tensor, "batch angles"]) -> Float[Tensor, "batch dims dims"]:
    """The rotations by an angle (one column) or a rotation vector (three columns, Rodrigues)."""
    if theta.shape[1] == 1:
        cos, sin = theta.cos(), theta.sin()
        return torch.stack([torch.cat([cos, -sin], -1), torch.cat([sin, cos], -1)], dim=1)
    x, y, z = theta.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    squared = theta.square().sum(1)[:, None, None]
    half = _sinc_of_root(squared / 4).square() / 2
    outer = theta.unsqueeze(2) * theta.unsqueeze(1)
    return (1 - half * squared) * eye(theta, 3) + _sinc_of_root(squared) * cross + half * outer


def _sinc_of_root(squared: Tensor) -> Tensor:
    """sin(x) / x of x squared, by its series near 0, where the root has no derivative."""
    near = squared < _SERIES_BELOW
    root = squared.masked_fill(near, 1.0).sqrt()
    series = torch.zeros_like(squared)
    for coefficient in reversed(_SERIES):
        series = series * squared + coefficient
    return torch.where(near, series, root.sin() / root)


def _turn(angle: Tensor, shift: Tensor) -> Tensor:
    return (rotation_matrix(angle) * shift.unsqueeze(1)).sum(-1)


def _num_angles(dims: int) -> int:
    return dims * (dims - 1) // 2
