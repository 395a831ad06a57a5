"""The spatial transformer: localisation network, transform and sampler together."""

from collections.abc import Sequence
from typing import NamedTuple, final, get_args

from jaxtyping import Float
from torch import Tensor, nn

from ._warp import check_output_size, sampling_grid, warp
from .backends import Backend
from .samplers.interpolation import Bilinear
from .samplers.padding import Padding, check_padding
from .samplers.sampler import Sampler
from .transforms.transform import Transform


class Warp(NamedTuple):
    """What a spatial transformer did to a batch of images.

    Example:
        >>> import torch
        >>> Warp(output=torch.zeros(1, 1, 2, 2), theta=torch.zeros(1, 2)).theta
        tensor([[0., 0.]])
    """

    output: Float[Tensor, "batch channels *out_size"]
    theta: Float[Tensor, "batch ..."]


@final
class SpatialTransformer(nn.Module):
    """Predict a warp from the image and apply it to the image (Jaderberg et al., 2015).

    Args:
        localisation: Any module from images to `theta`; a `LocalisationNetwork` starts at the
            identity.
        transform: The family of maps that `theta` is for.
        sampler: How the image is read; `Bilinear()` when None.
        output_size: `(height, width)` or `(depth, height, width)`; the image's own when None.
        padding: What lies outside the image: "zeros", "border", "reflection", or a value to fill it
            with, one number or a tuple of one per channel.
        align_corners: Whether -1 and 1 are centres of pixels (True) or edges of the image (False).
        backend: Who computes the output, as for `warp`.

    Raises:
        ValueError: If `output_size`, `padding` or `backend` is not as required.

    Example:
        >>> import torch, stn_core
        >>> transform = stn_core.transforms.Affine()
        >>> body = stn_core.localisation.CNN((1, 28, 28))
        >>> network = stn_core.LocalisationNetwork(body, transform)
        >>> SpatialTransformer(network, transform)(torch.zeros(4, 1, 28, 28)).shape
        torch.Size([4, 1, 28, 28])
    """

    def __init__(
        self,
        localisation: nn.Module,
        transform: Transform,
        sampler: Sampler | None = None,
        *,
        output_size: Sequence[int] | None = None,
        padding: Padding = "zeros",
        align_corners: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        check_padding(padding)
        if output_size is not None:
            check_output_size(output_size, transform)
        if backend not in get_args(Backend):
            raise ValueError(f"`backend` must be one of {get_args(Backend)}, got {backend!r}.")
        self.localisation = localisation
        self.transform = transform
        self.sampler = Bilinear() if sampler is None else sampler
        self.output_size = None if output_size is None else tuple(output_size)
        self.padding: Padding = padding
        self.align_corners = align_corners
        self.backend: Backend = backend

    def forward(
        self, image: Float[Tensor, "batch channels *in_size"]
    ) -> Float[Tensor, "batch channels *out_size"]:
        """The warped image, so that the module fits in `nn.Sequential`."""
        return self.warp(image).output

    def warp(self, image: Float[Tensor, "batch channels *in_size"]) -> Warp:
        """The warped image and the `theta` that warped it."""
        theta = self.localisation(image)
        return Warp(self.warp_by(theta, image), theta)

    def warp_by(
        self, theta: Float[Tensor, "batch ..."], image: Float[Tensor, "batch channels *in_size"]
    ) -> Float[Tensor, "batch channels *out_size"]:
        """The image warped by a `theta` that is known already."""
        return warp(
            image,
            theta,
            self.transform,
            sampler=self.sampler,
            output_size=self.output_size,
            align_corners=self.align_corners,
            padding=self.padding,
            backend=self.backend,
        )

    def grid(
        self, theta: Float[Tensor, "batch ..."], size: Sequence[int]
    ) -> Float[Tensor, "batch *size dims"]:
        """The source point of each pixel of an output of this size."""
        return sampling_grid(theta, self.transform, size, align_corners=self.align_corners)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, padding={self.padding!r}, "
            f"align_corners={self.align_corners}, backend={self.backend!r}"
        )
