"""Image files decoded, cropped and resized once, and read from a cache from then on."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import BenchError
from ..study.content import file_hash
from .dataset import Split, Splits
from .download import data_folder

PARTS = ("train", "validation", "test")
CHUNK = 256


@dataclass(frozen=True)
class Picture:
    """An image file, or the bytes of one, and what it shows.

    Attributes:
        source: The file, or its content.
        target: The class, or one for each label.
        name: What messages call it.
        box: Left, top, right, bottom of the part to keep, in pixels; what lies outside the image is
            left out. None: the largest square in the middle.
    """

    source: Path | bytes
    target: int | tuple[int, ...]
    name: str
    box: tuple[float, float, float, float] | None = None


Pictures = Sequence[Sequence[Picture]]


def decoded(
    dataset: str,
    key: Mapping[str, Any],
    size: int,
    read: Callable[[], Pictures],
    channels: int = 3,
) -> Splits:
    """Training, validation and test pictures as uint8 `(count, channels, size, size)`.

    The images are mapped into memory from the user's cache; they are made where they are not there
    yet, or are not any more what was written.

    Args:
        dataset: Name of the data set.
        key: All that the pictures depend on but for `size` and `channels`.
        size: Side of the images; the part that is kept is resized to it.
        read: Gives the pictures of the three splits; called only where they are to be decoded.
        channels: 1 for grey, 3 for colour.

    Raises:
        BenchError: A picture cannot be decoded, or the cache cannot be written.
    """
    content = {**key, "size": size, "channels": channels}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    folder = data_folder(None) / "decoded" / f"{dataset}-{digest[:16]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            # Of several processes one decodes and the others wait for it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _make(dataset, folder, size, read(), channels)
    except OSError as error:
        raise BenchError(f"data set `{dataset}`: cannot use the cache {folder}: {error}") from None
    return Splits(*(Split(*(_load(folder / name) for name in _names(part))) for part in PARTS))


def held_out(count: int, most: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Positions for training and for validation: a fixed draw of a tenth, of at most `most`."""
    order = np.random.default_rng(0).permutation(count)
    kept = count - min(count // 10, most)
    return np.sort(order[:kept]), np.sort(order[kept:])


def _names(part: str) -> tuple[str, str]:
    return f"{part}.images.npy", f"{part}.targets.npy"


def _load(file: Path) -> torch.Tensor:
    # Copied on writing, since torch does not take what cannot be written to; nobody writes.
    return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))


def _is_whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / "sha256.json").read_text())
        return all(file_hash(folder / name) == known for name, known in hashes.items())
    except (OSError, ValueError):
        return False


def _make(dataset: str, folder: Path, size: int, pictures: Pictures, channels: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        place = Path(made) / "whole"
        place.mkdir()
        for part, some in zip(PARTS, pictures, strict=True):
            images, targets = (place / name for name in _names(part))
            _decode(dataset, images, size, some, channels)
            np.save(targets, np.array([p.target for p in some], np.int64))
        hashes = {file.name: file_hash(file) for file in place.iterdir()}
        (place / "sha256.json").write_text(json.dumps(hashes))
        os.replace(place, folder)


def _decode(dataset: str, file: Path, size: int, some: Sequence[Picture], channels: int) -> None:
    """Write pictures to a file, a chunk in memory at a time."""
    if not some:
        np.save(file, np.zeros((0, channels, size, size), np.uint8))
        return
    shape = (len(some), channels, size, size)
    images = np.lib.format.open_memmap(file, "w+", np.uint8, shape)

    def one(picture: Picture) -> np.ndarray:
        return _pixels(dataset, picture, size, channels)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(some), CHUNK):
            chunk = some[start : start + CHUNK]
            images[start : start + len(chunk)] = np.stack(list(pool.map(one, chunk)))
    images.flush()


def _pixels(dataset: str, picture: Picture, size: int, channels: int) -> np.ndarray:
    source = picture.source
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            whole = image.convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise BenchError(f"data set `{dataset}`: there is no {picture.name}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is empty or no image" if "cannot identify" in str(error) else error
        raise BenchError(f"data set `{dataset}`: cannot decode {picture.name}: {reason}") from None
    width, height = whole.size
    if picture.box is None:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    else:
        left, top, right, bottom = picture.box
        box = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
        if box[0] >= box[2] or box[1] >= box[3]:
            raise BenchError(
                f"data set `{dataset}`: the box {picture.box} lies outside {picture.name}, "
                f"which is {width}×{height}"
            )
    pixels = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)
