import copy
import pickle

import pytest
import torch
from contract import images
from torch import nn

from stn_core import (
    AppendTheta,
    Iterated,
    LocalisationNetwork,
    SpatialTransformer,
    WithTheta,
    place,
)
from stn_core.localisation import FCN
from stn_core.transforms import Affine, Attention


def transformer(shape, transform=None, **options):
    transform = transform or Affine()
    return SpatialTransformer(LocalisationNetwork(FCN(shape), transform), transform, **options)


def model():
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 7 * 11, 3))
    place(layers, transformer((2, 7, 11), Attention()), before="1")
    return nn.Sequential(Iterated(transformer((1, 9, 13)), iterations=2), layers)


NAMES = {"0.transformer": (2, 2, 6), "1.1.transformer": (2, 3)}


def test_gives_the_thetas_by_name_and_a_loss_reaches_the_networks():
    whole, image = WithTheta(model()), images(2, 1, 9, 13, dtype=torch.float32)
    output, thetas = whole(image)
    assert {name: tuple(theta.shape) for name, theta in thetas.items()} == NAMES
    iterated = whole.get_submodule("model.0")
    assert isinstance(iterated, Iterated)
    assert torch.equal(thetas["0.transformer"], iterated.warp(image).theta)
    assert torch.equal(output, whole.model(image)) and whole.record.thetas is None
    thetas["1.1.transformer"].sum().backward()
    bias = whole.get_parameter("model.1.1.transformer.localisation.head.bias")
    assert bias.grad is not None and (bias.grad == 2).all()


def test_copies_and_pickles_write_to_their_own_record():
    whole, image = WithTheta(model()), images(2, 1, 9, 13, dtype=torch.float32)
    for other in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert {name: tuple(theta.shape) for name, theta in other(image)[1].items()} == NAMES
        assert whole.record.thetas is None


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    whole, image = WithTheta(model()), images(2, 1, 9, 13, dtype=torch.float32)
    expected = whole(image)
    program = torch.export.export(whole, (image,))
    torch.testing.assert_close(program.module()(image), expected)
    compiled = torch.compile(whole, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), expected)


def test_appended_theta_is_constant_channels():
    module = AppendTheta(transformer((2, 7, 11), output_size=(4, 5), padding="border"))
    output = module(images(3, 2, 7, 11, dtype=torch.float32))
    assert output.shape == (3, 8, 4, 5)
    expected = torch.tensor([1.0, 0, 0, 0, 1, 0])[:, None, None].expand(3, 6, 4, 5)
    assert torch.equal(output[:, 2:], expected)
    layers = place(nn.Sequential(nn.Conv2d(8, 1, 3)), module, before="0")
    layers(torch.zeros(3, 2, 7, 11)).sum().backward()
    bias = module.get_parameter("transformer.localisation.head.bias")
    assert bias.grad is not None and bias.grad.any()


def test_a_model_without_transformers_is_refused():
    with pytest.raises(ValueError, match="`model` must have a SpatialTransformer .* got a Linear"):
        WithTheta(nn.Linear(2, 3))
