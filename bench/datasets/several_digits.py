"""Sets that put several MNIST digits into one example: addition, and sequences."""

import math
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from .clutter import clutter, put
from .dataset import Split, Splits, as_float
from .distortion import RTS
from .mnist import SIDE, read_mnist

STEEPEST = math.pi / 4


class MNISTAddition:
    """Two MNIST digits in two channels, RTS-distorted each on its own; the label is their sum.

    Jaderberg et al., 2015, section 4.1 of the appendix: 42×42 pixels, 19 classes.
    """

    version = 1
    num_classes = 19
    labels = 1

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir, self._distortion = data_dir, RTS()
        self.in_shape = (2, *self._distortion.out_size(SIDE, SIDE))

    def load(self) -> Splits:
        """Read MNIST into memory."""
        return read_mnist(self._data_dir)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The digits at `index`, each with a random one of its split."""
        chosen = _with_others(split, index, 1, generator)
        digits = as_float(split.images[chosen.flatten()])
        distorted = self._distortion(digits, train.images, generator)
        return distorted.view(-1, *self.in_shape), split.targets[chosen].sum(1)


class MNISTSequence:
    """Three MNIST digits in reading order on a cluttered canvas; a label for each.

    The set of Sønderby et al., 2015, with one rule of our own: the digits' 28×28 frames stand side
    by side on a straight line that rises or falls by at most 45°, placed anywhere on the canvas.

    Args:
        canvas: Side of the square image in pixels.
        patches: Number of patches of other digits that clutter it.
        patch_size: Side of a square patch in pixels.
    """

    version = 1
    num_classes = 10
    labels = 3

    def __init__(
        self,
        data_dir: Path | None,
        *,
        canvas: Annotated[int, Ge(84)] = 100,
        patches: Annotated[int, Ge(0)] = 8,
        patch_size: Annotated[int, Ge(1), Le(28)] = 9,
    ) -> None:
        self._data_dir, self.canvas = data_dir, canvas
        self.patches, self.patch_size = patches, patch_size
        self.in_shape = (1, canvas, canvas)

    def load(self) -> Splits:
        """Read MNIST into memory."""
        return read_mnist(self._data_dir)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The digits at `index`, each followed by random ones of its split."""
        chosen = _with_others(split, index, self.labels - 1, generator)
        digits = as_float(split.images[chosen])
        canvas = digits.new_zeros(len(index), *self.in_shape)
        put(canvas, digits, self._places(len(index), generator))
        clutter(canvas, train.images, self.patches, self.patch_size, generator)
        return canvas, split.targets[chosen]

    def _places(self, count: int, generator: torch.Generator) -> Tensor:
        """Top row and left column of each digit, `(count, labels, 2)`."""
        u = torch.rand(count, 3, generator=generator, device=generator.device)
        steps = torch.arange(self.labels, device=generator.device)
        left = (u[:, :1] * (self.canvas - SIDE * self.labels + 1)).floor() + SIDE * steps
        rise = SIDE * torch.tan((2 * u[:, 1:2] - 1) * STEEPEST) * steps
        free = self.canvas - SIDE - rise.abs().amax(1, keepdim=True)
        top = u[:, 2:] * free - rise.amin(1, keepdim=True) + rise
        places = torch.stack([top.round(), left], -1).long()
        return places.clamp(0, self.canvas - SIDE)


def _with_others(split: Split, index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Each index, followed by `count` random ones of the split: `(len(index), 1 + count)`."""
    others = torch.randint(
        len(split), (len(index), count), generator=generator, device=index.device
    )
    return torch.cat([index[:, None], others], 1)
