"""Optimizers: torch's own functions over state in plain tensors.

The classes of `torch.optim` import the whole compiler when one is first made: 6 to 12 seconds in
every process, as long as a short trial takes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd


@dataclass(frozen=True)
class Slot:
    """A parameter and what the optimizer remembers of it."""

    parameter: nn.Parameter
    first: Tensor
    second: Tensor
    steps: Tensor


@dataclass(frozen=True)
class Optimizer:
    """SGD with momentum, or AdamW, with torch's defaults where a study says nothing."""

    settings: Mapping[str, Any]
    slots: tuple[Slot, ...]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for slot in self.slots:
            slot.parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move each parameter that has a gradient, at learning rate `lr`."""
        slots = [slot for slot in self.slots if slot.parameter.grad is not None]
        parameters: list[Tensor] = [slot.parameter for slot in slots]
        gradients = [slot.parameter.grad for slot in slots if slot.parameter.grad is not None]
        decay = self.settings["weight_decay"]
        if self.settings["optimizer"] == "sgd":
            momentum = self.settings["momentum"]
            sgd(
                parameters, gradients, [slot.first if momentum else None for slot in slots],
                weight_decay=decay, momentum=momentum, lr=lr, dampening=0.0, nesterov=False,
                maximize=False,
            )  # fmt: skip
            return
        adamw(
            parameters, gradients, [slot.first for slot in slots], [slot.second for slot in slots],
            [], [slot.steps for slot in slots], amsgrad=False, beta1=0.9, beta2=0.999, lr=lr,
            weight_decay=decay, eps=1e-8, maximize=False,
        )  # fmt: skip


def optimizer(parameters: Iterable[nn.Parameter], settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer that `settings`, the `train` of a study, ask for."""
    slots = tuple(
        Slot(p, torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), dtype=torch.float32))
        for p in parameters
        if p.requires_grad
    )
    return Optimizer(settings, slots)
