"""The linear family: `theta` fills a matrix (Jaderberg et al., 2015, eq. 1 and 2)."""

from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..grid import is_traced
from .matrices import eye, inverse
from .transform import Transform, check_dims


def apply_matrix(
    matrix: Float[Tensor, "batch dims columns"], points: Float[Tensor, "shared *size target_dims"]
) -> Float[Tensor, "batch *size dims"]:
    """Multiply points, with a 1 appended, by one matrix per batch element (eq. 1).

    Each coordinate is a plane in memory. On a CPU all are one matrix product, where nothing would
    round it; else each column of the matrix is one fused pass over the planes.
    """
    if _is_product_exact(matrix) and points.shape[0] == 1 and points.dtype == matrix.dtype:
        rows = points[0].reshape(-1, points.shape[-1]).T
        rows = torch.cat([rows, torch.ones_like(rows[:1])])
        with torch.autocast("cpu", enabled=False):
            grid = matrix.flatten(0, 1) @ rows
        return grid.view(*matrix.shape[:2], *points.shape[1:-1]).movedim(1, -1)
    planes = matrix.reshape(*matrix.shape, *[1] * (points.ndim - 2))
    grid = planes[:, :, -1]
    for column, coordinate in zip(planes.unbind(2), points.unbind(-1), strict=False):
        grid = torch.addcmul(grid, column, coordinate.unsqueeze(1))
    return grid.movedim(1, -1)


def _is_product_exact(matrix: Tensor) -> bool:
    return (
        matrix.device.type == "cpu"
        and not is_traced()
        and torch.get_float32_matmul_precision() == "highest"
    )


def pad_column(matrix: Float[Tensor, "batch dims dims"]) -> Float[Tensor, "batch dims columns"]:
    """Append a translation of zero."""
    return torch.cat([matrix, torch.zeros_like(matrix[..., :1])], dim=-1)


def affine_inverse(
    matrix: Float[Tensor, "batch dims columns"],
) -> Float[Tensor, "batch dims columns"]:
    """The matrices of the inverse maps; that of a singular one is not finite."""
    linear = inverse(matrix[:, :, :-1])
    shift = -(linear * matrix[:, None, :, -1]).sum(-1, keepdim=True)
    return torch.cat([linear, shift], dim=-1)


@final
class Translation(Transform):
    """A shift by `theta` = (tx, ty[, tz]): the matrix [I | t].

    Args:
        dims: 2 or 3.

    Example:
        >>> Translation()(torch.tensor([[0.5, 0.0]]), torch.zeros(1, 2))
        tensor([[[0.5000, 0.0000]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = dims

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.zeros(self.dims, dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        return torch.cat(
            [eye(theta, self.dims).expand(theta.shape[0], -1, -1), theta.unsqueeze(-1)], dim=-1
        )

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
class Scaling(Transform):
    """A scale per side, or one for all: the matrix [diag(theta) | 0].

    Args:
        dims: 2 or 3.
        isotropic: Whether `theta` is one scale (s) for all sides instead of (sx, sy[, sz]).

    Example:
        >>> Scaling()(torch.tensor([[0.5, 2.0]]), torch.ones(1, 2))
        tensor([[[0.5000, 2.0000]]])
    """

    def __init__(self, dims: int = 2, *, isotropic: bool = False) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.isotropic = isotropic
        self.num_params = 1 if isotropic else dims

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.ones(1 if self.isotropic else self.dims, dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        return pad_column(theta.unsqueeze(-1) * eye(theta, self.dims))

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map; a scale of 0 gives infinity."""
        return theta.reciprocal()

    def extra_repr(self) -> str:
        return f"dims={self.dims}, isotropic={self.isotropic}"


@final
class Attention(Transform):
    """A crop of one scale for all sides (eq. 2): `theta` = (s, tx, ty[, tz]) fills [s I | t].

    Args:
        dims: 2 or 3.

    Example:
        >>> Attention()(torch.tensor([[0.5, 0.25, 0.0]]), torch.ones(1, 2))
        tensor([[[0.7500, 0.5000]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = 1 + dims

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.eye(1, 1 + self.dims, dtype=torch.float64)[0]

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        return torch.cat([theta[:, :1, None] * eye(theta, self.dims), theta[:, 1:, None]], dim=-1)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map; a scale of 0 gives infinity."""
        scale = theta[:, :1].reciprocal()
        return torch.cat([scale, -scale * theta[:, 1:]], dim=-1)


@final
class Shear(Transform):
    """Each coordinate moves along with the others: `theta` fills a unit matrix beside its diagonal.

    In 2-D `theta` is (t12, t21) of [[1, t12, 0], [t21, 1, 0]], in 3-D (t12, t13, t21, ..., t32).

    Args:
        dims: 2 (2 parameters) or 3 (6 parameters).

    Example:
        >>> Shear()(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([[[0.5000, 1.0000]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = dims * (dims - 1)

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.zeros(self.dims * (self.dims - 1), dtype=torch.float64)

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        # Row by row, each entry of the diagonal is followed by `dims` entries of theta.
        beside = theta.unflatten(1, (self.dims - 1, self.dims))
        rows = torch.cat([torch.ones_like(beside[..., :1]), beside], dim=-1).flatten(1)
        entries = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=-1)
        return pad_column(entries.unflatten(1, (self.dims, self.dims)))

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)


@final
class Affine(Transform):
    """Any affine map (eq. 1): `theta` is the matrix row by row.

    In 2-D it is (t11, t12, t13, t21, t22, t23), in 3-D (t11, t12, t13, t14, t21, ..., t34).

    Args:
        dims: 2 (6 parameters) or 3 (12 parameters).

    Example:
        >>> Affine()(torch.tensor([[0.0, -1, 0, 1, 0, 0]]), torch.tensor([[1.0, 0]]))
        tensor([[[0., 1.]]])
    """

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.dims = check_dims(dims)
        self.num_params = dims * (dims + 1)

    @property
    def identity(self) -> Float64[Tensor, " num_params"]:
        return torch.eye(self.dims, self.dims + 1, dtype=torch.float64).flatten()

    def matrix(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch dims columns"]:
        """The matrices that `theta` stands for."""
        return theta.view(theta.shape[0], self.dims, self.dims + 1)

    def map_points(
        self, theta: Float[Tensor, "batch num_params"], points: Float[Tensor, "shared *size dims"]
    ) -> Float[Tensor, "batch *size dims"]:
        return apply_matrix(self.matrix(theta), points)

    def inverse(
        self, theta: Float[Tensor, "batch num_params"]
    ) -> Float[Tensor, "batch num_params"]:
        """The `theta` of the inverse map; that of a singular matrix is not finite."""
        return affine_inverse(self.matrix(theta)).flatten(1)
