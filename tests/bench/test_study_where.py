"""Conditions: which variants an `exclude` or a `published.where` means, and which it cannot."""

import json
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.study import load_study

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {name: mnist, distortion: r}
  model: {name: cnn, transformer: null}
  train: {steps: 10, batch_size: 32, lr: 0.1}
vary: {dataset.distortion: [r, {name: rts, canvas: 50}]}
variants:
- {name: CNN}
- {name: FCN, set: {model: {name: fcn, units: [7]}}}
- {name: ST, set: {model.transformer: {transform: affine, count: 2}}}
- {name: TPS, set: {model.transformer: {transform: {name: thin_plate_spline, size: [3, 3]}}}}
"""
PUBLISHED = "published: [{{where: {}, metric: test_error, value: 1, source: here}}]\n"


def load(tmp_path, where, condition=PUBLISHED, study=STUDY):
    (tmp_path / "study.yaml").write_text(study + condition.format(json.dumps(where)))
    return load_study(tmp_path / "study.yaml")


R, RTS = "", ", distortion=rts, canvas=50"
ALL = {f"{name}{at}" for name in ("CNN", "FCN", "ST", "TPS") for at in (R, RTS)}
TPS = {"name": "thin_plate_spline", "size": [3, 3], "ridge": 0.0}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, ALL),
        ({"task": "classify"}, None),
        ({"model.transformer": None}, {"CNN", "FCN", f"CNN{RTS}", f"FCN{RTS}"}),
        # A name alone is the component with its defaults, as everywhere.
        ({"dataset.distortion": "r"}, {n for n in ALL if RTS not in n}),
        ({"dataset.distortion": "rts"}, set()),
        ({"dataset.distortion.name": "rts"}, {n for n in ALL if RTS in n}),
        ({"dataset.distortion": {"name": "rts", "canvas": 50}}, {n for n in ALL if RTS in n}),
        # What one writes of a data set has neither version nor content.
        ({"dataset": {"name": "mnist", "distortion": "r"}}, {n for n in ALL if RTS not in n}),
        ({"dataset.name": "mnist"}, ALL),
        # Another model: what stays of the old one's parameters is no mistake.
        ({"model.name": "fcn"}, {"FCN", f"FCN{RTS}"}),
        ({"model.name": "cnn"}, {n for n in ALL if "FCN" not in n}),
        ({"model.name": "fcn", "model.units": [7]}, {"FCN", f"FCN{RTS}"}),
        ({"model.name": "fcn", "model.units": [8]}, set()),
        ({"model.units": [7]}, {"FCN", f"FCN{RTS}"}),
        ({"model.transformer.transform": "affine"}, {"ST", f"ST{RTS}"}),
        ({"model.transformer.count": 1}, {"TPS", f"TPS{RTS}"}),
        ({"model.transformer.transform": TPS}, {"TPS", f"TPS{RTS}"}),
        ({"model.transformer.transform.size": [3, 3]}, {"TPS", f"TPS{RTS}"}),
        ({"train.lr": 0.1, "train.steps": 10}, ALL),
        ({"train.lr": 0.2}, set()),
    ],
    ids=str,
)
def test_a_condition_means_what_laying_it_on_changes_nothing(where, found, tmp_path):
    if found is None:
        with pytest.raises(BenchError, match="must begin with a key of `base`"):
            load(tmp_path, where)
        return
    study = load(tmp_path, where)
    assert {v.name for v in study.variants if v.published} == found
    if 0 < len(found) < len(ALL):
        left = load(tmp_path, where, "exclude: [{}]\n").variants
        assert {v.name for v in left} == ALL - found


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"model.name": "fcn", "model.filters": [3]},
            "model.filters: unknown key of model `fcn` (did you mean `units`?)",
        ),
        ({"model.name": "fnc"}, "model.name: unknown model `fnc` (did you mean `fcn`?)"),
        (
            {"dataset.distortion.canvass": 50},
            "dataset.distortion.canvass: unknown key of distortion `r`; there is `rotation`",
        ),
        ({"train.lr": "high"}, 'train.lr: must be a number, got the text "high"'),
        (
            {"model": {"name": "fcn", "kernel_sizes": [5]}},
            "model.kernel_sizes: unknown key of model `fcn`; there is `parameters`, "
            "`transformer`, `units`, `width`",
        ),
    ],
    ids=str,
)
def test_a_condition_that_nothing_could_meet_is_a_mistake(where, message, tmp_path):
    for condition, start in ((PUBLISHED, "published[0].where"), ("exclude: [{}]\n", "exclude[0]")):
        with pytest.raises(BenchError) as caught:
            load(tmp_path, where, condition)
        assert str(caught.value) == f"{tmp_path}/study.yaml:15: {start}.{message}"


def test_a_condition_on_ones_own_data_does_not_ask_for_its_content(tmp_path):
    images: Any = np.zeros((4, 9, 9), np.uint8)
    labels: Any = np.arange(4) % 2
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    study = STUDY.replace("{name: mnist, ", "{name: npz, path: mine.npz, ")
    loaded = load(tmp_path, {"dataset.path": "mine.npz"}, study=study)
    assert all(v.dataset and v.dataset["content"] for v in loaded.variants)
    assert {v.name for v in loaded.variants if v.published} == ALL
