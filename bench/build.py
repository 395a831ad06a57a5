"""Settings to objects: names become modules, data sets and transformers."""

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .components import describe, source_file
from .datasets.dataset import Dataset
from .errors import BenchError
from .jobs import one_line
from .transformers import REFUSALS, with_transformers


def build(role: str, reference: Mapping[str, Any], folder: Path, **supplied: Any) -> Any:
    """Make the component that `{name: …, parameters}` stands for, with what the harness supplies.

    A transform is told `dims` where it takes them, and so are those that it is made of; a data set
    is told `data_dir`, the folder of the data sets, and `study_dir`, the study's, likewise.

    Raises:
        BenchError: The component refuses its parameters, with its own sentence.
    """
    name = reference["name"]
    component = describe(role, name, folder)
    values = {k: reference[k] for k in component.parameters if k in reference}
    for key, parameter in component.parameters.items():
        if parameter.role and values.get(key) is not None:
            nested = supplied if parameter.role == role == "transform" else {}
            values[key] = build(parameter.role, values[key], folder, **nested)
        elif key in values and "list[" not in parameter.text:
            values[key] = _tuples(values[key])
    made = _load(component.target, folder)
    if role in ("transform", "dataset"):
        takes = inspect.signature(made).parameters
        supplied = {key: value for key, value in supplied.items() if key in takes}
    try:
        return made(**supplied, **values)
    except (ValueError, TypeError) as error:
        raise BenchError(f"{role} `{name}`: {error}") from error


def _tuples(value: Any) -> Any:
    """JSON has lists alone; a component's parameters are tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def dataset(settings: Mapping[str, Any], data_dir: Path | None, folder: Path) -> Any:
    """The data set of a variant; nothing is read yet."""
    return build("dataset", settings["dataset"], folder, data_dir=data_dir, study_dir=folder)


def model(settings: Mapping[str, Any], data: Dataset, folder: Path) -> nn.Module:
    """The model of a variant, its spatial transformers in place, drawn from torch's generator.

    It gives scores `(batch, classes)`, or `(batch, labels, classes)` where an image has several.
    Where the study says how many parameters it has, transformers included, its `width` is chosen
    to come nearest.
    """
    reference = settings["model"]
    if reference["parameters"] is not None:
        reference = {**reference, "width": fitting_width(reference, data, folder)}
    return _model(reference, data, folder)


def fitting_width(reference: Mapping[str, Any], data: Dataset, folder: Path) -> float:
    """The `width` at which a model comes nearest to the number of parameters asked for.

    Raises:
        BenchError: No width comes within a tenth of it.
    """
    wanted = reference["parameters"]
    known: dict[tuple[int, ...], tuple[int, ...]] = {}

    @cache
    def count(width: float) -> int:
        with torch.device("meta"):
            net = _model({**reference, "width": width}, data, folder, known)
        return sum(p.numel() for p in net.parameters())

    low, high = 2.0**-6, 2.0**6
    for _ in range(16):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    found = min((low, high), key=lambda width: abs(count(width) - wanted))
    if abs(count(found) - wanted) > wanted / 10:
        raise BenchError(
            f"model.parameters: must be met by some width, got {wanted:,}; "
            f"`{reference['name']}` has {count(low):,} or {count(high):,}"
        )
    return round(found, 4)


def _model(
    reference: Mapping[str, Any],
    data: Dataset,
    folder: Path,
    known: dict[tuple[int, ...], tuple[int, ...]] | None = None,
) -> nn.Module:
    spatial, outputs = reference["transformer"], (data.labels, data.num_classes)

    def net_of(in_shape: tuple[int, ...], scores: int) -> nn.Module:
        return build("model", reference, folder, in_shape=in_shape, num_classes=scores)

    if spatial is None:
        net = net_of(data.in_shape, data.labels * data.num_classes)
    else:
        make = partial(build, folder=folder)
        known = {} if known is None else known
        try:
            net = with_transformers(spatial, data.in_shape, outputs, make, net_of, known)
        except (ValueError, TypeError) as error:
            raise BenchError(f"model.transformer: {error}") from error
    return net if data.labels == 1 else nn.Sequential(net, nn.Unflatten(1, outputs))


def check_settings(settings: Mapping[str, Any], data_dir: Path | None, folder: Path) -> nn.Module:
    """Build a variant once on `meta` tensors, and put images through it: shapes only.

    Returns:
        The model, of `meta` tensors.

    Raises:
        BenchError: A component refuses its parameters, or two do not fit together.
    """
    data = dataset(settings, data_dir, folder)
    with torch.device("meta"):
        net = model(settings, data, folder)
    try:
        output = net(torch.zeros(2, *data.in_shape, device="meta"))
    except REFUSALS as error:
        raise BenchError(f"the model cannot take images of {data.in_shape}: {error}") from error
    wanted = (data.num_classes,) if data.labels == 1 else (data.labels, data.num_classes)
    if tuple(output.shape) != (2, *wanted):
        shape = ", ".join(map(str, wanted))
        raise BenchError(
            f"the model must give (batch, {shape}) scores, gives {tuple(output.shape)}"
        )
    return net


def _load(target: str, folder: Path) -> Any:
    module, _, attribute = target.partition(":")
    file = source_file(target, folder)
    try:
        loaded = _own(file) if module.endswith(".py") else importlib.import_module(module)
    except Exception as error:
        reason = one_line(error)
        raise BenchError(f"`{target}`: {file} cannot be imported: {reason}") from error
    return getattr(loaded, attribute)


def _own(file: Path) -> ModuleType:
    """A file of the user's as a module; two files of one name are two modules."""
    file = file.resolve()
    name = f"stn_bench_own_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, "a file that ends in .py has a loader"
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
