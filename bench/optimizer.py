"""Optimizers: torch's own functions over state in plain tensors.

The classes of `torch.optim` import the whole compiler when one is first made: 6 to 12 seconds in
every process, as long as a short trial takes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from stn_core import parameter_groups


@dataclass(frozen=True)
class Slot:
    """A parameter and what the optimizer remembers of it."""

    parameter: nn.Parameter
    first: Tensor
    second: Tensor
    steps: Tensor


@dataclass(frozen=True)
class Group:
    """Parameters that learn at one rate, in units of the rate of a step."""

    slots: tuple[Slot, ...]
    factor: float


@dataclass(frozen=True)
class Optimizer:
    """SGD with momentum, or AdamW, with torch's defaults where a study says nothing."""

    settings: Mapping[str, Any]
    groups: tuple[Group, ...]

    @property
    def slots(self) -> Iterator[Slot]:
        """All that it keeps, group by group."""
        return (slot for group in self.groups for slot in group.slots)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameters as torch's gradient scaler asks for them."""
        return [{"params": [slot.parameter for slot in group.slots]} for group in self.groups]

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients of the parameters that have one."""
        found = (slot.parameter.grad for slot in self.slots)
        return [gradient for gradient in found if gradient is not None]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for slot in self.slots:
            slot.parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move each parameter that has a gradient, at learning rate `lr`."""
        if self.settings["clip_norm"] is not None:
            everything = [slot.parameter for slot in self.slots]
            nn.utils.clip_grad_norm_(everything, self.settings["clip_norm"])
        for group in self.groups:
            self._step([s for s in group.slots if s.parameter.grad is not None], lr * group.factor)

    def _step(self, slots: list[Slot], lr: float) -> None:
        if not slots:
            return
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

    def state(self) -> dict[str, Tensor]:
        """All that it remembers, by name; the tensors are its own."""
        return {
            f"{i}.{name}": getattr(slot, name)
            for i, slot in enumerate(self.slots)
            for name in ("first", "second", "steps")
        }


def optimizer(model: nn.Module, settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer that `settings`, the `train` of a study, ask for."""
    groups = parameter_groups(model, lr=1.0, localisation_lr_multiplier=settings["localisation_lr"])
    return Optimizer(settings, tuple(Group(_slots(g["params"]), g["lr"]) for g in groups))


def _slots(parameters: Iterable[nn.Parameter]) -> tuple[Slot, ...]:
    return tuple(
        Slot(p, torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), dtype=torch.float32))
        for p in parameters
        if p.requires_grad
    )
