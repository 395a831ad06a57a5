"""Images of one class whose place nobody tells: the paper's co-localisation."""

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from .clutter import clutter, put_anywhere
from .dataset import VALIDATION_SEED, Split, Splits, as_float
from .mnist import SIDE, read_mnist


class MNISTColocalisation:
    """Digits of one class, each at a place of its own on a canvas, cluttered or not.

    Jaderberg et al., 2015, section 4.4 of the appendix. The images are made once, the same for
    every seed. Nothing is learned from the targets, which are boxes for the evaluation alone:
    `(count, 4)` float32, left, top, right and bottom edge of the digit's 28×28 frame in pixels,
    where pixel 0 reaches from 0 to 1. So the test set is the training set, as in the paper; the
    validation set holds other digits of the class, as many where there are so many.

    Args:
        digit: The class.
        images: Number of images.
        canvas: Side of the square image in pixels.
        patches: Number of patches of other digits that clutter it; 0 is the paper's T, 16 its TC.
        patch_size: Side of a square patch in pixels.
    """

    version = 1
    num_classes = 10
    labels = 1

    def __init__(
        self,
        data_dir: Path | None,
        *,
        digit: Annotated[int, Ge(0), Le(9)] = 0,
        images: Annotated[int, Ge(2)] = 100,
        canvas: Annotated[int, Ge(28)] = 84,
        patches: Annotated[int, Ge(0)] = 16,
        patch_size: Annotated[int, Ge(1), Le(28)] = 6,
    ) -> None:
        self._data_dir, self.digit, self.images, self.canvas = data_dir, digit, images, canvas
        self.patches, self.patch_size = patches, patch_size
        self.in_shape = (1, canvas, canvas)

    def load(self) -> Splits:
        """Read MNIST and place its digits."""
        splits = read_mnist(self._data_dir)
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        train, validation = (
            self._placed(part, splits.train.images, generator)
            for part in (splits.train, splits.validation)
        )
        return Splits(train, validation, train)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return split.images[index], split.targets[index]

    def _placed(self, split: Split, others: Tensor, generator: torch.Generator) -> Split:
        digits = as_float(split.images[split.targets == self.digit][: self.images])
        canvas = digits.new_zeros(len(digits), *self.in_shape)
        start = put_anywhere(canvas, digits, generator)
        clutter(canvas, others, self.patches, self.patch_size, generator)
        corner = start.flip(-1).float()
        return Split(canvas, torch.cat([corner, corner + SIDE], -1))
