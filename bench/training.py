"""The one training loop: data on the device, one step a function that timing uses too."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .datasets.dataset import Resident
from .optimizer import optimizer
from .results import CurvePoint

CURVE_POINTS = 20
EVALUATIONS = 5
EVALUATION_BATCH = 1000

Step = Callable[[Tensor, Tensor, float], Tensor]


class Diverged(Exception):
    """Training came to a loss that is not finite; it cannot come back from there."""


def learning_rate(train: Mapping[str, Any], step: int) -> float:
    """Learning rate of a step."""
    if train["schedule"] == "cosine":
        return train["lr"] * 0.5 * (1 + math.cos(math.pi * step / train["steps"]))
    return train["lr"]


def training_step(model: nn.Module, settings: Mapping[str, Any]) -> Step:
    """One step, `step(images, labels, lr)`: forward, backward, update; gives the loss."""
    chosen = optimizer(model.parameters(), settings)

    def step(images: Tensor, labels: Tensor, lr: float) -> Tensor:
        chosen.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        chosen.step(lr)
        return loss.detach()

    return step


def train(model: nn.Module, data: Resident, settings: Mapping[str, Any]) -> list[CurvePoint]:
    """Train a model in place; gives its learning curves.

    `train_loss` is the mean since the point before; `test_error` is there to look at, and decides
    nothing.

    Raises:
        Diverged: The loss is not finite.
    """
    steps = settings["steps"]
    step = training_step(model, settings)
    curve_every, evaluate_every = -(-steps // CURVE_POINTS), -(-steps // EVALUATIONS)
    curves: list[CurvePoint] = []
    total, count = torch.zeros((), device=data.device), 0
    model.train()
    for i in range(steps):
        total += step(*data.batch(settings["batch_size"]), learning_rate(settings, i))
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
def test_error(model: nn.Module, data: Resident) -> float:
    """Share of the test set that is misclassified, in percent.

    Raises:
        Diverged: The model gives scores that are not finite.
    """
    model.eval()
    wrong, count, finite = 0, 0, True
    for images, labels in data.test(EVALUATION_BATCH):
        scores = model(images)
        wrong += int((scores.argmax(1) != labels).sum())
        count += len(labels)
        finite = finite and bool(scores.isfinite().all())
    if not finite:
        raise Diverged("the scores of the test set are not finite")
    return 100 * wrong / count
