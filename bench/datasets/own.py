"""Data sets of the user's own: how they are checked, and how they become splits."""

import numpy as np
import torch

from ..errors import BenchError
from .dataset import Split, Splits
from .decoded import held_out

# A path of the user's, absolute or relative to the study; what it holds is part of a trial's
# identity.
DataFile = str


def check_labels(where: str, labels: np.ndarray, count: int) -> None:
    """Refuse labels that are none.

    Raises:
        BenchError: With what is wrong with them.
    """
    if labels.dtype.kind not in "iu":
        raise BenchError(f"{where} must be whole numbers, got {labels.dtype}")
    if labels.ndim not in (1, 2) or 0 in labels.shape:
        raise BenchError(f"{where} must be (count,) or (count, labels), got {labels.shape}")
    if len(labels) != count:
        raise BenchError(f"{where} has {len(labels)} entries for {count} images")
    if labels.min() < 0:
        raise BenchError(f"{where} must count classes from 0, got {labels.min()}")


def check_classes(where: str, parts: dict[str, np.ndarray]) -> None:
    """Refuse a class that nothing is learned of; `parts` are labels, those of `train` among them.

    Raises:
        BenchError: A class has no training image, or labels differ in number.
    """
    train = parts["train"]
    for name, labels in parts.items():
        if labels.shape[1:] != train.shape[1:]:
            raise BenchError(
                f"{where}: an example has labels {train.shape[1:]} for training "
                f"and {labels.shape[1:]} in {name}"
            )
    known = np.unique(train)
    largest = max(int(labels.max()) for labels in parts.values())
    empty = np.setdiff1d(np.arange(largest + 1), known)
    if len(empty):
        raise BenchError(
            f"{where}: class {empty[0]} has no training image; "
            f"classes must be 0 to {largest} without a gap"
        )


def split_up(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray] | None,
    test: tuple[np.ndarray, np.ndarray],
) -> Splits:
    """Images and labels as splits; a fixed tenth of training is for validation where none is."""
    if validation is None:
        kept, held = held_out(len(train[1]))
        train, validation = (
            (train[0][kept], train[1][kept]),
            (train[0][held], train[1][held]),
        )
    return Splits(*(_split(*part) for part in (train, validation, test)))


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))
