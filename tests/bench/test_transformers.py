"""The keys of `model.transformer`, each in the model that it makes; and the width that fits."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench import build
from bench.errors import BenchError
from bench.study import load_study
from bench.transformers import _tiles
from stn_core import AppendTheta, Glimpses, Iterated, Parallel, SpatialTransformer

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {dataset}
  model: {model}
  train: {{steps: 10, batch_size: 32, lr: 1}}
"""
SMALL = "name: cnn, filters: [3, 4], kernel_sizes: [5, 3]"
SHAPE = (1, 28, 28)


@pytest.fixture
def make(tmp_path):
    def made(keys, model=SMALL, labels=1, shape=SHAPE):
        dataset = "digits" if labels == 1 else "mnist_sequence"
        text = f"{{{model}, transformer: {{{keys}}}}}" if keys else f"{{{model}}}"
        (tmp_path / "study.yaml").write_text(STUDY.format(dataset=dataset, model=text))
        (variant,) = load_study(tmp_path / "study.yaml").variants
        data: Any = SimpleNamespace(in_shape=shape, num_classes=10, labels=labels)
        torch.manual_seed(0)
        return build.model(variant.settings("classify"), data, tmp_path)

    return made


def count(net):
    return sum(p.numel() for p in net.parameters())


def transformers(net):
    return [m for m in net.modules() if isinstance(m, SpatialTransformer)]


IMAGE = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(5))


def test_several_with_networks_of_their_own_stand_side_by_side(make):
    net = make("transform: affine, localisation: fcn, count: 3, output_size: [14, 15]")
    assert isinstance(net.transformer, Parallel)
    first, second, third = transformers(net)
    assert len({id(each.localisation) for each in (first, second, third)}) == 3
    weights = [each.localisation.state_dict()["body.layers.1.weight"] for each in (first, second)]
    assert not torch.equal(*weights), "each is drawn on its own"
    assert net.transformer(IMAGE).shape == (2, 3, 14, 15)
    assert net.model.conv1.in_channels == 3


@pytest.mark.parametrize(("number", "tiles"), [(2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (6, (2, 3))])
def test_a_shared_network_starts_on_tiles(number, tiles, make):
    net = make(f"transform: attention, localisation: fcn, count: {number}, network: shared")
    assert isinstance(net.transformer, Glimpses)
    assert len(transformers(net)) == 1
    assert _tiles(number, 2) == tiles
    assert _tiles(number, 3) == (1, *tiles)
    theta = net.transformer.warp(IMAGE).theta
    assert theta.shape == (2, number, 3)
    # Tiles of one size next to each other: their centres are in as many columns and rows.
    x, y = ({round(v, 4) for v in theta[0, :, i].tolist()} for i in (1, 2))
    assert (len(y), len(x)) == tiles
    # Together they see the image: so many halves of its side to either side of a centre.
    assert max(x) + theta[0, 0, 0].item() == pytest.approx(1, abs=0.51)


def test_a_recurrent_network_gives_one_theta_a_step(make):
    net = make("transform: affine, localisation: fcn, count: 3, network: recurrent")
    assert isinstance(net.transformer, Glimpses)
    assert type(net.transformer.transformer.localisation).__name__ == "RecurrentLocalisationNetwork"
    assert net.transformer.warp(IMAGE).theta.shape == (2, 3, 6)
    assert net.model.conv1.in_channels == 3


@pytest.mark.parametrize(
    ("keys", "shape"),
    [("{}", (2, 3)), ("{count: 2}", (2, 3)), ("{count: 2, network: shared}", (2, 2, 3)),
     ("{count: 2, network: recurrent}", (2, 2, 3)), ("{placement: DL1}", (2, 3))],
)  # fmt: skip
def test_theta_starts_where_a_study_says(keys, shape, make):
    net = make(f"transform: attention, localisation: fcn, poses: [0.5, 0.25, 0], {keys[1:-1]}")
    seen = []
    for spatial in transformers(net):
        spatial.localisation.register_forward_hook(lambda _, given, theta: seen.append(theta))
    net(IMAGE)
    assert seen
    for theta in seen:
        assert torch.equal(theta, torch.tensor([0.5, 0.25, 0.0]).expand(shape))


def test_who_says_nothing_of_poses_has_the_trials_of_before(tmp_path):
    model = f"{{{SMALL}, transformer: {{transform: attention, localisation: fcn}}}}"
    (tmp_path / "study.yaml").write_text(STUDY.format(dataset="digits", model=model))
    (variant,) = load_study(tmp_path / "study.yaml").variants
    assert not {"poses", "bounds"} & variant.settings("classify")["model"]["transformer"].keys()


@pytest.mark.parametrize("network", ["own", "shared", "recurrent"])
def test_theta_stays_in_its_bounds(network, make):
    count = 1 if network == "own" else 2
    net = make(
        f"transform: attention, localisation: fcn, count: {count}, network: {network}, "
        "poses: [1, 0, 0], bounds: [[0.5, -0.1, -0.1], [1.5, 0.1, 0.1]]"
    )
    (spatial,) = transformers(net)
    low, high = torch.tensor([[0.5, -0.1, -0.1], [1.5, 0.1, 0.1]])
    for push, bound in ((1e4, high), (-1e4, low)):
        torch.nn.init.constant_(spatial.get_parameter("localisation.head.bias"), push)
        theta = net.transformer.warp(IMAGE).theta
        assert ((low <= theta) & (theta <= high)).all()
        assert torch.allclose(theta, bound.expand_as(theta), atol=1e-3)


def test_an_iterated_transformer_is_one_that_looks_again(make):
    net = make("transform: affine, localisation: fcn, iterations: 4")
    assert isinstance(net.transformer, Iterated)
    assert net.transformer.iterations == 4
    assert count(net) == count(make("transform: affine, localisation: fcn"))


def test_theta_goes_forward_as_channels(make):
    net = make("transform: attention, localisation: fcn, theta_forward: true")
    assert isinstance(net.transformer, AppendTheta)
    seen = net.transformer(IMAGE)
    assert seen.shape == (2, 1 + 3, 28, 28)
    assert torch.equal(seen[:, 1], torch.ones(2, 28, 28)), "the scale, which starts at 1"
    assert net.model.conv1.in_channels == 4


def test_pooling_is_the_mean_of_what_the_transformer_gives(make):
    net = make("transform: affine, localisation: fcn, pool: 2, output_size: [24, 24]")
    whole = net.transformer[0](IMAGE)
    assert torch.allclose(
        net.transformer(IMAGE), whole.unflatten(2, (12, 2)).unflatten(4, (12, 2)).mean((3, 5))
    )
    assert net.model.conv1.weight.shape[-1] == 5


def test_joined_features_are_read_by_one_layer(make):
    keys = "transform: attention, localisation: fcn, count: 2, network: shared, join: features"
    net = make(keys)
    crops = net.transformer(IMAGE)
    assert crops.shape == (4, 1, 28, 28), "image by image, its crops next to each other"
    assert net.model.classifier.in_features == 2 * 4 * 5 * 5
    features = net.model.parts(crops)
    wanted = net.model.classifier(torch.cat([features[0::2], features[1::2]], 1))
    assert torch.allclose(net(IMAGE), wanted)


def test_joined_labels_are_one_crop_each(make):
    keys = "transform: attention, localisation: fcn, count: 3, network: recurrent, join: labels"
    net = make(keys, labels=3)
    scores = net(IMAGE)
    assert scores.shape == (2, 3, 10)
    glimpse = net[0].model.glimpse(net[0].transformer(IMAGE))
    assert torch.equal(scores[1, 2], glimpse[1 * 3 + 2])
    with pytest.raises(BenchError) as caught:
        make(keys, labels=2)
    assert str(caught.value) == "join `labels`: `count` must be 2, the labels of an image", (
        "what `plan` does not know of a data set of one's own"
    )


def test_several_placements_have_a_transformer_each(make):
    net = make("transform: affine, localisation: fcn, placement: [input, conv2]")
    shapes = []
    for each in transformers(net):
        each.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape[1:])))
    assert net(IMAGE).shape == (2, 10)
    assert shapes == [(1, 28, 28), (3, 12, 12)]


@pytest.mark.parametrize("name", ["C0", "C1", "DL1", "DL2", "SL1", "SL2"])
def test_placements_by_name_start_as_the_model_alone(name, make):
    net = make(f"transform: affine, localisation: fcn, placement: {name}").eval()
    assert len(transformers(net)) == 1
    assert net(IMAGE).shape == (2, 10)
    (spatial,) = transformers(net)
    seen = []
    spatial.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
    net(IMAGE)
    ((given, output),) = seen
    assert given.shape[1:] == ((3, 12, 12) if name == "C1" else SHAPE)
    assert (given - output).abs().max() < 1e-4


def test_a_placement_that_the_model_has_not(make):
    with pytest.raises(BenchError) as caught:
        make("transform: affine, localisation: fcn, placement: C7")
    assert str(caught.value).endswith("placement: `C7`: `cnn` has 2 convolutions")


@pytest.mark.parametrize("transform", ["polar", "log_polar"])
@pytest.mark.parametrize("placement", ["input", "C0", "C1", "DL1", "SL2"])
def test_a_family_without_identity_starts_in_the_middle(transform, placement, make):
    net = make(f"transform: {transform}, localisation: fcn, placement: {placement}")
    (spatial,) = transformers(net)
    thetas = []
    spatial.localisation.register_forward_hook(lambda *given: thetas.append(given[-1]))
    assert net(IMAGE).shape == (2, 10)
    assert not thetas[0].any()


def test_a_crop_of_fixed_scale_starts_at_the_centre(make):
    fixed = "{name: constrained_affine, fixed: [[0.5, 0, null], [0, 0.5, null]]}"
    net = make(f"transform: {fixed}, localisation: fcn, output_size: [14, 14]")
    (spatial,) = transformers(net)
    assert spatial.warp(IMAGE).theta.tolist() == [[0, 0], [0, 0]]
    assert torch.allclose(spatial(IMAGE), IMAGE[..., 7:21, 7:21], atol=1e-5)


AFFINE = "transform: affine, localisation: fcn, output_size: [26, 26]"


@pytest.mark.parametrize("model", ["name: cnn", "name: fcn", "name: rnn"])
@pytest.mark.parametrize("keys", ["", AFFINE])
@pytest.mark.parametrize("wanted", [40_000, 300_000])
def test_a_model_gets_the_width_that_meets_its_parameters(model, keys, wanted, make):
    got = count(make(keys, f"{model}, parameters: {wanted}"))
    assert abs(got - wanted) <= wanted / 10
    assert abs(got - wanted) <= wanted / 50 or "cnn" in model


def test_no_other_width_comes_nearer(tmp_path):
    reference: Any = {"name": "fcn", "units": [53, 31], "parameters": 20_000, "transformer": None}
    data: Any = SimpleNamespace(in_shape=SHAPE, num_classes=10, labels=1)
    found = build.fitting_width(reference, data, tmp_path)

    def far(width):
        first, second = round(width * 53), round(width * 31)
        return abs(784 * first + first + first * second + second + second * 10 + 10 - 20_000)

    assert far(found) == min(far(found * (1 + i / 1000)) for i in range(-300, 301))


@pytest.mark.parametrize(("keys", "wanted"), [("", 3), (AFFINE, 20_000), ("", 10**9)])
def test_parameters_that_no_width_meets(keys, wanted, make):
    with pytest.raises(BenchError) as caught:
        make(keys, f"name: fcn, parameters: {wanted}")
    start = f"model.parameters: must be met by some width, got {wanted:,}; `fcn` has "
    assert str(caught.value).startswith(start)


def test_fitting_computes_no_weights(make, monkeypatch):
    """Forty widths are tried on `meta`, and one is built."""
    devices = []
    built = nn.Linear.__init__

    def noted(self, *args, **kwargs):
        built(self, *args, **kwargs)
        devices.append(self.weight.device.type)

    monkeypatch.setattr(nn.Linear, "__init__", noted)
    make("", "name: fcn, parameters: 40000")
    assert devices[-3:] == ["cpu"] * 3
    assert set(devices[:-3]) == {"meta"}
