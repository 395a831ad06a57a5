"""The paper's network for house numbers (Jaderberg et al., 2015, appendix A.5)."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from stn_core.few_channel import Conv2d

FILTERS = (48, 64, 128, 160, 192, 192, 192, 192)


class SVHNCNN(nn.Module):
    """Eight convolutions 5×5 and two linear layers, with ReLU, then the classifier: 11 layers.

    The layers are called `conv1` to `conv8`, `pool1`, `pool3`, `pool5` and `pool7` (by 2, behind
    the convolution of that number), `fc1`, `fc2` and `classifier`. Dropout stands before every
    layer but the first two, so that the first convolution has none behind it.

    Args:
        in_shape: `(channels, height, width)` of an image.
        num_classes: Number of scores; 0 for the features of the second linear layer.
        width: Multiplies the paper's number of filters and units.
        dropout: Share of the values that are dropped in training.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        width: Annotated[float, Gt(0)] = 1.0,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
    ) -> None:
        super().__init__()
        channels, *size = in_shape
        if len(size) != 2 or min(size) < 16:
            raise ValueError(
                f"an image must be (channels, height, width) of 16 pixels or more, got {in_shape}."
            )
        for i, filters in enumerate(FILTERS, start=1):
            filters = max(1, round(width * filters))
            if i > 2:
                self.add_module(f"dropout{i}", nn.Dropout(dropout))
            self.add_module(f"conv{i}", Conv2d(channels, filters, 5, padding=2))
            self.add_module(f"relu{i}", nn.ReLU())
            if i % 2 == 1:
                self.add_module(f"pool{i}", nn.MaxPool2d(2))
                size = [n // 2 for n in size]
            channels = filters
        self.flatten = nn.Flatten()
        features = channels * size[0] * size[1]
        units = max(1, round(width * 3072))
        for i in (1, 2):
            self.add_module(f"dropout{8 + i}", nn.Dropout(dropout))
            self.add_module(f"fc{i}", nn.Linear(features, units))
            self.add_module(f"relu{8 + i}", nn.ReLU())
            features = units
        self.dropout11 = nn.Dropout(dropout)
        # torch starts smaller: a layer halves what passes, and after ten nothing is left.
        for layer in self.children():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.classifier = nn.Linear(features, num_classes) if num_classes else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        for layer in self.children():
            image = layer(image)
        return image
