"""Training as users run it: one step, or a short trial from the first batch to the last test."""

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ... import build
from ...execution import forward_of
from ...results import Metric
from ...training import training_step
from ..classify import TIMING_BATCHES, Classify
from ..resident import resident
from ..task import Measured, Place
from .thetas import wake
from .workload import Prepared, numeric_error

QUALITY_IMAGES = 16


class TrainingStep:
    """A step of training, `train_step`: forward, backward and update, on real batches.

    The model is as it is before training, but that its transformers do not stand at the identity.
    """

    needs = ("dataset", "model", "train")

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Build the model once without computing anything, and find its data."""
        Classify().check(settings, place)

    def prepare(self, settings: Mapping[str, Any], seed: int, place: Place) -> Prepared:
        """Build the model and draw batches."""
        data = resident(settings, seed, place)
        net = build.model(settings, data.dataset, place.folder)
        wake(net, seed)
        step = training_step(net.to(place.device).train(), settings["train"])
        size = settings["train"]["batch_size"]
        batches = itertools.cycle([data.batch(size) for _ in range(TIMING_BATCHES)])
        count = sum(p.numel() for p in net.parameters())
        return Prepared(
            {"train_step": lambda: step(*next(batches), 0.0)},
            (Metric("parameters", count, "count", False),),
            lambda: (_numeric_error(net, data.batch(QUALITY_IMAGES)[0], settings["train"]),),
        )


class Trial:
    """A short trial from end to end, `trial`: model, batches, training, evaluation."""

    needs = ("dataset", "model", "train")

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Build the model once without computing anything, and find its data."""
        Classify().check(settings, place)

    def prepare(self, settings: Mapping[str, Any], seed: int, place: Place) -> Prepared:
        """Read the data; all else is part of the trial."""
        resident(settings, seed, place)

        def trial() -> Measured:
            torch.manual_seed(seed)
            return Classify().accuracy(settings, seed, place)

        def quality() -> tuple[Metric, ...]:
            return tuple(m for m in trial().metrics if m.name == "test_error")

        return Prepared({"trial": trial}, quality=quality)


def _numeric_error(net: nn.Module, images: Tensor, train: Mapping[str, Any]) -> Metric:
    """How far a model's scores, computed as `train` says, are from the same in float64."""
    training = net.training
    net.eval()
    with torch.no_grad():
        scores = forward_of(net, train)(images)
        exact = copy.deepcopy(net).double()(images.double())
    net.train(training)
    return numeric_error([scores], [exact])
