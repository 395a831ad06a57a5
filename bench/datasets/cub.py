"""Caltech-UCSD Birds 200-2011, from the official folder (Wah et al., 2011)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import BenchError
from ..study.content import file_hash
from .dataset import Split, Splits, as_float
from .decoded import Picture, Pictures, decoded, held_out
from .download import Remote, data_folder, fetch, unpack

ARCHIVE = Remote(
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "97eceeb196236b17998738112f37df78",
)
LISTS = ("images", "image_class_labels", "train_test_split", "bounding_boxes")
# Images are kept larger than what is seen of them by 8/7, as 256 is than 224.
MARGIN = 8 / 7


class CUB:
    """Birds of 200 kinds, cropped to a square (Caltech-UCSD Birds 200-2011).

    Read from the folder `CUB_200_2011`. Class c is the official class c + 1, so a folder that holds
    only some classes is read as it is, gaps and all. Training images are cropped at random from
    ones 8/7 as large, and flipped at random; test images are cropped in the middle. A fixed tenth
    of the official training images is the validation set, cropped as the test set is.

    Args:
        size: Side of the images in pixels.
        box: Whether to keep only the smallest square around the bird's bounding box.
    """

    version = 1
    num_classes = 200
    labels = 1

    def __init__(
        self, data_dir: Path | None, *, size: Literal[224, 448] = 224, box: bool = False
    ) -> None:
        self._data_dir, self.size, self.box = data_folder(data_dir), size, box
        self.in_shape = (3, size, size)

    def load(self) -> Splits:
        """Read the images, decoding them once, after a download where they are not there yet.

        Raises:
            BenchError: They are not there and cannot be downloaded, or are damaged.
        """
        folder = self._data_dir / "CUB_200_2011"
        if not folder.is_dir():
            unpack(fetch(ARCHIVE, self._data_dir, "cub"), folder.name)
        key: dict[str, Any] = {"version": self.version, "box": self.box}
        try:
            key |= {name: file_hash(folder / f"{name}.txt") for name in LISTS}
        except OSError as error:
            raise BenchError(
                f"data set `cub`: cannot read {error.filename}: {error.strerror}"
            ) from None
        size = round(self.size * MARGIN)
        return decoded("cub", key, size, lambda: read_cub(folder, box=self.box))

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        room, count = split.images.shape[-1] - self.size, len(index)
        if split is not train:
            starts = [[room // 2, room // 2]] * count
            flipped = torch.zeros(count, dtype=torch.bool, device=index.device)
        else:
            device = index.device
            start = torch.randint(room + 1, (count, 2), generator=generator, device=device)
            starts = start.tolist()
            flipped = torch.rand(count, generator=generator, device=device) < 0.5
        # Sliced one by one: rows are copied whole, many times as fast as an index for each pixel.
        cropped = torch.stack(
            [
                split.images[i, :, top : top + self.size, left : left + self.size]
                for i, (top, left) in zip(index.tolist(), starts, strict=True)
            ]
        )
        cropped = torch.where(flipped[:, None, None, None], cropped.flip(-1), cropped)
        return as_float(cropped), split.targets[index]


def read_cub(folder: Path, *, box: bool) -> Pictures:
    """The pictures of the three splits, as the lists in the folder have them.

    Raises:
        BenchError: A list is broken, or lacks an image that another one has.
    """
    names = _list(folder / "images.txt", str)
    labels = _list(folder / "image_class_labels.txt", int)
    is_train = _list(folder / "train_test_split.txt", int)
    boxes = _list(folder / "bounding_boxes.txt", float)
    train, test = [], []
    for image, (name,) in names.items():
        for known, file in (
            (labels, "image_class_labels.txt"),
            (is_train, "train_test_split.txt"),
            (boxes, "bounding_boxes.txt"),
        ):
            if image not in known:
                raise BenchError(f"data set `cub`: {folder / file} lacks image {image} ({name})")
        label = labels[image][0]
        if not 1 <= label <= CUB.num_classes:
            raise BenchError(
                f"data set `cub`: image {image} ({name}) has class {label}, not 1 to 200"
            )
        file = folder / "images" / name
        around = _square(*boxes[image]) if box else None
        picture = Picture(file, label - 1, str(file), around)
        (train if is_train[image][0] else test).append(picture)
    kept, validation = held_out(len(train))
    return [train[i] for i in kept], [train[i] for i in validation], test


def _square(
    left: float, top: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """The smallest square around a box."""
    x, y, half = left + width / 2, top + height / 2, max(width, height) / 2
    return x - half, y - half, x + half, y + half


def _list(file: Path, kind: Callable[[str], Any]) -> dict[int, list[Any]]:
    """A list of the folder: image id, then values."""
    found: dict[int, list[Any]] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        try:
            image, *values = line.split()
            found[int(image)] = [kind(value) for value in values]
            if not values:
                raise ValueError
        except ValueError:
            raise BenchError(
                f"data set `cub`: {file}:{number}: must be an image's id and its values, "
                f"got {line!r}"
            ) from None
    return found
