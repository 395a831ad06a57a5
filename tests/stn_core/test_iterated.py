import pytest
import torch
from contract import images, seeded, thetas
from torch import nn

from stn_core import Iterated, LocalisationNetwork, SpatialTransformer, canonical_grid, warp
from stn_core.iterated import Chain, compose_matrices
from stn_core.localisation import FCN
from stn_core.transforms import Affine, Attention, Transform


class Bend(Transform):
    """A family without matrices."""

    dims = 2
    num_params = 2

    @property
    def identity(self):
        return torch.zeros(2, dtype=torch.float64)

    def map_points(self, theta, points):
        shape = (theta.shape[0], *[1] * (points.ndim - 2), 2)
        return points + theta.reshape(shape) * points.flip(-1).square()


def compose(transform, *steps):
    matrix = compose_matrices(transform, torch.stack(steps, dim=1))
    assert matrix is not None
    return matrix.flatten(1)


def build(transform, *, iterations=3, shape=(1, 9, 13), seen=None, **options):
    network = LocalisationNetwork(FCN(seen or shape), transform)
    nn.init.normal_(network.head.weight, std=0.05, generator=seeded(0))
    return Iterated(SpatialTransformer(network, transform, **options), iterations=iterations)


@pytest.mark.parametrize("transform", [Affine(), Attention(), Affine(dims=3)], ids=str)
def test_product_of_matrices_is_the_chain_of_maps(transform):
    theta = torch.stack([thetas(transform, 3, scale=0.5, seed=i) for i in range(3)], dim=1)
    points = images(7, transform.dims)
    chained = Chain(transform)(theta, points)
    matrix = compose(transform, *theta.unbind(1))
    affine = Affine(dims=transform.dims)(matrix, points)
    torch.testing.assert_close(affine, chained, atol=1e-12, rtol=0)
    squares = [torch.eye(transform.dims + 1).double().repeat(3, 1, 1) for _ in range(3)]
    for i, square in enumerate(squares):
        square[:, :-1] = transform.matrix(theta[:, i])
    expected = (squares[0] @ squares[1] @ squares[2])[:, :-1]
    torch.testing.assert_close(matrix, expected.flatten(1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("transform", [Attention(), Bend()], ids=["linear", "chained"])
def test_the_original_is_read_through_all_the_maps(transform):
    module = build(transform, padding="border", align_corners=True)
    image = images(2, 1, 9, 13, dtype=torch.float32)
    output, theta = module.warp(image)
    assert theta.shape == (2, 3, transform.num_params)
    points = canonical_grid((9, 13), align_corners=True)
    seen, grid = image, points
    options = {"padding": "border", "align_corners": True}
    for i in range(3):
        torch.testing.assert_close(theta[:, i], module.transformer.localisation(seen))
        grid = points.expand(2, 9, 13, 2)
        for each in reversed(theta[:, : i + 1].unbind(1)):
            grid = transform.map_points(each, grid)
        seen = module.transformer.sampler(image, grid, **options)
    torch.testing.assert_close(output, seen, atol=1e-5, rtol=0)
    torch.testing.assert_close(module.grid(theta, (9, 13)), grid, atol=1e-6, rtol=0)


def test_composition_is_on_the_side_that_warping_the_warped_image_would_have():
    # Whole pixels and right angles, so that reading twice loses nothing.
    turn = torch.tensor([[0.0, -1, 0, 1, 0, 0]])
    shift = torch.tensor([[1.0, 0, 2 / 7, 0, 1, 0]])
    image = images(1, 1, 7, 7, dtype=torch.float32)
    twice = warp(warp(image, turn, Affine()), shift, Affine())
    once = compose(Affine(), turn, shift)
    torch.testing.assert_close(warp(image, once, Affine()), twice, atol=1e-5, rtol=0)
    other = compose(Affine(), shift, turn)
    assert not torch.allclose(warp(image, other, Affine()), twice, atol=1e-2)


def test_what_an_earlier_step_pushed_outside_comes_back():
    away, back = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, -1.0, 0.0]])
    image = images(1, 1, 8, 8, dtype=torch.float32)
    again = warp(warp(image, away, Attention()), back, Attention())
    assert (again[..., :4] == 0).all()
    whole = warp(image, compose(Attention(), away, back), Affine())
    torch.testing.assert_close(whole, image, atol=1e-6, rtol=0)


def test_another_output_size_one_iteration_and_empty_batch():
    image = images(2, 1, 9, 13, dtype=torch.float32)
    module = build(Attention(), seen=(1, 5, 4), output_size=(5, 4), backend="reference")
    assert module(image).shape == (2, 1, 5, 4)
    assert module(image[:0]).shape == (0, 1, 5, 4)
    once = build(Attention(), iterations=1)
    torch.testing.assert_close(once(image), once.transformer(image), atol=1e-6, rtol=0)
    once.iterations = 2
    assert once.warp(image).theta.shape == (2, 2, 3)


def test_vmap_is_eager():
    module, image = build(Bend()), images(3, 1, 9, 13, dtype=torch.float32)
    output = torch.func.vmap(lambda one: module(one[None])[0])(image)
    torch.testing.assert_close(output, module(image))


def test_learns_and_keeps_no_second_copy_of_anything():
    module = build(Bend())
    module(images(2, 1, 9, 13, dtype=torch.float32)).square().sum().backward()
    gradients = [p.grad for p in module.parameters()]
    assert all(g is not None and g.isfinite().all() and g.any() for g in gradients)
    assert set(module.state_dict()) == {name for name, _ in module.named_parameters()}


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    image = images(2, 1, 9, 13, dtype=torch.float32)
    chained = build(Bend(), iterations=2)
    program = torch.export.export(chained, (image,))
    torch.testing.assert_close(program.module()(image), chained(image))
    module = build(Affine(), iterations=2)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), module(image))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`iterations` must be at least 1, got 0"):
        build(Affine(), iterations=0)
    assert "iterations=3" in repr(build(Affine()))
