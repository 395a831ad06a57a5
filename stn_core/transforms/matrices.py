"""Algebra of small matrices, entry by entry: autocast and TF32 would round a matrix product."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_SQUARINGS = 5
_DEGREE = 8


def eye(like: Tensor, n: int) -> Float[Tensor, "n n"]:
    """The unit matrix, of the dtype and on the device of `like`."""
    return torch.eye(n, dtype=like.dtype, device=like.device)


def multiply(
    a: Float[Tensor, "*#batch rows inner"], b: Float[Tensor, "*#batch inner columns"]
) -> Float[Tensor, "*batch rows columns"]:
    """The product of matrices."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def inverse(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The inverse by cofactors; that of a singular matrix is not finite, and nothing is raised."""
    rows = [row.unbind(-1) for row in matrix.unbind(-2)]
    indices = range(len(rows))
    adjugate = [
        [(-1) ** (i + j) * _determinant(_minor(rows, j, i)) for j in indices] for i in indices
    ]
    determinant = torch.stack([rows[0][j] * adjugate[j][0] for j in indices]).sum(0)
    stacked = torch.stack([torch.stack(row, dim=-1) for row in adjugate], dim=-2)
    return stacked / determinant[..., None, None]


def exponential(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The matrix exponential, by scaling and squaring of its Taylor series.

    The relative error of the series is below 1e-10 for matrices of norm up to 8. At zero it and its
    derivatives are exact, where closed forms in the eigenvalues are 0 / 0.
    """
    unit = eye(matrix, matrix.shape[-1])
    small = matrix / 2**_SQUARINGS
    result = unit + small / _DEGREE
    for degree in range(_DEGREE - 1, 0, -1):
        result = unit + multiply(small, result) / degree
    for _ in range(_SQUARINGS):
        result = multiply(result, result)
    return result


def _determinant(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    if len(rows) == 1:
        return rows[0][0]
    terms = [(-1) ** j * rows[0][j] * _determinant(_minor(rows, 0, j)) for j in range(len(rows))]
    return torch.stack(terms).sum(0)


def _minor(rows: Sequence[Sequence[Tensor]], i: int, j: int) -> list[list[Tensor]]:
    kept = [row for k, row in enumerate(rows) if k != i]
    return [[entry for k, entry in enumerate(row) if k != j] for row in kept]
