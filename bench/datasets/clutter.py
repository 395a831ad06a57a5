"""Images put on a larger canvas, alone or among patches of others: the paper's T and TC."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from .dataset import as_float
from .distortion import room


class T:
    """The paper's T: put anywhere on a larger canvas, at whole pixels.

    Args:
        canvas: Side of the square output in pixels, no smaller than an image.
    """

    def __init__(self, *, canvas: Annotated[int, Ge(1)] = 60) -> None:
        self.canvas = canvas

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        room((self.canvas, self.canvas), height, width)
        return self.canvas, self.canvas

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        canvas = images.new_zeros(*images.shape[:2], *self.out_size(*images.shape[-2:]))
        put_anywhere(canvas, images, generator)
        return canvas


class TC:
    """The paper's TC: put anywhere on a larger canvas, which patches of other images clutter.

    The paper gives 16 patches of 6×6 for co-localisation; for classification others read 6.

    Args:
        canvas: Side of the square output in pixels, no smaller than an image.
        patches: Number of patches.
        patch_size: Side of a square patch in pixels, no larger than an image.
    """

    def __init__(
        self,
        *,
        canvas: Annotated[int, Ge(1)] = 60,
        patches: Annotated[int, Ge(0)] = 16,
        patch_size: Annotated[int, Ge(1)] = 6,
    ) -> None:
        self.canvas, self.patches, self.patch_size = canvas, patches, patch_size

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        room((self.canvas, self.canvas), height, width)
        if self.patch_size > min(height, width):
            raise ValueError(
                f"`patch_size` must be at most {min(height, width)} for images of "
                f"{height}×{width}, got {self.patch_size}."
            )
        return self.canvas, self.canvas

    def __call__(self, images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        canvas = images.new_zeros(*images.shape[:2], *self.out_size(*images.shape[-2:]))
        put_anywhere(canvas, images, generator)
        return clutter(canvas, others, self.patches, self.patch_size, generator)


def clutter(
    canvas: Tensor, others: Tensor, patches: int, size: int, generator: torch.Generator
) -> Tensor:
    """Put square patches of random places of random `others` anywhere on each canvas, in place."""
    count, device, window = (len(canvas), patches), canvas.device, (size, size)
    chosen = torch.randint(len(others), count, generator=generator, device=device)
    cut = _window(others, places(others, count, window, generator), window)
    cut += chosen[:, :, None, None, None] * others[0].numel()
    pieces = as_float(others.flatten()[cut])
    return put(canvas, pieces, places(canvas, count, window, generator))


def put_anywhere(canvas: Tensor, images: Tensor, generator: torch.Generator) -> Tensor:
    """Lay each image on its canvas at a random place, in place; gives the places `(count, 2)`."""
    start = places(canvas, (len(images), 1), images.shape[-2:], generator)
    put(canvas, images[:, None], start)
    return start[:, 0]


def places(
    images: Tensor, count: tuple[int, int], size: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Random places, top row and left column, of windows within images: `(*count, 2)`."""
    height, width = images.shape[-2:]
    free = torch.tensor([height - size[0] + 1, width - size[1] + 1], device=images.device)
    u = torch.rand(*count, 2, generator=generator, device=images.device)
    # The product rounds up to the bound for the largest u.
    return (u * free).long().minimum(free - 1)


def put(canvas: Tensor, pieces: Tensor, place: Tensor) -> Tensor:
    """Lay pieces `(count, pieces, channels, …)` on each canvas, in place: the brightest is seen."""
    index = _window(canvas, place, pieces.shape[-2:])
    canvas.flatten(1).scatter_reduce_(1, index.flatten(1), pieces.flatten(1), "amax")
    return canvas


def _window(images: Tensor, place: Tensor, size: tuple[int, ...]) -> Tensor:
    """Where windows lie within a flattened image: `(count, pieces, channels, *size)`."""
    channels, height, width = images.shape[1:]
    rows = torch.arange(size[0], device=place.device)[:, None] * width
    columns = torch.arange(size[1], device=place.device)
    every = torch.arange(channels, device=place.device)[:, None, None] * (height * width)
    start = place[..., 0] * width + place[..., 1]
    return start[..., None, None, None] + (every + rows + columns)
