"""Backbones of timm: as classifiers, and as bodies of localisation networks."""

import urllib.error
import urllib.request
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
        if pretrained:
            options["pretrained_cfg_overlay"] = weights_file(config)
        with torch.device("cpu" if pretrained else device):
            net = timm.create_model(
                architecture, pretrained=pretrained, in_chans=in_shape[0], **options
            )
        return net.to(device)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"`{architecture}`: {str(error).splitlines()[0]}; `pretrained: false` needs no weights"
        ) from None


def weights_file(config: Any) -> dict[str, str]:
    """Where a network's weights lie in the cache, for timm to take them there.

    Left to itself timm asks the network even for what is in the cache, and where there is none it
    tries for most of a minute.

    Args:
        config: timm's settings of the weights.

    Returns:
        The `file`; nothing where timm has to fetch it.

    Raises:
        OSError: The weights are not in the cache, and where they are cannot be reached.
    """
    repository = getattr(config, "hf_hub_id", None)
    if not repository or config.hf_hub_filename or config.custom_load:
        return {}
    from huggingface_hub import constants, try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    for name in ("model.safetensors", "pytorch_model.bin"):
        file = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(file, str):
            return {"file": file}
    missing = f"its weights, {repository}, are not in {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        raise OSError(f"{missing}, and HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=10).close()
    except urllib.error.HTTPError:
        pass  # It answered; what it says of the weights is for timm to read.
    except OSError:
        raise OSError(f"{missing}, and {constants.ENDPOINT} cannot be reached") from None
    return {}
