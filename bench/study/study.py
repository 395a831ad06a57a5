"""Study, Variant, Trial: a question, its cells, and a cell with one seed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..components import is_own, source_file
from .schema import Gates, Published, Resources, Retries

PhaseName = Literal["accuracy", "timing"]


class Variant(BaseModel):
    """One cell of a study: its name and its settings, complete and canonical.

    Attributes:
        point: By axis of `vary` and `zip` the level at which it stands, in words.
        arm: What it does at that point, in words that are the same at every point.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    dataset: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    train: dict[str, Any] | None = None
    workload: dict[str, Any] | None = None
    point: dict[str, str] = {}
    arm: str = ""
    baseline: str | None = None
    published: tuple[Published, ...] = ()

    def settings(self, task: str) -> dict[str, Any]:
        """All that decides what a trial of this variant computes, but its seed and device."""
        found = {
            "dataset": self.dataset,
            "model": self.model,
            "train": self.train,
            "workload": self.workload,
        }
        return {"task": task, **{k: v for k, v in found.items() if v is not None}}


@dataclass(frozen=True)
class Trial:
    """A variant with one seed on one type of device."""

    trial_id: str
    study: str
    variant: str
    seed: int
    device: str
    settings: Mapping[str, Any]
    phases: tuple[PhaseName, ...]


class Study(BaseModel):
    """A validated study, every variant expanded; `folder` is where its own code files lie.

    `rounds` is how often each variant is timed, every time in a process of its own.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    question: str
    task: str
    folder: str
    variants: tuple[Variant, ...]
    seeds: int
    rounds: int = 4
    phases: tuple[PhaseName, ...] = ("accuracy", "timing")
    resources: Resources
    retries: Retries = Retries()
    profile: str | None = None
    overrides: tuple[str, ...] = ()
    gates: Gates = Gates()

    def trials(self, device: str) -> list[Trial]:
        """Trials seed by seed, so that a study cut short has whole seeds to compare.

        The timing phase belongs to the first seed of each variant.
        """
        later: tuple[PhaseName, ...] = tuple(p for p in self.phases if p != "timing")
        # Once a variant, not once a trial: a study has thousands.
        named = [(variant.name, variant.settings(self.task)) for variant in self.variants]
        given = [(name, settings, _plain(settings)) for name, settings in named]
        return [
            Trial(
                trial_id=_digest(plain, seed, device),
                study=self.name,
                variant=variant,
                seed=seed,
                device=device,
                settings=settings,
                phases=later if seed else self.phases,
            )
            for seed in range(self.seeds if later else 1)
            for variant, settings, plain in given
        ]

    def as_stored(self) -> str:
        """JSON for a store; it names the folder only where that holds the user's own code."""
        folder = self.folder if self.own_files() else "."
        return self.model_copy(update={"folder": folder}).model_dump_json(indent=1)

    def own_files(self) -> tuple[Path, ...]:
        """The user's own code files that the study names."""
        names = {self.task} if is_own(self.task) else set[str]()

        def collect(value: object) -> None:
            if isinstance(value, dict):
                names.update([value["name"]] if is_own(str(value.get("name", ""))) else [])
                for item in value.values():
                    collect(item)

        for variant in self.variants:
            collect(variant.settings(self.task))
        return tuple(sorted({source_file(name, Path(self.folder)) for name in names}))


def trial_id(settings: Mapping[str, Any], seed: int, device: str) -> str:
    """First 16 hex digits of the sha256 of the canonical JSON of what a trial computes."""
    return _digest(_plain(settings), seed, device)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, whole floats as integers.

    `lr: 1` and `lr: 1.0` are the same setting, so they are the same text.
    """
    return _text(_plain(value))


def _digest(plain: Mapping[str, Any], seed: int, device: str) -> str:
    text = _text({**plain, "seed": seed, "device": device})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(item: Any) -> Any:
    if isinstance(item, float) and item.is_integer():
        return int(item)
    if isinstance(item, Mapping):
        return {str(k): _plain(v) for k, v in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(v) for v in item]
    return item


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
