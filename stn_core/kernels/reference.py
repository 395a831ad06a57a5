"""The paper's sums, written as they stand there: slow, and the measure of the other backends."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ..grid import to_pixels
from ..samplers.interpolation import Bilinear, Nearest
from ..samplers.padding import Padding, pad_pixels
from ..samplers.sampler import Sampler


def integer_kernel(
    x: Float[Tensor, "*points 1"], m: Float[Tensor, " n"]
) -> Float[Tensor, "*points n"]:
    """One where pixel m is nearest to x, else zero (Jaderberg et al., 2015, eq. 4)."""
    return (torch.floor(x + 0.5) == m).to(x.dtype)


def bilinear_kernel(
    x: Float[Tensor, "*points 1"], m: Float[Tensor, " n"]
) -> Float[Tensor, "*points n"]:
    """A hat of width 2 around x (Jaderberg et al., 2015, eq. 5)."""
    return (1 - (x - m).abs()).clamp(min=0)


_KERNELS = {Nearest: integer_kernel, Bilinear: bilinear_kernel}


@final
class Reference(Sampler):
    """A sampler as the sum over all pixels that the paper writes (eq. 3).

    Autograd makes eq. 6 and 7 of it. It holds a weight for each pair of an output and an input
    pixel: for small images only.

    Args:
        sampler: A sampler that has a kernel in the paper, `Nearest` or `Bilinear`.

    Raises:
        ValueError: If it has none.

    Example:
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> read = Reference(Bilinear())
        >>> read(torch.ones(1, 1, 3, 5), grid, padding="zeros", align_corners=False)
        tensor([[[[1.]]]])
    """

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        if type(sampler) not in _KERNELS:
            names = " or ".join(kind.__name__ for kind in _KERNELS)
            raise ValueError(
                f'`sampler` must be {names} for the backend "reference", '
                f"got {type(sampler).__name__}."
            )
        self.kernel = _KERNELS[type(sampler)]
        self.interpolates = sampler.interpolates
        self.has_exact_gradient = sampler.has_exact_gradient

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Padding,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        size = image.shape[2:]
        pixels = to_pixels(grid, size, align_corners=align_corners)
        pixels = pad_pixels(pixels, size, padding=padding, align_corners=align_corners)
        weight = pixels.new_ones(1, 1, 1)
        for x, n in zip(pixels.flatten(1, -2).unbind(-1), reversed(size), strict=True):
            side = self.kernel(x.unsqueeze(-1), torch.arange(n, dtype=x.dtype, device=x.device))
            weight = (side.unsqueeze(-1) * weight.unsqueeze(2)).flatten(2)
        output = (image.flatten(2).unsqueeze(2) * weight.unsqueeze(1)).sum(-1)
        return output.unflatten(2, grid.shape[1:-1])
