"""Which arrangements of spatial transformers make sense, and why the others do not."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..components import ROLES
from .schema import Transformer

# A placement by its name in Finnveden et al., 2020.
BY_NAME = re.compile(r"(C|DL|SL)\d+")

# What these models have is one feature map, the image itself.
NO_FEATURE_MAPS = ("fcn", "rnn")

# Data sets of volumes; what reads images alone.
VOLUMES = ("extruded_mnist",)
FLAT_MODELS = ("backbone", "rnn", "svhn_cnn")
FLAT_LOCALISATIONS = ("backbone",)
FLAT_TRANSFORMS = ("log_polar", "piecewise_affine", "polar")
KINDS = {2: "images of two axes", 3: "volumes of three axes"}

Path = tuple[str | int, ...]


def arrangement_problems(spatial: Transformer, model: str) -> list[tuple[str, str]]:
    """What is wrong between the keys of a `model.transformer`, as `(key, what)`."""
    problems: list[tuple[str, str]] = []
    places = [spatial.placement] if isinstance(spatial.placement, str) else spatial.placement
    named = [where for where in places if BY_NAME.fullmatch(where)]
    inside = [where for where in places if where not in ("input", "C0")]
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


def axes_problems(data: Mapping[str, Any], model: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Where images meet what is made for volumes, or volumes what is made for images.

    What only a component of one's own could say is left to the check before a run.

    Args:
        data: The canonical `dataset` of a variant.
        model: Its canonical `model`.

    Returns:
        Each problem as `(key path, what)`.
    """
    name = data.get("name")
    if name not in ROLES["dataset"]:
        return []
    axes = 3 if name in VOLUMES else 2
    given = f"`{name}` gives {KINDS[axes]}"
    problems: list[tuple[Path, str]] = []
    if axes == 3 and model.get("name") in FLAT_MODELS:
        text = f"`{model['name']}` reads {KINDS[2]}, and {given}"
        problems.append((("model",), text))
    projects = model.get("project") is True
    if projects and axes == 2:
        problems.append((("model", "project"), f"needs {KINDS[3]}, and {given}"))
    spatial = model.get("transformer")
    if not spatial or (projects and not _at_input(spatial.get("placement"))):
        return problems
    start = ("model", "transformer")
    for path, wanted, what in _wanted_axes(spatial):
        if wanted != axes:
            problems.append(((*start, *path), f"{what} {KINDS[wanted]}, and {given}"))
    return problems


def _at_input(placement: Any) -> bool:
    """Whether all transformers stand before anything could have projected a volume."""
    places = [placement] if isinstance(placement, str) else placement or []
    return all(re.fullmatch(r"input|project|C0|(DL|SL)\d+", where) for where in places)


def _wanted_axes(spatial: Mapping[str, Any]) -> Iterator[tuple[Path, int, str]]:
    """How many axes the parts of a transformer are for: `(key path, axes, words)`."""
    if size := spatial.get("output_size"):
        yield ("output_size",), len(size), f"has {len(size)} lengths, which is for"
    body = spatial.get("localisation") or {}
    if body.get("name") in FLAT_LOCALISATIONS:
        yield ("localisation",), 2, f"`{body['name']}` reads"
    yield from _transform_axes(spatial.get("transform") or {}, ("transform",))


def _transform_axes(transform: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, int, str]]:
    name = transform.get("name")
    if name in FLAT_TRANSFORMS:
        yield path, 2, f"`{name}` warps"
        return
    for key, what in (("size", "lengths"), ("fixed", "rows")):
        if name in ROLES["transform"] and isinstance(rows := transform.get(key), list):
            yield (*path, key), len(rows), f"has {len(rows)} {what}, which is for"
    for key in ("first", "second", "transform"):
        if isinstance(inner := transform.get(key), Mapping):
            yield from _transform_axes(inner, (*path, key))
