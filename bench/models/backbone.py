"""Backbones of timm: as classifiers, and as bodies of localisation networks."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn


class Backbone(nn.Module):
    """A network of timm, such as an Inception, a ResNet or a ViT.

    In the model its layers stand under `network`.

    Args:
        in_shape: `(channels, height, width)` of an image.
        num_classes: Number of scores; 0 for the pooled features.
        architecture: Its name in timm.
        pretrained: Whether it starts from timm's weights, which are downloaded where they are not
            in the cache yet; else from scratch.
        dropout: Share of the features that are dropped before the classifier in training.

    Raises:
        ValueError: timm is not installed, does not know the name, or cannot get the weights.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        architecture: str = "resnet18",
        pretrained: bool = False,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        self.network = create(
            in_shape, architecture, pretrained, num_classes=num_classes, drop_rate=dropout
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


class BackboneLocalisation(nn.Module):
    """A network of timm without its last pooling, a 1×1 convolution, and a linear layer.

    So the localisation network of Jaderberg et al., 2015, 4.3, keeps where things are.

    Args:
        in_shape: `(channels, height, width)` of an image.
        architecture: Its name in timm.
        pretrained: As for the model `backbone`.
        units: Width of the convolution and of the linear layer.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        *,
        architecture: str = "resnet18",
        pretrained: bool = False,
        units: Annotated[int, Ge(1)] = 128,
    ) -> None:
        super().__init__()
        self.num_features = units
        self.network = create(in_shape, architecture, pretrained, num_classes=0, global_pool="")
        with torch.no_grad():
            shape = self.network.eval()(torch.zeros(1, *in_shape)).shape
        self.network.train()
        if len(shape) != 4:
            raise ValueError(f"`architecture` must give a feature map, {architecture!r} does not.")
        self.squeeze = nn.Conv2d(shape[1], units, 1)
        self.together = nn.Linear(units * shape[2] * shape[3], units)

    def forward(self, image: Tensor) -> Tensor:
        features = self.squeeze(self.network(image)).relu()
        return self.together(features.flatten(1)).relu()


def create(
    in_shape: tuple[int, int, int], architecture: str, pretrained: bool, **options: Any
) -> nn.Module:
    """A network of timm for images of a size.

    Raises:
        ValueError: timm is not installed, does not know the name, or cannot get the weights.
    """
    try:
        import timm
    except ImportError:
        raise ValueError("needs timm: pip install 'stn-bench[timm]'") from None
    if not timm.is_model(architecture):
        near = ", ".join(timm.list_models(f"*{architecture[:6]}*")[:5]) or "none alike"
        raise ValueError(f"`architecture`: timm has no {architecture!r}; it has {near}.")
    config = timm.models.get_pretrained_cfg(architecture)
    if config is not None and config.fixed_input_size:
        options["img_size"] = in_shape[1:]
    # Weights that cannot be had are to be missed when a study is checked, on `meta`, too.
    device = torch.get_default_device()
    try:
        with torch.device("cpu" if pretrained else device):
            net = timm.create_model(
                architecture, pretrained=pretrained, in_chans=in_shape[0], **options
            )
        return net.to(device)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"`{architecture}`: {str(error).splitlines()[0]}; `pretrained: false` needs no weights"
        ) from None
