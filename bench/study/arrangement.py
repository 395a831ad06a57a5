"""Which arrangements of spatial transformers make sense, and why the others do not."""

import re
from collections.abc import Mapping
from typing import Any

from ..components import suggest
from .schema import Transformer

# A placement by its name in Finnveden et al., 2020.
BY_NAME = re.compile(r"(C|DL|SL)\d+")
AT_INPUT = re.compile(r"input|(C|DL|SL)0")

# What these models have is one feature map, the image itself.
NO_FEATURE_MAPS = ("fcn", "rnn")

# Fields of as many numbers as their `size` says.
SIZED_TRANSFORMS = ("diffeomorphic_flow", "flow")

Path = tuple[str | int, ...]


def arrangement_problems(spatial: Transformer, model: str) -> list[tuple[str, str]]:
    """What is wrong between the keys of a `model.transformer`, as `(key, what)`."""
    problems: list[tuple[str, str]] = []
    places = [spatial.placement] if isinstance(spatial.placement, str) else spatial.placement
    named = [where for where in places if BY_NAME.fullmatch(where)]
    inside = [where for where in places if not AT_INPUT.fullmatch(where)]
    if len(set(places)) < len(places):
        problems.append(("placement", "names a place twice"))
    if named and len(places) > 1:
        problems.append(("placement", f"`{named[0]}` stands alone, not in a list"))
    if inside and model in NO_FEATURE_MAPS:
        text = f"`{model}` has no feature map but its input, so nothing can stand at `{inside[0]}`"
        problems.append(("placement", text))
    if spatial.output_size and len(places) > 1:
        problems.append(("output_size", "is of one placement, and there are several"))
    for key in ("count", "pool", "iterations"):
        if named and getattr(spatial, key) > 1:
            problems.append((key, f"must be 1 at `{named[0]}`; write the placement by layer"))
    if named and spatial.bounds is not None:
        text = f"must be null at `{named[0]}`; write the placement by layer"
        problems.append(("bounds", text))
    if spatial.bounds is not None:
        low, high = (each if isinstance(each, list) else [each] for each in spatial.bounds)
        if 1 < len(low) != len(high) > 1:
            text = f"must be two of one length, got {len(low)} and {len(high)} numbers"
            problems.append(("bounds", text))
        elif not low or not high or max(low) >= max(high) and min(low) >= min(high):
            problems.append(("bounds", "must be the least `theta`, then the greatest"))
    if spatial.network != "own" and spatial.count == 1:
        problems.append(("network", f"`{spatial.network}` needs a `count` of at least 2"))
    if spatial.join != "channels" and (spatial.count == 1 or places != ["input"]):
        problems.append(("join", f"`{spatial.join}` needs several transformers at the input"))
    if spatial.join == "channels" and spatial.count > 1 and inside:
        text = "must be 1 inside a model: joined outputs have more channels than the layer reads"
        problems.append(("count", text))
    if spatial.iterations > 1 and (spatial.count > 1 or spatial.theta_forward):
        problems.append(("iterations", "must be 1 with several transformers or `theta_forward`"))
    if spatial.theta_forward and (spatial.count > 1 or places != ["input"]):
        text = "needs one transformer at the input: elsewhere the layer reads no further channels"
        problems.append(("theta_forward", text))
    return problems


def feature_maps(model: Mapping[str, Any]) -> list[str] | None:
    """Layers of a model that are given a feature map; None where only its code tells."""
    if model.get("name") == "cnn":
        stages = range(1, len(model["filters"]) + 1)
        first = ["project"] if model["project"] else []
        return first + [f"{kind}{i}" for i in stages for kind in ("conv", "pool", "relu")]
    if model.get("name") == "svhn_cnn":
        kinds = {"conv": range(1, 9), "relu": range(1, 9), "pool": range(1, 8, 2)}
        kinds["dropout"] = range(3, 9)
        return [f"{kind}{i}" for kind, every in kinds.items() for i in every] + ["flatten"]
    return None


def place_problems(spatial: Transformer, model: Mapping[str, Any]) -> list[str]:
    """What is wrong with the placements in a model whose layers are known, by its `name`."""
    layers = feature_maps(model)
    if layers is None:
        return []
    convolutions = sum(layer.startswith("conv") for layer in layers)
    name, projects = model["name"], "project" in layers
    problems: list[str] = []
    for where in [spatial.placement] if isinstance(spatial.placement, str) else spatial.placement:
        if where == "input":
            continue
        if not BY_NAME.fullmatch(where):
            if where not in layers:
                near = suggest(where, layers)
                problems.append(
                    f"`{name}` has no layer `{where}` that is given a feature map{near}"
                )
            continue
        kind, after = where.rstrip("0123456789"), int(where.lstrip("CDSL"))
        if after > convolutions:
            problems.append(f"`{where}`: `{name}` has {convolutions} convolutions")
        elif after and projects:
            problems.append(f"`{where}` is for models of images; write the placement by layer")
        elif kind == "C" and after == convolutions and "flatten" not in layers:
            text = f"`{where}` is behind the last convolution, where `{name}` reads no feature map"
            problems.append(text)
    return problems


def transform_problems(transform: Mapping[str, Any], path: Path = ()) -> list[tuple[Path, str]]:
    """What a localisation network cannot give the numbers of, as `(key path, what)`."""
    name = transform.get("name")
    if name in SIZED_TRANSFORMS and transform.get("size") is None:
        return [((*path, "size"), f"`{name}` needs it where a localisation network gives it")]
    inner = [(key, transform.get(key)) for key in ("first", "second", "transform")]
    return [
        problem
        for key, part in inner
        if isinstance(part, Mapping)
        for problem in transform_problems(part, (*path, key))
    ]
