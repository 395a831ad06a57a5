"""Profiles, overrides and `--only`: what is laid on a study from outside of its design."""

import pytest

from bench.errors import BenchError
from bench.study import load_study

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: digits
  model: {name: cnn, transformer: {transform: affine, sampler: nearest, placement: conv2}}
  train: {steps: 10, batch_size: 32, lr: 0.1}
vary: {train.lr: [0.1, 0.2]}
baseline: {train.lr: 0.1}
seeds: 2
resources: {accuracy: {cpus: 2, gpus: 0.25}}
profiles:
  short: {train.steps: 3, seeds: 1, vary.train.lr: [0.1, 0.5]}
  wide:
    model.transformer: {transform: attention}
    train: {batch_size: 64}
"""


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    return lambda *overrides, **options: load_study(file, overrides, **options)


def names(study):
    return [variant.name for variant in study.variants]


def test_an_override_is_laid_on_base_or_on_the_study(study):
    loaded = study("train.steps=500", "seeds=3", "resources.timing.cpus=4")
    assert {v.train["steps"] for v in loaded.variants} == {500}
    assert loaded.seeds == 3
    assert (loaded.resources.accuracy.cpus, loaded.resources.timing.cpus) == (2, 4)
    assert loaded.resources.accuracy.gpus == 0.25
    assert loaded.overrides == ("train.steps=500", "seeds=3", "resources.timing.cpus=4")
    assert study("base.train.steps=7").variants[0].train["steps"] == 7


def test_values_are_yaml(study):
    assert study("train.weight_decay=1e-2").variants[0].train["weight_decay"] == 0.01
    assert study("question=no").question == "no"
    assert study("model.transformer=").variants[0].model["transformer"] is None
    assert study("question='a=b'").question == "a=b"


def test_an_override_merges_as_a_change_does(study):
    (first, _) = study("model.transformer={transform: attention}").variants
    transformer = first.model["transformer"]
    assert (transformer["transform"], transformer["sampler"], transformer["placement"]) == (
        {"name": "attention"}, {"name": "nearest"}, "conv2",
    )  # fmt: skip
    (first, _) = study("dataset.distortion={name: affine, rotation: 5}").variants
    assert (first.dataset["name"], first.dataset["distortion"]["rotation"]) == ("digits", 5)


def test_axes_are_replaced_and_added(study):
    assert names(study("vary.train.lr=[0.1]")) == ["base"]
    assert names(study("vary.train.steps=[10, 20]", "vary.train.lr=[0.1]")) == ["base", "steps=20"]
    assert names(study("ablate.train.weight_decay=[0.9]", "vary.train.lr=[0.1]")) == [
        "base", "weight_decay=0.9",
    ]  # fmt: skip


def test_the_baseline_can_be_overridden(study):
    loaded = study("baseline.train.lr=0.2")
    assert [v.baseline for v in loaded.variants] == ["lr=0.2", "lr=0.2"]
    assert [v.baseline for v in study("baseline=").variants] == [None, None]


def test_a_profile_is_laid_on_before_the_overrides(study):
    loaded = study(profile="short")
    assert (names(loaded), loaded.seeds, loaded.profile) == (["base", "lr=0.5"], 1, "short")
    assert loaded.variants[0].train["steps"] == 3
    loaded = study("train.steps=4", profile="short")
    assert (loaded.variants[0].train["steps"], loaded.seeds) == (4, 1)


def test_a_profile_merges_as_a_change_does(study):
    variant = study(profile="wide").variants[0]
    assert variant.model["transformer"]["sampler"] == {"name": "nearest"}
    assert variant.model["transformer"]["transform"] == {"name": "attention"}
    assert (variant.train["batch_size"], variant.train["steps"]) == (64, 10)


def test_without_a_profile_nothing_of_it_is_used(study):
    loaded = study()
    assert (loaded.profile, loaded.overrides, loaded.seeds) == (None, (), 2)
    assert {v.train["steps"] for v in loaded.variants} == {10}


def test_only_keeps_the_named_variants_and_their_baseline_by_name(study):
    (variant,) = study(only=["lr=0.2"]).variants
    assert (variant.name, variant.baseline) == ("lr=0.2", "base")
    assert names(study(only=["lr=0.2", "base"])) == ["base", "lr=0.2"]


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["seeds"], {}, "override `seeds` must be `key=value`, such as `train.steps=500`"),
        (["=5"], {}, "override `=5` must be `key=value`, such as `train.steps=500`"),
        (["question=a: b"], {}, "override `question=a: b`: the value is not YAML"),
        (["seeds=3\nname: x"], {}, "override `seeds=3\nname: x`: the value is not YAML"),
        (["seeds=!!python/name:os.system x"], {}, "override `seeds=!!python/name:os.system x`: "
         "the value is not YAML"),
        (["seeds="], {}, "command line: seeds: must be a whole number, got null"),
        (["model.transformer.sampler=[]"], {}, "command line: base.model.transformer.sampler: "
         "the name of the sampler must be text, got []"),
        (["vary.train.lr=[x]"], {}, "command line: vary.train.lr[0]: must be a number, "
         'got the text "x"'),
        (["name=other"], {}, "command line: name: must be the file's stem `study`, got `other`"),
        ([], {"profile": "shor"}, "{file}: has no profile `shor` (did you mean `short`?)"),
        ([], {"only": ["lr=0.3"]}, "study `study` has no variant `lr=0.3` "
         "(did you mean `lr=0.2`?)"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_cannot_be_laid_on(overrides, options, message, study, tmp_path):
    with pytest.raises(BenchError) as caught:
        study(*overrides, **options)
    assert str(caught.value) == message.replace("{file}", f"{tmp_path}/study.yaml")


@pytest.mark.parametrize("profile", [None, "wrong"])
def test_a_profile_is_checked_used_or_not(profile, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(f"{STUDY}  wrong: {{train.stepz: 1}}\n")
    with pytest.raises(BenchError) as caught:
        load_study(file, profile=profile)
    message = "base.train.stepz: unknown key (did you mean `steps`?)"
    assert str(caught.value) == f"{file}:18: {message}"


@pytest.mark.parametrize("profile", [None, "empty"])
def test_a_profile_that_is_no_mapping_is_named_used_or_not(profile, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(f"{STUDY}  empty:\n")
    with pytest.raises(BenchError) as caught:
        load_study(file, profile=profile)
    assert str(caught.value) == f"{file}:18: profiles.empty: must be a mapping, got null"


def test_variants_are_reached_by_no_number(study):
    with pytest.raises(BenchError, match=r": variants: must be a list, got {\"0\""):
        study("variants.0.name=x")
