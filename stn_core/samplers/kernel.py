"""A sampler with the user's own kernel."""

import math
from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from .padding import Rule
from .sampler import Sampler
from .separable import separable_sum


@final
class Kernel(Sampler):
    """Your own kernel k: the sum of U_nm k(x - m) k(y - n) (Jaderberg et al., 2015, eq. 3).

    The weights are taken as they are. Where they do not sum to one, a constant image is not kept,
    and a fill value is what the image is measured from. The `(2 ceil(radius)) ** dims` pixels of
    each point are held at once. `interpolates` is found by trying the kernel.

    Args:
        function: k, from distances in pixels to weights of the same shape, differentiable for
            gradients; a module with parameters may be it, and is then trained.
        radius: Half of the kernel's support, in pixels: farther away k counts as zero.

    Raises:
        ValueError: If `radius` or what `function` gives is not as required.

    Example:
        >>> lanczos = Kernel(lambda d: torch.sinc(d) * torch.sinc(d / 3), radius=3.0)
        >>> image, grid = torch.tensor([[[[0.0, 1.0]]]]), torch.zeros(1, 1, 1, 2)
        >>> lanczos(image, grid, padding="border", align_corners=True)
        tensor([[[[0.4971]]]])
    """

    has_exact_gradient = True
    is_pointwise = True

    def __init__(self, function: Callable[[Tensor], Tensor], radius: float) -> None:
        super().__init__()
        if not 0 < radius < math.inf:
            raise ValueError(f"`radius` must be a positive number of pixels, got {radius}.")
        self.function = function
        self.radius = radius
        self.reach = math.ceil(radius)
        pixels = torch.arange(-self.reach, self.reach + 1.0, device="cpu")
        with torch.no_grad():
            shape, weights = function(pixels).shape, self.weigh(pixels)
        if shape != pixels.shape:
            raise ValueError(
                "`function` must give one weight per distance, "
                f"got shape {tuple(shape)} for {tuple(pixels.shape)}."
            )
        self.interpolates = torch.allclose(weights, (pixels == 0).to(weights.dtype), atol=1e-6)

    def weigh(self, distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The kernel within its radius, zero beyond."""
        is_inside = distance.abs() <= self.radius
        # The function may have no finite value, or no finite slope, beyond its radius.
        return torch.where(is_inside, self.function(distance.where(is_inside, 0.0)), 0.0)

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        return separable_sum(
            image, grid, self.weigh, self.reach, padding=padding, align_corners=align_corners
        )

    def extra_repr(self) -> str:
        return f"radius={self.radius}"
