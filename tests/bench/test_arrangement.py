"""Which arrangements of transformers are refused, with the words that the author reads."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench import build
from bench.components import ROLES
from bench.datasets.mnist import SIDE
from bench.errors import BenchError
from bench.study import load_study
from bench.study.arrangement import NO_FEATURE_MAPS, arrangement_problems, feature_maps
from bench.study.images import (
    ENCODED,
    FLAT_LOCALISATIONS,
    FLAT_MODELS,
    FLAT_TRANSFORMS,
    IMAGES,
    TRAINING,
)
from bench.study.schema import Transformer

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {dataset}
  model: {model}
  train: {{steps: 10, batch_size: 32, lr: 1e-3}}
"""
STACK = "must be 1 inside a model: joined outputs have more channels than the layer reads"
ALONE = "needs one transformer at the input: elsewhere the layer reads no further channels"

# Model, the keys of `model.transformer`, and the problems.
CASES = [
    ("cnn", {}, []),
    ("cnn", {"placement": ["input", "conv2"]}, []),
    ("cnn", {"placement": "SL2", "output_size": [20, 20]}, []),
    ("cnn", {"count": 4, "network": "shared", "join": "features"}, []),
    ("cnn", {"count": 3, "network": "recurrent", "join": "labels"}, []),
    ("fcn", {"placement": "C0"}, []),
    ("cnn", {"iterations": 3}, []),
    ("cnn", {"placement": ["input", "input"]}, [("placement", "names a place twice")]),
    (
        "cnn", {"placement": ["C1", "conv2"]},
        [("placement", "`C1` stands alone, not in a list")],
    ),
    (
        "fcn", {"placement": "fc2"},
        [("placement", "`fcn` has no feature map but its input, so nothing can stand at `fc2`")],
    ),
    (
        "rnn", {"placement": ["input", "C1"]},
        [("placement", "`C1` stands alone, not in a list"),
         ("placement", "`rnn` has no feature map but its input, so nothing can stand at `C1`")],
    ),
    (
        "cnn", {"placement": ["input", "conv2"], "output_size": [9, 9]},
        [("output_size", "is of one placement, and there are several")],
    ),
    ("cnn", {"placement": "DL1", "pool": 2},
     [("pool", "must be 1 at `DL1`; write the placement by layer")]),
    ("cnn", {"placement": "SL1", "iterations": 2},
     [("iterations", "must be 1 at `SL1`; write the placement by layer")]),
    ("cnn", {"bounds": [[0, 0], [1, 1, 1]]},
     [("bounds", "must be two of one length, got 2 and 3 numbers")]),
    ("cnn", {"bounds": [2, 2]}, [("bounds", "must be the least `theta`, then the greatest")]),
    ("cnn", {"bounds": [[], []]}, [("bounds", "must be the least `theta`, then the greatest")]),
    ("cnn", {"placement": "C1", "bounds": [-1, 1]},
     [("bounds", "must be null at `C1`; write the placement by layer")]),
    ("cnn", {"network": "shared"}, [("network", "`shared` needs a `count` of at least 2")]),
    ("cnn", {"join": "features"}, [("join", "`features` needs several transformers at the input")]),
    (
        "cnn", {"join": "labels", "count": 3, "placement": "conv2"},
        [("join", "`labels` needs several transformers at the input")],
    ),
    ("cnn", {"count": 2, "placement": "conv2"}, [("count", STACK)]),
    (
        "cnn", {"iterations": 2, "theta_forward": True},
        [("iterations", "must be 1 with several transformers or `theta_forward`")],
    ),
    ("cnn", {"theta_forward": True, "placement": "conv2"}, [("theta_forward", ALONE)]),
    ("cnn", {"theta_forward": True, "count": 2}, [("theta_forward", ALONE)]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "keys", "problems"), CASES, ids=lambda case: str(case)[:60])
def test_the_keys_of_a_transformer(model, keys, problems):
    assert arrangement_problems(Transformer(**keys), model) == problems


@pytest.mark.parametrize("keys", [keys for model, keys, wrong in CASES if not wrong], ids=str)
def test_what_is_not_refused_is_built(keys, tmp_path):
    name, labels = ("mnist_sequence", 3) if keys.get("join") == "labels" else ("digits", 1)
    spatial = {**keys, "transform": "attention", "localisation": "fcn"}
    model = {"name": "cnn", "filters": [3, 4], "kernel_sizes": [5, 3], "transformer": spatial}
    (variant,) = load(tmp_path, name, model).variants
    settings = variant.settings("classify")
    data: Any = SimpleNamespace(in_shape=(1, 28, 28), num_classes=10, labels=labels)
    net = build.model(settings, data, tmp_path)
    shape = (3, 10) if labels == 1 else (3, labels, 10)
    assert net(torch.rand(3, 1, 28, 28)).shape == shape


def load(tmp_path, dataset, model):
    text = STUDY.format(dataset=json.dumps(dataset), model=json.dumps(model))
    (tmp_path / "study.yaml").write_text(text)
    return load_study(tmp_path / "study.yaml")


def spatial(**keys):
    return {"name": "cnn", "transformer": {"transform": "affine", **keys}}


FLAT = "`mnist` gives images of two axes"
BODIES = "`extruded_mnist` gives volumes of three axes"
INSIDE = {"name": "compose", "first": "affine", "second": "polar"}
# Data set, model, where, and what.
MISMATCHES = [
    ("extruded_mnist", "rnn", "", f"`rnn` reads images of two axes, and {BODIES}"),
    ("extruded_mnist", "svhn_cnn", "", f"`svhn_cnn` reads images of two axes, and {BODIES}"),
    ("extruded_mnist", "backbone", "", f"`backbone` reads images of two axes, and {BODIES}"),
    ("mnist", {"name": "cnn", "project": True}, ".project",
     f"needs volumes of three axes, and {FLAT}"),
    ("extruded_mnist", spatial(output_size=[20, 20]), ".transformer.output_size",
     f"has 2 lengths, which is for images of two axes, and {BODIES}"),
    ("mnist", spatial(output_size=[9, 9, 9]), ".transformer.output_size",
     f"has 3 lengths, which is for volumes of three axes, and {FLAT}"),
    ("extruded_mnist", spatial(transform="polar"), ".transformer.transform",
     f"`polar` warps images of two axes, and {BODIES}"),
    ("extruded_mnist", spatial(transform="piecewise_affine"), ".transformer.transform",
     f"`piecewise_affine` warps images of two axes, and {BODIES}"),
    ("extruded_mnist", spatial(transform="thin_plate_spline"), ".transformer.transform.size",
     f"has 2 lengths, which is for images of two axes, and {BODIES}"),
    ("mnist", spatial(transform={"name": "thin_plate_spline", "size": [2, 2, 2]}),
     ".transformer.transform.size",
     f"has 3 lengths, which is for volumes of three axes, and {FLAT}"),
    ("extruded_mnist",
     spatial(transform={"name": "constrained_affine", "fixed": [[1, 0, None], [0, 1, None]]}),
     ".transformer.transform.fixed",
     f"has 2 rows, which is for images of two axes, and {BODIES}"),
    ("extruded_mnist", spatial(transform=INSIDE), ".transformer.transform.second",
     f"`polar` warps images of two axes, and {BODIES}"),
    ("extruded_mnist", spatial(localisation="backbone"), ".transformer.localisation",
     f"`backbone` reads images of two axes, and {BODIES}"),
]  # fmt: skip


@pytest.mark.parametrize(("dataset", "model", "where", "what"), MISMATCHES)
def test_images_and_volumes_are_told_apart_when_planning(dataset, model, where, what, tmp_path):
    with pytest.raises(BenchError) as caught:
        load(tmp_path, dataset, model)
    assert str(caught.value) == f"{tmp_path}/study.yaml:7: base.model{where}: {what}"


SEQUENCE = {"count": 2, "network": "recurrent", "join": "labels"}
# The same, of channels, labels and layers.
OTHERS = [
    ("mnist_sequence", spatial(**SEQUENCE), ".transformer.count",
     "must be 3 to join `labels`, as many as an image of `mnist_sequence` has"),
    ("mnist_addition", spatial(padding=[0.5]), ".transformer.padding",
     "must have 2 values, one for each channel of `mnist_addition`, has 1"),
    ("mnist", spatial(transform="flow"), ".transformer.transform.size",
     "`flow` needs it where a localisation network gives it"),
    ("mnist", spatial(transform={"name": "compose", "first": "affine", "second": "flow"}),
     ".transformer.transform.second.size",
     "`flow` needs it where a localisation network gives it"),
    ("mnist", spatial(placement="conf2"), ".transformer.placement",
     "`cnn` has no layer `conf2` that is given a feature map (did you mean `conv2`?)"),
    ("mnist", spatial(placement="C2"), ".transformer.placement",
     "`C2` is behind the last convolution, where `cnn` reads no feature map"),
    ("mnist", spatial(placement="DL3"), ".transformer.placement",
     "`DL3`: `cnn` has 2 convolutions"),
    ("extruded_mnist", {**spatial(placement="SL1"), "project": True}, ".transformer.placement",
     "`SL1` is for models of images; write the placement by layer"),
]  # fmt: skip


@pytest.mark.parametrize(("dataset", "model", "where", "what"), OTHERS)
def test_channels_labels_and_layers_are_counted_when_planning(
    dataset, model, where, what, tmp_path
):
    with pytest.raises(BenchError) as caught:
        load(tmp_path, dataset, model)
    assert str(caught.value) == f"{tmp_path}/study.yaml:7: base.model{where}: {what}"


CROP = spatial(output_size=[28, 28])
SCATTERED = "mnist_colocalisation"
# Task, data set, model, where, and what.
TASKS = [
    ("classify", SCATTERED, "cnn", "6: base.dataset",
     "`mnist_colocalisation` has no labels to learn; it is for task `colocalise`"),
    ("colocalise", "mnist", CROP, "6: base.dataset",
     "`mnist` does not say where things lie; task `colocalise` needs that"),
    ("colocalise", SCATTERED, {**CROP, "name": "fcn"}, "7: base.model",
     "task `colocalise` reads the layers of a `cnn`, got `fcn`"),
    ("colocalise", SCATTERED, "cnn", "7: base.model",
     "task `colocalise` trains it and needs one"),
    ("colocalise", SCATTERED, spatial(count=2), "7: base.model.transformer",
     "task `colocalise` needs one transformer at the input and nothing behind it"),
    ("colocalise", SCATTERED, spatial(output_size=[9, 9]), "7: base.model.transformer.output_size",
     "must be [28, 28], the size of the digits that the encoder is trained on"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "dataset", "model", "where", "what"), TASKS)
def test_tasks_and_data_sets_that_are_not_for_each_other(
    task, dataset, model, where, what, tmp_path
):
    text = STUDY.format(dataset=json.dumps(dataset), model=json.dumps(model))
    (tmp_path / "study.yaml").write_text(text.replace("task: classify", f"task: {task}"))
    with pytest.raises(BenchError) as caught:
        load_study(tmp_path / "study.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/study.yaml:{where}")
    assert str(caught.value).endswith(f": {what}")


def test_a_network_of_patches_that_cannot_cut_the_image_up(tmp_path):
    model = {"name": "backbone", "architecture": "test_vit"}
    (variant,) = load(tmp_path, "mnist", model).variants
    with pytest.raises(BenchError, match="28.* divisible by patch size"):
        build.check_settings(variant.settings("classify"), None, tmp_path)


def test_what_gives_another_size_than_the_layers_behind_are_made_for(tmp_path):
    (variant,) = load(tmp_path, "mnist", spatial(placement="conv2", pool=2)).variants
    with pytest.raises(BenchError) as caught:
        build.check_settings(variant.settings("classify"), None, tmp_path)
    assert str(caught.value) == (
        "placement `conv2`: gives (32, 5, 5) in place of (32, 10, 10), and the layers behind are "
        "made for that; take `pool` or `output_size` away"
    )


@pytest.mark.parametrize(
    ("dataset", "model"),
    [
        ("extruded_mnist", spatial(output_size=[28, 28, 28])),
        ("extruded_mnist", spatial(transform={"name": "thin_plate_spline", "size": [2, 2, 2]})),
        ("extruded_mnist", {**spatial(transform="polar", placement="conv2"), "project": True}),
        ("extruded_mnist", {"name": "fcn", "transformer": {"transform": "rigid"}}),
        ("extruded_mnist", {"name": "cnn", "project": True}),
    ],
    ids=str,
)
def test_what_fits_is_not_refused(dataset, model, tmp_path):
    (variant,) = load(tmp_path, {"name": dataset, "side": 40}, model).variants
    build.check_settings(variant.settings("classify"), None, tmp_path)


def test_a_data_set_of_ones_own_is_left_to_the_check(tmp_path):
    (tmp_path / "mine.py").write_text("class Mine:\n    def __init__(self): ...\n")
    assert load(tmp_path, "mine.py:Mine", "rnn").variants


@pytest.mark.parametrize("name", sorted(ROLES["dataset"]))
def test_the_table_of_images_is_that_of_the_data_sets(name):
    """Against the classes themselves: none is missing in the table, none too many."""
    module, _, attribute = ROLES["dataset"][name].partition(":")
    known = IMAGES[name]
    made = getattr(importlib.import_module(module), attribute)
    if known.labels is not None:
        assert made.labels == (known.labels or 1)
    if known.channels is None:
        pytest.skip("its shape is that of the user's files: images, by its reader")
    shape = made(data_dir=None).in_shape
    assert (len(shape) - 1, shape[0]) == (known.axes, known.channels)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "cnn"},
        {"name": "cnn", "filters": [3, 4, 5], "kernel_sizes": [3, 3, 3]},
        {"name": "cnn", "filters": [3], "kernel_sizes": [5], "project": True},
        {"name": "svhn_cnn", "width": 0.1},
    ],
    ids=str,
)
def test_the_layers_that_are_known_are_those_that_are_given_a_feature_map(model):
    defaults = {"filters": [32, 64], "project": False}
    shape = (1, 32, 32, 32) if model.get("project") else (3, 64, 64)
    with torch.device("meta"):
        net = build.build("model", model, Path(), in_shape=shape, num_classes=10)
        given = {}
        for name, layer in net.named_children():
            layer.register_forward_pre_hook(
                lambda _, args, name=name: given.update({name: args[0].ndim})
            )
        net(torch.zeros(2, *shape))
    maps = {name for name, axes in given.items() if axes >= 4}
    assert maps == set(feature_maps(defaults | model) or ())


@pytest.mark.parametrize("name", sorted(set(ROLES["model"]) - {"backbone"}))
def test_the_models_that_read_no_volumes_are_those_that_refuse_them(name):
    def built():
        with torch.device("meta"):
            reference = {"name": name}
            net = build.build("model", reference, Path(), in_shape=(1, 32, 32, 32), num_classes=10)
            return net(torch.zeros(2, 1, 32, 32, 32))

    if name in FLAT_MODELS:
        with pytest.raises((BenchError, RuntimeError)):
            built()
    else:
        assert built().shape == (2, 10)


def test_the_transforms_that_warp_no_volumes_are_those_of_two_axes():
    flat = set()
    for name in set(ROLES["transform"]) - {"compose", "inverse"}:
        made = build.build("transform", {"name": name}, Path(), dims=3)
        if made.dims == 2 and not hasattr(made, "size"):
            flat.add(name)
    assert flat <= set(FLAT_TRANSFORMS)
    assert set(FLAT_TRANSFORMS) - flat <= {"piecewise_affine"}


def test_the_names_in_the_tables_are_names():
    assert set(FLAT_MODELS) | set(NO_FEATURE_MAPS) <= set(ROLES["model"])
    assert set(FLAT_LOCALISATIONS) <= set(ROLES["localisation"])
    assert set(FLAT_TRANSFORMS) <= set(ROLES["transform"])
    assert set(IMAGES) == set(ROLES["dataset"])
    assert set(TRAINING) <= set(ROLES["workload"])
    assert ENCODED == [SIDE, SIDE]
    for name in NO_FEATURE_MAPS:
        net = build.build("model", {"name": name}, Path(), in_shape=(1, 28, 28), num_classes=10)
        assert not [m for m in net.modules() if isinstance(m, nn.Conv2d)]
