"""The paper's convolutional classifier (Jaderberg et al., 2015, appendix A.4)."""

from typing import Annotated

from annotated_types import Ge, MinLen
from torch import Tensor, nn


class CNN(nn.Module):
    """Convolution, 2×2 max-pooling and ReLU a stage, then one linear layer.

    The layers are called `conv1`, `pool1`, `relu1`, `conv2`, … and `classifier`.

    Args:
        in_shape: `(channels, height, width)` of an image.
        num_classes: Number of classes.
        filters: Filters of each convolution.
        kernel_sizes: Side of each convolution's kernel, one for each entry of `filters`.

    Raises:
        ValueError: A kernel is larger than the feature map that it meets.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        filters: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (32, 64),
        kernel_sizes: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (9, 7),
    ) -> None:
        super().__init__()
        if len(filters) != len(kernel_sizes):
            raise ValueError(
                f"`kernel_sizes` must have {len(filters)} entries as `filters` has, "
                f"got {len(kernel_sizes)}."
            )
        channels, height, width = in_shape
        stages = []
        for i, (count, kernel) in enumerate(zip(filters, kernel_sizes, strict=True), start=1):
            if min(height, width) < kernel + 1:
                raise ValueError(
                    f"`kernel_sizes[{i - 1}]` must be at most {min(height, width) - 1} "
                    f"for a feature map of {height}×{width}, got {kernel}."
                )
            stages += [(f"conv{i}", nn.Conv2d(channels, count, kernel))]
            # ReLU after the pooling gives the same numbers for a quarter of the work.
            stages += [(f"pool{i}", nn.MaxPool2d(2)), (f"relu{i}", nn.ReLU())]
            channels, height, width = count, (height - kernel + 1) // 2, (width - kernel + 1) // 2
        for name, layer in stages:
            self.add_module(name, layer)
        self.add_module("classifier", nn.Linear(channels * height * width, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        *stages, classifier = self.children()
        for layer in stages:
            image = layer(image)
        return classifier(image.flatten(1))
