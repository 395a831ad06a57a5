"""Classification: train, count errors on a fixed test set, then time the trained model."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .. import build
from ..data_parallel import check_shared
from ..datasets.dataset import Resident
from ..execution import check_execution, forward_of
from ..measurement import flops, measure
from ..pictures import Watch
from ..training import metrics, train, training_step
from .resident import resident, splits
from .task import Measured, Place

TIMING_BATCHES = 8


class Classify:
    """Classification: `test_error` in percent; time of a training step and a forward pass."""

    data_parallel = True

    def check(self, settings: Mapping[str, Any], place: Place) -> None:
        """Build the variant once without computing anything, and find its data."""
        check_execution(settings["train"], place.device)
        net = build.check_settings(settings, place.data_dir, place.folder)
        if place.ranks.count > 1:
            check_shared(net.modules())
        splits(settings, place)

    def accuracy(self, settings: Mapping[str, Any], seed: int, place: Place) -> Measured:
        """Train one model and count its errors on the test set."""
        net, data = _prepare(settings, seed, place)
        # Pictures of one seed are enough to look at, and keep the rows of the others small.
        watch = Watch(data, settings["train"]["steps"], draw=seed == 0)
        watch(0, net.eval())
        halfway = place.halfway and place.halfway.carrying(watch)
        curves = train(net, data, settings["train"], watch, halfway=halfway, ranks=place.ranks)
        return Measured(
            (*metrics(net, curves), *watch.metrics),
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
        """Time a trained model on real batches: its thetas, and so its memory access, are real."""
        net, data = _prepare(settings, seed, place)
        net.load_state_dict(weights)
        size = settings["train"]["batch_size"]
        batches = [data.batch(size) for _ in range(TIMING_BATCHES)]
        pairs = itertools.cycle(batches)
        forward, step = forward_of(net, settings["train"]), training_step(net, settings["train"])
        with torch.no_grad():
            net.eval()
            once = measure("forward", lambda: forward(next(pairs)[0]), place.device)
            counted = flops("forward", lambda: net(batches[0][0]))
        net.train()
        # At learning rate 0 all of a step is done, and the model stays the trained one.
        learning = measure("train_step", lambda: step(*next(pairs), 0.0), place.device)
        # Operations are counted one by one: compiled or captured ones cannot be seen.
        eager = training_step(net, settings["train"] | {"execution": "eager"})
        counted += flops("train_step", lambda: eager(*batches[0], 0.0))
        numbers = (*once.metrics, *counted, *learning.metrics)
        return Measured(numbers, timings=(*once.samples, *learning.samples))


def _prepare(settings: Mapping[str, Any], seed: int, place: Place) -> tuple[nn.Module, Resident]:
    data = resident(settings, seed, place)
    net = build.model(settings, data.dataset, place.folder)
    return net.to(place.device), data
