"""The handwritten digits that scikit-learn carries: no download, no network."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BenchError
from .dataset import Split, Splits
from .distortion import Distortion, distorted, distorted_shape

TEST_COUNT = 500
VALIDATION_COUNT = 200
CANVAS = 28
DIGIT = 20


class Digits:
    """1,797 digits of 8×8 pixels (UCI optical recognition), enlarged to 20×20 on a 28×28 canvas.

    A fixed draw of 500 digits is the test set, one of 200 the validation set.
    """

    version = 2
    num_classes = 10
    labels = 1

    def __init__(self, data_dir: Path | None, *, distortion: Distortion | None = None) -> None:
        self.distortion = distortion
        self.in_shape = distorted_shape(distortion, 1, CANVAS, CANVAS)

    def load(self) -> Splits:
        """Read the digits into memory."""
        table = np.loadtxt(_file(), delimiter=",", dtype=np.int64)
        raw, labels = table[:, :-1], table[:, -1]
        images = torch.from_numpy(raw.reshape(-1, 1, 8, 8) / 16.0).float()
        images = F.interpolate(images, size=(DIGIT, DIGIT), mode="bilinear", align_corners=False)
        images = F.pad(images, [(CANVAS - DIGIT) // 2] * 4)
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        images, labels = images[order], torch.from_numpy(labels)[order]
        counts = [len(labels) - VALIDATION_COUNT - TEST_COUNT, VALIDATION_COUNT, TEST_COUNT]
        return Splits(*map(Split, images.split(counts), labels.split(counts)))

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return distorted(self.distortion, split, index, train, generator)


def _file() -> Path:
    """The file of `sklearn.datasets.load_digits`, without the seconds that importing it takes."""
    spec = importlib.util.find_spec("sklearn")
    for place in (spec and spec.submodule_search_locations) or ():
        if (file := Path(place) / "datasets" / "data" / "digits.csv.gz").is_file():
            return file
    raise BenchError("data set `digits`: scikit-learn and its digits are not installed")
