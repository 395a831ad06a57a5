"""Image files of the user's own: in folders by class, or in a column of Parquet files."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from annotated_types import Ge
from torch import Tensor

from ..errors import BenchError
from ..study.content import file_hash, located
from .dataset import Split, Splits
from .decoded import PARTS, Picture, Pictures, decoded, held_out
from .distortion import Distortion, distorted, distorted_shape
from .own import DataFile, check_classes, check_labels


class ImageFolder:
    """Images of your own in folders: `train/CLASS/…` and `test/CLASS/…`, any format of Pillow.

    Classes are numbered in the order of their names. The largest square in the middle of each image
    is resized. Without a folder `validation` a fixed tenth of the training images takes its place.

    Args:
        path: The folder, relative to the study.
        size: Side of the images in pixels.
        channels: 1 for grey, 3 for colour.
        distortion: What is done to each image.
    """

    version = 1
    labels = 1

    def __init__(
        self,
        study_dir: Path,
        *,
        path: DataFile,
        size: Annotated[int, Ge(1)],
        channels: Literal[1, 3] = 3,
        distortion: Distortion | None = None,
    ) -> None:
        self._place, self.size, self.channels = located(study_dir, path), size, channels
        self.distortion = distortion
        self.in_shape = distorted_shape(distortion, channels, size, size)

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    def load(self) -> Splits:
        """Read the images, decoding them once.

        Raises:
            BenchError: A folder or an image is not what it must be.
        """
        pictures = self._pictures()
        # The cache is of this machine, where a file that was changed has another time.
        files = [p.source for part in pictures for p in part if isinstance(p.source, Path)]
        states = [(file, file.stat()) for file in files]
        listing = [[str(file), state.st_size, state.st_mtime_ns] for file, state in states]
        key = {"version": self.version, "files": listing}
        return decoded("image_folder", key, self.size, lambda: pictures, self.channels)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return distorted(self.distortion, split, index, train, generator)

    @cached_property
    def _classes(self) -> list[str]:
        return _folders(self._place / "train")

    def _pictures(self) -> Pictures:
        found = {}
        for part in PARTS:
            place = self._place / part
            if part == "validation" and not place.is_dir():
                continue
            for name in _folders(place):
                if name not in self._classes:
                    raise BenchError(
                        f"data set `image_folder`: {place / name} is no class: "
                        f"there is no {self._place / 'train' / name}"
                    )
            found[part] = [
                Picture(file, number, str(file))
                for number, name in enumerate(self._classes)
                for file in _images(place / name, needed=part == "train")
            ]
        return _with_validation(found)


class Parquet:
    """Images of your own in Parquet files: `train*.parquet` and `test*.parquet` in a folder.

    The image column holds the bytes of image files, or structs with such `bytes`, as Hugging Face
    writes them; the label column whole numbers from 0. The largest square in the middle of each
    image is resized. Without `validation*.parquet` a fixed tenth of the training images is for
    validation.

    Args:
        path: The folder, relative to the study.
        size: Side of the images in pixels.
        image: Name of the image column.
        label: Name of the label column.
        channels: 1 for grey, 3 for colour.
        distortion: What is done to each image.
    """

    version = 1
    labels = 1

    def __init__(
        self,
        study_dir: Path,
        *,
        path: DataFile,
        size: Annotated[int, Ge(1)],
        image: str = "image",
        label: str = "label",
        channels: Literal[1, 3] = 3,
        distortion: Distortion | None = None,
    ) -> None:
        self._place, self.size, self.channels = located(study_dir, path), size, channels
        self.image, self.label, self.distortion = image, label, distortion
        self.in_shape = distorted_shape(distortion, channels, size, size)

    @property
    def num_classes(self) -> int:
        return 1 + max(int(labels.max()) for labels in self._labels.values())

    def load(self) -> Splits:
        """Read the images, decoding them once.

        Raises:
            BenchError: A file, a column or an image is not what it must be.
        """
        hashes = {part: [file_hash(f) for f in files] for part, files in self._files.items()}
        key = {"version": self.version, "files": hashes, "columns": [self.image, self.label]}
        return decoded("parquet", key, self.size, self._pictures, self.channels)

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return distorted(self.distortion, split, index, train, generator)

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        found = {part: sorted(self._place.glob(f"{part}*.parquet")) for part in PARTS}
        for part in ("train", "test"):
            if not found[part]:
                raise BenchError(f"data set `parquet`: there is no {self._place}/{part}*.parquet")
        return {part: files for part, files in found.items() if files}

    @cached_property
    def _labels(self) -> dict[str, np.ndarray]:
        found = {}
        for part, files in self._files.items():
            labels = [
                self._column(file, self.label).to_numpy(zero_copy_only=False) for file in files
            ]
            found[part] = np.concatenate(labels)
            where = f"data set `parquet`: {', '.join(map(str, files))}: column `{self.label}`"
            check_labels(where, found[part], len(found[part]))
        check_classes(f"data set `parquet`: {self._place}", found)
        return found

    def _pictures(self) -> Pictures:
        found = {}
        for part, files in self._files.items():
            contents = [
                (content, f"row {row} of {file}")
                for file in files
                for row, content in enumerate(self._column(file, self.image).to_pylist())
            ]
            found[part] = [
                Picture(self._bytes(content, name), int(target), name)
                for (content, name), target in zip(contents, self._labels[part], strict=True)
            ]
        return _with_validation(found)

    def _bytes(self, content: Any, name: str) -> bytes:
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise BenchError(
                f"data set `parquet`: {name}: column `{self.image}` must hold the bytes of an "
                f"image file, or a struct with `bytes`, got {type(content).__name__}"
            )
        return content

    def _column(self, file: Path, name: str) -> Any:
        try:
            known = pq.read_schema(file).names
            if name not in known:
                raise BenchError(
                    f"data set `parquet`: {file} has no column `{name}`; it has {known}"
                )
            return pq.read_table(file, columns=[name]).column(0).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise BenchError(f"data set `parquet`: {file} is no Parquet file: {error}") from None


def _with_validation(found: dict[str, list[Picture]]) -> Pictures:
    train, validation = found["train"], found.get("validation")
    if validation is None:
        kept, held = held_out(len(train))
        train, validation = [train[i] for i in kept], [train[i] for i in held]
    return train, validation, found["test"]


def _folders(place: Path) -> list[str]:
    """Names of the classes in a folder."""
    try:
        names = sorted(entry.name for entry in place.iterdir() if _shown(entry) and entry.is_dir())
    except OSError as error:
        raise BenchError(
            f"data set `image_folder`: cannot read {place}: {error.strerror}; "
            "it must hold a folder for each class"
        ) from None
    if not names:
        raise BenchError(f"data set `image_folder`: {place} holds no folder for a class")
    return names


def _images(place: Path, *, needed: bool) -> list[Path]:
    files = sorted(f for f in place.iterdir() if _shown(f)) if place.is_dir() else []
    if needed and not files:
        raise BenchError(f"data set `image_folder`: class {place.name} has no image in {place}")
    return files


def _shown(entry: Path) -> bool:
    return not entry.name.startswith(".")
