"""Settings of a variant: components known, parameters checked, defaults filled in."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..components import DATA_FILE, Component, Parameter, describe, suggest
from ..errors import BenchError
from .arrangement import arrangement_problems, place_problems, transform_problems
from .content import digest, located
from .document import KeyPath
from .images import image_problems, task_problems
from .schema import MISSING, Train, Transformer, check, show

Problem = tuple[KeyPath, str]

COMPONENT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

TRANSFORMER_ROLES = {"transform": None, "sampler": "bilinear", "localisation": "cnn"}


def resolve(
    config: dict[str, Any], task: str, folder: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """The canonical settings of a variant, and what is wrong with them.

    They hold what the task, or its workload, needs; what else `base` has is checked and left out.

    Canonical means: a component is always a mapping with its `name`, defaults are written out, and
    the data set bears its version, so that equal settings are equal whatever way they were written.
    """
    problems: list[Problem] = []
    settings: dict[str, Any] = {}
    needs = describe("task", task, folder).needs
    if config.get("workload") is not None:
        given = ("workload",)
        if "workload" not in needs:
            problems.append((given, f"is nothing that task `{task}` knows"))
        settings["workload"], found = component("workload", config["workload"], given, folder)
        problems += found
        if settings["workload"]:
            needs += describe("workload", settings["workload"]["name"], folder).needs
    for key in needs:
        if config.get(key) is None:
            problems.append(((key,), MISSING))
    if config.get("dataset") is not None:
        settings["dataset"], found = component("dataset", config["dataset"], ("dataset",), folder)
        problems += found
    if config.get("model") is not None:
        settings["model"], found = model(config["model"], ("model",), folder)
        problems += found
    if not problems and settings.get("dataset") and settings.get("model"):
        problems += image_problems(settings["dataset"], settings["model"])
    if not problems:
        problems += task_problems(task, settings)
    if config.get("train") is not None:
        train, found = check(Train, config["train"], ("train",))
        settings["train"] = train.model_dump() if train else None
        problems += found
        problems += _train_problems(train) if train else []
    return {key: value for key, value in settings.items() if key in needs}, problems


def _train_problems(train: Train) -> list[Problem]:
    """What is wrong between the keys of `train`."""
    problems: list[Problem] = []
    if train.momentum and train.optimizer != "sgd":
        problems.append((("train", "momentum"), f"is SGD's; `{train.optimizer}` has none"))
    if train.schedule == "step" and train.step_every is None:
        problems.append((("train", "step_every"), f"{MISSING}; schedule `step` needs it"))
    if train.schedule != "step" and train.step_every is not None:
        text = f"is of schedule `step`; `{train.schedule}` has none"
        problems.append((("train", "step_every"), text))
    if train.warmup_steps >= train.steps:
        text = f"must be less than `steps`, {train.steps}, got {train.warmup_steps}"
        problems.append((("train", "warmup_steps"), text))
    return problems


def model(value: Any, path: KeyPath, folder: Path) -> tuple[Any, list[Problem]]:
    """A model and the spatial transformer that it bears, or none."""
    value = dict(value) if isinstance(value, dict) else {"name": value}
    spatial, parameters = value.pop("transformer", None), value.pop("parameters", None)
    also = ("transformer", "parameters")
    result, problems = component("model", value, path, folder, also=also)
    result["parameters"] = parameters
    if parameters is not None:
        problems += [((*path, "parameters"), text) for text in _fitting(parameters, result)]
    if spatial is None:
        return {**result, "transformer": None}, problems
    path = (*path, "transformer")
    if not isinstance(spatial, dict):
        return result, [*problems, (path, f"must be a mapping or null, got {show(spatial)}")]
    plain = {k: v for k, v in spatial.items() if k not in TRANSFORMER_ROLES}
    unknown = [k for k in plain if k not in Transformer.model_fields]
    known = [*Transformer.model_fields, *TRANSFORMER_ROLES]
    problems += [((*path, k), f"unknown key{suggest(k, known)}") for k in unknown]
    fields, found = check(Transformer, {k: v for k, v in plain.items() if k not in unknown}, path)
    problems += found
    if fields:
        name = result.get("name", "")
        problems += [((*path, k), text) for k, text in arrangement_problems(fields, name)]
    if fields and len(problems) == 0:
        problems += [((*path, "placement"), text) for text in place_problems(fields, result)]
    transformer = fields.model_dump() if fields else {}
    # Results are kept from before these were keys: where they say nothing, a trial is the same.
    for key in ("poses", "bounds"):
        if transformer.get(key, True) is None:
            del transformer[key]
    for role, default in TRANSFORMER_ROLES.items():
        if (given := spatial.get(role, default)) is None:
            problems.append(((*path, role), MISSING))
            continue
        transformer[role], found = component(role, given, (*path, role), folder)
        problems += found
    for inner, text in transform_problems(transformer.get("transform") or {}, ("transform",)):
        problems.append(((*path, *inner), text))
    return {**result, "transformer": transformer}, problems


def _fitting(parameters: Any, model: dict[str, Any]) -> list[str]:
    """What is wrong with a number of parameters that a model is to have."""
    if not isinstance(parameters, int) or isinstance(parameters, bool) or parameters < 1:
        return [f"must be a whole number of at least 1 or null, got {show(parameters)}"]
    if "name" in model and "width" not in model:
        return [f"`{model['name']}` has no `width` that could be chosen to meet it"]
    return []


def component(
    role: str, value: Any, path: KeyPath, folder: Path, also: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    """A component as `{name: …, parameters with defaults}`; `also` are keys checked elsewhere."""
    given = dict(value) if isinstance(value, dict) else {"name": value}
    name = given.pop("name", None)
    where = (*path, "name") if isinstance(value, dict) else path
    if not isinstance(name, str):
        what = "is missing" if name is None else f"must be text, got {show(name)}"
        return {}, [(where, f"the name of the {role} {what}")]
    try:
        found = describe(role, name, folder)
    except BenchError as error:
        return {}, [(where, str(error))]
    problems: list[Problem] = []
    result: dict[str, Any] = {"name": name}
    if role == "dataset":
        result["version"] = found.version
    unknown = [k for k in given if k not in found.parameters]
    known = [*found.parameters, *also]
    problems += [
        ((*path, k), f"unknown key of {role} `{name}`{suggest(k, known)}") for k in unknown
    ]
    plain: dict[str, Parameter] = {}
    for key, parameter in found.parameters.items():
        if parameter.role and given.get(key) is not None:
            result[key], more = component(parameter.role, given[key], (*path, key), folder)
            problems += more
        else:
            plain[key] = parameter
    checked, more = check(
        _fields(found, tuple(plain)), {k: given[k] for k in plain if k in given}, path
    )
    problems += more
    if checked is not None:
        values = checked.model_dump(mode="json", by_alias=True, warnings=False)
        left = {k for k, p in plain.items() if p.computed and k not in given}
        result |= {k: v for k, v in values.items() if k not in left}
        for key in (k for k, p in plain.items() if p.text == DATA_FILE):
            try:
                content = result.setdefault("content", {})
                content[key] = digest(located(folder, values[key]))
            except BenchError as error:
                problems.append(((*path, key), str(error)))
    return result, problems


@lru_cache(maxsize=256)
def _fields(component: Component, keys: tuple[str, ...]) -> type[BaseModel]:
    """The model that checks these parameters of a component.

    As aliases parameters may have any name, `copy` and `_x` too, which pydantic's fields may not.
    """
    chosen = [(key, component.parameters[key]) for key in keys]
    kinds: dict[str, Any] = {
        f"field{i}": (p.type, Field(... if p.required else p.default, alias=key))
        for i, (key, p) in enumerate(chosen)
    }
    return create_model("component", __config__=COMPONENT, **kinds)


def task(name: str, folder: Path) -> list[Problem]:
    """What is wrong with the name of a task."""
    try:
        describe("task", name, folder)
    except BenchError as error:
        return [(("task",), str(error))]
    return []
