"""Street View House Numbers: whole numbers, from the official files (Netzer et al., 2011)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import BenchError
from ..study.content import file_hash
from .dataset import Split, Splits, as_float
from .decoded import Picture, Pictures, decoded, held_out
from .download import Remote, data_folder, fetch, unpack

DIGITS = 5
NULL = 10
# By which the box around all digits is widened, so that a digit is as large at both sizes.
WIDENED = {64: 1.3, 128: 2.6}
SITE = "http://ufldl.stanford.edu/housenumbers"
ARCHIVES = {
    "train": "a649f4cb15c35520e8a8c342d4c0005a",
    "test": "790d9c8d42f1fcbd219b59956c853a81",
    "extra": "606f41243d71ca4d5fe66dbaf1f02bee",
}

Box = tuple[float, float, float, float]
Number = tuple[str, tuple[int, ...], list[Box]]


class SVHN:
    """House numbers of one to five digits, cropped around the number (Goodfellow et al., 2014).

    Read from the folders `train`, `test` and `extra` of `SVHN`, each with its `digitStruct.mat`.
    The box around all digits, widened by 30% (for 128 pixels to twice that), is resized to a
    square. A label for each of five places: 0 to 9, and 10 where there is no digit. Longer numbers
    are left out. 5,000 training images are the validation set.

    Args:
        size: Side of the images in pixels.
        extra: Whether to train on the images of `extra` too, as the paper does.
    """

    version = 1
    num_classes = 11
    labels = DIGITS

    def __init__(
        self, data_dir: Path | None, *, size: Literal[64, 128] = 64, extra: bool = True
    ) -> None:
        self._folder, self.size, self.extra = data_folder(data_dir) / "SVHN", size, extra
        self.in_shape = (3, size, size)

    def load(self) -> Splits:
        """Read the images, decoding them once, after a download where they are not there yet.

        Raises:
            BenchError: They are not there and cannot be downloaded, or are damaged.
        """
        parts = ["train", *(["extra"] if self.extra else []), "test"]
        for part in parts:
            if not (self._folder / part / "digitStruct.mat").is_file():
                remote = Remote(f"{SITE}/{part}.tar.gz", ARCHIVES[part])
                unpack(fetch(remote, self._folder, "svhn"), part)
        key: dict[str, Any] = {
            part: file_hash(self._folder / part / "digitStruct.mat") for part in parts
        }
        return decoded("svhn", key | {"version": self.version}, self.size, self._pictures)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return as_float(split.images[index]), split.targets[index]

    def _pictures(self) -> Pictures:
        train = self._part("train") + (self._part("extra") if self.extra else [])
        kept, validation = held_out(len(train))
        return [train[i] for i in kept], [train[i] for i in validation], self._part("test")

    def _part(self, part: str) -> list[Picture]:
        folder = self._folder / part
        return [
            Picture(
                folder / name,
                padded(digits),
                str(folder / name),
                around(boxes, WIDENED[self.size]),
            )
            for name, digits, boxes in read_digit_struct(folder / "digitStruct.mat")
            if len(digits) <= DIGITS
        ]


def padded(digits: tuple[int, ...]) -> tuple[int, ...]:
    """A label for each place of a number."""
    return digits + (NULL,) * (DIGITS - len(digits))


def around(boxes: list[Box], widened: float) -> Box:
    """The box around all boxes, widened about its centre."""
    left, top = (min(box[i] for box in boxes) for i in (0, 1))
    right, bottom = (max(box[i] for box in boxes) for i in (2, 3))
    return widen(left, top, right, bottom, widened)


def widen(
    left: Any, top: Any, right: Any, bottom: Any, widened: float
) -> tuple[Any, Any, Any, Any]:
    """A box, of numbers or of arrays of them, so many times as wide and high about its centre."""
    x, y = (left + right) / 2, (top + bottom) / 2
    half_width, half_height = widened * (right - left) / 2, widened * (bottom - top) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def read_digit_struct(file: Path) -> Iterator[Number]:
    """File name, digits and boxes (left, top, right, bottom) of each image of `digitStruct.mat`.

    It is a MATLAB 7.3 file, so HDF5: a struct array whose fields are references; those of a struct
    with one entry are the values themselves. Its label 10 is the digit 0.

    Raises:
        BenchError: The file is no such thing.
    """
    import h5py

    try:
        with h5py.File(file, "r") as content:
            struct: Any = content["digitStruct"]
            for name, bbox in zip(struct["name"][:, 0], struct["bbox"][:, 0], strict=True):
                group: Any = content[bbox]
                label, left, top, width, height = (
                    _values(content, group[key])
                    for key in ("label", "left", "top", "width", "height")
                )
                boxes = np.stack([left, top, left + width, top + height], 1).tolist()
                digits = tuple(int(digit) % 10 for digit in label)
                letters: Any = content[name]
                text = letters[()].astype(np.uint8).tobytes().decode("ascii")
                yield text, digits, [tuple(box) for box in boxes]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BenchError(
            f"data set `svhn`: {file} is not SVHN's or is damaged ({error}); unpack it anew"
        ) from None


def _values(content: Any, field: Any) -> np.ndarray:
    """The numbers of a field of a struct, one for each digit."""
    entries = field[()].ravel()
    if entries.dtype == object:
        return np.array([content[entry][()].item() for entry in entries], float)
    return entries.astype(float)
