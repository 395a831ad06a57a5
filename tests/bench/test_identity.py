"""What a trial's id depends on, and what it does not."""

import json
import math
import re

import pytest
from hypothesis import given, strategies as st

from bench.study import load_study
from bench.study.study import canonical_json, trial_id

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {name: digits, distortion: {name: affine, rotation: 90}}
  model: {name: cnn, transformer: {transform: affine}}
  train: {steps: 10, batch_size: 32, lr: 1}
seeds: 1
"""


def identify(tmp_path, *changes, name="study", device="cpu", seed=0):
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / f"{name}.yaml").write_text(text)
    return load_study(tmp_path / f"{name}.yaml").trials(device)[seed].trial_id


def test_the_id_of_a_small_study_never_changes(tmp_path):
    """Whoever changes this makes every store that there is worthless."""
    assert identify(tmp_path) == "c4e56e16f6dc5408"


@pytest.mark.parametrize(
    "change",
    [
        ("Does it help?", "Does it not?"),
        ("seeds: 1", "seeds: 5"),
        ("seeds: 1", "seeds: 1\nresources: {accuracy: {cpus: 2}, timing: {cpus: 3}}"),
        ("seeds: 1", "seeds: 1\nvariants: [{name: A}]"),
        ("seeds: 1", "seeds: 1\nvary: {train.lr: [1]}\nbaseline: {train.lr: 1}"),
        ("seeds: 1", "seeds: 1\npublished: [{where: {train.lr: 1}, metric: test_error, value: 1,"
         " source: x}]"),
        ("seeds: 1", "seeds: 1\nprofiles: {short: {train.steps: 1}}"),
        ("{steps: 10, batch_size: 32, lr: 1}", "{lr: 1, batch_size: 32, steps: 10}"),
        ("lr: 1}", "lr: 1.0}"), ("lr: 1}", "lr: 1e0}"), ("rotation: 90", "rotation: 9.0e+1"),
        ("lr: 1}", "lr: 1, momentum: 0, schedule: constant}"),
        ("rotation: 90", "rotation: 90, canvas: null, scale: [1.0, 1]"),
        ("transform: affine}", "transform: {name: affine}}"),
        ("transform: affine}", "transform: affine, sampler: bilinear, placement: input}"),
        ("name: cnn,", "name: cnn, filters: [32, 64],"),
        ("task: classify\n", ""),
    ],
    ids=range(17),
)  # fmt: skip
def test_the_id_does_not_depend_on(change, tmp_path):
    changes = [change] if change[1] else [change, ("schema: 1\n", "schema: 1\ntask: classify\n")]
    assert identify(tmp_path, *changes) == identify(tmp_path)


def test_the_id_does_not_depend_on_the_name_of_the_study(tmp_path):
    renamed = identify(tmp_path, ("name: study", "name: other"), name="other")
    assert renamed == identify(tmp_path)


def test_a_component_by_name_is_the_component_without_parameters(tmp_path):
    mapping = "dataset: {name: digits, distortion: {name: affine, rotation: 90}}"
    got = {identify(tmp_path, (mapping, text)) for text in (
        "dataset: digits", "dataset: {name: digits}", "dataset: {name: digits, distortion: null}",
    )}  # fmt: skip
    assert len(got) == 1


@pytest.mark.parametrize(
    "change",
    [
        ("rotation: 90", "rotation: 90.5"), ("rotation: 90", "rotation: 90, canvas: 28"),
        ("name: digits", "name: mnist"), ("name: cnn,", "name: cnn, filters: [64, 32],"),
        ("transform: affine}", "transform: attention}"),
        ("transform: affine}", "transform: affine, align_corners: true}"),
        ("{transform: affine}", "null"),
        ("steps: 10", "steps: 11"), ("lr: 1}", "lr: 1, optimizer: sgd}"),
    ],
    ids=range(9),
)  # fmt: skip
def test_the_id_depends_on(change, tmp_path):
    assert identify(tmp_path, change) != identify(tmp_path)


def test_the_id_depends_on_seed_and_device(tmp_path):
    two = ("seeds: 1", "seeds: 2")
    ids = {identify(tmp_path, two, device=d, seed=s) for d in ("cpu", "cuda") for s in (0, 1)}
    assert len(ids) == 4


def test_the_id_depends_on_the_task_and_on_the_version_of_the_data(tmp_path):
    own = "class Digits:\n    version = {}\n    def __init__(self, *, distortion=None): ...\n"
    change = ("name: digits", "name: 'data.py:Digits'")
    ids = set()
    for version in (1, 2):
        (tmp_path / "data.py").write_text(own.format(version))
        ids.add(identify(tmp_path, change))
        ids.add(identify(tmp_path, change, ("classify", "data.py:Digits")))
    assert len(ids) == 4


def test_trials_go_seed_by_seed_and_only_the_first_is_timed(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.replace("seeds: 1", "seeds: 2") +
                                         "vary: {train.lr: [1, 2]}\n")  # fmt: skip
    trials = load_study(tmp_path / "study.yaml").trials("cuda")
    assert [(t.seed, t.variant, t.phases) for t in trials] == [
        (0, "base", ("accuracy", "timing")), (0, "lr=2", ("accuracy", "timing")),
        (1, "base", ("accuracy",)), (1, "lr=2", ("accuracy",)),
    ]  # fmt: skip
    assert all(re.fullmatch("[0-9a-f]{16}", t.trial_id) for t in trials)
    assert {(t.study, t.device) for t in trials} == {("study", "cuda")}
    assert trials[0].settings["task"] == "classify"
    assert trial_id(trials[3].settings, 1, "cuda") == trials[3].trial_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_canonical_json_keeps_the_value(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert canonical_json(reversed_keys(value)) == text


@given(JSON, JSON)
def test_canonical_json_tells_different_values_apart(one, other):
    def exact(value):
        """Python holds True to be 1."""
        if isinstance(value, dict):
            return frozenset((key, exact(item)) for key, item in value.items())
        if isinstance(value, list):
            return tuple(exact(item) for item in value)
        return (isinstance(value, bool), value)

    assert (canonical_json(one) == canonical_json(other)) == (exact(one) == exact(other))


@given(st.integers(-(2**53), 2**53))
def test_a_whole_float_is_the_integer(number):
    assert canonical_json(float(number)) == canonical_json(number) == str(number)


def test_canonical_json_by_hand():
    value = {"b": (1.0, -0.0, 0.5), "a": {"é": None, "c": True}, "n": 1e22}
    assert canonical_json(value) == (
        '{"a":{"c":true,"é":null},"b":[1,0,0.5],"n":10000000000000000000000}'
    )
    assert canonical_json(math.inf) == "Infinity"
