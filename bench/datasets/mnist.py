"""MNIST: from a folder, or downloaded where there is a network."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import BenchError
from .dataset import Split, Splits
from .distortion import Distortion, distorted, distorted_shape
from .download import Remote, data_folder, decompress, fetch

SIDE = 28
VALIDATION_COUNT = 5000
SITE = "https://ossci-datasets.s3.amazonaws.com/mnist"
FILES = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}


class MNIST:
    """60,000 + 10,000 handwritten digits of 28×28 pixels, in torchvision's layout (`MNIST/raw`).

    The last 5,000 training digits are the validation set.
    """

    version = 2
    num_classes = 10
    labels = 1

    def __init__(self, data_dir: Path | None, *, distortion: Distortion | None = None) -> None:
        self.distortion = distortion
        self.in_shape = distorted_shape(distortion, 1, SIDE, SIDE)
        self._data_dir = data_dir

    def load(self) -> Splits:
        """Read the images into memory, after a download where they are not there yet."""
        return read_mnist(self._data_dir)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return distorted(self.distortion, split, index, train, generator)


def read_mnist(data_dir: Path | None) -> Splits:
    """The digits as uint8 `(count, 1, 28, 28)`, with their classes.

    Raises:
        BenchError: They are not there and cannot be downloaded, or their files are damaged.
    """
    raw = data_folder(data_dir) / "MNIST" / "raw"
    for name, md5 in FILES.items():
        if not (raw / name).is_file():
            decompress(fetch(Remote(f"{SITE}/{name}.gz", md5), raw, "mnist"))
    try:
        images, labels, test_images, test_labels = (_read_idx(raw / name) for name in FILES)
        pairs = [(images, labels), (test_images, test_labels)]
        if any(x.shape != (len(y), SIDE, SIDE) or y.max() > 9 for x, y in pairs):
            raise ValueError
    except (OSError, ValueError):
        raise BenchError(
            f"data set `mnist`: the files in {raw} are damaged; put its four IDX files there anew"
        ) from None
    kept = len(labels) - min(VALIDATION_COUNT, len(labels) // 2)
    return Splits(
        _split(images[:kept], labels[:kept]),
        _split(images[kept:], labels[kept:]),
        _split(test_images, test_labels),
    )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)))


def _read_idx(file: Path) -> np.ndarray:
    """An IDX file of bytes: two zeros, type 8, number of axes, their lengths, the content."""
    content = file.read_bytes()
    if content[:3] != bytes([0, 0, 8]):
        raise ValueError
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    # Copied, since torch does not take what cannot be written to.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
