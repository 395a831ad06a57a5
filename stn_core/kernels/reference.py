"""The paper's sums, written as they stand there: slow, and the measure of the other backends."""

from collections.abc import Callable
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ..grid import to_pixels
from ..samplers.interpolation import Bicubic, Bilinear, Nearest, cubic_kernel
from ..samplers.kernel import Kernel
from ..samplers.padding import Rule, pad_side
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


def _of_distance(function: Callable[[Tensor], Tensor], x: Tensor, m: Tensor) -> Tensor:
    return function(x - m)


# The kernel of each kind, and how far it reaches in pixels.
_KERNELS: dict[type[Sampler], tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    Nearest: (integer_kernel, 1),
    Bilinear: (bilinear_kernel, 1),
    Bicubic: (partial(_of_distance, cubic_kernel), 2),
}


@final
class Reference(Sampler):
    """A sampler as the sum over all pixels that the paper writes (eq. 3).

    Autograd makes eq. 6 and 7 of it. It holds a weight for each pair of an output and an input
    pixel: for small images only.

    Args:
        sampler: A sampler that is a sum of eq. 3: `Nearest`, `Bilinear`, `Bicubic` or `Kernel`.

    Raises:
        ValueError: If it is another.

    Example:
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> read = Reference(Bilinear())
        >>> read(torch.ones(1, 1, 3, 5), grid, padding="zeros", align_corners=False)
        tensor([[[[1.]]]])
    """

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        if isinstance(sampler, Kernel):
            self.kernel, self.reach = partial(_of_distance, sampler.weigh), sampler.reach
        elif type(sampler) in _KERNELS:
            self.kernel, self.reach = _KERNELS[type(sampler)]
        else:
            names = ", ".join(kind.__name__ for kind in _KERNELS)
            raise ValueError(
                f'`sampler` must be {names} or Kernel for the backend "reference", '
                f"got {type(sampler).__name__}."
            )
        self.interpolates = sampler.interpolates
        self.has_exact_gradient = sampler.has_exact_gradient
        self.is_pointwise = sampler.is_pointwise

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        size = image.shape[2:]
        pixels = to_pixels(grid, size, align_corners=align_corners).flatten(1, -2)
        weight = pixels.new_ones(1, 1, 1)
        for x, n in zip(pixels.unbind(-1), reversed(size), strict=True):
            side = self._side(x, n, padding, align_corners)
            weight = (side.unsqueeze(-1) * weight.unsqueeze(2)).flatten(2)
        output = (image.flatten(2).unsqueeze(2) * weight.unsqueeze(1)).sum(-1)
        return output.unflatten(2, grid.shape[1:-1])

    def _side(self, x: Tensor, n: int, padding: Rule, align_corners: bool) -> Tensor:
        # The image goes on outside, so a point may come as near as leaves its surroundings as they
        # are: to the edge where nothing changes any more, or by whole periods of a mirrored image.
        whole = torch.floor(x.detach())
        if padding == "reflection":
            near = torch.remainder(whole, max(2 * (n - 1 if align_corners else n), 1))
        else:
            near = whole.clamp(-self.reach - 1, n + self.reach)
        m = torch.arange(-2 * self.reach, 2 * (n + self.reach), dtype=x.dtype, device=x.device)
        side = self.kernel((x - whole + near).unsqueeze(-1), m)
        home = pad_side(m, n, padding, align_corners)
        is_inside = (home >= 0) & (home < n)
        weight = side.new_zeros(*x.shape, n)
        return weight.index_add(-1, home.clamp(0, n - 1).long(), side * is_inside)
