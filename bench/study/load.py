"""YAML to `Study`: read, override, check, expand; every problem of the file at once."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..components import describe, suggest
from ..errors import BenchError, StudyError
from .content import digest
from .design import Cell, apply, arm, baseline_changes, cells, levels, name
from .document import Document, KeyPath, parse_document, read_document
from .schema import MISSING, Base, StudyFile, check
from .settings import Problem, resolve, task
from .study import Study, Variant, canonical_json

DESIGN_KEYS = ("vary", "ablate", "add", "baseline")
LIMIT = 100_000


def load_study(
    file: Path | str,
    overrides: Iterable[str] = (),
    *,
    profile: str | None = None,
    only: Iterable[str] = (),
) -> Study:
    """Read a study.

    Args:
        file: The YAML file.
        overrides: `key=value`: `train.steps=500` is laid on `base`, `seeds=3` on the study.
        profile: A profile of the file, laid on it before the overrides.
        only: Names of the variants to keep; their baselines stay named.

    Raises:
        BenchError: The file cannot be read, or an argument does not fit it.
        StudyError: The file has problems, all of them.
    """
    file = Path(file)
    overrides = tuple(overrides)
    digest.cache_clear()
    document = read_document(file)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BenchError(f"override `{text}` must be `key=value`, such as `train.steps=500`")
    if profile is not None:
        document = _with_profile(document, profile)
    for text in overrides:
        key, _, value = text.partition("=")
        document = document.with_value(_target(key), _value(value, text), "command line")
    parsed, found = check(StudyFile, document.value, ())
    problems = [document.problem(path, message) for path, message in found]
    if parsed is None:
        raise StudyError(problems)
    problems += [document.problem(path, message) for path, message in _check_file(parsed, file)]
    if problems:
        raise StudyError(problems)
    variants = _variants(parsed, document, file.parent)
    if problem := _cannot_share(parsed, variants, file.parent):
        where = ("resources", "accuracy", "workers")
        raise StudyError([document.problem(where, problem)])
    if profile is None and (problems := _problems_of_profiles(file, parsed)):
        raise StudyError(problems)
    study = Study(
        name=parsed.name,
        question=parsed.question,
        task=parsed.task,
        folder=str(file.parent.resolve()),
        variants=tuple(variants),
        seeds=parsed.seeds,
        rounds=parsed.rounds,
        phases=describe("task", parsed.task, file.parent).phases,
        resources=parsed.resources,
        retries=parsed.retries,
        profile=profile,
        overrides=overrides,
        gates=parsed.gates,
    )
    return _only(study, tuple(only))


def _with_profile(document: Document, profile: str) -> Document:
    profiles = document.value.get("profiles")
    known = profiles if isinstance(profiles, dict) else {}
    if profile not in known:
        raise BenchError(f"{document.file}: has no profile `{profile}`{suggest(profile, known)}")
    settings = known[profile]
    # One that is no mapping is a problem of the file, told with all the others.
    for key, value in settings.items() if isinstance(settings, dict) else ():
        place = document.place(("profiles", profile, key))
        document = document.with_value(_target(key), value, place)
    return document


def _problems_of_profiles(file: Path, study: StudyFile) -> list[str]:
    """What is wrong in profiles that nobody asked for yet."""
    problems: list[str] = []
    for profile in study.profiles:
        try:
            load_study(file, profile=profile)
        except StudyError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def _target(key: str) -> KeyPath:
    """Where an override lands: a key of the study, or else of `base`."""
    first, _, rest = key.partition(".")
    if first in DESIGN_KEYS and rest:
        return (first, rest)
    fields = [field.alias or n for n, field in StudyFile.model_fields.items()]
    path = tuple(key.split("."))
    return path if first in fields else ("base", *path)


def _value(text: str, override: str) -> Any:
    try:
        values = parse_document(f"value: {text}", "command line").value
    except StudyError:
        values = {}
    if list(values) != ["value"]:
        raise BenchError(f"override `{override}`: the value is not YAML")
    return values["value"]


def _check_file(study: StudyFile, file: Path) -> list[tuple[KeyPath, str]]:
    """What concerns single keys of the file but is no matter of type."""
    problems: list[tuple[KeyPath, str]] = []
    if study.name != file.stem:
        problems.append((("name",), f"must be the file's stem `{file.stem}`, got `{study.name}`"))
    problems += task(study.task, file.parent)
    for i, group in enumerate(study.zip):
        lengths = {key: len(values) for key, values in group.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"`{k}` has {n}" for k, n in lengths.items())
            problems.append((("zip", i), f"axes in step must be of one length; {counts}"))
    if study.add and study.baseline is None:
        problems.append((("add",), "needs a `baseline` to add to"))
    seen: dict[str, KeyPath] = {}
    axes: list[tuple[KeyPath, str]] = [(("vary", k), k) for k in study.vary]
    axes += [(("zip", i, k), k) for i, group in enumerate(study.zip) for k in group]
    for path, key in axes:
        if key in seen:
            problems.append((path, "is an axis already"))
        seen[key] = path
    sets: list[tuple[KeyPath, Mapping[str, Any]]] = [
        (("vary",), study.vary),
        (("ablate",), study.ablate),
        (("add",), study.add),
        (("baseline",), study.baseline or {}),
    ]
    sets += [(("zip", i), group) for i, group in enumerate(study.zip)]
    sets += [(("variants", i, "set"), v.set) for i, v in enumerate(study.variants)]
    sets += [(("exclude", i), e) for i, e in enumerate(study.exclude)]
    sets += [(("published", i, "where"), p.where) for i, p in enumerate(study.published)]
    for start, keys in sets:
        for key in keys:
            first = key.partition(".")[0]
            if first not in Base.model_fields:
                near = suggest(first, Base.model_fields)
                problems.append(((*start, key), f"must begin with a key of `base`{near}"))
    axis = [len(values) for values in study.vary.values()]
    size = math.prod(axis + [len(next(iter(group.values()))) for group in study.zip])
    if size > LIMIT:
        where = ("vary",) if study.vary else ("zip",)
        problems.append((where, f"spans {size} points; at most {LIMIT} are possible"))
    return problems


def _variants(study: StudyFile, document: Document, folder: Path) -> list[Variant]:
    base = study.base.model_dump()
    found: dict[str, tuple[Cell, dict[str, Any]]] = {}
    labels: dict[str, str] = {}
    # `base` may lack what every variant sets, but what it has must be right, used or not.
    alone = [p for p in resolve(base, study.task, folder)[1] if p[1] != MISSING]
    problems = [document.problem(("base", *path), message) for path, message in alone]
    excluded: list[Any] = []
    for cell in cells(study):
        config = apply(base, cell.all_changes)
        settings, wrong = resolve(config, study.task, folder)
        problems += [_problem(document, cell, path, message) for path, message in wrong]
        if wrong:
            continue
        if any(_matches(study, settings, exclude, folder) for exclude in study.exclude):
            excluded.append(settings)
            continue
        identity = canonical_json(settings)
        if identity not in labels:
            label = name(base, cell)
            if label in found:
                place = document.place(cell.origin)
                clash = f"two variants are called `{label}`; name them under `variants`"
                problems.append(f"{place}: {clash}")
            found[label] = (cell, settings)
            labels[identity] = label
        elif cell.name is not None:
            other, _ = found[labels[identity]]
            if other.name not in (None, cell.name):
                problem = f"is the same as variant `{other.name}`"
                problems.append(document.problem(cell.origin, problem))
    problems += _idle_conditions(study, document, excluded + [s for _, s in found.values()], folder)
    if not found and not problems:
        problems.append(document.problem(("exclude",), f"leaves no variant of {len(excluded)}"))
    if problems:
        raise StudyError(list(dict.fromkeys(problems)))
    baselines: dict[str, str | None] = {label: None for label in found}
    if study.baseline is not None:
        for label, (cell, _) in found.items():
            config = apply(base, cell.point + baseline_changes(study))
            settings, wrong = resolve(config, study.task, folder)
            baselines[label] = None if wrong else labels.get(canonical_json(settings))
        if not any(baselines.values()):
            text = json.dumps(study.baseline)
            raise StudyError(
                [document.problem(("baseline",), f"no variant of the study has {text}")]
            )
    return [
        Variant(
            name=label,
            **settings,
            point=levels(cell),
            arm=arm(base, cell),
            baseline=baselines[label],
            published=tuple(
                p for p in study.published if _matches(study, settings, p.where, folder)
            ),
        )
        for label, (cell, settings) in found.items()
    ]


def _cannot_share(study: StudyFile, variants: list[Variant], folder: Path) -> str | None:
    """Why several workers cannot train a model of this study together."""
    count = study.resources.accuracy.workers
    if count == 1:
        return None
    if not describe("task", study.task, folder).data_parallel:
        return f"task `{study.task}` trains on one worker, got {count}"
    if study.resources.accuracy.gpus != 1:
        return f"each worker has a GPU of its own; needs `gpus: 1`, got {count} workers"
    for variant in variants:
        size = (variant.train or {}).get("batch_size", count)
        if size % count:
            return f"batches of {size}, of variant `{variant.name}`, are no equal parts for {count}"
    return None


def _idle_conditions(
    study: StudyFile, document: Document, variants: list[Any], folder: Path
) -> list[str]:
    """Problems of an `exclude` or a `where` that no variant could ever have."""
    conditions: list[tuple[KeyPath, dict[str, Any]]] = [
        (("exclude", i), exclude) for i, exclude in enumerate(study.exclude)
    ]
    conditions += [(("published", i, "where"), p.where) for i, p in enumerate(study.published)]
    problems = []
    for start, where in conditions:
        first: list[Problem] = []
        for settings in variants:
            wrong = _laid(study, settings, where, folder)[1]
            if not wrong:
                break
            first = first or wrong
        else:
            cell = Cell((), tuple((k, v, (*start, k)) for k, v in where.items()))
            problems += [_problem(document, cell, *problem) for problem in first[:1]]
    return problems


def _problem(document: Document, cell: Cell, path: KeyPath, message: str) -> str:
    """A problem of settings, at the key that set them: the last change there, or `base`."""
    for key, _, where in reversed(cell.all_changes):
        parts = tuple(key.split("."))
        if path[: len(parts)] == parts:
            return document.problem((*where, *path[len(parts) :]), message)
        if parts[: len(path)] == path:
            return document.problem(where, message)
    return document.problem(("base", *path), message)


def _matches(study: StudyFile, settings: Any, where: dict[str, Any], folder: Path) -> bool:
    """Whether settings have what `where` says: laying it on them changes nothing."""
    again, wrong = _laid(study, settings, where, folder)
    return not wrong and canonical_json(again) == canonical_json(settings)


def _laid(
    study: StudyFile, settings: Any, where: dict[str, Any], folder: Path
) -> tuple[Any, list[Problem]]:
    laid = apply(settings, tuple((k, v, ()) for k, v in where.items()))
    if isinstance(laid.get("dataset"), dict):
        for key in ("version", "content"):
            laid["dataset"].pop(key, None)
    again, wrong = resolve(laid, study.task, folder)
    # Where another component is named, parameters of the old one, which stay, are no mistake.
    said = {
        (*key.split("."), *inner)[:2]
        for key, value in where.items()
        for inner in ([(k,) for k in value] if isinstance(value, dict) else [()])
    }
    roles = [role for role in ("dataset", "model", "workload") if role in laid]
    others = [role for role in roles if _name(laid[role]) != _name(settings.get(role))]
    return again, [p for p in wrong if p[0][0] not in others or p[0][:2] in said]


def _name(reference: Any) -> Any:
    return reference.get("name") if isinstance(reference, dict) else reference


def _only(study: Study, names: tuple[str, ...]) -> Study:
    known = [variant.name for variant in study.variants]
    for wanted in names:
        if wanted not in known:
            raise BenchError(
                f"study `{study.name}` has no variant `{wanted}`{suggest(wanted, known)}"
            )
    if not names:
        return study
    kept = tuple(variant for variant in study.variants if variant.name in names)
    return study.model_copy(update={"variants": kept})
