"""Arrays of the user's own."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BenchError
from ..study.content import located
from .dataset import Split, Splits
from .distortion import Distortion, distorted, distorted_shape
from .own import DataFile, check_classes, check_labels, split_up


class Npz:
    """Images and labels of your own from a NumPy file: `x_train`, `y_train`, `x_test`, `y_test`.

    Images are `(count, height, width)` or `(count, channels, height, width)`, uint8 or float
    between 0 and 1; labels `(count,)` or `(count, labels)`, whole numbers from 0. Without
    `x_validation` and `y_validation` a fixed tenth of the training images is for validation.

    Args:
        path: The file, relative to the study.
        distortion: What is done to each image.
    """

    version = 1

    def __init__(
        self, study_dir: Path, *, path: DataFile, distortion: Distortion | None = None
    ) -> None:
        self._file, self.distortion = located(study_dir, path), distortion
        self._where = f"data set `npz`: {self._file}"

    @property
    def in_shape(self) -> tuple[int, ...]:
        return distorted_shape(self.distortion, *self._image_shape)

    @property
    def num_classes(self) -> int:
        return 1 + max(int(labels.max()) for labels in self._labels.values())

    @property
    def labels(self) -> int:
        shape = self._labels["train"].shape
        return shape[1] if len(shape) > 1 else 1

    def load(self) -> Splits:
        """Read the arrays.

        Raises:
            BenchError: One is not there, or is not what it must be.
        """
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for part, labels in self._labels.items():
            name = f"x_{part}"
            images = _images(self._where, name, self._array(name))
            check_labels(f"{self._where}: `y_{part}`", labels, len(images))
            first = found.get("train", (images,))[0]
            if images.shape[1:] != first.shape[1:]:
                raise BenchError(
                    f"{self._where}: images are {first.shape[1:]} in `x_train` "
                    f"and {images.shape[1:]} in `{name}`"
                )
            found[part] = images, labels
        check_classes(self._where, self._labels)
        return split_up(found["train"], found.get("validation"), found["test"])

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return distorted(self.distortion, split, index, train, generator)

    @cached_property
    def _image_shape(self) -> tuple[int, ...]:
        """Of the header alone, since this is asked for more often than the images are read."""
        self._need("x_train")
        with self._open() as arrays, arrays.zip.open("x_train.npy") as stream:
            if np.lib.format.read_magic(stream) == (1, 0):
                shape, _, _ = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _, _ = np.lib.format.read_array_header_2_0(stream)
        return _image_shape(self._where, "x_train", shape)[1:]

    @cached_property
    def _labels(self) -> dict[str, np.ndarray]:
        parts = ["train", *(["validation"] if "y_validation" in self._names else []), "test"]
        found = {part: self._array(f"y_{part}") for part in parts}
        for part, labels in found.items():
            check_labels(f"{self._where}: `y_{part}`", labels, len(labels))
        return found

    @cached_property
    def _names(self) -> list[str]:
        with self._open() as arrays:
            return list(arrays.files)

    def _need(self, name: str) -> None:
        if name not in self._names:
            raise BenchError(f"{self._where} has no array `{name}`; it has {self._names}")

    def _array(self, name: str) -> np.ndarray:
        self._need(name)
        try:
            with self._open() as arrays:
                return arrays[name]
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            if "allow_pickle" in str(error):
                raise BenchError(
                    f"{self._where}: `{name}` holds Python objects, which are not read since that "
                    "could run code; save an array of numbers"
                ) from None
            raise BenchError(f"{self._where}: `{name}` is damaged: {error}") from None

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            stream = self._file.open("rb")
        except OSError as error:
            raise BenchError(f"{self._where}: cannot be read: {error.strerror}") from None
        with stream:
            try:
                found = np.load(stream, allow_pickle=False)
            except (OSError, ValueError, zipfile.BadZipFile, EOFError):
                raise BenchError(
                    f"{self._where} is no NumPy file; make it with `np.savez`"
                ) from None
            if isinstance(found, np.ndarray):
                raise BenchError(f"{self._where} holds one array; make it with `np.savez`")
            yield found


def _image_shape(where: str, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of images with their channels, or a message that says why they are none."""
    if len(shape) not in (3, 4) or 0 in shape:
        raise BenchError(
            f"{where}: `{name}` must be (count, height, width) or "
            f"(count, channels, height, width), got {shape}"
        )
    if len(shape) == 3:
        return (shape[0], 1, *shape[1:])
    count, channels, height, width = shape
    if width in (1, 3) and channels not in (1, 3):
        raise BenchError(
            f"{where}: `{name}` is {shape}, with channels last; "
            f"it must be {(count, width, channels, height)}"
        )
    return shape


def _images(where: str, name: str, images: np.ndarray) -> np.ndarray:
    """Images `(count, channels, height, width)`, or a message that says why they are none."""
    shape = _image_shape(where, name, images.shape)
    if images.dtype != np.uint8:
        if images.dtype.kind != "f":
            raise BenchError(f"{where}: `{name}` must be uint8 or float, got {images.dtype}")
        # A NaN is not between 0 and 1 either.
        if not (images.min() >= 0 and images.max() <= 1):
            raise BenchError(
                f"{where}: `{name}` must lie between 0 and 1, goes from {images.min():g} to "
                f"{images.max():g}; divide it, or save it as uint8"
            )
    return images.reshape(shape)
