"""What a data set is, and its examples on the device: drawn from a seed, tested on fixed ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# A fixed set is made in batches of this size, each from a seed of its own.
FIXED_BATCH = 250
VALIDATION_SEED, TEST_SEED = 20150604, 20150605


@dataclass(frozen=True)
class Split:
    """What examples are made of: images with their targets, in memory.

    Attributes:
        images: `(count, channels, height, width)`: uint8, or float in [0, 1].
        targets: `(count,)` or `(count, labels)`, int64; boxes where there is nothing to classify.
        boxes: Where things lie in each example, for a data set that needs it.
    """

    images: Tensor
    targets: Tensor
    boxes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> "Split":
        """The same on a device."""
        boxes = None if self.boxes is None else self.boxes.to(device)
        return Split(self.images.to(device), self.targets.to(device), boxes)


@dataclass(frozen=True)
class Splits:
    """Three splits, the same for every seed, disjoint but where a task has no test of its own."""

    train: Split
    validation: Split
    test: Split

    def to(self, device: torch.device) -> "Splits":
        """The same on a device."""
        return Splits(self.train.to(device), self.validation.to(device), self.test.to(device))


class Dataset(Protocol):
    """What a data set is; made of settings alone.

    Its class has a whole number as `version`, which grows when the content changes and is part of a
    trial's identity.
    """

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of an example, `(channels, height, width)` or with depth before height."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes of each label."""
        ...

    @property
    def labels(self) -> int:
        """Number of labels of an example."""
        ...

    def load(self) -> Splits:
        """Read what examples are made of; raises `BenchError` where it is not there."""
        ...

    def examples(
        self, split: Split, index: Tensor, train: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Make one example of each entry of `index`, with its target.

        Args:
            split: The split that the examples are of.
            index: `(count,)` positions in it.
            train: The training split, for clutter.
            generator: All chance comes from it; it is on the device of `split`.

        Returns:
            Float images `(count, *in_shape)`, and int64 targets `(count,)` or `(count, labels)`.
        """
        ...


class Resident:
    """A data set on its device: batches drawn from a seed, validation and test sets fixed.

    Args:
        dataset: Makes the examples.
        splits: What it loaded, on the device.
        seed: Decides the training batches and nothing else.
    """

    def __init__(self, dataset: Dataset, splits: Splits, seed: int) -> None:
        self.dataset, self.splits = dataset, splits
        self.device = splits.train.images.device
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """The next training batch: `size` examples drawn with replacement, freshly distorted."""
        train = self.splits.train
        index = torch.randint(
            len(train), (size,), generator=self._generator, device=train.targets.device
        )
        return self.dataset.examples(train, index, train, self._generator)

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation set in batches of at most `size`, the same ones every time."""
        return self._fixed(self.splits.validation, size, VALIDATION_SEED)

    def test(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The test set in batches of at most `size`, the same ones every time."""
        return self._fixed(self.splits.test, size, TEST_SEED)

    def state(self) -> Tensor:
        """State of the generator: after `restore` of it the same batches follow, to the bit."""
        return self._generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Go on from a `state`."""
        self._generator.set_state(state.cpu())

    def _fixed(self, split: Split, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator(self.device)
        every = torch.arange(len(split), device=self.device)
        for i, index in enumerate(every.split(FIXED_BATCH)):
            generator.manual_seed(seed + i)
            made = self.dataset.examples(split, index, self.splits.train, generator)
            yield from zip(*(part.split(size) for part in made), strict=True)


def as_float(images: Tensor) -> Tensor:
    """Images in [0, 1] as float."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
