"""MNIST digits in the boxes of SVHN's numbers."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import BenchError
from .dataset import Split, Splits, as_float
from .decoded import held_out
from .download import data_folder
from .mnist import SIDE, read_mnist
from .svhn import DIGITS, NULL, WIDENED, widen

# The part of MNIST's frame that a digit fills.
INK = 20
COLUMNS = ["image", "width", "height", "position", "digit", "xmin", "ymin", "xmax", "ymax"]


class SVHNLayout:
    """SVHN's numbers as `svhn` crops them, each digit drawn by MNIST in its true box.

    SVHN's pixels may not be passed on, its boxes may: `svhn_boxes/train.csv` and `test.csv`, with
    a row for each digit, where 10 stands for 0. Each digit is stretched to its box, and drawn in a
    colour on a ground of another. A fixed tenth of the training numbers is the validation set.

    Args:
        size: Side of the images in pixels.
    """

    version = 1
    num_classes = 11
    labels = DIGITS

    def __init__(self, data_dir: Path | None, *, size: Literal[64, 128] = 64) -> None:
        self._data_dir, self.size = data_dir, size
        self.in_shape = (3, size, size)

    def load(self) -> Splits:
        """Read MNIST and the boxes.

        Raises:
            BenchError: They are not there.
        """
        mnist = read_mnist(self._data_dir)
        (boxes, targets), (test_boxes, test_targets) = (
            self._layouts(part) for part in ("train", "test")
        )
        train, validation = held_out(len(targets))
        return Splits(
            Split(_by_class(mnist.train), targets[train], boxes[train]),
            Split(_by_class(mnist.validation), targets[validation], boxes[validation]),
            Split(_by_class(mnist.test), test_targets, test_boxes),
        )

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        assert split.boxes is not None, "`load` gives them"
        targets, boxes = split.targets[index], split.boxes[index]
        which = torch.randint(
            split.images.shape[1], targets.shape, generator=generator, device=index.device
        )
        digits = as_float(split.images[targets.clamp(max=9), which])
        rows, columns = (reading(boxes[..., i::2], self.size) for i in (1, 0))
        drawn = rows @ digits @ columns.transpose(-1, -2)
        # Where a digit is reduced the weights of a pixel sum to a little more than 1.
        ink = (drawn * (targets != NULL)[..., None, None]).amax(1, keepdim=True).clamp(max=1)
        ground, colour = _colours(len(index), generator)
        return ground + ink * (colour - ground), targets

    def _layouts(self, part: str) -> tuple[Tensor, Tensor]:
        """Boxes in the crop `(count, 5, 4)`, where the crop goes from 0 to 1, and labels."""
        file = data_folder(self._data_dir) / "svhn_boxes" / f"{part}.csv"
        try:
            table = pd.read_csv(file, usecols=COLUMNS).sort_values(["image", "position"])
        except (OSError, ValueError) as error:
            raise BenchError(
                f"data set `svhn_layout`: cannot read {file} ({error}); put SVHN's boxes there, "
                f"a CSV file with the columns {', '.join(COLUMNS)}"
            ) from None
        # The number of each row, its first row, and the row's place in it.
        _, first, number, count = np.unique(
            table["image"], return_index=True, return_inverse=True, return_counts=True
        )
        place = np.arange(len(table)) - first[number]
        corners = table[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
        ends = np.hstack(
            [
                np.minimum.reduceat(corners[:, :2], first),
                np.maximum.reduceat(corners[:, 2:], first),
            ]
        )
        left, top, right, bottom = ends.T
        crop = np.stack(widen(left, top, right, bottom, WIDENED[self.size]), 1)
        # As `svhn` does, leave out what lies outside the image.
        size = table[["width", "height"]].to_numpy(float)[first]
        start, end = np.maximum(crop[:, :2], 0), np.minimum(crop[:, 2:], size)
        within = (corners.reshape(-1, 2, 2) - start[number, None]) / (end - start)[number, None]
        fits = count[number] <= DIGITS
        boxes = np.zeros((len(first), DIGITS, 4), np.float32)
        targets = np.full((len(first), DIGITS), NULL)
        boxes[number[fits], place[fits]] = within[fits].reshape(-1, 4)
        targets[number[fits], place[fits]] = table["digit"].to_numpy()[fits] % 10
        kept = count <= DIGITS
        return torch.from_numpy(boxes[kept]), torch.from_numpy(targets[kept])


def reading(edges: Tensor, size: int) -> Tensor:
    """Weights `(…, size, 28)` with which pixels read a digit's rows, or its columns.

    Bilinear where a digit is enlarged; where it is reduced, the hat widens as the pixels do.

    Args:
        edges: `(…, 2)`, where the digit begins and ends; the image goes from 0 to 1.
        size: Number of the image's pixels.
    """
    start, end = edges[..., :1], edges[..., 1:]
    step = INK / ((end - start).clamp(min=1e-6) * size)
    pixels = (torch.arange(size, device=edges.device) + 0.5) / size
    source = (pixels - start) * size * step + (SIDE - INK) / 2 - 0.5
    reach = step.clamp(min=1)[..., None]
    apart = (source[..., None] - torch.arange(SIDE, device=edges.device)).abs()
    return (1 - apart / reach).clamp(min=0) / reach


def _by_class(split: Split) -> Tensor:
    """Images `(10, count, 28, 28)`, of each class as many as there are of the rarest."""
    count = int(torch.bincount(split.targets, minlength=10).min())
    return torch.stack([split.images[split.targets == digit][:count, 0] for digit in range(10)])


def _colours(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Colours `(count, 3, 1, 1)` of ground and digits, of brightness at least 0.3 apart."""
    device = generator.device
    ground, apart = torch.rand(2, count, 1, generator=generator, device=device)
    colour = (ground + 0.3 + 0.4 * apart) % 1
    tint = 0.1 * torch.randn(2, count, 3, generator=generator, device=device)
    both = (torch.stack([ground, colour]) + tint).clamp(0, 1)[..., None, None]
    return both[0], both[1]
