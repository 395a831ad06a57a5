"""Samplers that interpolate: the paper's integer and bilinear kernels, and the bicubic one."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from ..grid import from_pixels, to_pixels
from .padding import Rule, pad_pixels
from .sampler import Sampler
from .separable import separable_sum


@final
class Bilinear(Sampler):
    """The bilinear kernel, trilinear in 3-D (Jaderberg et al., 2015, eq. 5).

    At the centre of a pixel the derivative by a coordinate does not exist; there the gradient is
    that of torch, the step to the next pixel, where eq. 7 has the pixel's own value.

    Example:
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> Bilinear()(torch.tensor([[[[0.0, 1.0]]]]), grid, padding="zeros", align_corners=True)
        tensor([[[[0.5000]]]])
    """

    interpolates = True
    has_exact_gradient = True
    is_pointwise = True

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        return grid_sample(
            image, grid, mode="bilinear", padding_mode=padding, align_corners=align_corners
        )


@final
class Nearest(Sampler):
    """The integer kernel: the pixel at floor(x + 0.5) (Jaderberg et al., 2015, eq. 4).

    torch rounds a half to the even pixel, the paper up to the next one; this does as the paper. The
    gradient by the grid is zero, so a localisation network learns nothing through it.

    Example:
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> Nearest()(torch.tensor([[[[0.0, 1.0]]]]), grid, padding="zeros", align_corners=True)
        tensor([[[[1.]]]])
    """

    interpolates = True
    has_exact_gradient = True
    is_pointwise = True

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        size = image.shape[2:]
        pixels = to_pixels(grid, size, align_corners=align_corners)
        pixels = pad_pixels(pixels, size, padding=padding, align_corners=align_corners)
        centres = from_pixels(torch.floor(pixels + 0.5), size, align_corners=False)
        return grid_sample(
            image, centres, mode="nearest", padding_mode="zeros", align_corners=False
        )


@final
class Bicubic(Sampler):
    """Cubic convolution with a = -0.75, tricubic in 3-D (Keys, 1981, as torch and OpenCV have it).

    Smoother than bilinear, with continuous gradients, and it overshoots at edges: the output can
    leave the range of the image. Another coefficient is a `Kernel`. Outside, `padding` gives the
    pixels that the kernel covers. In 3-D the 64 pixels of each point are held at once.

    Example:
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> image = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
        >>> Bicubic()(image, grid, padding="border", align_corners=True)
        tensor([[[[0.5000]]]])
    """

    interpolates = True
    has_exact_gradient = True
    is_pointwise = True

    def sample(
        self,
        image: Float[Tensor, "batch channels *in_size"],
        grid: Float[Tensor, "batch *out_size dims"],
        *,
        padding: Rule,
        align_corners: bool,
    ) -> Float[Tensor, "batch channels *out_size"]:
        if image.ndim == 4:
            return grid_sample(
                image, grid, mode="bicubic", padding_mode=padding, align_corners=align_corners
            )
        return separable_sum(
            image, grid, cubic_kernel, 2, padding=padding, align_corners=align_corners
        )


def cubic_kernel(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Keys' kernel of support 4, which keeps straight lines (Keys, 1981, eq. 4)."""
    a = -0.75
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
