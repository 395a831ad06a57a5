import pytest
import torch
from contract import TRANSFORMS, images, seeded
from torch import nn

from stn_core import LocalisationNetwork
from stn_core.localisation import CNN, FCN
from stn_core.transforms import Affine, Attention, Transform

BODIES = {"cnn": CNN, "fcn": FCN}
every_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())


ROOTED = {
    name: t
    for name, t in TRANSFORMS.items()
    if isinstance(t, Transform) and t.num_params and t.identity is not None
}


@pytest.mark.parametrize("transform", ROOTED.values(), ids=ROOTED.keys())
def test_starts_at_the_identity(transform):
    shape = (3, 13, 21) if transform.dims == 2 else (1, 3, 5, 6)
    body = CNN if transform.dims == 2 else FCN
    theta = LocalisationNetwork(body(shape), transform)(torch.randn(5, *shape))
    assert theta.dtype == torch.float32
    assert torch.equal(theta, transform.identity.float().expand(5, -1))


@every_body
def test_every_parameter_learns_once_the_head_has_moved(body):
    network = LocalisationNetwork(body((1, 28, 28)), Affine())
    nn.init.normal_(network.head.weight, generator=seeded(0))
    network(images(4, 1, 28, 28, dtype=torch.float32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_layers_are_those_of_the_paper():
    shapes = [tuple(p.shape) for p in CNN((1, 60, 60)).parameters() if p.ndim > 1]
    assert shapes == [(20, 1, 5, 5), (20, 20, 5, 5), (20, 9 * 9 * 20)]
    shapes = [tuple(p.shape) for p in FCN((1, 28, 28)).parameters() if p.ndim > 1]
    assert shapes == [(32, 784), (32, 32), (32, 32)]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (6, 5), (27, 28), (5, 1, 29)], ids=str)
def test_cnn_takes_any_size(size):
    assert CNN((2, *size), channels=3)(torch.zeros(4, 2, *size)).shape == (4, 3)


@every_body
def test_empty_batch_meta_and_float64(body):
    network = LocalisationNetwork(body((1, 13, 21)), Affine())
    assert network(torch.zeros(0, 1, 13, 21)).shape == (0, 6)
    assert network.double()(images(2, 1, 13, 21)).dtype == torch.float64
    with torch.device("meta"):
        network = LocalisationNetwork(body((1, 13, 21)), Affine())
        theta = network(torch.zeros(2, 1, 13, 21))
    assert (theta.device.type, theta.shape) == ("meta", (2, 6))


def test_built_on_meta_and_filled_it_starts_at_the_identity():
    with torch.device("meta"):
        network = LocalisationNetwork(CNN((1, 13, 21)), Affine())
    network.to_empty(device="cpu")
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    theta = network(images(2, 1, 13, 21, dtype=torch.float32))
    assert torch.equal(theta, Affine().identity.float().expand(2, 6))


@every_body
def test_theta_is_float32_under_autocast(body):
    network = LocalisationNetwork(body((1, 13, 21)), Affine())
    nn.init.normal_(network.head.weight, generator=seeded(0))
    image = images(2, 1, 13, 21, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, theta = network.body(image), network(image)
    assert features.dtype == torch.bfloat16
    expected = features.double() @ network.head.weight.double().T + network.head.start.double()
    assert theta.dtype == torch.float32
    torch.testing.assert_close(theta.double(), expected, atol=1e-5, rtol=1e-5)


def test_half_network_gives_float32_theta():
    network = LocalisationNetwork(FCN((1, 5, 7)), Affine()).bfloat16()
    assert network(torch.zeros(2, 1, 5, 7, dtype=torch.bfloat16)).dtype == torch.float32


def test_state_dict_is_parameters_only():
    network = LocalisationNetwork(FCN((1, 5, 7)), Affine())
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


def test_any_module_is_a_body():
    body = nn.Conv2d(1, 2, 3)
    theta = LocalisationNetwork(body, Attention(), num_features=30)(torch.zeros(2, 1, 5, 7))
    assert theta.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_head_takes_poses_and_bounds():
    poses = torch.tensor([[0.5, -0.5, 0], [0.5, 0.5, 0]])
    body = FCN((1, 5, 7))
    network = LocalisationNetwork(body, Attention(), poses=poses, bounds=(-1.0, 1.0))
    assert torch.equal(network(torch.rand(3, 1, 5, 7)), poses.expand(3, 2, 3))
    assert network.head.is_bounded


# The second says 960 `num_features`, and gives an image 1024 of them.
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])
def test_a_timm_model_is_a_body(name):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    body = timm.create_model(name, pretrained=False, num_classes=0, in_chans=1)
    theta = LocalisationNetwork(body, Attention())(torch.zeros(2, 1, 32, 48))
    assert theta.tolist() == [[1, 0, 0], [1, 0, 0]]


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(
        ValueError, match=r"`num_features` must be given when .* got a Flatten with"
    ):
        LocalisationNetwork(nn.Flatten(), Affine())
    network = LocalisationNetwork(nn.Flatten(), Affine(), num_features=30)
    with pytest.raises(ValueError, match=r"`num_features` must be what .* gives .* 35, got 30"):
        network(torch.zeros(2, 1, 5, 7))
    for body in BODIES.values():
        with pytest.raises(ValueError, match=r"`in_shape` must be .* got \(28, 28\)"):
            body((28, 28))
        with pytest.raises(ValueError, match=r"`in_shape` must be .* all at least 1, got \(1, 0,"):
            body((1, 0, 5))
        with pytest.raises(ValueError, match=r"`image` must have shape \(batch, 1, 5, 7\), got"):
            body((1, 5, 7))(torch.zeros(2, 1, 7, 5))
