"""Co-localisation: find what a set of images has in common, without a label (the paper's A.6)."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stn_core import SpatialTransformer, canonical_grid

from .. import build
from ..datasets.dataset import Resident
from ..datasets.mnist import MNIST, SIDE
from ..errors import BenchError
from ..pictures import Watch
from ..results import Metric
from ..training import Objective, learning_rate, metrics, train, training_step
from .classify import Classify
from .resident import resident
from .task import Measured, Place

# In the unit of codes, see `CoLocaliser.unit`.
MARGIN = 1.0
UNIT_DIGITS = 1000
# The encoder is a classifier of plain digits, trained before, and then left as it is.
ENCODER = {
    "steps": 300, "batch_size": 128, "lr": 2e-3, "optimizer": "adamw", "momentum": 0.0,
    "schedule": "cosine", "warmup_steps": 0, "weight_decay": 0.0, "clip_norm": None,
}  # fmt: skip


class CoLocaliser(nn.Module):
    """A spatial transformer that learns to crop, and a fixed encoder that says what is alike.

    Args:
        transformer: It gives crops that the encoder reads.
        encoder: A classifier whose layers are called one after the other.

    Attributes:
        unit: What codes are divided by; 1 at first.
    """

    unit: Tensor

    def __init__(self, transformer: SpatialTransformer, encoder: nn.Module) -> None:
        super().__init__()
        self.transformer, self.encoder = transformer, encoder.requires_grad_(False)
        self.register_buffer("unit", torch.ones(()))

    @torch.no_grad()
    def measure_by(self, digits: Tensor) -> None:
        """Make the root mean square distance between two digits the unit of codes.

        The margin of the hinge is then what digits differ by. In the encoder's own numbers it is
        nothing beside that, and crops of nothing at all, which are alike, are the best there are.
        """
        codes = self._code(digits) * self.unit
        self.unit.copy_((2 * codes.var(0).sum()).sqrt())

    def forward(self, image: Tensor) -> Any:
        """The boxes; in training the codes of the crops, and of as large crops at random places."""
        if not self.training:
            return boxes(self.transformer, image)
        crop = self.transformer(image)
        return self._code(crop), self._code(random_crops(image, crop.shape[2:]))

    def _code(self, crop: Tensor) -> Tensor:
        """What all layers with ReLU, and the last one, give of a crop, `(batch, features)`."""
        found = []
        for layer in self.encoder.children():
            crop = layer(crop.flatten(1) if isinstance(layer, nn.Linear) else crop)
            found += [crop.flatten(1)] if isinstance(layer, nn.ReLU | nn.Linear) else []
        return torch.cat(found, dim=1) / self.unit


class Colocalise:
    """Co-localisation: `localised`, the percentage of images with an IoU of more than a half."""

    phases = ("accuracy",)

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Build the variant once without computing anything, and find its data."""
        Classify().check(settings, place)
        _colocaliser(settings, resident(settings, 0, place), place)

    def accuracy(self, settings: Mapping[str, Any], seed: int, place: Place) -> Measured:
        """Train an encoder on plain digits, then the transformer by what the encoder says."""
        data = resident(settings, seed, place)
        net = _colocaliser(settings, data, place)
        digits = MNIST(place.data_dir)
        plain = Resident(digits, digits.load().to(place.device), seed)
        encoder = settings["train"] | ENCODER
        net.encoder.requires_grad_(True)
        step = training_step(net.encoder.train(), encoder)
        for i in range(encoder["steps"]):
            step(*plain.batch(encoder["batch_size"]), learning_rate(encoder, i))
        net.encoder.requires_grad_(False)
        net.measure_by(plain.batch(UNIT_DIGITS)[0])
        watch = Watch(data, settings["train"]["steps"], draw=seed == 0, classifies=False)
        # In evaluation the model gives boxes without a crop; what is looked at are the crops.
        front = nn.Sequential(OrderedDict(transformer=net.transformer))
        watch(0, front.eval())
        objective = Objective(triplet_hinge, lambda found: found, missed)
        curves = train(
            net,
            data,
            settings["train"],
            lambda step, _: watch(step, front),
            objective=objective,
            halfway=place.halfway and place.halfway.carrying(watch),
        )
        numbers = metrics(net, curves)
        localised = Metric("localised", 100 - numbers[0].value, "percent", True)
        return Measured(
            (*numbers, localised, *watch.metrics),
            (*curves, *watch.curves),
            pictures=watch.pictures,
            weights=net.state_dict(),
        )

    def timing(
        self,
        settings: Mapping[str, Any],
        seed: int,
        place: Place,
        weights: Mapping[str, torch.Tensor],
    ) -> Measured:
        """There is none."""
        raise BenchError("task `colocalise` has no timing")


def triplet_hinge(codes: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Crops are to be nearer to one another than each is to a random crop of its own image.

    The mean over pairs n ≠ m of max(0, |e(n) - e(m)|² - |e(n) - e(n at random)|² + 1) (Jaderberg et
    al., 2015, A.6, where it is the sum).
    """
    crops, random = codes
    apart = (crops[:, None] - crops).square().sum(-1)
    own = (crops - random).square().sum(-1)
    hinge = F.relu(apart - own[:, None] + MARGIN)
    others = ~torch.eye(len(crops), dtype=torch.bool, device=crops.device)
    return hinge[others].mean()


def boxes(transformer: SpatialTransformer, image: Tensor) -> Tensor:
    """What each crop shows of its image: left, top, right and bottom edge in pixels, (batch, 4)."""
    theta = transformer.localisation(image)
    corners = canonical_grid((2, 2), align_corners=True, device=image.device).flatten(0, 1)
    points = transformer.transform(theta, corners)  # (batch, 4, 2), x first
    size = torch.tensor(image.shape[:1:-1], device=image.device)
    pixels = (points + 1) / 2 * size
    return torch.cat([pixels.amin(1), pixels.amax(1)], dim=1)


def missed(found: Tensor, targets: Tensor) -> Tensor:
    """Whether a box and the true one have an intersection over union of a half or less."""
    low = torch.maximum(found[:, :2], targets[:, :2])
    high = torch.minimum(found[:, 2:], targets[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (found, targets)]
    return both / (areas[0] + areas[1] - both) <= 0.5


def random_crops(image: Tensor, size: Sequence[int]) -> Tensor:
    """A crop of each image, of a size in pixels, at a place drawn from torch's generator."""
    height, width = size
    down = torch.randint(image.shape[2] - height + 1, (len(image),), device=image.device)
    right = torch.randint(image.shape[3] - width + 1, (len(image),), device=image.device)
    y = down[:, None, None] + torch.arange(height, device=image.device)[:, None]
    x = right[:, None, None] + torch.arange(width, device=image.device)
    row = torch.arange(len(image), device=image.device)[:, None, None]
    return image[row, :, y, x].permute(0, 3, 1, 2)


def _colocaliser(settings: Mapping[str, Any], data: Resident, place: Place) -> CoLocaliser:
    """A study's transformer at the input, and its model as the encoder.

    Raises:
        BenchError: There is no single transformer at the input that gives plain digits' size.
    """
    net = build.model(settings, data.dataset, place.folder)
    front, encoder = (getattr(net, name, None) for name in ("transformer", "model"))
    if (
        not isinstance(front, SpatialTransformer)
        or not isinstance(encoder, nn.Module)
        or front.output_size != (SIDE, SIDE)
    ):
        raise BenchError(
            f"task `colocalise`: needs one transformer at the input with output_size [{SIDE}, "
            f"{SIDE}], the size of the digits that its encoder is trained on"
        )
    return CoLocaliser(front, encoder).to(place.device)
