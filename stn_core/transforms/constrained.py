"""Affine maps with some entries of the matrix fixed, or all of them tied by an exponential."""

from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .linear import apply_matrix
from .matrices import exponential, eye
from .transform import Transform, check_dims


@final
class ConstrainedAffine(Transform):
    """An affine map with given entries of its matrix (Sonnet's `AffineWarpConstraints`).

    `theta` fills the other entries, row by row. There is no identity where a fixed entry differs
    from that of the identity.

    Args:
        fixed: The matrix row by row, 2 rows of 3 or 3 rows of 4: a number where the entry is fixed,
            0 among them, and None where it is free. Every entry is free when None.
        dims: 2 or 3; as many as `fixed` has rows when None, and 2 without `fixed`.

    Raises:
        ValueError: If `fixed` is not of that shape, leaves nothing free, or has not `dims` rows.

    Example:
        >>> crop = ConstrainedAffine(((0.5, 0.0, None), (0.0, 0.5, None)))
        >>> crop(torch.tensor([[0.25, 0.0]]), torch.ones(1, 2))
        tensor([[[0.7500, 0.5000]]])
    """

    def __init__(
        self,
        fixed: tuple[tuple[float | None, ...], ...] | None = None,
        *,
        dims: int | None = None,
    ) -> None:
        super().__init__()
        if fixed is None:
            rows = check_dims(2 if dims is None else dims)
            fixed = ((None,) * (rows + 1),) * rows
        if len(fixed) not in (2, 3) or any(len(row) != len(fixed) + 1 for row in fixed):
            raise ValueError(f"`fixed` must be 2 rows of 3 or 3 rows of 4 entries, got {fixed}.")
        if dims not in (None, len(fixed)):
            raise ValueError(f"`dims` must be {len(fixed)}, the rows of `fixed`, got {dims}.")
        self.dims = len(fixed)
        self.fixed = tuple(tuple(row) for row in fixed)
        self.num_params = sum(entry is None for row in fixed for entry in row)
        if self.num_params == 0:
            raise ValueError(f"`fixed` must leave an entry free (None), got {fixed}.")

    @property
    def identity(self) -> Float64[Tensor, " num_params"] | None:
        unit = torch.eye(self.dims, self.dims + 1, dtype=torch.float64).tolist()
        pairs = [p for rows in zip(self.fixed, unit, strict=True) for p in zip(*rows, strict=True)]
        if any(entry is not None and entry != one for entry, one in pairs):
            return None
        return torch.tensor([one for entry, one in pairs if entry is None], dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        free = iter(theta.unbind(1))
        entries = [
            next(free) if entry is None else torch.full_like(theta[:, 0], entry)
            for row in self.fixed
            for entry in row
        ]
        return torch.stack(entries, dim=1).unflatten(1, (self.dims, self.dims + 1))

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def extra_repr(self) -> str:
        return f"fixed={self.fixed}"


@final
class ExponentialAffine(Transform):
    """An affine map that can always be inverted: `theta` is the logarithm of its matrix.

    The matrix is the first rows of exp([[A, b], [0, 0]]), where `theta` is [A | b] row by row
    (Detlefsen et al., 2018). Its determinant is exp(trace A), and -theta is the inverse: to 1e-4 in
    float32 for entries up to 1.

    Args:
        dims: 2 (6 parameters) or 3 (12 parameters).

    Example:
        >>> ExponentialAffine()(torch.tensor([[0, 0, 0.5, 0, 0, 0]]), torch.zeros(1, 2))
        tensor([[[0.5000, 0.0000]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = dims * (dims + 1)

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.zeros(self.dims * (self.dims + 1), dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        rows = theta.unflatten(1, (self.dims, self.dims + 1))
        square = torch.cat([rows, torch.zeros_like(rows[:, :1])], dim=1)
        return exponential(square)[:, :-1]

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
class Slice(Transform):
    """A plane through a volume: `theta` = (t11, t12, t14, t21, t22, t24, t31, t32, t34).

    The target (x, y) is read at [t11, t21, t31] x + [t12, t22, t32] y + [t14, t24, t34]. Ask for an
    output of depth 1, whose z is 0; a deeper one shows the planes beside it, shifted along z.
    `Projection` takes the depth away.

    Example:
        >>> tilted = torch.tensor([[1.0, 0, 0, 0, 1, 0, 0.5, 0, 0]])
        >>> Slice()(tilted, torch.tensor([[1.0, 1.0, 0.0]]))
        tensor([[[1.0000, 1.0000, 0.5000]]])
    """

    def __init__(self) -> None:
        super().__init__()
        self.dims = 3
        self.num_params = 9

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.tensor([1, 0, 0, 0, 1, 0, 0, 0, 0], dtype=torch.float64)

    def matrix(self, theta: Float[Tensor, "batch num_params"]) -> Float[Tensor, "batch 3 4"]:
        """The matrices that `theta` stands for."""
        x, y, shift = theta.unflatten(1, (3, 3)).unbind(2)
        z = eye(theta, 3)[2].expand_as(x)
        return torch.stack([x, y, z, shift], dim=2)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)
