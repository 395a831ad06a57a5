"""Samplers and backends against the paper's equations in NumPy, and against torch."""

import numpy as np
import pytest
import reference
import torch
from contract import PADDINGS, grids, images
from torch.nn.functional import affine_grid, grid_sample

from stn_core import canonical_grid, warp
from stn_core.kernels.reference import Reference
from stn_core.samplers import Bilinear, Nearest
from stn_core.samplers.padding import pad_pixels
from stn_core.transforms import Affine, Attention, Translation

# The image's size and the output's: none square, none a power of two, from enlarging to one pixel.
SIZES = {
    "wide": [(5, 7), (6, 11)],
    "tall": [(9, 3), (7, 5)],
    "smaller": [(13, 10), (3, 5)],
    "larger": [(3, 5), (13, 10)],
    "transposed": [(6, 5), (5, 6)],
    "row": [(1, 9), (3, 7)],
    "column": [(11, 1), (5, 3)],
    "pixel": [(1, 1), (3, 5)],
    "to_pixel": [(7, 6), (1, 1)],
    "volume": [(3, 5, 6), (5, 3, 7)],
    "slab": [(1, 6, 5), (3, 5, 1)],
    "voxel": [(3, 1, 5), (1, 1, 1)],
}
every_size = pytest.mark.parametrize(("in_size", "out_size"), SIZES.values(), ids=SIZES.keys())
both_conventions = pytest.mark.parametrize("align_corners", [False, True])
every_padding = pytest.mark.parametrize("padding", PADDINGS)
SAMPLERS = {
    "bilinear": (Bilinear(), reference.bilinear_kernel),
    "nearest": (Nearest(), reference.integer_kernel),
    "reference_bilinear": (Reference(Bilinear()), reference.bilinear_kernel),
    "reference_nearest": (Reference(Nearest()), reference.integer_kernel),
}
every_sampler = pytest.mark.parametrize(("sampler", "kernel"), SAMPLERS.values(), ids=SAMPLERS)


@every_size
@both_conventions
@every_sampler
def test_output_is_equation_3(in_size, out_size, align_corners, sampler, kernel):
    image, grid = images(1, 2, *in_size), grids(1, out_size)
    output = sampler(image, grid, padding="zeros", align_corners=align_corners)
    pixels = reference.pixel_points(grid[0].numpy(), in_size, align_corners)
    expected = reference.sample(image[0].numpy(), pixels, kernel)
    np.testing.assert_allclose(output[0].numpy(), expected, atol=1e-12)


@every_size
@both_conventions
@pytest.mark.parametrize("sampler", [Bilinear(), Reference(Bilinear())], ids=["torch", "reference"])
def test_gradients_are_equations_6_and_7(in_size, out_size, align_corners, sampler):
    image, grid = images(1, 2, *in_size), grids(1, out_size)
    upstream = images(1, 2, *out_size, seed=2)
    leaves = image.requires_grad_(), grid.requires_grad_()
    output = sampler(*leaves, padding="zeros", align_corners=align_corners)
    by_image, by_grid = torch.autograd.grad(output, leaves, upstream)
    pixels = reference.pixel_points(grid[0].detach().numpy(), in_size, align_corners)
    wanted_image, wanted_pixels = reference.bilinear_gradients(
        image[0].detach().numpy(), pixels, upstream[0].numpy()
    )
    sides = np.array(in_size[::-1])
    per_normalised = (sides - 1 if align_corners else sides) / 2
    np.testing.assert_allclose(by_image[0].numpy(), wanted_image, atol=1e-12)
    np.testing.assert_allclose(by_grid[0].numpy(), wanted_pixels * per_normalised, atol=1e-12)


@every_size
@both_conventions
@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
def test_warp_is_equations_1_and_3(in_size, out_size, align_corners, backend):
    dims = len(in_size)
    matrix = np.eye(dims, dims + 1) + 0.3 * np.random.default_rng(0).normal(size=(dims, dims + 1))
    image = images(1, 2, *in_size)
    output = warp(
        image,
        torch.from_numpy(matrix).reshape(1, -1),
        Affine(dims),
        output_size=out_size,
        align_corners=align_corners,
        backend=backend,
    )
    grid = reference.affine_grid(matrix, out_size, align_corners)
    pixels = reference.pixel_points(grid, in_size, align_corners)
    expected = reference.sample(image[0].numpy(), pixels, reference.bilinear_kernel)
    np.testing.assert_allclose(output[0].numpy(), expected, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0:UserWarning")  # of one-pixel sides
@every_size
@both_conventions
def test_affine_grid_is_that_of_torch(in_size, out_size, align_corners):
    dims = len(in_size)
    theta = torch.randn(3, dims * (dims + 1), dtype=torch.float64)
    points = canonical_grid(out_size, align_corners=align_corners, dtype=torch.float64)
    matrix = theta.unflatten(1, (dims, dims + 1))
    expected = affine_grid(matrix, [3, 1, *out_size], align_corners=align_corners)
    torch.testing.assert_close(Affine(dims)(theta, points), expected)


@every_size
@both_conventions
@every_padding
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("wrap", [lambda s: s, Reference], ids=["torch", "reference"])
def test_output_and_gradient_are_those_of_torch(
    in_size, out_size, align_corners, padding, mode, wrap
):
    leaves = images(2, 3, *in_size).requires_grad_(), grids(2, out_size, reach=4).requires_grad_()
    sampler = wrap(Bilinear() if mode == "bilinear" else Nearest())
    output = sampler(*leaves, padding=padding, align_corners=align_corners)
    expected = grid_sample(*leaves, mode=mode, padding_mode=padding, align_corners=align_corners)
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=0)
    gradients = torch.autograd.grad(output.square().sum(), leaves, materialize_grads=True)
    wanted = torch.autograd.grad(expected.square().sum(), leaves)
    torch.testing.assert_close(gradients, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("sampler", [Nearest(), Reference(Nearest())], ids=["torch", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_rounds_a_half_up_where_torch_rounds_to_even(sampler, dtype):
    image = torch.arange(1, 6, dtype=dtype).reshape(1, 1, 1, 5)
    x = torch.tensor([-0.5, 0.5, 1.5, 2.5, 3.5, 4.5], dtype=dtype) / 2 - 1
    grid = torch.stack([x, torch.zeros_like(x)], dim=-1).reshape(1, 1, 6, 2)
    output = sampler(image, grid, padding="zeros", align_corners=True)
    assert output.flatten().tolist() == [1, 2, 3, 4, 5, 0]
    torchs = grid_sample(image, grid, mode="nearest", align_corners=True)
    assert torchs.flatten().tolist() == [1, 1, 3, 3, 5, 5]


def test_translation_and_attention_fill_the_matrix():
    affine = torch.tensor([[0.5, 0, 0.1, 0, 0.5, -0.2]])
    points = canonical_grid((3, 5), align_corners=False)
    attention = Attention()(torch.tensor([[0.5, 0.1, -0.2]]), points)
    torch.testing.assert_close(attention, Affine()(affine, points))
    affine = torch.tensor([[1.0, 0, 0, 1, 0, 1, 0, 2, 0, 0, 1, 3]])
    points = canonical_grid((3, 5, 6), align_corners=False)
    translation = Translation(dims=3)(torch.tensor([[1.0, 2, 3]]), points)
    torch.testing.assert_close(translation, Affine(dims=3)(affine, points))


@both_conventions
@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("sampler", [Bilinear(), Nearest()], ids=["bilinear", "nearest"])
def test_whole_pixel_shift(align_corners, backend, sampler):
    image = images(1, 2, 6, 9)
    step = 2 / torch.tensor([8.0, 5.0] if align_corners else [9.0, 6.0], dtype=torch.float64)
    theta = (step * torch.tensor([2, -1])).unsqueeze(0)
    output = warp(
        image, theta, Translation(), sampler=sampler, align_corners=align_corners, backend=backend
    )
    expected = torch.zeros_like(image)
    expected[:, :, 1:, :-2] = image[:, :, :-1, 2:]
    torch.testing.assert_close(output, expected)


@both_conventions
def test_reflection_stays_inside_and_keeps_what_is_inside(align_corners):
    pixels = torch.linspace(-40, 40, 161, dtype=torch.float64)
    pixels = torch.stack([pixels, pixels], dim=-1)
    padded = pad_pixels(pixels, (3, 6), padding="reflection", align_corners=align_corners)
    assert (padded >= 0).all()
    assert (padded <= torch.tensor([5, 2])).all()
    inside = (pixels >= 0) & (pixels <= torch.tensor([5, 2]))
    torch.testing.assert_close(padded[inside], pixels[inside])
