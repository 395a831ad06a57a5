"""A recurrent classifier that reads an image row by row."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor, nn


class RNN(nn.Module):
    """A GRU over the rows of an image from top to bottom; its last state is classified.

    The layers are called `gru` and `classifier`.

    Args:
        in_shape: `(channels, height, width)` of an image.
        num_classes: Number of classes; 0 for the last state itself.
        units: Units of the GRU.
        width: Multiplies `units`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        units: Annotated[int, Ge(1)] = 128,
        width: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"an image must be (channels, height, width), got {tuple(in_shape)}.")
        units = max(1, round(width * units))
        self.gru = nn.GRU(in_shape[0] * in_shape[2], units, batch_first=True)
        self.classifier = nn.Linear(units, num_classes) if num_classes else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        rows = image.permute(0, 2, 1, 3).flatten(2)  # (batch, height, channels * width)
        _, last = self.gru(rows)
        return self.classifier(last[-1])
