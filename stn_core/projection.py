"""The projection of a volume to an image."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@final
class Projection(nn.Module):
    """The sum over depth, W_nm = sum_l V_nml, that stands behind a 3-D spatial transformer.

    Of a volume of depth 1, such as a `Slice`, it is that one plane.

    Example:
        >>> import torch
        >>> Projection()(torch.ones(1, 1, 4, 2, 2))
        tensor([[[[4., 4.],
                  [4., 4.]]]])
    """

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        if volume.ndim != 5:
            raise ValueError(
                "`volume` must have shape (batch, channels, depth, height, width), "
                f"got {tuple(volume.shape)}."
            )
        return volume.sum(2)
