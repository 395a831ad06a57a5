"""The role of a transform: `theta` and target points give source points."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from ..grid import shared_grid


class Transform(nn.Module, ABC):
    """A parametric family of maps from target points to source points.

    A family is one final subclass: it sets `dims` and `num_params`, says its `identity`, and writes
    `map_points`. One that is closed under inversion also has `inverse(theta)`, the `theta` of the
    inverse map; the `Inverse` of any other is numeric.
    One whose maps are all linear has `matrix(theta)`, of shape (batch, dims, dims + 1), or where
    they are projective `homography(theta)`, and is then warped without a grid. So is one whose maps
    are the identity and a sum of displacements that `theta` only scales: its `fields(theta, size)`
    are the factors, (batch, terms, dims), and the displacements, (terms, *size).

    Attributes:
        dims: How many coordinates a point has, 2 or 3.
        num_params: The length of `theta`, or None where it depends on the image (a dense flow).
    """

    dims: int
    num_params: int | None

    @property
    @abstractmethod
    def identity(self) -> Float64[Tensor, " num_params"] | None:
        """The `theta` that moves nothing, or None where the family has none."""

    @abstractmethod
    def map_points(
        self, theta: Float[Tensor, "batch ..."], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        """The source points, for points of each batch element, or one set for all (`shared` is 1).

        Both arguments come checked, of one dtype, float32 or float64. The arithmetic must stay in
        it under autocast: no matrix products, which autocast and TF32 round. `points` are shared
        with other calls and must not be written in.
        """

    def map_grid(
        self, theta: Float[Tensor, "batch ..."], size: Sequence[int], *, align_corners: bool
    ) -> Float[Tensor, "batch *size dims"]:
        """`map_points` of the canonical grid; for a family to do with constants that it keeps."""
        points = shared_grid(
            size, align_corners=align_corners, dtype=theta.dtype, device=theta.device
        )
        return self.map_points(theta, points.unsqueeze(0))

    @final
    def grid(
        self, theta: Float[Tensor, "batch ..."], size: Sequence[int], *, align_corners: bool
    ) -> Float[Tensor, "batch *size dims"]:
        """The sampling grid of an output of this size: `forward` of its canonical grid.

        Args:
            theta: One row of parameters per batch element.
            size: `(height, width)` or `(depth, height, width)`.
            align_corners: Whether -1 and 1 are centres of pixels (True) or edges of the image.

        Raises:
            ValueError: If `theta` or `size` has not the shape that the family needs.
        """
        self.check_theta(theta)
        if len(size) != self.dims:
            raise ValueError(
                f"`size` must be {self.dims} lengths for {type(self).__name__}, got {tuple(size)}."
            )
        dtype = torch.promote_types(theta.dtype, torch.float32)
        return self.map_grid(theta.to(dtype), size, align_corners=align_corners)

    @final
    def forward(
        self, theta: Float[Tensor, "batch ..."], points: Float[Tensor, "*size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        """The sampling grid: the source point of each target point, at least in float32.

        Args:
            theta: One row of parameters per batch element.
            points: Target points that the whole batch shares, in normalised coordinates.

        Raises:
            ValueError: If `theta` or `points` has not the shape that the family needs.
        """
        self.check_theta(theta)
        if points.shape[-1] != self.dims:
            raise ValueError(
                f"`points` must have {self.dims} coordinates for {type(self).__name__}, "
                f"got {points.shape[-1]}."
            )
        dtype = torch.promote_types(torch.promote_types(theta.dtype, points.dtype), torch.float32)
        return self.map_points(theta.to(dtype), points.to(dtype).unsqueeze(0))

    def extra_repr(self) -> str:
        return f"dims={self.dims}"

    @final
    def check_theta(self, theta: Tensor) -> None:
        """Refuse a `theta` that has not the shape that the family needs."""
        if self.num_params is not None and (theta.ndim != 2 or theta.shape[1] != self.num_params):
            raise ValueError(
                f"`theta` must have shape (batch, {self.num_params}) for {type(self).__name__}, "
                f"got {tuple(theta.shape)}."
            )


def check_dims(dims: int) -> int:
    """Refuse a number of dimensions that is not 2 or 3."""
    if dims not in (2, 3):
        raise ValueError(f"`dims` must be 2 or 3, got {dims}.")
    return dims
