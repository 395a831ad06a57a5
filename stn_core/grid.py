"""The coordinate convention of the whole library, in code.

A point is `(x, y)` or `(x, y, z)`: x, along the width, comes first, while a size is
`(height, width)` or `(depth, height, width)` as in the shape of an image. Normalised coordinates
run over [-1, 1]: with `align_corners=False` -1 and 1 are the outer edges of the first and the last
pixel, with `align_corners=True` their centres. Pixel coordinates count pixel centres from 0. A side
of one pixel lies at the normalised coordinate 0. `docs/conventions.md` has an example.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def canonical_grid(
    size: Sequence[int],
    *,
    align_corners: bool,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*size dims"]:
    """The regular grid of target points, one per output pixel, in normalised coordinates.

    Args:
        size: Two or three lengths, `(height, width)` or `(depth, height, width)`.
        align_corners: Whether -1 and 1 are centres of pixels (True) or edges of the image (False).
        dtype: As for `torch.empty`.
        device: As for `torch.empty`.

    Raises:
        ValueError: If `size` is not two or three lengths.

    Example:
        >>> canonical_grid((1, 2), align_corners=False)[0, :, 0]
        tensor([-0.5000,  0.5000])
    """
    if len(size) not in (2, 3):
        raise ValueError(f"`size` must be 2 or 3 lengths, got {tuple(size)}.")
    sides = [
        _from_pixels(
            torch.arange(n, dtype=dtype or torch.get_default_dtype(), device=device),
            n,
            align_corners,
        )
        for n in size
    ]
    return torch.stack(torch.meshgrid(*sides, indexing="ij")[::-1]).movedim(0, -1)


def shared_grid(
    size: Sequence[int], *, align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "*size dims"]:
    """The canonical grid, made once (see `kept`): not to be written in."""
    return kept(_grid, tuple(size), align_corners, dtype, device)


def kept(build: Callable[..., Tensor], *key: Hashable) -> Tensor:
    """The constant `build(*key)` from a cache that all modules share, of the last 16 constants.

    So no module holds what depends on the size of an image, and none makes it twice. While a graph
    is traced the constant is made in the graph, and under the transforms of torch.func it is made
    anew, since what they make cannot outlive them.
    """
    if is_traced():
        return build(*key)
    constant = _kept(build, *key)
    if constant._version:
        # Somebody wrote in it.
        _kept.cache_clear()
        constant = _kept(build, *key)
    return constant


def is_traced() -> bool:
    """Whether torch traces a graph, or runs under a transform of torch.func or a dispatch mode."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or peek_interpreter_stack() is not None
        or is_in_torch_dispatch_mode()
    )


def to_pixels(
    points: Float[Tensor, "*batch dims"], size: Sequence[int], *, align_corners: bool
) -> Float[Tensor, "*batch dims"]:
    """Pixel coordinates of normalised points in an image of this size.

    On a side of one pixel `align_corners=True` has no scale, so every coordinate there is pixel 0.
    """
    return map_axes(lambda x, n: (x * _span(n, align_corners) + (n - 1)) / 2, points, size)


def from_pixels(
    pixels: Float[Tensor, "*batch dims"], size: Sequence[int], *, align_corners: bool
) -> Float[Tensor, "*batch dims"]:
    """Normalised coordinates of pixel coordinates, the inverse of `to_pixels`."""
    return map_axes(lambda x, n: _from_pixels(x, n, align_corners), pixels, size)


def map_axes(
    function: Callable[[Tensor, int], Tensor],
    points: Float[Tensor, "*batch dims"],
    size: Sequence[int],
) -> Float[Tensor, "*batch dims"]:
    """Apply `function(coordinate, length of that side)` to x, then y, then z.

    Raises:
        ValueError: If the points have not as many coordinates as `size` has lengths.
    """
    if points.shape[-1] != len(size):
        raise ValueError(
            f"`size` must have {points.shape[-1]} lengths as the points have, got {tuple(size)}."
        )
    axes = zip(points.unbind(-1), reversed(size), strict=True)
    return torch.stack([function(x, n) for x, n in axes]).movedim(0, -1)


@lru_cache(maxsize=16)
def _kept(build: Callable[..., Tensor], *key: Hashable) -> Tensor:
    # A constant that was made in inference mode could not be used in training.
    with torch.inference_mode(False), torch.no_grad():
        return build(*key)


def _grid(
    size: tuple[int, ...], align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return canonical_grid(size, align_corners=align_corners, dtype=dtype, device=device)


def _span(n: int, align_corners: bool) -> int:
    return n - 1 if align_corners else n


def _from_pixels(x: Tensor, n: int, align_corners: bool) -> Tensor:
    return (2 * x - (n - 1)) / max(_span(n, align_corners), 1)
