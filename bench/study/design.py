"""The design of a study: which changes of `base` become variants, and what each is called."""

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .document import KeyPath, lay
from .schema import StudyFile

# A change sets a dotted key; the path says where in the file the value stands.
Change = tuple[str, Any, KeyPath]


@dataclass(frozen=True)
class Cell:
    """One cell of the design: the point of `vary` and `zip`, and the changes made there."""

    point: tuple[Change, ...]
    changes: tuple[Change, ...]
    name: str | None = None
    origin: KeyPath = field(default=("base",))

    @property
    def all_changes(self) -> tuple[Change, ...]:
        return self.point + self.changes


def cells(study: StudyFile) -> Iterator[Cell]:
    """All cells, point by point: written variants or the point itself, then `ablate`, then `add`.

    `vary` and `zip` span a product of points. At each, `ablate` makes one change at a time, and
    `add` makes one change at a time to the baseline.
    """
    axes: list[list[tuple[Change, ...]]] = [
        [((key, value, ("vary", key, i)),) for i, value in enumerate(values)]
        for key, values in study.vary.items()
    ]
    for g, group in enumerate(study.zip):
        rows = zip(*group.values(), strict=True)
        axes.append(
            [
                tuple((k, v, ("zip", g, k, i)) for k, v in zip(group, row, strict=True))
                for i, row in enumerate(rows)
            ]
        )
    for combination in itertools.product(*axes):
        point = tuple(itertools.chain.from_iterable(combination))
        if study.variants:
            for i, variant in enumerate(study.variants):
                where = ("variants", i)
                changes = tuple((k, v, (*where, "set", k)) for k, v in variant.set.items())
                yield Cell(point, changes, variant.name, where)
        else:
            yield Cell(point, ())
        for key, values in study.ablate.items():
            for i, value in enumerate(values):
                path = ("ablate", key, i)
                yield Cell(point, ((key, value, path),), None, path)
        start = baseline_changes(study)
        for key, values in study.add.items():
            for i, value in enumerate(values):
                path = ("add", key, i)
                yield Cell(point, (*start, (key, value, path)), None, path)


def baseline_changes(study: StudyFile) -> tuple[Change, ...]:
    """What `baseline` sets, as changes."""
    return tuple((k, v, ("baseline", k)) for k, v in (study.baseline or {}).items())


def apply(config: Mapping[str, Any], changes: tuple[Change, ...]) -> dict[str, Any]:
    """Lay changes on settings, in order: mappings merge, null, lists and plain values replace."""
    result = copy.deepcopy(dict(config))
    for key, value, _ in changes:
        lay(result, tuple(key.split(".")), value)
    return result


def name(base: Mapping[str, Any], cell: Cell) -> str:
    """A name made of what differs from `base`; a written name has only the point added."""
    if cell.name is not None:
        return ", ".join([cell.name, *_words(_differences(base, cell.point, cell.point))])
    changed = _differences(base, cell.changes + cell.point, cell.all_changes)
    return ", ".join(_words(changed)) or "base"


def arm(base: Mapping[str, Any], cell: Cell) -> str:
    """The name of what a cell does at its point, the same at every point."""
    if cell.name is not None:
        return cell.name
    return ", ".join(_words(_differences(base, cell.changes, cell.changes))) or "base"


def levels(cell: Cell) -> dict[str, str]:
    """By axis of `vary` and `zip` the level at which a cell stands, in words."""
    axes: dict[KeyPath, list[Change]] = {}
    for change in cell.point:
        axes.setdefault(change[2][:2], []).append(change)
    labels = _labels([key for key, _, _ in cell.point])
    return {
        " + ".join(labels[key] for key, _, _ in changes): ", ".join(
            _level(value) for _, value, _ in changes
        )
        for changes in axes.values()
    }


def _level(value: Any) -> str:
    """A value as the name of a level: `{name: affine, rotation: 90}` is `affine, rotation=90`."""
    if value is None:
        return "none"
    if not isinstance(value, Mapping):
        return _text(value)
    leaves = dict(_leaves("", value))
    named = [_text(leaves.pop(".name"))] if ".name" in leaves else []
    return ", ".join([*named, *(f"{k.removeprefix('.')}={_text(v)}" for k, v in leaves.items())])


def _differences(
    base: Mapping[str, Any], named: tuple[Change, ...], applied: tuple[Change, ...]
) -> dict[str, Any]:
    """By dotted key what `named` changes set, as it is after all that is `applied`.

    What a later change put back to what `base` has is no difference.
    """
    config = apply(base, applied)
    found: dict[str, Any] = {}
    for key, value, _ in named:
        for leaf, _ in _leaves(key, value):
            after = _at(config, leaf)
            if after is not _ABSENT and after != _at(base, leaf):
                found |= dict(_leaves(leaf, after))
    return found


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for inner, item in value.items():
            yield from _leaves(f"{key}.{inner}", item)
    else:
        yield key, value


_ABSENT = object()


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return _ABSENT
        config = config[part]
    return config


def _words(values: Mapping[str, Any]) -> list[str]:
    """`model.transformer.transform: affine` as `transform=affine`; longer where not clear."""
    labels = _labels(list(values))
    return [f"{labels[key]}={_text(value)}" for key, value in values.items()]


def _labels(keys: list[str]) -> dict[str, str]:
    """The last word of each dotted key; all of it where that word is not clear."""
    short = {key: key.split(".")[-2 if key.endswith(".name") else -1] for key in keys}
    counts = list(short.values())
    return {key: word if counts.count(word) == 1 else key for key, word in short.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
