"""A sampler that reads a Gaussian window around each point."""

import math
from typing import final

from jaxtyping import Float
from torch import Tensor

from .padding import Rule
from .sampler import Sampler
from .separable import separable_sum

# In sigmas. Pixels farther away would have less than 4e-4 of the weight of the nearest.
_REACH = 4


@final
class Gaussian(Sampler):
    """The mean of the pixels around a point, weighted by a Gaussian (DRAW: Gregor et al., 2015).

    On an attention grid it is DRAW's filter bank, F_Y U F_X^T, and it takes any other grid too. It
    blurs, and gradients reach as far as its window. The weights on each axis sum to one over the
    pixels in the window, those outside the image included, which `padding` gives; DRAW leaves those
    out. The `(2 ceil(4 sigma)) ** dims` pixels of each point are held at once.

    Args:
        sigma: The standard deviation, in pixels of the image; the window ends at 4 sigma, or at
            one pixel if that is more.

    Raises:
        ValueError: If `sigma` is not positive.

    Example:
        >>> import torch
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> image = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
        >>> Gaussian(sigma=2.0)(image, grid, padding="border", align_corners=True)
        tensor([[[[0.5000]]]])
    """

    interpolates = False
    has_exact_gradient = True
    is_pointwise = True

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise ValueError(f"`sigma` must be a positive number of pixels, got {sigma}.")
        self.sigma = sigma

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        reach = math.ceil(self._radius())
        return separable_sum(
            image, grid, self._weigh, reach, padding=padding, align_corners=align_corners
        )

    def _weigh(self, distance: Tensor) -> Tensor:
        is_outside = distance.abs() >= self._radius()
        logits = -0.5 * (distance / self.sigma).square()
        return logits.masked_fill(is_outside, -math.inf).softmax(1)

    def _radius(self) -> float:
        # Within one pixel of a point there is always a pixel.
        return max(_REACH * self.sigma, 1.0)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"
