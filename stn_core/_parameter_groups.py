"""A learning rate of their own for localisation networks."""

from typing import Any

from torch import nn

from .spatial_transformer import SpatialTransformer


def parameter_groups(
    model: nn.Module, *, lr: float, localisation_lr_multiplier: float
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: localisation networks learn at their own rate.

    Jaderberg et al., 2015, train them at 0.1 (SVHN) and 1e-4 (CUB-200-2011) of the base rate, since
    a large step may throw every sample outside the image. Schedulers keep the ratio. A layer that a
    localisation network shares with the rest of the model counts as the rest, as in SL placements.

    Args:
        model: Any module with `SpatialTransformer`s in it.
        lr: The base rate.
        localisation_lr_multiplier: The rate of localisation networks in units of `lr`.

    Returns:
        The rest of the model, then the localisation networks; a group without parameters is left
        out. Each parameter is in one group.

    Raises:
        ValueError: If `lr` or `localisation_lr_multiplier` is negative.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> groups = parameter_groups(model, lr=0.1, localisation_lr_multiplier=0.01)
        >>> [group["lr"] for group in groups]
        [0.1]
    """
    for name, value in (("lr", lr), ("localisation_lr_multiplier", localisation_lr_multiplier)):
        if not value >= 0:
            raise ValueError(f"`{name}` must not be negative, got {value}.")
    prefixes = tuple(
        f"{name}.localisation.".removeprefix(".")
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, SpatialTransformer)
    )
    named = list(model.named_parameters(remove_duplicate=False))
    rest = {id(p): p for name, p in named if not name.startswith(prefixes)}
    own = {id(p): p for _, p in named if id(p) not in rest}
    groups = [
        {"params": list(rest.values()), "lr": lr},
        {"params": list(own.values()), "lr": lr * localisation_lr_multiplier},
    ]
    return [group for group in groups if group["params"]]
