"""What data sets give, and which models, transformers and tasks are for something else."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..components import ROLES


class Images(NamedTuple):
    """What a data set gives; None where its files decide.

    Attributes:
        axes: 2 for images, 3 for volumes.
        channels: Channels of an image.
        labels: Labels of an image; 0 where there is nothing to classify.
    """

    axes: int
    channels: int | None
    labels: int | None


IMAGES = {
    "cub": Images(2, 3, 1),
    "digits": Images(2, 1, 1),
    "extruded_mnist": Images(3, 1, 1),
    "image_folder": Images(2, None, 1),
    "mnist": Images(2, 1, 1),
    "mnist_addition": Images(2, 2, 1),
    "mnist_colocalisation": Images(2, 1, 0),
    "mnist_sequence": Images(2, 1, 3),
    "npz": Images(2, None, None),
    "parquet": Images(2, None, 1),
    "svhn": Images(2, 3, 5),
    "svhn_layout": Images(2, 3, 5),
}

# What reads images alone.
FLAT_MODELS = ("backbone", "rnn", "svhn_cnn")
FLAT_LOCALISATIONS = ("backbone",)
FLAT_TRANSFORMS = ("log_polar", "piecewise_affine", "polar")
# Workloads that learn from labels.
TRAINING = ("training_step", "trial")
# What the encoder of co-localisation reads.
ENCODED = [28, 28]
KINDS = {2: "images of two axes", 3: "volumes of three axes"}

Path = tuple[str | int, ...]


def task_problems(task: str, settings: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Where a task, or a workload that trains, meets data that it is not for.

    Args:
        task: Its name.
        settings: The canonical settings of a variant, as far as they are sound.

    Returns:
        Each problem as `(key path, what)`.
    """
    data, model = settings.get("dataset") or {}, settings.get("model") or {}
    images = IMAGES.get(data.get("name", ""))
    trains = task == "classify" or (settings.get("workload") or {}).get("name") in TRAINING
    if trains and images and images.labels == 0:
        text = f"`{data['name']}` has no labels to learn; it is for task `colocalise`"
        return [(("dataset",), text)]
    if task != "colocalise":
        return []
    problems: list[tuple[Path, str]] = []
    if images and images.labels != 0:
        text = f"`{data['name']}` does not say where things lie; task `colocalise` needs that"
        problems.append((("dataset",), text))
    if model.get("name") in ROLES["model"] and model["name"] != "cnn":
        text = f"task `colocalise` reads the layers of a `cnn`, got `{model['name']}`"
        problems.append((("model",), text))
    spatial = model.get("transformer")
    start = ("model", "transformer")
    alone = {"placement": "input", "count": 1, "iterations": 1, "pool": 1, "theta_forward": False}
    if spatial is None:
        problems.append((start, "task `colocalise` trains it and needs one"))
    elif any(spatial.get(key, value) != value for key, value in alone.items()):
        text = "task `colocalise` needs one transformer at the input and nothing behind it"
        problems.append((start, text))
    elif spatial.get("output_size", ENCODED) != ENCODED:
        text = f"must be {ENCODED}, the size of the digits that the encoder is trained on"
        problems.append(((*start, "output_size"), text))
    return problems


def image_problems(data: Mapping[str, Any], model: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Where a data set's axes, channels or labels are not those that a model is made for.

    What only a component of one's own could say is left to the check before a run.

    Args:
        data: The canonical `dataset` of a variant.
        model: Its canonical `model`.

    Returns:
        Each problem as `(key path, what)`.
    """
    name = data.get("name", "")
    if name not in IMAGES:
        return []
    axes, channels, labels = IMAGES[name]
    given = f"`{name}` gives {KINDS[axes]}"
    problems: list[tuple[Path, str]] = []
    if axes == 3 and model.get("name") in FLAT_MODELS:
        text = f"`{model['name']}` reads {KINDS[2]}, and {given}"
        problems.append((("model",), text))
    projects = model.get("project") is True
    if projects and axes == 2:
        problems.append((("model", "project"), f"needs {KINDS[3]}, and {given}"))
    spatial = model.get("transformer")
    if not spatial:
        return problems
    places = spatial.get("placement") or []
    places = [places] if isinstance(places, str) else places
    if projects and not all(_at_input(place) for place in places):
        return problems
    start = ("model", "transformer")
    if spatial.get("join") == "labels" and labels and spatial.get("count") != labels:
        text = f"must be {labels} to join `labels`, as many as an image of `{name}` has"
        problems.append(((*start, "count"), text))
    values, channels = spatial.get("padding"), data.get("channels", channels)
    at_input = any(_at_input(place) for place in places)
    if isinstance(values, list) and channels and at_input and len(values) != channels:
        text = f"must have {channels} values, one for each channel of `{name}`, has {len(values)}"
        problems.append(((*start, "padding"), text))
    for path, wanted, what in _wanted_axes(spatial):
        if wanted != axes:
            problems.append(((*start, *path), f"{what} {KINDS[wanted]}, and {given}"))
    return problems


def _at_input(place: str) -> bool:
    """Whether what stands there stands before anything that changes the image."""
    return re.fullmatch(r"input|project|C0|(DL|SL)\d+", place) is not None


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
