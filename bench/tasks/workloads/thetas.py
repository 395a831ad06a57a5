"""Thetas as a trained localisation network gives them, for a family of any kind."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from stn_core import SpatialTransformer
from stn_core.grid import canonical_grid
from stn_core.head import Head
from stn_core.transforms.transform import Transform

from ...errors import BenchError

Kind = Literal["rts", "crop", "half"]

# Largest angle in degrees, smallest and largest scale, largest shift.
RANGES = {
    "rts": (45.0, 0.7, 1.2, 0.2),
    "crop": (10.0, 0.28, 0.4, 0.2),
    "half": (0.0, 0.5, 0.5, 0.2),
}
POINTS = (5, 5)
ITERATIONS = 12
STEP = 1e-5


def random_thetas(
    transform: Transform, count: int, kind: Kind, generator: torch.Generator
) -> Tensor:
    """One theta an image, `(count, num_params)` in float32 on the CPU: the nearest of its family.

    A rotation, scale and shift is drawn for each (`rts`: ±45°, 0.7 to 1.2, ±0.2; `crop`: ±10°, 0.28
    to 0.4, ±0.2; `half`: 0°, 0.5, ±0.2), and the family's theta is fitted to it by least squares
    over a grid of points: exact where the family holds affine maps, the closest that it has where
    not. The identity, which reads memory in order, comes out of neither.

    Raises:
        BenchError: The family's theta depends on the image.
    """
    if transform.num_params is None or transform.dims != 2:
        name = type(transform).__name__
        raise BenchError(f"workload: a transform of 2-D and a fixed theta is needed, not `{name}`")
    points = canonical_grid(POINTS, align_corners=False, dtype=torch.float64).reshape(1, -1, 2)
    wanted = _affine(points, count, kind, generator)
    start = transform.identity
    size = transform.num_params
    theta = torch.zeros(count, size) if start is None else start.expand(count, -1)
    theta = theta.double().clone()
    best = _residual(transform, theta, points, wanted)
    for _ in range(ITERATIONS):
        moved = theta[:, None] + STEP * torch.eye(size, dtype=torch.float64)
        many = wanted.repeat_interleave(size, 0)
        ahead = _residual(transform, moved.flatten(0, 1), points, many).unflatten(0, (count, size))
        slope = (ahead - best[:, None]) / STEP
        normal = slope @ slope.mT + 1e-9 * torch.eye(size, dtype=torch.float64)
        step = torch.linalg.solve(normal, (slope @ best[..., None]))[..., 0]
        trial = theta - step
        found = _residual(transform, trial, points, wanted)
        better = (found.square().sum(1) < best.square().sum(1))[:, None]
        if not better.any():
            break
        theta, best = torch.where(better, trial, theta), torch.where(better, found, best)
    return theta.float()


def wake(model: nn.Module, seed: int) -> None:
    """Give every spatial transformer of a model that was not trained thetas like a trained one's.

    Localisation networks start at the identity, which reads memory in order.
    """
    generator = torch.Generator().manual_seed(seed)
    for transformer in model.modules():
        if not isinstance(transformer, SpatialTransformer):
            continue
        for head in transformer.localisation.modules():
            if isinstance(head, Head):
                start = head.start.reshape(-1, head.start.shape[-1])
                theta = random_thetas(transformer.transform, len(start), "rts", generator)
                spread = 0.02 / math.sqrt(head.num_features)
                with torch.no_grad():
                    head.bias.copy_((theta.to(start) - start).flatten())
                    noise = torch.randn(head.weight.shape, generator=generator)
                    head.weight.copy_(spread * noise)


def _affine(points: Tensor, count: int, kind: Kind, generator: torch.Generator) -> Tensor:
    """Where random maps send the points, `(count, points, 2)`."""
    rotation, low, high, shift = RANGES[kind]
    u = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    angle = (2 * u[:, 0] - 1) * math.radians(rotation)
    scale = low + u[:, 1] * (high - low)
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    matrix = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    return points @ matrix.mT + ((2 * u[:, 2:] - 1) * shift)[:, None]


def _residual(transform: Transform, theta: Tensor, points: Tensor, wanted: Tensor) -> Tensor:
    found = transform(theta, points[0])
    return torch.nan_to_num(found - wanted, 1e3).flatten(1)
