"""Placement: where in a network a spatial transformer stands."""

import difflib
from typing import Any, final

from torch import Tensor, nn


@final
class Placed(nn.Module):
    """A layer with a spatial transformer before it; in a state dict, `transformer` and `layer`.

    Args:
        transformer: Any module from a feature map to a feature map.
        layer: The layer that reads what the transformer gives.

    Example:
        >>> Placed(nn.Identity(), nn.Flatten())
        Placed(
          (transformer): Identity()
          (layer): Flatten(start_dim=1, end_dim=-1)
        )
    """

    def __init__(self, transformer: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer
        self.layer = layer
        self.training = layer.training

    def forward(self, image: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.layer(self.transformer(image), *args, **kwargs)


def place(model: nn.Module, transformer: nn.Module, *, before: str) -> nn.Module:
    """Put a spatial transformer before a named layer of a model.

    The model is changed in place, so that an optimiser, or a localisation network that shares
    layers with the model, keeps its hold on the parameters. `conv2.weight` in its state dict
    becomes `conv2.layer.weight`, beside `conv2.transformer.…`. A second transformer before the same
    layer stands before the first. A layer that the model calls twice is transformed twice.

    Args:
        model: Any module; its code is not touched.
        transformer: Mostly a `SpatialTransformer`; it must give what the layer can read.
        before: The layer's name, as `model.named_modules()` has it.

    Returns:
        The model.

    Raises:
        ValueError: If `before` names no layer that the model calls.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        >>> [name for name, _ in place(model, nn.Identity(), before="1").named_children()]
        ['0', '1']
    """
    layers = dict(model.named_modules(remove_duplicate=False))
    if before == "":
        raise ValueError(
            "`before` must name a layer inside the model, got ''. "
            "For the input write nn.Sequential(transformer, model)."
        )
    if before not in layers:
        nearest = difflib.get_close_matches(before, layers, n=1, cutoff=0.0)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"`before` must name a layer of the model, got {before!r}.{hint}")
    layer = layers[before]
    if isinstance(layer, nn.ModuleList | nn.ModuleDict):
        raise ValueError(
            f"`before` must name a layer that is called, got {before!r}, a {type(layer).__name__}."
        )
    parent, _, child = before.rpartition(".")
    setattr(layers[parent], child, Placed(transformer, layer))
    return model
