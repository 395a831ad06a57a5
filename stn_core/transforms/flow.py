"""Dense fields: a displacement at each pixel, or a velocity to be integrated."""

import itertools
import math
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..grid import canonical_grid, map_axes, to_pixels
from .transform import Transform, check_dims


@final
class Flow(Transform):
    """A dense displacement: source = target + `theta` there, in normalised units (VoxelMorph).

    `theta` is a field over the whole image, of any size, with x first: (batch, dims, height, width)
    or (batch, dims, depth, height, width). Between its pixels it is interpolated linearly, and
    beyond the outer ones it is constant. So it has no fixed number of parameters, and no identity
    but the zero field of each size, unless `size` says what `theta` is a flat row of.

    Args:
        dims: 2 or 3.
        size: The sides of the field, when `theta` is that of a localisation network or a part of
            `Compose`; None takes a field of any size.
        align_corners: Where the field's pixels lie. As for the image, so that a field of the
            output's size moves each pixel by its own entry.

    Raises:
        ValueError: If `size` is not of `dims` positive lengths, or `theta` is no such field.

    Example:
        >>> Flow()(torch.full((1, 2, 4, 4), 0.5), torch.zeros(1, 2))
        tensor([[[0.5000, 0.5000]]])
    """

    def __init__(
        self, dims: int = 2, *, size: tuple[int, ...] | None = None, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.size = _check_size(size, dims)
        self.num_params = None if size is None else dims * math.prod(size)
        self.align_corners = align_corners

    @property
    def identity(self) -> Float64[Tensor, " num_params"] | None:
        return _zeros(self.size)

    def map_points(
        self, theta: Float[Tensor, "batch ..."], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        field = _as_field(theta, self.dims, self.size)
        return points + read_field(field, points, align_corners=self.align_corners)

    def extra_repr(self) -> str:
        return f"dims={self.dims}, size={self.size}, align_corners={self.align_corners}"


@final
class DiffeomorphicFlow(Transform):
    """A smooth flow: `theta` is a stationary velocity, integrated over one unit of time.

    It is integrated by scaling and squaring (Arsigny et al., 2006): the velocity over 2^`steps` is
    a displacement, which is composed with itself `steps` times. -theta is the inverse, up to the
    interpolation of the field. For what else `theta` is see `Flow`.

    Args:
        dims: 2 or 3.
        size: As in `Flow`.
        steps: How many times the displacement is doubled.
        align_corners: As in `Flow`.

    Raises:
        ValueError: As in `Flow`, and if `steps` is negative.

    Example:
        >>> DiffeomorphicFlow()(torch.full((1, 2, 4, 4), 0.5), torch.zeros(1, 2))
        tensor([[[0.5000, 0.5000]]])
    """

    def __init__(
        self,
        dims: int = 2,
        *,
        size: tuple[int, ...] | None = None,
        steps: int = 7,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"`steps` must be at least 0, got {steps}.")
        self.dims = check_dims(dims)
        self.size = _check_size(size, dims)
        self.num_params = None if size is None else dims * math.prod(size)
        self.steps = steps
        self.align_corners = align_corners

    @property
    def identity(self) -> Float64[Tensor, " num_params"] | None:
        return _zeros(self.size)

    def map_points(
        self, theta: Float[Tensor, "batch ..."], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        convention = {"align_corners": self.align_corners}
        field = _as_field(theta, self.dims, self.size) / 2**self.steps
        lattice = canonical_grid(
            field.shape[2:], **convention, dtype=field.dtype, device=field.device
        ).unsqueeze(0)
        for _ in range(self.steps):
            moved = lattice + field.movedim(1, -1)
            field = field + read_field(field, moved, **convention).movedim(-1, 1)
        return points + read_field(field, points, **convention)

    def inverse(self, theta: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The `theta` of the inverse map."""
        return -theta

    def extra_repr(self) -> str:
        return (
            f"dims={self.dims}, size={self.size}, steps={self.steps}, "
            f"align_corners={self.align_corners}"
        )


def read_field(
    field: Float[Tensor, "batch channels *in_size"],
    points: Float[Tensor, "shared *out_size dims"],
    *,
    align_corners: bool,
) -> Float[Tensor, "batch *out_size channels"]:
    """Interpolate a field linearly, as the bilinear sampler with padding "border" does.

    Unlike `grid_sample` of torch it has derivatives of any order.
    """
    size = field.shape[2:]
    pixels = to_pixels(points.flatten(1, -2), size, align_corners=align_corners)
    pixels = map_axes(lambda x, n: x.clamp(0, n - 1), pixels, size)
    lower = map_axes(
        lambda x, n: x.nan_to_num().floor().clamp(0, max(n - 2, 0)), pixels.detach(), size
    )
    upper_weight = pixels - lower
    entries = field.flatten(2)
    result = torch.zeros((), dtype=field.dtype, device=field.device)
    for corner in itertools.product((0, 1), repeat=len(size)):
        index = torch.zeros_like(lower[..., 0], dtype=torch.int64)
        weight = torch.ones_like(lower[..., 0])
        for axis, (step, n) in enumerate(zip(corner, size, strict=True)):
            coordinate = len(size) - 1 - axis
            share = upper_weight[..., coordinate]
            weight = weight * (share if step else 1 - share)
            index = index * n + (lower[..., coordinate].long() + step).clamp(max=n - 1)
        index = index.unsqueeze(1).expand(field.shape[0], field.shape[1], -1)
        result = result + weight.unsqueeze(1) * entries.gather(2, index)
    return result.unflatten(2, points.shape[1:-1]).movedim(1, -1)


def _as_field(theta: Tensor, dims: int, size: tuple[int, ...] | None) -> Tensor:
    if size is not None:
        return theta.unflatten(1, (dims, *size))
    if theta.ndim != dims + 2 or theta.shape[1] != dims or 0 in theta.shape[2:]:
        sides = "height, width" if dims == 2 else "depth, height, width"
        raise ValueError(
            f"`theta` must have shape (batch, {dims}, {sides}) and no side of length 0 for a dense "
            f"field, got {tuple(theta.shape)}."
        )
    return theta


def _check_size(size: tuple[int, ...] | None, dims: int) -> tuple[int, ...] | None:
    if size is not None and (len(size) != dims or min(size) < 1):
        raise ValueError(f"`size` must be {dims} positive lengths, got {tuple(size)}.")
    return None if size is None else tuple(size)


def _zeros(size: tuple[int, ...] | None) -> Tensor | None:
    return None if size is None else torch.zeros(len(size) * math.prod(size), dtype=torch.float64)
