"""Several looks at one image, all from one localisation network."""

from typing import Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .spatial_transformer import SpatialTransformer, Warp

Join = Literal["channels", "batch"]


@final
class Glimpses(nn.Module):
    """Warp an image several times, by the several `theta` of one localisation network.

    The parallel transformers with shared localisation of Jaderberg et al., 2015, 4.3, when the
    network has several poses; the glimpses of Sønderby et al., 2015, when it is recurrent. The
    image is not copied.

    Args:
        transformer: One whose localisation network gives `theta` of shape (batch, n, num_params).
        join: "channels" puts the n outputs one after the other on the channels; "batch" makes each
            an image of its own, those of image i at i * n to i * n + n - 1.

    Raises:
        ValueError: If `join` is not known, or `theta` has not the shape above.

    Example:
        >>> import stn_core
        >>> crop, body = stn_core.transforms.Attention(), stn_core.localisation.FCN((3, 8, 8))
        >>> poses = stn_core.tile_poses(crop, (1, 2))
        >>> network = stn_core.LocalisationNetwork(body, crop, poses=poses)
        >>> Glimpses(SpatialTransformer(network, crop))(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(self, transformer: SpatialTransformer, *, join: Join = "channels") -> None:
        super().__init__()
        self.transformer = transformer
        self.join: Join = check_join(join)

    def forward(
        self, image: Float[Tensor, "batch channels *in_size"]
    ) -> Float[Tensor, "joined_batch joined_channels *out_size"]:
        """The joined outputs."""
        return self.warp(image).output

    def warp(self, image: Float[Tensor, "batch channels *in_size"]) -> Warp:
        """The joined outputs and the `theta` that made them, (batch, n, num_params)."""
        theta = self.transformer.localisation(image)
        if theta.ndim != 3 or theta.shape[1] == 0:
            raise ValueError(
                "`transformer` must have a localisation network that gives theta of shape "
                f"(batch, n, num_params), got {tuple(theta.shape)}."
            )
        outputs = [self.transformer.warp_by(each, image) for each in theta.unbind(1)]
        return Warp(join_outputs(outputs, self.join), theta)

    def extra_repr(self) -> str:
        return f"join={self.join!r}"


def check_join(join: Join) -> Join:
    """Refuse a way of joining that is not known."""
    if join not in get_args(Join):
        raise ValueError(f'`join` must be "channels" or "batch", got {join!r}.')
    return join


def join_outputs(
    outputs: list[Float[Tensor, "batch channels *size"]], join: Join
) -> Float[Tensor, "joined_batch joined_channels *size"]:
    """Put outputs of one size on the channels, or in the batch, those of one image together."""
    if join == "channels":
        return torch.cat(outputs, dim=1)
    return torch.stack(outputs, dim=1).flatten(0, 1)
