"""Transforms made of transforms: one after another, and backwards."""

import math
from collections.abc import Sequence
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .matrices import inverse, multiply
from .transform import Transform

_NEWTON_STEPS = 6
_TOLERANCE = 1e-4


@runtime_checkable
class Invertible(Protocol):
    """What a transform says that is closed under inversion."""

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map."""
        ...


@final
class Compose(Transform):
    """One transform, then another, of the image, which is sampled only once.

    The output is that of warping the image by `first`, and what comes out by `second`. So target
    points go through `second` before `first`. `theta` is that of `first`, then that of `second`.
    Nest for more: `Compose(a, Compose(b, c))`.

    Args:
        first: The transform that stands at the image, such as an `Affine`.
        second: The transform of its output, such as a `ThinPlateSpline`.

    Raises:
        ValueError: If their dimensions differ, or one has no fixed number of parameters.

    Example:
        >>> from stn_core.transforms import Scaling, Translation
        >>> crop = Compose(Translation(), Scaling(isotropic=True))
        >>> crop(torch.tensor([[0.5, 0.0, 0.25]]), torch.ones(1, 2))
        tensor([[[0.7500, 0.2500]]])
    """

    def __init__(self, first: Transform, second: Transform) -> None:
        super().__init__()
        if first.dims != second.dims:
            raise ValueError(
                f"`second` must have dims={first.dims} as `first` has, got dims={second.dims}."
            )
        self.dims = first.dims
        self._length = _fixed("first", first)
        self.num_params = self._length + _fixed("second", second)
        self.first = first
        self.second = second

    @property
    def identity(self) -> Float64[Tensor, " num_params"] | None:
        first, second = self.first.identity, self.second.identity
        return None if first is None or second is None else torch.cat([first, second])

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return self._then_first(theta, self.second.map_points(theta[:, self._length :], points))

    def map_grid(
        self, theta: Float[Tensor, "batch num_params"], size: Sequence[int], *, align_corners: bool
    ) -> Float[Tensor, "batch *size dims"]:
        second = theta[:, self._length :]
        between = self.second.map_grid(second, size, align_corners=align_corners)
        return self._then_first(theta, between)

    def _then_first(self, theta: Tensor, between: Tensor) -> Tensor:
        # A point that was lost stays lost, and its NaN meets no zero gradient in `first`.
        lost = ~(between.detach().abs().amax(-1, keepdim=True) < math.inf)
        source = self.first.map_points(theta[:, : self._length], between.masked_fill(lost, 0.0))
        return source.masked_fill(lost, math.nan)


@final
class Inverse(Transform):
    """The inverse maps of another transform, with its `theta`.

    A family with a method `inverse`, from `theta` to that of the inverse map, is asked. For any
    other 6 steps of Newton's method start at the target point: a map that is affine needs one. A
    point that comes back farther than 1e-4 from where it started, in normalised units, is NaN: the
    map folds there, or leaves it out, or bends too much. Jacobians are central differences, so the
    gradient, too, has an error of some 1e-4 in float32.

    Args:
        transform: The family to invert.

    Example:
        >>> from stn_core.transforms import Translation
        >>> Inverse(Translation())(torch.tensor([[0.5, 0.0]]), torch.zeros(1, 2))
        tensor([[[-0.5000,  0.0000]]])
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.dims = transform.dims
        self.num_params = transform.num_params
        self.transform = transform
        self._closed = transform if isinstance(transform, Invertible) else None

    @property
    def identity(self) -> Float64[Tensor, " num_params"] | None:
        return self.transform.identity

    def map_points(
        self, theta: Float[Tensor, "batch ..."], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        if self._closed is not None:
            return self.transform.map_points(self._closed.inverse(theta), points)
        target = points.expand(theta.shape[0], *points.shape[1:])
        source, constant = target.detach(), theta.detach()
        for _ in range(_NEWTON_STEPS):
            source = source - _newton_step(self.transform, constant, source, target.detach())
        error = self.transform.map_points(constant, source) - target.detach()
        lost = ~(error.abs().amax(-1, keepdim=True) < _TOLERANCE)
        source = torch.where(lost, target.detach(), source)
        # From a constant solution one step has the first derivative of the inverse, two the second.
        for _ in range(2):
            source = source - _newton_step(self.transform, theta, source, target, lost)
        return source.masked_fill(lost, math.nan)


def _newton_step(
    transform: Transform, theta: Tensor, source: Tensor, target: Tensor, lost: Tensor | None = None
) -> Tensor:
    units = torch.eye(transform.dims, dtype=source.dtype, device=source.device)
    mapped = transform.map_points(theta, source)
    # torch.func would give the Jacobian too, but torch.export cannot trace it.
    width = 2 * torch.finfo(source.dtype).eps ** (1 / 3)
    columns = [
        transform.map_points(theta, source + width / 2 * unit)
        - transform.map_points(theta, source - width / 2 * unit)
        for unit in units
    ]
    jacobian = torch.stack(columns, dim=-1) / width
    if lost is not None:
        # Where a point is lost its Jacobian may be singular, and NaN would spread from there.
        jacobian = torch.where(lost.unsqueeze(-1), units, jacobian)
    return multiply(inverse(jacobian), (mapped - target).unsqueeze(-1)).squeeze(-1)


def _fixed(name: str, transform: Transform) -> int:
    if transform.num_params is None:
        raise ValueError(
            f"`{name}` must have a fixed number of parameters, so that `theta` can be divided, "
            f"got {type(transform).__name__} without `size`."
        )
    return transform.num_params
