"""MNIST digits extruded to volumes."""

import math
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from .dataset import Split, Splits, as_float
from .mnist import SIDE, read_mnist

# At a volume of this side a voxel is a pixel of the digit.
FULL = 60


class ExtrudedMNIST:
    """MNIST digits extruded along depth, turned and put anywhere in a volume (60³ in the paper).

    Each digit is a bar of depth 28, turned about x, then y, then z, then moved so that the 28³
    cube that holds it unturned stays within the volume.

    Args:
        side: Side of the volume in voxels; below 60 all is that much smaller.
        rotation: Largest angle about each axis in degrees, either way.
    """

    version = 1
    num_classes = 10
    labels = 1

    def __init__(
        self,
        data_dir: Path | None,
        *,
        side: Annotated[int, Ge(1)] = 60,
        rotation: Annotated[float, Ge(0), Le(180)] = 30,
    ) -> None:
        self._data_dir, self.side, self.rotation = data_dir, side, math.radians(rotation)
        self.in_shape = (1, side, side, side)

    def load(self) -> Splits:
        """Read MNIST into memory."""
        return read_mnist(self._data_dir)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        digits = as_float(split.images[index])
        return self.apply(digits, *self.draw(len(index), generator)), split.targets[index]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Angles about x, y, z in radians, and shifts along them in pixels of a digit."""
        u = 2 * torch.rand(2, count, 3, generator=generator, device=generator.device) - 1
        return u[0] * self.rotation, u[1] * ((FULL - SIDE) / 2)

    def apply(self, digits: Tensor, angles: Tensor, shifts: Tensor) -> Tensor:
        """Extrude digit i, turn it by angles i, move it by shifts i: `(count, 1, z, y, x)`."""
        along = (torch.arange(self.side, device=digits.device) - (self.side - 1) / 2) * (
            FULL / self.side
        )
        z, y, x = torch.meshgrid(along, along, along, indexing="ij")
        points = torch.stack([x, y, z], -1).view(-1, 3) - shifts[:, None]
        # The way back: the inverse of a turn is its transpose, and rows stand for columns.
        source = points @ _turn(angles)
        grid = source[..., :2] * (2 / SIDE)
        flat = F.grid_sample(digits, grid[:, None], padding_mode="zeros", align_corners=False)
        # Linear at both ends of the bar, as bilinear reading is at the digit's edge.
        inside = (SIDE / 2 + 0.5 - source[..., 2].abs()).clamp(0, 1)
        return (flat.view(len(digits), -1) * inside).view(-1, *self.in_shape)


def _turn(angles: Tensor) -> Tensor:
    """Matrices `(count, 3, 3)` that turn (x, y, z) about x, then y, then z."""
    cos, sin = torch.cos(angles), torch.sin(angles)
    zero, one = torch.zeros_like(cos[:, 0]), torch.ones_like(cos[:, 0])

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).view(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, cos[:, 0], -sin[:, 0], zero, sin[:, 0], cos[:, 0])
    about_y = matrix(cos[:, 1], zero, sin[:, 1], zero, one, zero, -sin[:, 1], zero, cos[:, 1])
    about_z = matrix(cos[:, 2], -sin[:, 2], zero, sin[:, 2], cos[:, 2], zero, zero, zero, one)
    return about_z @ about_y @ about_x
