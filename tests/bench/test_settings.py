"""Settings of a variant: what a component is told, what its author reads when it cannot be."""

import pytest

from bench.errors import BenchError
from bench.study import load_study

GOOD = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {name: digits, distortion: {name: affine, rotation: 90}}
  model: {name: cnn, transformer: {transform: affine}}
  train: {steps: 10, batch_size: 32, lr: 1e-3}
seeds: 2
"""

SHEAR = """
import nothing_of_this_name

class Shear:
    def __init__(self, dims, *, copy: Annotated[int, Ge(0)] | None = 2, _x: float = 1,
                 pi: float = math.pi, sampler: Sampler | None = None, name_: str = None): ...
"""


def transformer(variant):
    assert variant.model is not None
    return variant.model["transformer"]


def load(tmp_path, old="", new="", own=None):
    assert old in GOOD
    (tmp_path / "study.yaml").write_text(GOOD.replace(old, new) if old else GOOD)
    if own is not None:
        (tmp_path / "my_warp.py").write_text(own)
    return load_study(tmp_path / "study.yaml")


def messages(tmp_path, *arguments, **named):
    with pytest.raises(BenchError) as caught:
        load(tmp_path, *arguments, **named)
    start = f"{tmp_path}/study.yaml:"
    return [line.removeprefix(start) for line in str(caught.value).splitlines()]


DATASET = "{name: digits, distortion: {name: affine, rotation: 90}}"
CASES = {
    "component without name": (
        "name: digits, ", "", "6: base.dataset.name: the name of the dataset is missing",
    ),
    "inner component without name": (
        "name: affine, rotation", "rotation",
        "6: base.dataset.distortion.name: the name of the distortion is missing",
    ),
    "name that is no text": (
        "name: digits", "name: 5",
        "6: base.dataset.name: the name of the dataset must be text, got 5",
    ),
    "component that is a list": (
        "{name: affine, rotation: 90}", "[affine]",
        '6: base.dataset.distortion: the name of the distortion must be text, got ["affine"]',
    ),
    "data set that is a number": (
        DATASET, "5", "6: base.dataset: must be text or a mapping, got 5",
    ),
    "key of a component without keys": (
        "{transform: affine}", "{transform: {name: affine, dims: 3}}",
        "7: base.model.transformer.transform.dims: unknown key of transform `affine`",
    ),
    "key of a transformer": (
        "{transform: affine}", "{transform: affine, plcement: input}",
        "7: base.model.transformer.plcement: unknown key (did you mean `placement`?)",
    ),
    "key of a model": (
        "{name: cnn,", "{name: cnn, transfromer: null,",
        "7: base.model.transfromer: unknown key of model `cnn` (did you mean `transformer`?)",
    ),
    "role that is null": (
        "{transform: affine}", "{transform: affine, sampler: null}",
        "7: base.model.transformer.sampler: required key is missing",
    ),
    "no model": (
        "{name: cnn, transformer: {transform: affine}}", "null",
        "7: base.model: required key is missing",
    ),
    "too few": (
        "rotation: 90", "scale: [1]",
        "6: base.dataset.distortion.scale: has too few entries",
    ),
    "too many": (
        "rotation: 90", "scale: [1, 2, 3]",
        "6: base.dataset.distortion.scale: must have at most 2 entries, got [1, 2, 3]",
    ),
    "one side": (
        "{transform: affine}", "{transform: affine, output_size: [28]}",
        "7: base.model.transformer.output_size: must have at least 2 entries, got [28]",
    ),
    "no entry": (
        "{name: cnn,", "{name: cnn, filters: [],", "7: base.model.filters: must not be empty",
    ),
    "inner bound": (
        "rotation: 90", "scale: [0, 1]",
        "6: base.dataset.distortion.scale[0]: must be more than 0, got 0",
    ),
    "a step schedule without its steps": (
        "lr: 1e-3", "lr: 1e-3, schedule: step",
        "8: base.train.step_every: required key is missing; schedule `step` needs it",
    ),
    "steps of another schedule": (
        "lr: 1e-3", "lr: 1e-3, step_every: 3",
        "8: base.train.step_every: is of schedule `step`; `constant` has none",
    ),
    "a warm-up without end": (
        "lr: 1e-3", "lr: 1e-3, warmup_steps: 10",
        "8: base.train.warmup_steps: must be less than `steps`, 10, got 10",
    ),
    "infinite": ("lr: 1e-3", "lr: .inf", "8: base.train.lr: must be finite, got Infinity"),
    "too large to be finite": (
        "rotation: 90", "translation: 1e999",
        "6: base.dataset.distortion.translation: must be finite, got Infinity",
    ),
    "momentum of 1": (
        "lr: 1e-3", "lr: 1e-3, momentum: 1", "8: base.train.momentum: must be less than 1, got 1",
    ),
    "whole float": (
        "steps: 10", "steps: 10.0", "8: base.train.steps: must be a whole number, got 10.0",
    ),
    "true for a number": (
        "steps: 10", "steps: true", "8: base.train.steps: must be a whole number, got true",
    ),
    "text for a truth": (
        "{transform: affine}", "{transform: affine, align_corners: no}",
        '7: base.model.transformer.align_corners: must be true or false, got the text "no"',
    ),
    "endless seeds": (
        "seeds: 2", "seeds: 1000000000", "9: seeds: must be at most 10000, got 1000000000",
    ),
    "name of a file that is no name": (
        "name: study", "name: my study",
        '2: name: must be letters, digits, `_` and `-`, got the text "my study"',
    ),
    "long value": (
        "steps: 10", f"steps: {'x' * 90}",
        f'8: base.train.steps: must be a whole number, got the text "{"x" * 56}...',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_settings(case, tmp_path):
    old, new, message = CASES[case]
    assert messages(tmp_path, old, new) == [message]


def test_long_names_are_refused(tmp_path):
    name = "x" * 81
    got = messages(tmp_path, "name: study", f"name: {name}")
    assert got == [f'2: name: must have at most 80 characters, got the text "{"x" * 56}...']


def test_defaults_are_written_out(tmp_path):
    (variant,) = load(tmp_path).variants
    assert variant.dataset == {
        "name": "digits", "version": 2,
        "distortion": {
            "name": "affine", "rotation": 90.0, "scale": [1, 1], "translation": 0, "canvas": None,
        },
    }  # fmt: skip
    assert variant.train == {
        "steps": 10, "batch_size": 32, "optimizer": "adamw", "lr": 0.001, "momentum": 0.0,
        "weight_decay": 0.0, "schedule": "constant", "step_every": None, "step_factor": 0.1,
        "warmup_steps": 0, "clip_norm": None, "localisation_lr": 1.0, "precision": "float32",
        "memory_format": "contiguous", "execution": "eager",
    }  # fmt: skip
    assert transformer(variant)["sampler"] == {"name": "bilinear"}
    assert transformer(variant)["placement"] == "input"


def test_own_components_are_checked_without_import(tmp_path):
    """Whatever their parameters are called, and beside the study, wherever that lies."""
    folder = tmp_path / "studies"
    folder.mkdir()
    new = "transform: {name: 'my_warp.py:Shear', copy: 0, _x: 3, sampler: {name: nearest}}"
    study = load(folder, "transform: affine", new, own=SHEAR)
    (variant,) = study.variants
    assert transformer(variant)["transform"] == {
        "name": "my_warp.py:Shear", "copy": 0, "_x": 3, "sampler": {"name": "nearest"},
        "name_": None,
    }  # fmt: skip
    assert study.own_files() == (folder / "my_warp.py",)
    new = "transform: {name: 'my_warp.py:Shear', copy: -1, pi: x, sampler: nearst, y: 1}"
    assert sorted(messages(folder, "transform: affine", new, own=SHEAR)) == [
        "7: base.model.transformer.transform.copy: must be at least 0, got -1",
        '7: base.model.transformer.transform.pi: must be a number, got the text "x"',
        "7: base.model.transformer.transform.sampler: unknown sampler `nearst` "
        "(did you mean `nearest`?)",
        "7: base.model.transformer.transform.y: unknown key of transform `my_warp.py:Shear`; "
        "there is `_x`, `copy`, `name_`, `pi`, `sampler`",
    ]


def test_a_file_of_ones_own_that_is_broken(tmp_path):
    got = messages(tmp_path, "transform: affine", "transform: my_warp.py:Shear", own="class (:\n")
    assert got == [
        "7: base.model.transformer.transform: `my_warp.py:Shear`: "
        f"{tmp_path}/my_warp.py:1: invalid syntax"
    ]


def test_a_task_of_ones_own_is_one_of_the_studys_files(tmp_path):
    study = load(tmp_path, "task: classify", "task: my_warp.py:Shear", own=SHEAR)
    assert study.own_files() == (tmp_path / "my_warp.py",)
