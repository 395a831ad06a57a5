"""The one training loop: data on the device, one step a function that timing uses too."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .datasets.images import ResidentImages
from .results import CurvePoint

CURVE_POINTS = 20
EVALUATIONS = 5
EVALUATION_BATCH = 1000

Step = Callable[[Tensor, Tensor], Tensor]


class Diverged(Exception):
    """Training came to a loss that is not finite; it cannot come back from there."""


def optimizer(model: nn.Module, train: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer that `train` asks for."""
    lr, decay = train["lr"], train["weight_decay"]
    if train["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), lr, train["momentum"], weight_decay=decay)
    return torch.optim.AdamW(model.parameters(), lr, weight_decay=decay)


def scheduled(train: Mapping[str, Any], step: int) -> float:
    """Learning rate of a step as a share of `lr`."""
    if train["schedule"] == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / train["steps"]))
    return 1.0


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """One step: forward, backward, update; gives the loss, on the device."""

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def train(model: nn.Module, data: ResidentImages, settings: Mapping[str, Any]) -> list[CurvePoint]:
    """Train a model in place; gives its learning curves.

    `train_loss` is the mean since the point before; `test_error` is there to look at, and decides
    nothing.

    Raises:
        Diverged: The loss is not finite.
    """
    steps = settings["steps"]
    chosen = optimizer(model, settings)
    step = training_step(model, chosen)
    curve_every, evaluate_every = -(-steps // CURVE_POINTS), -(-steps // EVALUATIONS)
    curves: list[CurvePoint] = []
    total, count = torch.zeros((), device=data.test_images.device), 0
    model.train()
    for i in range(steps):
        for group in chosen.param_groups:
            group["lr"] = settings["lr"] * scheduled(settings, i)
        total += step(*data.batch(settings["batch_size"]))
        count += 1
        done = i + 1
        if done % curve_every == 0 or done == steps:
            mean = float(total) / count
            if not math.isfinite(mean):
                raise Diverged(f"the loss was {mean} between steps {done - count + 1} and {done}")
            curves.append(CurvePoint("train_loss", done, mean))
            total.zero_()
            count = 0
        if done % evaluate_every == 0 and done != steps:
            curves.append(CurvePoint("test_error", done, test_error(model, data)))
            model.train()
    curves.append(CurvePoint("test_error", steps, test_error(model, data)))
    return curves


@torch.no_grad()
def test_error(model: nn.Module, data: ResidentImages) -> float:
    """Share of the test set that is misclassified, in percent."""
    model.eval()
    pairs = zip(
        data.test_images.split(EVALUATION_BATCH),
        data.test_labels.split(EVALUATION_BATCH),
        strict=True,
    )
    wrong = sum(int((model(images).argmax(1) != labels).sum()) for images, labels in pairs)
    return 100 * wrong / len(data.test_labels)
