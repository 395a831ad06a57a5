"""Settings to objects: names become modules, data sets and transformers."""

import hashlib
import importlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from stn_core import LocalisationNetwork, SpatialTransformer, place

from .components import describe, source_file, suggest
from .datasets.dataset import Dataset
from .errors import BenchError
from .jobs import one_line


def build(role: str, reference: Mapping[str, Any], folder: Path, **supplied: Any) -> Any:
    """Make the component that `{name: …, parameters}` stands for, with what the harness supplies.

    Raises:
        BenchError: The component refuses its parameters, with its own sentence.
    """
    name = reference["name"]
    component = describe(role, name, folder)
    values = {k: reference[k] for k in component.parameters if k in reference}
    for key, parameter in component.parameters.items():
        if parameter.role and values.get(key) is not None:
            values[key] = build(parameter.role, values[key], folder)
    try:
        return _load(component.target, folder)(**supplied, **values)
    except (ValueError, TypeError) as error:
        raise BenchError(f"{role} `{name}`: {error}") from error


def dataset(settings: Mapping[str, Any], data_dir: Path | None, folder: Path) -> Any:
    """The data set of a variant; nothing is read yet."""
    return build("dataset", settings["dataset"], folder, data_dir=data_dir)


def model(settings: Mapping[str, Any], data: Dataset, folder: Path) -> nn.Module:
    """The model of a variant, its spatial transformer in place, drawn from torch's generator.

    It gives scores `(batch, classes)`, or `(batch, labels, classes)` where an example has several.
    """
    net = _classifier(settings, data.in_shape, data.num_classes * data.labels, folder)
    if data.labels == 1:
        return net
    return nn.Sequential(net, nn.Unflatten(1, (data.labels, data.num_classes)))


def _classifier(
    settings: Mapping[str, Any], in_shape: tuple[int, ...], classes: int, folder: Path
) -> nn.Module:
    reference = settings["model"]
    spatial = reference["transformer"]
    at_input = bool(spatial) and spatial["placement"] == "input"
    size = (spatial["output_size"] if at_input else None) or in_shape[1:]
    seen = (in_shape[0], *size)
    net = build("model", reference, folder, in_shape=seen, num_classes=classes)
    if spatial is None:
        return net
    if at_input:
        transformer = spatial_transformer(spatial, in_shape, folder)
        return nn.Sequential(OrderedDict(transformer=transformer, model=net))
    placement = spatial["placement"]
    shape = shape_before(net, placement, in_shape)
    return place(net, spatial_transformer(spatial, shape, folder), before=placement)


def spatial_transformer(
    spatial: Mapping[str, Any], shape: tuple[int, ...], folder: Path
) -> SpatialTransformer:
    """A spatial transformer for feature maps of `shape`, `(channels, height, width)`."""
    transform = build("transform", spatial["transform"], folder)
    body = build("localisation", spatial["localisation"], folder, in_shape=shape)
    size, padding = spatial["output_size"], spatial["padding"]
    return SpatialTransformer(
        LocalisationNetwork(body, transform),
        transform,
        build("sampler", spatial["sampler"], folder),
        output_size=None if size is None else tuple(size),
        padding=tuple(padding) if isinstance(padding, list) else padding,
        align_corners=spatial["align_corners"],
    )


def shape_before(net: nn.Module, layer: str, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape `(channels, height, width)` of what `layer` is given."""
    layers = dict(net.named_modules())
    if layer not in layers or not layer:
        near = suggest(layer, [name for name in layers if name])
        raise BenchError(f"placement `{layer}`: the model has no such layer{near}")
    shapes: list[tuple[int, ...]] = []
    hook = layers[layer].register_forward_pre_hook(
        lambda _, given: shapes.append(tuple(given[0].shape[1:]))
    )
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, *in_shape, device=next(net.parameters()).device))
    finally:
        hook.remove()
        net.train()
    if not shapes or len(shapes[0]) != 3:
        given = f"{shapes[0]}" if shapes else "nothing"
        raise BenchError(
            f"placement `{layer}`: must be given a feature map, the layer is given {given}"
        )
    return shapes[0]


def check_settings(settings: Mapping[str, Any], data_dir: Path | None, folder: Path) -> None:
    """Build a variant once on `meta` tensors, and put images through it: shapes only.

    Raises:
        BenchError: A component refuses its parameters, or two do not fit together.
    """
    data = dataset(settings, data_dir, folder)
    with torch.device("meta"):
        net = model(settings, data, folder)
    try:
        output = net(torch.zeros(2, *data.in_shape, device="meta"))
    except (RuntimeError, ValueError, TypeError) as error:
        raise BenchError(f"the model cannot take images of {data.in_shape}: {error}") from error
    wanted = (data.num_classes,) if data.labels == 1 else (data.labels, data.num_classes)
    if tuple(output.shape) != (2, *wanted):
        shape = ", ".join(map(str, wanted))
        raise BenchError(
            f"the model must give (batch, {shape}) scores, gives {tuple(output.shape)}"
        )


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
