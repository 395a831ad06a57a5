"""A training in its midst as safetensors, so that one cut short goes on to the bit."""

import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from .results import ResultStore

META = "meta"


class Carried(Protocol):
    """What else a training gathers on its way, and would lose."""

    def state(self) -> str:
        """All that was gathered."""
        ...

    def restore(self, state: str) -> None:
        """Go on from a `state`, whatever was gathered since this one was made."""
        ...


class Halfway:
    """Where a trial leaves its state every so often, in the store, and finds it again.

    Args:
        store: The store of the run.
        trial_id: The trial.
        maker: What the numbers depend on beside the trial, such as code and threads: what another
            maker left is not gone on with.
        every_seconds: How long a state may be old.
        carried: What is kept and found along with it.
    """

    def __init__(
        self,
        store: ResultStore,
        trial_id: str,
        maker: str,
        every_seconds: float,
        carried: Carried | None = None,
    ) -> None:
        self._store, self._trial_id, self._carried = store, trial_id, carried
        self._maker, self._every, self._last = maker, every_seconds, time.monotonic()

    def carrying(self, carried: Carried) -> "Halfway":
        """The same place, for a state with what `carried` has gathered."""
        return Halfway(self._store, self._trial_id, self._maker, self._every, carried)

    @property
    def due(self) -> bool:
        """Whether it is time to keep a state again."""
        return time.monotonic() - self._last >= self._every

    def keep(self, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep a state instead of the one before; whole or not at all."""
        carried = self._carried.state() if self._carried else None
        text = json.dumps({**meta, "maker": self._maker, "carried": carried}).encode()
        note = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        self._store.write_partial(self._trial_id, saved({**state, META: note}))
        self._last = time.monotonic()

    def found(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state that was kept last, by the same maker; None where there is none."""
        content = self._store.read_partial(self._trial_id)
        if content is None:
            return None
        state = load(content)
        meta = json.loads(bytes(state.pop(META).numpy()))
        if meta.pop("maker") != self._maker:
            return None
        carried = meta.pop("carried")
        if self._carried and carried is not None:
            self._carried.restore(carried)
        return state, meta


def saved(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors; copies of them, since layers that are shared would be refused."""
    return save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with `prefix.` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def part(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state whose names begin with `prefix.`, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(f"{prefix}.")}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators, of the CPU and of the device."""
    states = {"cpu": torch.get_rng_state()}
    return states if device.type == "cpu" else states | {"cuda": torch.cuda.get_rng_state(device)}


def restore_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put torch's generators back as `random_state` found them."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
