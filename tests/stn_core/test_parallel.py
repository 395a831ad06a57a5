import pytest
import torch
from contract import images
from torch import nn

from stn_core import LocalisationNetwork, Parallel, SpatialTransformer
from stn_core.localisation import CNN, FCN
from stn_core.transforms import Affine, Attention

POSE = torch.tensor([0.5, 0.5, 0.0])


def build(**options):
    body = CNN((2, 9, 13))
    first = SpatialTransformer(LocalisationNetwork(body, Affine()), Affine())
    network = LocalisationNetwork(FCN((2, 9, 13)), Attention(), poses=POSE)
    return Parallel([first, SpatialTransformer(network, Attention())], **options)


def test_different_families_side_by_side():
    module, image = build(), images(3, 2, 9, 13, dtype=torch.float32)
    whole, crop = module.warps(image)
    assert (whole.theta.shape, crop.theta.shape) == ((3, 6), (3, 3))
    assert torch.equal(module(image), torch.cat([whole.output, crop.output], dim=1))
    module.join = "batch"
    assert torch.equal(module(image)[3], crop.output[1])
    torch.testing.assert_close(module(image)[2], image[1], atol=1e-5, rtol=0)


def test_each_learns_by_itself():
    module = build()
    nn.Sequential(module, nn.Conv2d(4, 1, 3))(torch.rand(2, 2, 9, 13)).sum().backward()
    for i in (0, 1):
        bias = module.get_parameter(f"transformers.{i}.localisation.head.bias")
        assert bias.grad is not None and bias.grad.any()


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    module, image = build(), images(2, 2, 9, 13, dtype=torch.float32)
    program = torch.export.export(module, (image,))
    torch.testing.assert_close(program.module()(image), module(image))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), module(image))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`transformers` must be at least one, got none"):
        Parallel([])
    with pytest.raises(ValueError, match='`join` must be "channels" or "batch", got None'):
        build(join=None)
    assert "join='channels'" in repr(build())
