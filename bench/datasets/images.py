"""Labelled images held in memory, and what hands them to a model batch by batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .distortion import Distortion

TEST_SEED = 20150605


@dataclass(frozen=True)
class Images:
    """Images `(count, channels, height, width)` in [0, 1] and labels `(count,)`, in memory."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class ResidentImages:
    """Images on the device, distorted there: batches drawn from a seed, the test set fixed.

    Args:
        images: The undistorted images.
        distortion: What is done to each image, or None.
        device: Where images live and are distorted.
        seed: Decides the order of training images and their distortions; the test set does not
            depend on it.
    """

    def __init__(
        self, images: Images, distortion: Distortion | None, device: torch.device, seed: int
    ) -> None:
        self._images = images.train_images.to(device)
        self._labels = images.train_labels.to(device)
        self._distortion = distortion
        self._generator = torch.Generator(device).manual_seed(seed)
        fixed = torch.Generator(device).manual_seed(TEST_SEED)
        self.test_images = self._distorted(images.test_images.to(device), fixed)
        self.test_labels = images.test_labels.to(device)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """The next training batch: `size` images drawn with replacement, freshly distorted."""
        count = len(self._labels)
        index = torch.randint(count, (size,), generator=self._generator, device=self._labels.device)
        return self._distorted(self._images[index], self._generator), self._labels[index]

    def _distorted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images if self._distortion is None else self._distortion(images, generator)
