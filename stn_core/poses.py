"""Poses for the transformers of a set, to start at different parts of the image."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from .grid import canonical_grid
from .transforms.transform import Transform

_STEPS = 20
_TOLERANCE = 1e-9


def tile_poses(
    transform: Transform, tiles: Sequence[int]
) -> Float64[Tensor, "num_tiles num_params"]:
    """The `theta` that show one tile of the image each, so that together they show all of it.

    Jaderberg et al., 2015, 4.3, start parallel transformers so. Where the family cannot fit a tile,
    its nearest pose in the least squares of the corners is taken: a `Translation` lies at the
    tile's centre, and an `Attention` on a tile that is not square has the mean of the two scales.

    Args:
        transform: A family that is differentiable and can move; where it has no identity, as with
            a fixed scale, the search starts at zero.
        tiles: `(rows, columns)` or `(layers, rows, columns)`. The rows come one after the other.

    Raises:
        ValueError: If `tiles` does not fit the transform, or no pose is found.

    Example:
        >>> from stn_core.transforms import Attention
        >>> tile_poses(Attention(), (1, 2)).tolist()
        [[0.75, -0.5, 0.0], [0.75, 0.5, 0.0]]
    """
    if len(tiles) != transform.dims or min(tiles) < 1:
        raise ValueError(
            f"`tiles` must be {transform.dims} positive counts for a transform "
            f"with dims={transform.dims}, got {tuple(tiles)}."
        )
    if transform.num_params is None:
        raise ValueError(
            f"`transform` must have a fixed number of parameters, got {type(transform).__name__}."
        )
    # A model may be built inside `torch.device("meta")`, where nothing would have a value.
    with torch.device("cpu"), torch.enable_grad():
        corners = canonical_grid((2,) * transform.dims, align_corners=True, dtype=torch.float64)
        corners = corners.flatten(0, -2)
        centres = canonical_grid(tiles, align_corners=False, dtype=torch.float64).flatten(0, -2)
        sides = torch.tensor([1 / n for n in reversed(tiles)], dtype=torch.float64)
        targets = centres[:, None] + sides * corners
        theta = transform.identity
        if theta is None:
            theta = torch.zeros(transform.num_params, dtype=torch.float64)
        poses = torch.stack([_fit(transform, theta, corners, target) for target in targets])
        # Without the dust of the least squares, and without negative zeros.
        return poses.round(decimals=12) + 0.0


def _fit(transform: Transform, theta: Tensor, points: Tensor, target: Tensor) -> Tensor:
    # Gauss-Newton: exact in one step for the families that are linear in theta, the affine kin and
    # the splines.
    moved = 0.0
    for _ in range(_STEPS):
        jacobian = torch.func.jacrev(lambda row: transform(row[None], points)[0])(theta)
        residual = target - transform(theta[None], points)[0]
        step = torch.linalg.pinv(jacobian.flatten(0, 1)) @ residual.flatten()
        theta, moved = theta + step, float(step.abs().max())
        if moved < _TOLERANCE:
            return theta
    raise ValueError(
        f"`transform` must be able to reach the tiles, got {type(transform).__name__}, which does "
        f"not settle (last step {moved:.1e})."
    )
