from typing import Any

import pytest
import torch
from contract import images, seeded
from torch import nn

from stn_core import (
    Glimpses,
    LocalisationNetwork,
    RecurrentLocalisationNetwork,
    SpatialTransformer,
    tile_poses,
    warp,
)
from stn_core.localisation import FCN
from stn_core.transforms import Attention, ConstrainedAffine

TILES = tile_poses(Attention(), (2, 2))


def build(poses=TILES, *, join: Any = "channels", **options):
    network = LocalisationNetwork(FCN((2, 8, 12)), Attention(), poses=poses)
    return Glimpses(SpatialTransformer(network, Attention(), **options), join=join)


def test_tiles_cut_the_image_as_slicing_does():
    image = images(3, 2, 8, 12, dtype=torch.float32)
    output, theta = build(join="batch", output_size=(4, 6)).warp(image)
    crops = [image[..., i : i + 4, j : j + 6] for i in (0, 4) for j in (0, 6)]
    torch.testing.assert_close(output, torch.stack(crops, dim=1).flatten(0, 1), atol=1e-5, rtol=0)
    assert torch.equal(theta, TILES.float().expand(3, 4, 3))
    channels = build(output_size=(4, 6))(image)
    torch.testing.assert_close(channels, torch.cat(crops, dim=1), atol=1e-5, rtol=0)


def test_each_is_the_warp_by_its_theta_and_all_learn():
    module, image = build(padding="border"), images(3, 2, 8, 12, dtype=torch.float32)
    weight = module.get_parameter("transformer.localisation.head.weight")
    nn.init.normal_(weight, std=0.1, generator=seeded(0))
    output, theta = module.warp(image)
    for i, each in enumerate(theta.unbind(1)):
        expected = warp(image, each, Attention(), padding="border")
        assert torch.equal(output[:, 2 * i : 2 * i + 2], expected)
    output.square().sum().backward()
    bias = module.get_parameter("transformer.localisation.head.bias")
    assert bias.grad is not None and (bias.grad != 0).all()


def test_recurrent_glimpses_are_crops_in_the_batch():
    network = RecurrentLocalisationNetwork(FCN((2, 8, 12)), Attention(), steps=3, units=4)
    transformer = SpatialTransformer(network, Attention(), output_size=(4, 5))
    output, theta = Glimpses(transformer, join="batch").warp(torch.rand(2, 2, 8, 12))
    assert (output.shape, theta.shape) == ((6, 2, 4, 5), (2, 3, 3))


def test_cub_crops_of_a_fixed_scale_start_as_tiles():
    half = ConstrainedAffine(((0.5, 0.0, None), (0.0, 0.5, None)))
    poses = tile_poses(half, (2, 2))
    network = LocalisationNetwork(FCN((2, 8, 12)), half, poses=poses)
    crops = Glimpses(SpatialTransformer(network, half, output_size=(4, 6)))
    image = images(3, 2, 8, 12, dtype=torch.float32)
    torch.testing.assert_close(crops(image), build(output_size=(4, 6))(image), atol=1e-6, rtol=0)


def test_vmap_is_eager():
    module, image = build(), images(3, 2, 8, 12, dtype=torch.float32)
    output = torch.func.vmap(lambda one: module(one[None])[0])(image)
    torch.testing.assert_close(output, module(image))


def test_empty_batch():
    assert build()(torch.zeros(0, 2, 8, 12)).shape == (0, 8, 8, 12)
    assert build(join="batch")(torch.zeros(0, 2, 8, 12)).shape == (0, 2, 8, 12)


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    module, image = build(join="batch"), images(2, 2, 8, 12, dtype=torch.float32)
    program = torch.export.export(module, (image,))
    torch.testing.assert_close(program.module()(image), module(image))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), module(image))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match='`join` must be "channels" or "batch", got \'stack\''):
        build(join="stack")
    with pytest.raises(ValueError, match=r"`transformer` must have .* \(batch, n, .* got \(2, 3\)"):
        build(poses=TILES[0])(torch.zeros(2, 2, 8, 12))
    assert "join='batch'" in repr(build(join="batch"))
