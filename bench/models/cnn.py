"""The paper's convolutional classifier (Jaderberg et al., 2015, appendix A.4)."""

import math
from typing import Annotated

from annotated_types import Ge, Gt, MinLen
from torch import Tensor, nn

from stn_core import Projection
from stn_core.few_channel import Conv2d


class CNN(nn.Module):
    """Convolution, max-pooling by 2 and ReLU a stage, then one linear layer.

    The layers are called `conv1`, `pool1`, `relu1`, `conv2`, … and `classifier`. Volumes are read
    by convolutions over three axes, or summed over their depth first, as in the paper.

    Args:
        in_shape: `(channels, height, width)` of an image, with depth before height of a volume.
        num_classes: Number of classes; 0 for the flattened features of the last stage.
        filters: Filters of each convolution.
        kernel_sizes: Side of each convolution's kernel, one for each entry of `filters`.
        project: Whether a volume is projected to an image first.
        width: Multiplies `filters`.

    Raises:
        ValueError: A kernel is larger than the feature map that it meets.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        num_classes: int,
        *,
        filters: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (32, 64),
        kernel_sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (9, 7),
        project: bool = False,
        width: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__()
        if len(filters) != len(kernel_sizes):
            raise ValueError(
                f"`kernel_sizes` must have {len(filters)} entries as `filters` has, "
                f"got {len(kernel_sizes)}."
            )
        if project and len(in_shape) != 4:
            raise ValueError(f"`project` needs volumes, got images of {tuple(in_shape)}.")
        channels, *size = in_shape[:1] + in_shape[2:] if project else in_shape
        conv, pool = (Conv2d, nn.MaxPool2d) if len(size) == 2 else (nn.Conv3d, nn.MaxPool3d)
        stages: list[tuple[str, nn.Module]] = [("project", Projection())] if project else []
        for i, (count, kernel) in enumerate(zip(filters, kernel_sizes, strict=True), start=1):
            count = max(1, round(width * count))
            if min(size) < kernel + 1:
                raise ValueError(
                    f"`kernel_sizes[{i - 1}]` must be at most {min(size) - 1} "
                    f"for a feature map of {'×'.join(map(str, size))}, got {kernel}."
                )
            # ReLU after the pooling gives the same numbers for a quarter of the work.
            stages += [(f"conv{i}", conv(channels, count, kernel)), (f"pool{i}", pool(2))]
            stages += [(f"relu{i}", nn.ReLU())]
            channels, size = count, [(n - kernel + 1) // 2 for n in size]
        for name, layer in stages:
            self.add_module(name, layer)
        features = channels * math.prod(size)
        last = nn.Linear(features, num_classes) if num_classes else nn.Identity()
        self.add_module("classifier", last)

    def forward(self, image: Tensor) -> Tensor:
        *stages, classifier = self.children()
        for layer in stages:
            image = layer(image)
        return classifier(image.flatten(1))
