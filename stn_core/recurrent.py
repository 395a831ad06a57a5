"""The recurrent localisation network of Sønderby et al., 2015: one `theta` a step."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .head import Bounds, Head
from .localisation import count_features, read_features
from .transforms.transform import Transform


@final
class RecurrentLocalisationNetwork(nn.Module):
    """A GRU over the features of the whole image, which emits one `theta` a step.

    The features are the same at each step, the state is what remembers where it has looked
    (Sønderby et al., 2015). Each `theta` starts at the identity, or at the same poses. In a
    `Glimpses` each step becomes one crop.

    Args:
        body: As for `LocalisationNetwork`.
        transform: The family that `theta` is for; it is read here and not kept.
        steps: How many glimpses it takes.
        units: The width of the GRU.
        num_features: As for `LocalisationNetwork`.
        poses: The `theta` to start at, `(num_params,)`; the transform's identity when None.
        bounds: As for `Head`.

    Raises:
        ValueError: If `steps` or `units` is less than 1, or as for `LocalisationNetwork`.

    Example:
        >>> from stn_core import localisation, transforms
        >>> body = localisation.CNN((1, 28, 28))
        >>> network = RecurrentLocalisationNetwork(body, transforms.Affine(), steps=3)
        >>> network(torch.zeros(4, 1, 28, 28)).shape
        torch.Size([4, 3, 6])
    """

    def __init__(
        self,
        body: nn.Module,
        transform: Transform,
        *,
        steps: int,
        units: int = 256,
        num_features: int | None = None,
        poses: Tensor | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__()
        if min(steps, units) < 1:
            raise ValueError(
                f"`steps` and `units` must be at least 1, got steps={steps}, units={units}."
            )
        if poses is not None and poses.ndim != 1:
            raise ValueError(f"`poses` must have one axis, got shape {tuple(poses.shape)}.")
        self.steps = steps
        self.body = body
        self.cell = nn.GRUCell(count_features(body, num_features), units)
        self.head = Head(units, transform, poses=poses, bounds=bounds)

    def forward(
        self, image: Float[Tensor, "batch channels *size"]
    ) -> Float[Tensor, "batch steps num_params"]:
        features = read_features(self.body, image, self.cell.input_size)
        states = [self.cell(features)]
        for _ in range(self.steps - 1):
            states.append(self.cell(features, states[-1]))
        return self.head(torch.stack(states, dim=1).flatten(0, 1)).unflatten(0, (-1, self.steps))
