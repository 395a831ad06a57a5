"""Several spatial transformers side by side, each with a localisation network of its own."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from .glimpses import Join, check_join, join_outputs
from .spatial_transformer import SpatialTransformer, Warp


@final
class Parallel(nn.Module):
    """Warp an image by several transformers, which may differ (Jaderberg et al., 2015, 4.3).

    Their outputs are of one size. For one localisation network for all see `Glimpses`.

    Args:
        transformers: At least one.
        join: As for `Glimpses`.

    Raises:
        ValueError: If there is no transformer, or `join` is not known.

    Example:
        >>> import torch, stn_core
        >>> shift = stn_core.transforms.Translation()
        >>> two = [SpatialTransformer(nn.Flatten(), shift) for _ in range(2)]
        >>> Parallel(two)(torch.zeros(5, 2, 1, 1)).shape
        torch.Size([5, 4, 1, 1])
    """

    def __init__(
        self, transformers: Sequence[SpatialTransformer], *, join: Join = "channels"
    ) -> None:
        super().__init__()
        if not transformers:
            raise ValueError("`transformers` must be at least one, got none.")
        self.transformers = nn.ModuleList(transformers)
        self.join: Join = check_join(join)

    def forward(
        self, image: Float[Tensor, "batch channels *in_size"]
    ) -> Float[Tensor, "joined_batch joined_channels *out_size"]:
        """The joined outputs."""
        return join_outputs([each.output for each in self.warps(image)], self.join)

    def warps(self, image: Float[Tensor, "batch channels *in_size"]) -> tuple[Warp, ...]:
        """What each transformer did, before the outputs are joined."""
        return tuple(each.warp(image) for each in self.transformers)  # pyright: ignore[reportCallIssue]

    def extra_repr(self) -> str:
        return f"join={self.join!r}"
