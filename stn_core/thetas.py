"""`theta` for others than the sampler: later layers, a loss, or whoever calls the model."""

from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .spatial_transformer import SpatialTransformer


@final
class WithTheta(nn.Module):
    """A model that also gives the `theta` of each spatial transformer in it.

    For a loss on `theta`, a log, or a head that reads it. The model is not changed, and also works
    by itself as before. A state dict has its parameters under `model`.

    Args:
        model: Any module with `SpatialTransformer`s in it when this is made.

    Raises:
        ValueError: If there is no `SpatialTransformer` in it.

    Example:
        >>> from stn_core import transforms
        >>> model = nn.Sequential(SpatialTransformer(nn.Flatten(), transforms.Translation()))
        >>> _, thetas = WithTheta(model)(torch.zeros(5, 2, 1, 1))
        >>> {name: tuple(theta.shape) for name, theta in thetas.items()}
        {'0': (5, 2)}
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.record = _Record()
        found = [(n, m) for n, m in model.named_modules() if isinstance(m, SpatialTransformer)]
        if not found:
            raise ValueError(
                f"`model` must have a SpatialTransformer in it, got a {type(model).__name__}."
            )
        for name, transformer in found:
            transformer.localisation.register_forward_hook(partial(_note, self.record, name))

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Tensor]]:
        """What the model gives, and `theta` by the transformer's name in the model.

        Where a localisation network ran several times, as in an `Iterated`, its thetas are stacked:
        (batch, times, ...).
        """
        self.record.thetas = {}
        output = self.model(*args, **kwargs)
        noted, self.record.thetas = self.record.thetas, None
        thetas = {n: t[0] if len(t) == 1 else torch.stack(t, dim=1) for n, t in noted.items()}
        return output, thetas


@final
class AppendTheta(nn.Module):
    """A spatial transformer whose output carries `theta` along, as channels that are constant.

    For later layers that should know where the transformer looked. Its channels are those of the
    image, then one for each entry of `theta`.

    Args:
        transformer: What warps; its `theta` is flattened.

    Example:
        >>> from stn_core import transforms
        >>> shift = SpatialTransformer(nn.Flatten(), transforms.Translation())
        >>> AppendTheta(shift)(torch.zeros(5, 2, 1, 1)).shape
        torch.Size([5, 4, 1, 1])
    """

    def __init__(self, transformer: SpatialTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self, image: Float[Tensor, "batch channels *in_size"]
    ) -> Float[Tensor, "batch more_channels *out_size"]:
        output, theta = self.transformer.warp(image)
        planes = theta.flatten(1).to(output.dtype)
        planes = planes.reshape(*planes.shape, *[1] * (output.ndim - 2))
        return torch.cat([output, planes.expand(-1, -1, *output.shape[2:])], dim=1)


class _Record:
    """Where the hooks of one `WithTheta` write while it runs; None when it does not."""

    thetas: dict[str, list[Tensor]] | None = None


def _note(record: _Record, name: str, _: nn.Module, __: Any, theta: Tensor) -> None:
    if record.thetas is not None:
        record.thetas.setdefault(name, []).append(theta)
