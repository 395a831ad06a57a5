"""Random distortions, written apart from `stn_core`: a shared error would cancel itself."""

import math
from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional as F

from .dataset import Split, as_float


class Distortion(Protocol):
    """What a distortion is: images and a random generator give distorted images."""

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the distorted images."""
        ...

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        """Distort each image of a batch on its own.

        Args:
            images: `(count, channels, height, width)`, float in [0, 1].
            others: All training images, uint8 or float in [0, 1], to take clutter from.
            generator: All chance comes from it; it is on the device of `images`.
        """
        ...


def distorted(
    distortion: Distortion | None,
    split: Split,
    index: Tensor,
    train: Split,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Examples that are one image each, distorted or not; see `Dataset.examples`."""
    images = as_float(split.images[index])
    if distortion is not None:
        images = distortion(images, train.images, generator)
    return images, split.targets[index]


def distorted_shape(
    distortion: Distortion | None, channels: int, height: int, width: int
) -> tuple[int, ...]:
    """Shape of an example that is one image of this size, distorted or not."""
    size = distortion.out_size(height, width) if distortion else (height, width)
    return channels, *size


class Affine:
    """Rotates, scales and moves each image about its centre; what comes from outside is 0.

    Args:
        rotation: Largest angle in degrees, either way.
        scale: Smallest and largest magnification.
        translation: Largest shift in pixels along each axis.
        canvas: Side of the square output in pixels; None keeps the input's size.

    Example:
        >>> Affine(rotation=90, canvas=42).out_size(28, 28)
        (42, 42)
    """

    def __init__(
        self,
        *,
        rotation: Annotated[float, Ge(0), Le(180)] = 0,
        scale: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (1, 1),
        translation: Annotated[float, Ge(0)] = 0,
        canvas: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        self.rotation, self.scale = math.radians(rotation), ordered(scale)
        self.translation, self.canvas = translation, canvas

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        return (height, width) if self.canvas is None else (self.canvas, self.canvas)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Angles in radians and scales `(count,)`, shifts `(x, y)` in pixels `(count, 2)`."""
        u = torch.rand(count, 4, generator=generator, device=generator.device)
        angle = (2 * u[:, 0] - 1) * self.rotation
        scale = self.scale[0] + u[:, 1] * (self.scale[1] - self.scale[0])
        return angle, scale, (2 * u[:, 2:] - 1) * self.translation

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        return self.apply(images, *self.draw(len(images), generator))

    def apply(self, images: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Distort image i by angle i, then magnification i, then shift i (all about the centre)."""
        in_height, in_width = images.shape[-2:]
        height, width = self.out_size(in_height, in_width)
        y = torch.arange(height, device=images.device) - (height - 1) / 2
        x = torch.arange(width, device=images.device) - (width - 1) / 2
        x = x[None, None, :] - shift[:, 0, None, None]
        y = y[None, :, None] - shift[:, 1, None, None]
        cos = (torch.cos(angle) / scale)[:, None, None]
        sin = (torch.sin(angle) / scale)[:, None, None]
        # The way back: from a pixel of the output to where it lies in the input.
        grid_x = (cos * x + sin * y) * (2 / in_width)
        grid_y = (-sin * x + cos * y) * (2 / in_height)
        grid = torch.stack([grid_x, grid_y], dim=-1)
        return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


class R:
    """The paper's R: rotated about the centre.

    Args:
        rotation: Largest angle in degrees, either way.
    """

    def __init__(self, *, rotation: Annotated[float, Ge(0), Le(180)] = 90) -> None:
        self._affine = Affine(rotation=rotation)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        return self._affine(images, others, generator)


class RTS:
    """The paper's RTS: rotated, scaled, and put anywhere on a larger canvas.

    The frame of the image, before it is rotated and scaled about its centre, stays on the canvas.

    Args:
        rotation: Largest angle in degrees, either way.
        scale: Smallest and largest magnification.
        canvas: Side of the square output in pixels, no smaller than an image.
    """

    def __init__(
        self,
        *,
        rotation: Annotated[float, Ge(0), Le(180)] = 45,
        scale: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.7, 1.2),
        canvas: Annotated[int, Ge(1)] = 42,
    ) -> None:
        self._affine = Affine(rotation=rotation, scale=scale, canvas=canvas)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        canvas = self._affine.out_size(height, width)
        room(canvas, height, width)
        return canvas

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        angle, scale, _ = self._affine.draw(len(images), generator)
        height, width = images.shape[-2:]
        down, right = room(self.out_size(height, width), height, width)
        u = torch.rand(len(images), 2, generator=generator, device=images.device)
        shift = (u - 0.5) * u.new_tensor([right, down])
        return self._affine.apply(images, angle, scale, shift)


def ordered(scale: tuple[float, float]) -> tuple[float, float]:
    """Smallest and largest magnification.

    Raises:
        ValueError: They are the other way round.
    """
    if scale[0] > scale[1]:
        raise ValueError(f"`scale` must be [smallest, largest], got {list(scale)}.")
    return scale[0], scale[1]


def room(canvas: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """How far an image can go down and right on a canvas.

    Raises:
        ValueError: The image is larger than the canvas.
    """
    if height > canvas[0] or width > canvas[1]:
        raise ValueError(
            f"`canvas` must be at least {max(height, width)} for images of {height}×{width}, "
            f"got {canvas[0]}."
        )
    return canvas[0] - height, canvas[1] - width
