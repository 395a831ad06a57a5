"""The paper's fully connected classifier (Jaderberg et al., 2015, appendix A.4)."""

import math
from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor, nn


class FCN(nn.Module):
    """Hidden linear layers with ReLU, called `fc1`, `fc2`, …, then `classifier`.

    Args:
        in_shape: Shape of an image, or of a volume.
        num_classes: Number of classes; 0 for the features of the last hidden layer.
        units: Units of each hidden layer.
        width: Multiplies `units`.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        num_classes: int,
        *,
        units: tuple[Annotated[int, Ge(1)], ...] = (256, 200),
        width: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__()
        features = math.prod(in_shape)
        for i, count in enumerate(units, start=1):
            count = max(1, round(width * count))
            self.add_module(f"fc{i}", nn.Linear(features, count))
            features = count
        last = nn.Linear(features, num_classes) if num_classes else nn.Identity()
        self.add_module("classifier", last)

    def forward(self, image: Tensor) -> Tensor:
        *hidden, classifier = self.children()
        features = image.flatten(1)
        for layer in hidden:
            features = layer(features).relu()
        return classifier(features)
