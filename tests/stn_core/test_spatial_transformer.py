import copy
import pickle

import pytest
import torch
from contract import images, seeded
from torch import nn

from stn_core import LocalisationNetwork, SpatialTransformer, warp
from stn_core.localisation import CNN, FCN
from stn_core.samplers import Bilinear, Nearest
from stn_core.transforms import Affine


def build(shape=(1, 13, 21), *, body: type[nn.Module] = FCN, **options):
    transform = Affine(dims=len(shape) - 1)
    return SpatialTransformer(LocalisationNetwork(body(shape), transform), transform, **options)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shape", [(2, 13, 21), (2, 3, 5, 6)], ids=str)
def test_starts_as_the_identity(shape, align_corners):
    image = images(3, *shape, dtype=torch.float32)
    output = build(shape, align_corners=align_corners)(image)
    torch.testing.assert_close(output, image, atol=1e-5, rtol=0)


def test_warp_gives_output_and_theta_that_agree():
    transformer = build(output_size=(6, 5), padding="border", align_corners=True, sampler=Nearest())
    nn.init.normal_(
        transformer.get_parameter("localisation.head.bias"), std=0.1, generator=seeded(0)
    )
    image = images(2, 1, 13, 21, dtype=torch.float32)
    output, theta = transformer.warp(image)
    options = {"output_size": (6, 5), "padding": "border", "align_corners": True}
    expected = warp(image, theta, transformer.transform, sampler=Nearest(), **options)
    assert torch.equal(output, expected)
    assert torch.equal(transformer(image), output)
    grid = transformer.grid(theta, (6, 5))
    read = transformer.sampler(image, grid, padding="border", align_corners=True)
    assert torch.equal(read, output)


def test_backend_is_who_computes():
    image = images(2, 1, 13, 21, dtype=torch.float32)
    transformer, reference = build(), build(backend="reference")
    reference.load_state_dict(transformer.state_dict())
    theta = transformer.localisation(image) + 0.1
    output = reference.warp_by(theta, image)
    torch.testing.assert_close(output, transformer.warp_by(theta, image), atol=1e-5, rtol=0)
    assert not torch.equal(output, transformer.warp_by(theta, image))


def test_series_warps_what_the_first_one_gave():
    first, second = build(output_size=(6, 5)), build((1, 6, 5), output_size=(4, 4))
    image = images(2, 1, 13, 21, dtype=torch.float32)
    output = nn.Sequential(first, second)(image)
    assert torch.equal(output, second(first(image)))
    assert output.shape == (2, 1, 4, 4)


def test_fits_in_a_sequential_and_learns():
    torch.manual_seed(0)
    model = nn.Sequential(build(body=CNN), nn.Flatten(), nn.Linear(13 * 21, 3))
    model(images(2, 1, 13, 21, dtype=torch.float32)).square().sum().backward()
    gradient = model.get_parameter("0.localisation.head.bias").grad
    assert gradient is not None and gradient.any()


def test_meta_float64_empty_batch_and_one_pixel():
    transformer = build(output_size=(6, 5))
    assert transformer(torch.zeros(0, 1, 13, 21)).shape == (0, 1, 6, 5)
    assert transformer.double()(images(2, 1, 13, 21)).dtype == torch.float64
    assert build((1, 1, 1))(torch.ones(2, 1, 1, 1)).tolist() == torch.ones(2, 1, 1, 1).tolist()
    with torch.device("meta"):
        warped = build(output_size=(6, 5)).warp(torch.zeros(2, 1, 13, 21))
    assert (warped.output.shape, warped.theta.shape) == ((2, 1, 6, 5), (2, 6))


def test_theta_and_grid_are_float32_under_autocast():
    transformer = build()
    image = images(2, 1, 13, 21, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, theta = transformer.warp(image)
        grid = transformer.grid(theta, (13, 21))
    assert output.dtype == theta.dtype == grid.dtype == torch.float32
    torch.testing.assert_close(output, image, atol=1e-5, rtol=0)


def test_copies_and_pickles_without_grids():
    transformer = build()
    fresh = len(pickle.dumps(transformer))
    image = images(2, 1, 13, 21, dtype=torch.float32)
    output = transformer(image)
    again = pickle.loads(pickle.dumps(transformer))
    assert len(pickle.dumps(transformer)) == fresh
    assert torch.equal(again(image), output)
    assert torch.equal(copy.deepcopy(transformer)(image), output)


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    transformer, image = build(body=CNN), images(2, 1, 13, 21, dtype=torch.float32)
    any_batch = {"image": {0: torch.export.Dim("batch")}}
    program = torch.export.export(transformer, (image,), dynamic_shapes=any_batch)
    larger = images(5, 1, 13, 21, dtype=torch.float32)
    torch.testing.assert_close(program.module()(larger), transformer(larger))
    compiled = torch.compile(transformer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), transformer(image))


def test_repr_says_the_options():
    transformer = build(output_size=(6, 5))
    assert isinstance(transformer.sampler, Bilinear)
    assert "output_size=(6, 5), padding='zeros', align_corners=False, backend='auto'" in repr(
        transformer
    )


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`padding` must be .* got 'edge'"):
        build(padding="edge")
    with pytest.raises(ValueError, match=r"`backend` must be one of \('auto', .* got 'cuda'"):
        build(backend="cuda")
    with pytest.raises(ValueError, match=r"`output_size` must be 2 positive lengths .* got \(6,\)"):
        build(output_size=(6,))
