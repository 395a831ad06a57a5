"""Polar coordinates about a learned origin (Esteves et al., 2018)."""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from .transform import Transform


@final
class Polar(Transform):
    """Polar coordinates about the origin `theta` = (x, y): a rotation becomes a shift along y.

    The target's x is the radius, from 0 at -1 to `radius` at 1; its y the angle, from 0 at -1 to a
    whole turn at 1, from the x axis to the y axis. It moves everything: there is no identity.

    Args:
        radius: The largest radius, in normalised units.

    Raises:
        ValueError: If `radius` is not positive.

    Example:
        >>> Polar()(torch.zeros(1, 2), torch.tensor([[1.0, -1.0], [0.0, 0.0]])).round(decimals=4)
        tensor([[[ 1.0000,  0.0000],
                 [-0.5000, -0.0000]]])
    """

    def __init__(self, *, radius: float = 1.0) -> None:
        super().__init__()
        if radius <= 0:
            raise ValueError(f"`radius` must be positive, got {radius}.")
        self.dims = 2
        self.num_params = 2
        self.radius = radius

    @property
    def identity(self) -> None:
        return None

    def map_points(
        self, theta: Float[Tensor, "batch 2"], points: Float[Tensor, "shared *size 2"]
    ) -> Float[Tensor, "batch *size 2"]:
        return _around(theta, self.radius * (points[..., 0] + 1) / 2, points[..., 1])

    def extra_repr(self) -> str:
        return f"radius={self.radius}"


@final
class LogPolar(Transform):
    """Log-polar coordinates about the origin `theta` = (x, y): a scale becomes a shift along x.

    As `Polar`, but that the radius grows by a constant factor from pixel to pixel, from
    `inner_radius` at -1 to `radius` at 1. The disc within `inner_radius` is not seen.

    Args:
        radius: The largest radius, in normalised units.
        inner_radius: The smallest one.

    Raises:
        ValueError: If not 0 < `inner_radius` < `radius`.

    Example:
        >>> target = torch.tensor([[1.0, -1.0], [0.0, -1.0]])
        >>> LogPolar(inner_radius=0.25)(torch.zeros(1, 2), target).round(decimals=4)
        tensor([[[1.0000, 0.0000],
                 [0.5000, 0.0000]]])
    """

    def __init__(self, *, radius: float = 1.0, inner_radius: float = 0.02) -> None:
        super().__init__()
        if not 0 < inner_radius < radius:
            raise ValueError(
                "`inner_radius` must be positive and smaller than `radius`, "
                f"got {inner_radius} and {radius}."
            )
        self.dims = 2
        self.num_params = 2
        self.radius = radius
        self.inner_radius = inner_radius

    @property
    def identity(self) -> None:
        return None

    def map_points(
        self, theta: Float[Tensor, "batch 2"], points: Float[Tensor, "shared *size 2"]
    ) -> Float[Tensor, "batch *size 2"]:
        rate = math.log(self.radius / self.inner_radius) / 2
        radius = self.inner_radius * torch.exp(rate * (points[..., 0] + 1))
        return _around(theta, radius, points[..., 1])

    def extra_repr(self) -> str:
        return f"radius={self.radius}, inner_radius={self.inner_radius}"


def _around(theta: Tensor, radius: Tensor, turn: Tensor) -> Tensor:
    angle = torch.pi * (turn + 1)
    arm = torch.stack([radius * angle.cos(), radius * angle.sin()]).movedim(0, -1)
    return theta.reshape(-1, *[1] * (arm.ndim - 2), 2) + arm
