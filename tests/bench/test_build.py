"""Settings become models: with and without a transformer, before any layer, with one's own code."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench import build
from bench.errors import BenchError
from bench.study import load_study

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {{name: digits, distortion: {{name: affine, canvas: 30}}}}
  model: {model}
  train: {{steps: 10, batch_size: 32, lr: 1}}
seeds: 1
"""
SMALL = "name: cnn, filters: [3, 5], kernel_sizes: [5, 3]"


@pytest.fixture
def settle(tmp_path):
    def settings(model):
        (tmp_path / "study.yaml").write_text(STUDY.format(model=model))
        (variant,) = load_study(tmp_path / "study.yaml").variants
        return variant.settings("classify")

    return settings


@pytest.fixture
def make(settle, tmp_path):
    def built(model, shape=(1, 30, 30), labels=1):
        data: Any = SimpleNamespace(in_shape=shape, num_classes=10, labels=labels)
        return build.model(settle(model), data, tmp_path)

    return built


@pytest.fixture
def refusal(settle, tmp_path):
    def message(model):
        with pytest.raises(BenchError) as caught:
            build.check_settings(settle(model), None, tmp_path)
        return str(caught.value)

    return message


def spatial(model):
    return [m for m in model.modules() if type(m).__name__ == "SpatialTransformer"]


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        # 30 → conv 5 → 26 → pool → 13 → conv 3 → 11 → pool → 5
        (f"{{{SMALL}}}", (25 + 1) * 3 + (9 * 3 + 1) * 5 + (5 * 25 + 1) * 10),
        ("{name: fcn, units: [7]}", (900 + 1) * 7 + (7 + 1) * 10),
        ("{name: fcn, units: []}", (900 + 1) * 10),
    ],
)
def test_models_without_a_transformer(model, parameters, make):
    net = make(model)
    assert spatial(net) == []
    assert net(torch.rand(4, 1, 30, 30)).shape == (4, 10)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_relu_after_pooling_is_relu_before_it(make):
    net = make(f"{{{SMALL}}}")
    image = torch.rand(2, 1, 30, 30)
    wanted = image
    for i in (1, 2):
        wanted = nn.functional.max_pool2d(getattr(net, f"conv{i}")(wanted).relu(), 2)
    assert torch.equal(net(image), net.classifier(wanted.flatten(1)))


@pytest.mark.parametrize("model", [SMALL, "name: fcn, units: [7]"])
@pytest.mark.parametrize("localisation", ["cnn", "fcn"])
def test_a_transformer_at_the_input_starts_at_the_identity(model, localisation, make):
    net = make(f"{{{model}, transformer: {{transform: affine, localisation: {localisation}}}}}")
    image = torch.rand(4, 1, 30, 30)
    (transformer,) = spatial(net)
    assert transformer.warp(image).theta.shape == (4, 6)
    assert (transformer(image) - image).abs().max() < 1e-4
    assert (net(image) - net.model(image)).abs().max() < 1e-3


def test_a_transformer_before_a_layer_sees_its_feature_map(make):
    net = make(f"{{{SMALL}, transformer: {{transform: attention, placement: conv2}}}}")
    (transformer,) = spatial(net)
    shapes = []
    transformer.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    assert net(torch.rand(4, 1, 30, 30)).shape == (4, 10)
    assert shapes == [(4, 3, 13, 13)]
    assert net.training, "asking for the shape leaves the model in training"


def test_the_output_size_at_the_input_is_what_the_model_is_made_for(make):
    net = make(f"{{{SMALL}, transformer: {{transform: affine, output_size: [14, 18]}}}}")
    shapes = []
    net.model.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    assert net(torch.rand(4, 1, 30, 30)).shape == (4, 10)
    assert shapes == [(4, 1, 14, 18)]


def test_settings_reach_the_transformer(make):
    net = make(
        f"{{{SMALL}, transformer: {{transform: translation, sampler: nearest, padding: border, "
        "align_corners: true, localisation: {name: fcn, units: 9}}}"
    )
    (transformer,) = spatial(net)
    kinds = [type(part).__name__ for part in (transformer.transform, transformer.sampler)]
    assert kinds == ["Translation", "Nearest"]
    assert (transformer.padding, transformer.align_corners) == ("border", True)
    assert 900 * 9 in [p.numel() for p in transformer.localisation.parameters()]


def test_the_generator_decides_the_weights(make):
    def weights(seed):
        torch.manual_seed(seed)
        net = make(f"{{{SMALL}, transformer: {{transform: affine, placement: conv2}}}}")
        return torch.cat([p.flatten() for p in net.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "{name: cnn, kernel_sizes: [31, 3]}",
            "model `cnn`: `kernel_sizes[0]` must be at most 29 for a feature map of 30×30, got 31.",
        ),
        (
            "{name: cnn, kernel_sizes: [25, 3]}",
            "model `cnn`: `kernel_sizes[1]` must be at most 2 for a feature map of 3×3, got 3.",
        ),
        (
            "{name: cnn, kernel_sizes: [9, 7, 3]}",
            "model `cnn`: `kernel_sizes` must have 2 entries as `filters` has, got 3.",
        ),
        (
            f"{{{SMALL}, transformer: {{transform: affine, output_size: [6, 6]}}}}",
            "model `cnn`: `kernel_sizes[1]` must be at most 0 for a feature map of 1×1, got 3.",
        ),
    ],
    ids=range(4),
)
def test_what_does_not_fit_is_said_before_anything_is_computed(model, message, refusal):
    assert refusal(model) == message


def test_a_size_that_the_layers_behind_cannot_take(refusal):
    got = refusal(f"{{{SMALL}, transformer: {{transform: affine, placement: conv2, "
                  "output_size: [9, 9]}}")  # fmt: skip
    assert got == (
        "placement `conv2`: gives (3, 9, 9) in place of (3, 13, 13), and the layers behind are "
        "made for that; take `pool` or `output_size` away"
    )


def test_a_good_variant_is_checked_on_meta_alone(settle, tmp_path, monkeypatch):
    devices = set()
    forward = nn.Linear.forward
    monkeypatch.setattr(
        nn.Linear, "forward",
        lambda self, given: devices.add(given.device.type) or forward(self, given),
    )  # fmt: skip
    for placement in ("input", "conv2"):
        model = f"{{{SMALL}, transformer: {{transform: affine, placement: {placement}}}}}"
        build.check_settings(settle(model), None, tmp_path)
    assert devices == {"meta"}


def test_a_distortion_that_refuses_its_parameters(settle, tmp_path):
    settings = settle("cnn")
    settings["dataset"]["distortion"]["scale"] = [2, 1]
    with pytest.raises(BenchError) as caught:
        build.dataset(settings, None, tmp_path)
    assert str(caught.value) == (
        "distortion `affine`: `scale` must be [smallest, largest], got [2, 1]."
    )


OWN = """
import math
from torch import nn

class Net(nn.Linear):
    def __init__(self, in_shape, num_classes, *, turn: float = math.tau, sampler: Sampler = None):
        super().__init__(900, num_classes + {more})
        self.turn, self.sampler = turn, sampler
        self.unused = nn.ModuleList([nn.Flatten()])

    def forward(self, image):
        return super().forward(image.flatten(1))
"""


def test_a_model_of_ones_own_is_built(make, tmp_path):
    (tmp_path / "my_net.py").write_text(OWN.format(more=0).replace(": Sampler", ""))
    net = make("'my_net.py:Net'")
    assert (type(net).__name__, net.turn) == ("Net", pytest.approx(6.28318530718))
    assert make("{name: 'my_net.py:Net', turn: 2}").turn == 2
    assert net(torch.rand(2, 1, 30, 30)).shape == (2, 10)


def test_two_files_of_one_name_are_two_files(make, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        text = OWN.format(more=0).replace(": Sampler", "").replace("math.tau", repr(folder))
        (tmp_path / folder / "my_net.py").write_text(text)
    turns = [make(f"'{folder}/my_net.py:Net'").turn for folder in ("a", "b")]
    assert turns == ["a", "b"]


def test_a_model_that_gives_no_scores(refusal, tmp_path):
    (tmp_path / "other_net.py").write_text(OWN.format(more=1).replace(": Sampler", ""))
    assert refusal("'other_net.py:Net'") == (
        "the model must give (batch, 10) scores, gives (2, 11)"
    )
    assert refusal(
        "{name: 'other_net.py:Net', transformer: {transform: affine, placement: unused.0}}"
    ) == (  # fmt: skip
        "placement `unused.0`: must be given a feature map, the layer is given nothing"
    )
    assert (
        refusal("{name: 'other_net.py:Net', transformer: {transform: affine, placement: used.0}}")
        == "placement `used.0`: the model has no such layer (did you mean `unused.0`?)"
    )


@pytest.mark.parametrize("again", [False, True])
def test_a_file_of_ones_own_that_cannot_be_imported(again, refusal, tmp_path):
    file = tmp_path / "broken_net.py"
    file.write_text("import nothing_of_this_name\n" + OWN)
    for _ in range(1 + again):
        assert refusal("'broken_net.py:Net'") == (
            f"`broken_net.py:Net`: {file} cannot be imported: ModuleNotFoundError: "
            "No module named 'nothing_of_this_name'"
        )
    assert not [name for name in sys.modules if "broken_net" in name]


def test_a_module_of_ones_own_is_imported(make, tmp_path, monkeypatch):
    (tmp_path / "a_net_of_mine.py").write_text(OWN.format(more=0).replace(": Sampler", ""))
    monkeypatch.syspath_prepend(tmp_path)
    assert make("'a_net_of_mine:Net'").turn == pytest.approx(6.28318530718)
