import pytest
import torch
from contract import images, seeded
from torch import nn

from stn_core import RecurrentLocalisationNetwork
from stn_core.localisation import CNN, FCN
from stn_core.transforms import Affine, Attention


def build(*, steps=3, **options):
    body = FCN((1, 5, 7))
    network = RecurrentLocalisationNetwork(body, Attention(), steps=steps, units=8, **options)
    nn.init.normal_(network.head.weight, generator=seeded(0))
    return network


def test_starts_at_the_identity_at_each_step():
    network = RecurrentLocalisationNetwork(CNN((3, 13, 21)), Affine(), steps=4)
    theta = network(torch.randn(5, 3, 13, 21))
    assert torch.equal(theta, Affine().identity.float().expand(5, 4, 6))
    poses = torch.tensor([0.5, 0.1, -0.1])
    network = RecurrentLocalisationNetwork(FCN((1, 5, 7)), Attention(), steps=2, poses=poses)
    assert torch.equal(network(torch.randn(5, 1, 5, 7)), poses.expand(5, 2, 3))


def test_is_a_gru_over_the_same_features():
    torch.manual_seed(0)
    network, image = build(), images(2, 1, 5, 7, dtype=torch.float32)
    gru = nn.GRU(32, 8, batch_first=True)
    gru.load_state_dict({f"{k}_l0": v for k, v in network.cell.state_dict().items()})
    states, _ = gru(network.body(image)[:, None].expand(2, 3, 32))
    expected = states @ network.head.weight.T + network.head.start
    torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns_and_steps_differ():
    network = build(bounds=(-3.0, 3.0))
    theta = network(images(4, 1, 5, 7, dtype=torch.float32))
    assert not torch.equal(theta[:, 0], theta[:, 1])
    theta.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_empty_batch_meta_and_autocast():
    assert build()(torch.zeros(0, 1, 5, 7)).shape == (0, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert build()(torch.zeros(2, 1, 5, 7)).dtype == torch.float32
    network = RecurrentLocalisationNetwork(FCN((1, 5, 7)), Attention(), steps=2).to("meta")
    assert network(torch.zeros(2, 1, 5, 7, device="meta")).shape == (2, 2, 3)


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    network, image = build(), images(2, 1, 5, 7, dtype=torch.float32)
    program = torch.export.export(network, (image,))
    torch.testing.assert_close(program.module()(image), network(image))
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), network(image))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`steps` and `units` must be at least 1, got steps=0"):
        build(steps=0)
    with pytest.raises(ValueError, match=r"`poses` must have one axis, got shape \(2, 3\)"):
        build(poses=torch.zeros(2, 3))
