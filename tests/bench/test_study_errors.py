"""Broken studies, each with the exact message that its author reads."""

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
vary:
  train.lr: [1e-3, 1e-2]
seeds: 2
"""

# name: (text to replace, its replacement, the messages after `study.yaml:`)
BROKEN = {
    "unknown key": ("seeds: 2", "seed: 2", ["11: seed: unknown key (did you mean `seeds`?)"]),
    "unknown key inside": (
        "steps: 10", "stesp: 10",
        ["8: base.train.stesp: unknown key (did you mean `steps`?)",
         "8: base.train.steps: required key is missing"],
    ),
    "wrong type": (
        "seeds: 2", "seeds: two", ['11: seeds: must be a whole number, got the text "two"'],
    ),
    "number in quotes": (
        "lr: 1e-3", 'lr: "1e-3"',
        ['8: base.train.lr: must be a number, got the text "1e-3"; take away the quotes'],
    ),
    "quotes in an axis": (
        "[1e-3, 1e-2]", "['1e-3', 1e-2]",
        ['10: vary.train.lr[0]: must be a number, got the text "1e-3"; take away the quotes'],
    ),
    "shares of unlike size": (
        "seeds: 2", "seeds: 2\nresources: {accuracy: {workers: 3}}",
        ["12: resources.accuracy.workers: batches of 32, of variant `base`, are no equal parts "
         "for 3"],
    ),
    "workers on one GPU": (
        "seeds: 2", "seeds: 2\nresources: {accuracy: {workers: 2, gpus: 0.5}}",
        ["12: resources.accuracy.workers: each worker has a GPU of its own; needs `gpus: 1`, "
         "got 2 workers"],
    ),
    "several GPUs": (
        "seeds: 2", "seeds: 2\nresources: {accuracy: {gpus: 2}}",
        ["12: resources.accuracy.gpus: must be at most 1, got 2; a training on several GPUs has "
         "as many `workers`"],
    ),
    "duplicate key": (
        "seeds: 2", "seeds: 2\nseeds: 3", ["12: seeds: stands twice (first on line 11)"],
    ),
    "empty axis": ("[1e-3, 1e-2]", "[]", ["10: vary.train.lr: must not be empty"]),
    "axis is no list": ("[1e-3, 1e-2]", "1e-3", ["10: vary.train.lr: must be a list, got 0.001"]),
    "unknown transform": (
        "transform: affine", "transform: afine",
        ["7: base.model.transformer.transform: unknown transform `afine` (did you mean `affine`?)"],
    ),
    "unknown parameter": (
        "rotation: 90", "rotatoin: 90",
        ["6: base.dataset.distortion.rotatoin: unknown key of distortion `affine` "
         "(did you mean `rotation`?)"],
    ),
    "impossible size": (
        "{transform: affine}", "{transform: affine, output_size: [0, 28]}",
        ["7: base.model.transformer.output_size[0]: must be at least 1, got 0"],
    ),
    "unknown padding": (
        "{transform: affine}", "{transform: affine, padding: zeroes}",
        ["7: base.model.transformer.padding: must be one of `zeros`, `border`, `reflection` or "
         'a number or a list, got the text "zeroes" (did you mean `zeros`?)'],
    ),
    "a profile that nobody asked for": (
        "seeds: 2", "profiles: {short: {train.stepz: 1}}",
        ["11: base.train.stepz: unknown key (did you mean `steps`?)"],
    ),
    "momentum without SGD": (
        "lr: 1e-3}", "lr: 1e-3, momentum: 0.9}",
        ["8: base.train.momentum: is SGD's; `adamw` has none"],
    ),
    "out of range": (
        "rotation: 90", "rotation: 270",
        ["6: base.dataset.distortion.rotation: must be at most 180, got 270"],
    ),
    "no transform": (
        "{transform: affine}", "{sampler: nearest}",
        ["7: base.model.transformer.transform: required key is missing"],
    ),
    "not one of the choices": (
        "lr: 1e-3}", "lr: 1e-3, optimizer: adam}",
        ['8: base.train.optimizer: must be one of `sgd`, `adamw`, got the text "adam" '
         "(did you mean `adamw`?)"],
    ),
    "tab": ("  train:", "\ttrain:", ["8: is not YAML: a tab cannot indent in YAML; use spaces"]),
    "open bracket": ("lr: 1e-3}", "lr: 1e-3", ["9: is not YAML: expected ',' or '}', but got ':'"]),
    "code in YAML": (
        "question: Does it help?", "question: !!python/object/apply:os.system [id]",
        ["3: question: tag `python/object/apply:os.system` is not allowed; a study is plain data"],
    ),
    "name is not the stem": (
        "name: study", "name: other", ["2: name: must be the file's stem `study`, got `other`"],
    ),
    "unknown task": (
        "task: classify", "task: clasify",
        ["4: task: unknown task `clasify` (did you mean `classify`?)"],
    ),
    "missing key": ("question: Does it help?\n", "", ["1: question: required key is missing"]),
    "schema of another version": (
        "schema: 1", "schema: 2", ["1: schema: must be one of `1`, got 2"],
    ),
    "axis outside of base": (
        "train.lr: [", "trian.lr: [",
        ["10: vary.trian.lr: must begin with a key of `base` (did you mean `train`?)"],
    ),
    "baseline that no variant has": (
        "seeds: 2", "baseline: {train.lr: 1}",
        ['11: baseline: no variant of the study has {"train.lr": 1}'],
    ),
    "axes in step of two lengths": (
        "seeds: 2", "zip: [{train.steps: [1, 2], train.batch_size: [1]}]",
        ["11: zip[0]: axes in step must be of one length; `train.steps` has 2, "
         "`train.batch_size` has 1"],
    ),
    "everything excluded": (
        "seeds: 2", "exclude: [{train.steps: 10}]", ["11: exclude: leaves no variant of 2"],
    ),
    "two variants of one name": (
        "seeds: 2", "variants: [{name: A}, {name: A, set: {train.steps: 5}}]",
        ["11: two variants are called `A, lr=0.01`; name them under `variants`",
         "11: two variants are called `A`; name them under `variants`"],
    ),
    "no seeds": ("seeds: 2", "seeds: 0", ["11: seeds: must be at least 1, got 0"]),
    "transformer is a list": (
        "{transform: affine}", "[affine]",
        ['7: base.model.transformer: must be a mapping or null, got ["affine"]'],
    ),
    "own file that is not there": (
        "transform: affine", "transform: my_warp.py:Shear",
        ["7: base.model.transformer.transform: `my_warp.py:Shear`: "
         "there is no file {folder}/my_warp.py"],
    ),
    "a list": (GOOD, "- 1\n", ["1: must be a mapping of keys to values, such as `name: my_study`"]),
    "empty": (GOOD, "", ["1: must hold one YAML document, holds 0"]),
    "two documents": (GOOD, GOOD + "---\n" + GOOD, ["1: must hold one YAML document, holds 2"]),
    "endless alias": (GOOD, "a: &a [*a]", ["1: aliases make the file too large to read"]),
    "every problem at once": (
        "seeds: 2", "seeds: no\nquestoin: x",
        ['11: seeds: must be a whole number, got the text "no"',
         "12: questoin: unknown key (did you mean `question`?)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_study_answers_with_where_and_what(case, tmp_path):
    old, new, expected = BROKEN[case]
    assert old in GOOD
    file = tmp_path / "study.yaml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(BenchError) as caught:
        load_study(file)
    wanted = [f"{file}:{line}".replace("{folder}", str(tmp_path)) for line in expected]
    assert sorted(str(caught.value).splitlines()) == sorted(wanted)


def test_the_study_that_the_broken_ones_are_made_of_is_good(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(GOOD)
    assert len(load_study(file).trials("cpu")) == 4


def test_files_that_are_no_study(tmp_path):
    missing, latin = tmp_path / "missing.yaml", tmp_path / "latin.yaml"
    latin.write_bytes("name: caf\xe9".encode("latin-1"))
    for file, message in [
        (missing, f"{missing}: no such file"),
        (tmp_path, f"{tmp_path}: is a folder, not a study; name a YAML file in it"),
        (latin, f"{latin}: is not UTF-8 text (byte 9)"),
    ]:
        with pytest.raises(BenchError) as caught:
            load_study(file)
        assert str(caught.value) == message


def test_control_characters_are_named_with_their_line(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("name: study\nquestion: \x00")
    with pytest.raises(BenchError) as caught:
        load_study(file)
    assert str(caught.value) == f"{file}:2: is not YAML: character #x0000"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps", "override `train.steps` must be `key=value`, such as `train.steps=500`"),
        ("seeds=[", "override `seeds=[`: the value is not YAML"),
        ("train.stepz=5", "command line: base.train.stepz: unknown key (did you mean `steps`?)"),
        ("seeds=0", "command line: seeds: must be at least 1, got 0"),
    ],
)
def test_broken_overrides(override, message, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(GOOD)
    with pytest.raises(BenchError) as caught:
        load_study(file, [override])
    assert str(caught.value) == message


def test_unknown_profile_and_variant(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(GOOD + "profiles: {short: {train.steps: 1}}\n")
    with pytest.raises(BenchError, match=r"has no profile `shor` \(did you mean `short`\?\)"):
        load_study(file, profile="shor")
    with pytest.raises(BenchError, match=r"study `study` has no variant `lr=0.1`"):
        load_study(file, only=["lr=0.1"])
