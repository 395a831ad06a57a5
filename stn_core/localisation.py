"""Localisation networks: they predict `theta` from the feature map."""

import math
from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from .head import Bounds, Head
from .transforms.transform import Transform


@final
class FCN(nn.Module):
    """Three fully connected layers over the flattened image (Jaderberg et al., 2015, A.4).

    Args:
        in_shape: `(channels, height, width)` or `(channels, depth, height, width)`.
        units: The width of each layer.

    Example:
        >>> import torch
        >>> FCN((1, 28, 28))(torch.zeros(4, 1, 28, 28)).shape
        torch.Size([4, 32])
    """

    def __init__(self, in_shape: Sequence[int], *, units: int = 32) -> None:
        super().__init__()
        self.in_shape = _check_shape(in_shape)
        self.num_features = units
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(in_shape), units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
        )

    def forward(
        self, image: Float[Tensor, "batch channels *size"]
    ) -> Float[Tensor, "batch num_features"]:
        _check_image(image, self.in_shape)
        return self.layers(image)


@final
class CNN(nn.Module):
    """Two convolutions over the image at half its size (Jaderberg et al., 2015, A.4).

    The paper's layers need 28 pixels a side. On a shorter side the image is not halved, and a
    window that is longer than its side shrinks to it, so that any size works.

    Args:
        in_shape: `(channels, height, width)` or `(channels, depth, height, width)`.
        channels: The width of each layer.

    Example:
        >>> import torch
        >>> CNN((1, 28, 28))(torch.zeros(4, 1, 28, 28)).shape
        torch.Size([4, 20])
    """

    def __init__(self, in_shape: Sequence[int], *, channels: int = 20) -> None:
        super().__init__()
        self.in_shape = _check_shape(in_shape)
        self.num_features = channels
        average, conv, maximum = _layers(len(in_shape) - 1)
        halve = tuple(2 if n >= 28 else 1 for n in in_shape[1:])
        size = [n // step for n, step in zip(in_shape[1:], halve, strict=True)]
        first = tuple(min(5, n) for n in size)
        size = [n - k + 1 for n, k in zip(size, first, strict=True)]
        pool = tuple(min(2, n) for n in size)
        size = [n // step for n, step in zip(size, pool, strict=True)]
        second = tuple(min(5, n) for n in size)
        size = [n - k + 1 for n, k in zip(size, second, strict=True)]
        self.layers = nn.Sequential(
            average(halve),
            conv(in_shape[0], channels, first),
            nn.ReLU(),
            maximum(pool),
            conv(channels, channels, second),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels * math.prod(size), channels),
            nn.ReLU(),
        )

    def forward(
        self, image: Float[Tensor, "batch channels *size"]
    ) -> Float[Tensor, "batch num_features"]:
        _check_image(image, self.in_shape)
        return self.layers(image)


@final
class LocalisationNetwork(nn.Module):
    """A body and a `Head` that gives `theta`, at the transform's identity to start with.

    Args:
        body: Any module from images to features: `CNN`, `FCN`, a timm model made with
            `num_classes=0`, or your own; features of more than one axis are flattened.
        transform: The family that `theta` is for; it is read here and not kept.
        num_features: How many features the body gives an image; when None what the body says of
            itself, in `num_features` (or timm's `head_hidden_size`).
        poses: As for `Head`; several give `theta` of shape (batch, n, num_params), for `Glimpses`.
        bounds: As for `Head`.

    Raises:
        ValueError: If the number of features is not known, the transform has no identity, or the
            poses or bounds do not fit.

    Example:
        >>> import torch
        >>> from stn_core.transforms import Attention
        >>> LocalisationNetwork(FCN((1, 5, 7)), Attention())(torch.rand(1, 1, 5, 7)).tolist()
        [[1.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        body: nn.Module,
        transform: Transform,
        *,
        num_features: int | None = None,
        poses: Tensor | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = Head(count_features(body, num_features), transform, poses=poses, bounds=bounds)

    def forward(
        self, image: Float[Tensor, "batch channels *size"]
    ) -> Float[Tensor, "batch *n num_params"]:
        return self.head(read_features(self.body, image, self.head.num_features))


def count_features(body: nn.Module, num_features: int | None) -> int:
    """The number of features that a body gives an image: the one given, or what the body says.

    Raises:
        ValueError: If neither is there.
    """
    # timm's `num_features` is the width before a convolutional head, which some models keep.
    for name in ("head_hidden_size", "num_features"):
        if num_features is None:
            num_features = getattr(body, name, None)
    if not isinstance(num_features, int):
        raise ValueError(
            "`num_features` must be given when the body has no such attribute, "
            f"got a {type(body).__name__} without it."
        )
    return num_features


def read_features(
    body: nn.Module, image: Float[Tensor, "batch channels *size"], num_features: int
) -> Float[Tensor, "batch num_features"]:
    """The flattened features of an image.

    Raises:
        ValueError: If they are not as many as was said.
    """
    features = body(image).flatten(1)
    if features.shape[1] != num_features:
        raise ValueError(
            f"`num_features` must be what the body gives an image, {features.shape[1]}, "
            f"got {num_features}."
        )
    return features


def _layers(dims: int) -> tuple[type[nn.Module], ...]:
    if dims == 2:
        return nn.AvgPool2d, nn.Conv2d, nn.MaxPool2d
    return nn.AvgPool3d, nn.Conv3d, nn.MaxPool3d


def _check_shape(in_shape: Sequence[int]) -> tuple[int, ...]:
    if len(in_shape) not in (3, 4) or min(in_shape) < 1:
        raise ValueError(
            "`in_shape` must be (channels, [depth,] height, width), all at least 1, "
            f"got {tuple(in_shape)}."
        )
    return tuple(in_shape)


def _check_image(image: Tensor, in_shape: tuple[int, ...]) -> None:
    if tuple(image.shape[1:]) != in_shape:
        raise ValueError(
            f"`image` must have shape (batch, {', '.join(map(str, in_shape))}), "
            f"got {tuple(image.shape)}."
        )
