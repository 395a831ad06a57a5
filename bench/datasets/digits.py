"""The handwritten digits that scikit-learn carries: no download, no network."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from .distortion import Distortion
from .images import Images

TEST_COUNT = 500
CANVAS = 28
DIGIT = 20


class Digits:
    """1,797 digits of 8×8 pixels (UCI optical recognition), enlarged to 20×20 on a 28×28 canvas.

    A fixed draw of 500 digits is the test set.
    """

    version = 1
    num_classes = 10

    def __init__(self, data_dir: Path | None, *, distortion: Distortion | None = None) -> None:
        self.distortion = distortion
        size = (CANVAS, CANVAS)
        self.in_shape = (1, *(distortion.out_size(*size) if distortion else size))

    def load(self) -> Images:
        """Read the digits into memory."""
        from sklearn.datasets import load_digits

        raw, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(raw.reshape(-1, 1, 8, 8) / 16.0).float()
        images = F.interpolate(images, size=(DIGIT, DIGIT), mode="bilinear", align_corners=False)
        images = F.pad(images, [(CANVAS - DIGIT) // 2] * 4)
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        images, labels = images[order], torch.from_numpy(labels).long()[order]
        return Images(
            images[:-TEST_COUNT], labels[:-TEST_COUNT], images[-TEST_COUNT:], labels[-TEST_COUNT:]
        )
