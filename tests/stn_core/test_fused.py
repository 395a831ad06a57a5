"""The fused backend against the sums of the paper in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from contract import images
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from torch.nn.functional import affine_grid, grid_sample
from warp_problems import (
    PROBLEMS,
    gradients,
    is_as_the_reference,
    laid_out,
    lost_points_touch_nothing,
    near_a_jump,
)

from stn_core import samplers, transforms as t, warp
from stn_core.kernels import fused

pytestmark = pytest.mark.usefixtures("compiled")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    problem=PROBLEMS,
    layout=st.sampled_from(["contiguous", "channels_last", "crop", "transposed"]),
    sampler=st.sampled_from([samplers.Bilinear(), samplers.Nearest(), samplers.Bicubic()]),
    padding=st.sampled_from(["zeros", "border", "reflection", 0.5]),
    align_corners=st.booleans(),
)
def test_is_the_reference(processor, problem, layout, sampler, padding, align_corners):
    options = {"sampler": sampler, "padding": padding, "align_corners": align_corners}
    assume(not near_a_jump(problem, sampler, padding, align_corners))
    is_as_the_reference(problem, layout, options)


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_slope_of_the_cell_before_the_first_pixel(processor, channels):
    """Coordinates are clamped to [-2, W], not to [-1, W]: at -0.75 there is a slope."""
    image = torch.ones(1, channels, 4, 4)
    theta = torch.tensor([[-0.75 * 2 / 4, 0.0]]).requires_grad_()
    output = warp(image, theta, t.Translation(), backend="fused")
    torch.testing.assert_close(output[0, 0, :, 0], torch.full((4,), 0.25))
    (slope,) = torch.autograd.grad(output[0, :, :, 0].sum(), theta)
    # A step of the whole image is 2 long and 4 pixels wide.
    torch.testing.assert_close(slope[0, 0], torch.tensor(channels * 4 * 4 / 2))


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 64, 48), (16, 32, 32)])
def test_error_is_at_most_that_of_torch(processor, size):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(8, *size, generator=generator)
    theta = t.Affine().identity + 0.3 * torch.randn(8, 6, generator=generator)

    def leaves(dtype):
        return image.to(dtype).requires_grad_(), theta.to(dtype).requires_grad_()

    def of_torch(image, theta):
        matrix = theta.unflatten(1, (2, 3))
        grid = affine_grid(matrix, list(image.shape), align_corners=False)
        return grid_sample(image, grid, align_corners=False)

    def all_of(run, dtype):
        given = leaves(dtype)
        output = run(*given)
        upstream = torch.cos(torch.arange(output.numel())).view(output.shape).to(dtype)
        return output, *torch.autograd.grad(output, given, upstream)

    exact = all_of(of_torch, torch.float64)
    torchs = all_of(of_torch, torch.float32)
    ours = all_of(lambda x, m: warp(x, m, t.Affine(), backend="fused"), torch.float32)
    for mine, theirs, right in zip(ours, torchs, exact, strict=True):
        error, its = (mine - right).norm(), (theirs - right).norm()
        assert error <= 1.05 * its + 1e-7 * right.norm()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 16), (33, 70)])
@pytest.mark.parametrize("control", [(2, 2), (4, 4), (2, 10)])
def test_spline_is_its_grid_in_float64(processor, size, control):
    """Sizes of less than a vector, of whole blocks of vectors, and of more than a block of sums."""
    spline: Any = t.ThinPlateSpline(control)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, spline.num_params, generator=generator, dtype=torch.float64)
    theta, image = spline.identity + 0.1 * noise, images(3, 6, 20, 30)
    gradient = torch.randn(3, 6, *size, generator=generator, dtype=torch.float64)

    def all_of(backend: Any, dtype):
        leaves = image.to(dtype).requires_grad_(), theta.to(dtype).requires_grad_()
        output = warp(*leaves, spline, output_size=size, backend=backend)
        return output, *torch.autograd.grad(output, leaves, gradient.to(dtype))

    exact, ours = all_of("torch", torch.float64), all_of("fused", torch.float32)
    for mine, right in zip(ours, exact, strict=True):
        assert (mine - right).norm() <= 1e-5 * right.norm()


def test_a_spline_that_moves_nothing_gives_the_image_to_the_bit(processor):
    spline, image = t.ThinPlateSpline((3, 4)), images(2, 3, 19, 27, dtype=torch.float32)
    theta = spline.identity.float().repeat(2, 1)
    assert torch.equal(warp(image, theta, spline, backend="fused"), image)


def test_windows_read_where_they_lie(processor):
    """Of one channel, inside the image: of a large image, and of a crop of it."""
    image = images(2, 1, 1500, 1500, dtype=torch.float32)
    theta = torch.tensor([[0.4, 0.1, 0.2, -0.1, 0.5, 0.1]]).repeat(2, 1)
    ways: Any = (torch.float64, "torch"), (torch.float32, "fused")
    for part, size in ((image, (1500, 1500)), (image[:, :, 300:1200, 200:1400], (64, 64))):
        exact, ours = (
            warp(part.to(dtype), theta.to(dtype), t.Affine(), output_size=size, backend=backend)
            for dtype, backend in ways
        )
        # Of coordinates up to 1500 in float32.
        torch.testing.assert_close(ours.double(), exact, atol=2e-3, rtol=0)


# Shifted, turned by little, mirrored, magnified, and shrunk so that 16 points are far apart.
LEVEL = {
    "shifted": [0.5013, 0.0, 0.2117, 0.0, 0.4987, -0.1319],
    "outside": [1.0131, 0.0, 0.4337, 0.0, 0.9907, 0.3719],
    "turned": [0.9037, -0.0413, 0.0113, 0.0409, 0.9013, 0.0217],
    "turned back": [0.9041, 0.0407, 0.0117, -0.0419, 0.9029, 0.0227],
    "mirrored": [-0.8039, 0.0, 0.0311, 0.0, 0.8017, 0.0719],
    "magnified": [0.0517, 0.0, 0.3119, 0.0, 0.0711, 0.3217],
    "shrunk": [3.1013, 0.0, 0.0317, 0.0, 3.1307, 0.0721],
}


@pytest.mark.parametrize("theta", LEVEL.values(), ids=list(LEVEL))
@pytest.mark.parametrize("size", [(1, 6, 33), (1, 90, 121), (3, 40, 80), (2, 4, 5)])
def test_points_that_lie_level(processor, theta, size):
    """Wide outputs that are turned by little are read row by row."""
    image, theta = images(2, *size), torch.tensor([theta, LEVEL["turned"]])
    given = image, theta, t.Affine()
    for out_size in [(3, 64), (7, 75), (70, 100)]:
        exact = gradients(*given, "torch", torch.float64, output_size=out_size)
        ours = gradients(*given, "fused", torch.float32, output_size=out_size)
        for mine, right in zip(ours, exact, strict=True):
            assert (mine - right).norm() <= 2e-4 * right.norm()


@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (40, 30)])
def test_bicubic_is_that_of_torch(processor, channels, padding, size):
    """Far outside too, and on outputs of more than a chunk; both paddings of a mirror."""
    image = images(2, channels, *size)
    theta = torch.tensor([[1.3, 0.4, 0.1, -0.3, 2.1, 0.2], [0.3, 0.0, 4.1, 0.1, 0.5, -0.6]])
    for align_corners in (False, True):
        options = {"sampler": samplers.Bicubic(), "output_size": (17, 31), "padding": padding}
        options |= {"align_corners": align_corners}
        exact = gradients(image, theta, t.Affine(), "torch", torch.float64, **options)
        ours = gradients(image, theta, t.Affine(), "fused", torch.float32, **options)
        for mine, right in zip(ours, exact, strict=True):
            assert (mine - right).norm() <= 1e-5 * right.norm() + 1e-4


def waves(batch, channels, height, width):
    """An image whose slopes hardly jump, wherever rounding puts a point."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    phase = torch.arange(batch * channels).view(batch, channels, 1, 1).double()
    return torch.cos(0.11 * x + 0.07 * y + phase) + 0.3 * torch.cos(0.05 * x - 0.13 * y + phase)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "crop"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", 0.5])
@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.parametrize("transform", [t.Affine(), t.Projective(), t.ThinPlateSpline((2, 2))])
def test_antialiased_is_that_of_torch(processor, layout, padding, channels, transform):
    """Shrunk and not, on outputs of a pixel, of a row, and of more than a chunk."""
    image = laid_out(waves(3, channels, 41, 37).float(), layout)
    noise = torch.randn(3, transform.num_params, generator=torch.Generator().manual_seed(3))
    theta = transform.identity.float() + 0.11 * noise
    for size, max_shrink in [((9, 33), 4), ((50, 40), 3), ((1, 5), 2), ((1, 1), 4)]:
        options = {"sampler": samplers.Antialiased(max_shrink), "output_size": size}
        options |= {"padding": padding, "align_corners": max_shrink == 3}
        exact = gradients(image, theta, transform, "torch", torch.float64, **options)
        ours = gradients(image, theta, transform, "fused", torch.float32, **options)
        for mine, right in zip(ours, exact, strict=True):
            assert (mine - right).norm() <= 1e-3 * right.norm() + 1e-4


def test_antialiased_is_bilinear_to_the_bit_where_nothing_shrinks(processor):
    image = images(2, 3, 20, 30, dtype=torch.float32)
    thetas = 0.7 * t.Affine().identity.float().repeat(2, 1), 0.01 * images(2, 2, 5, 5).float()
    for transform, theta in zip((t.Affine(), t.Flow()), thetas, strict=True):
        options = {"output_size": (23, 31), "backend": "fused"}
        ways = samplers.Antialiased(3), samplers.Bilinear()
        assert torch.equal(*(warp(image, theta, transform, sampler=s, **options) for s in ways))


def test_a_lost_point_blurs_nothing_beside_it(processor):
    image, theta = images(1, 2, 9, 12, dtype=torch.float32), torch.zeros(1, 2, 9, 12)
    theta[:, :, 3, 4], theta[:, 0, 3, 6], theta[:, :, 0] = math.nan, math.inf, -math.inf
    options = {"sampler": samplers.Antialiased(2), "output_size": (9, 12), "backend": "fused"}
    output = warp(image, theta.requires_grad_(), t.Flow(), **options)
    grid = t.Flow().grid(theta, (9, 12), align_corners=False)
    is_lost = ~grid.isfinite().all(-1).unsqueeze(1).expand_as(output)
    assert is_lost.any() and not is_lost.all()
    assert output.isnan().equal(is_lost)
    torch.testing.assert_close(output[~is_lost], image[~is_lost])
    (gradient,) = torch.autograd.grad(output.nansum(), theta)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38, 1.6e6])
def test_a_lost_theta_has_no_gradient_by_its_areas(value):
    theta = torch.tensor([[value, 0, 0, 0, 1.0, 0], [2, 0, 0, 0, 2, 0]]).requires_grad_()
    image = waves(2, 1, 8, 8).float()
    options = {"sampler": samplers.Antialiased(4), "output_size": (3, 3)}
    outputs = [warp(image, theta, t.Affine(), **options, backend=b) for b in ("fused", "torch")]
    gradients = [torch.autograd.grad(output[1].sum(), theta)[0] for output in outputs]
    assert not gradients[0][0].any()
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-3, rtol=1e-3)
    if math.isfinite(value):
        torch.testing.assert_close(*outputs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_a_mirrored_point_just_before_a_pixel(processor, kind):
    """What lies inside stays where it is, whatever the mirror's sums would round it to."""
    image = images(1, 1, 16, 16, dtype=torch.float32)
    x = (np.float32(8) - np.float32(4.8e-7) - np.float32(7.5)) / np.float32(8)
    grid = torch.empty(1, 100, 100, 2)
    grid[..., 0], grid[..., 1] = float(x), torch.linspace(-0.7, -0.3, 100)[:, None]
    options: dict[str, Any] = {"interpolation": kind, "padding": "reflection"}
    output = fused.fused_warp(image, grid, (100, 100), **options, align_corners=False)
    exact = grid_sample(image, grid, mode=kind, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(output, exact, atol=1e-5, rtol=0)


SAMPLERS = [samplers.Bilinear(), samplers.Nearest(), samplers.Bicubic(), samplers.Antialiased(2)]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "crop"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", (0.5, -3.0, 7.0)])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("transform", [t.Affine(), t.ThinPlateSpline((2, 2))])
def test_few_points_of_a_large_image(processor, layout, padding, sampler, transform):
    """Their pixels are read one by one, inside and outside, by several channels in turn."""
    image = waves(5, 3, 130, 100)
    noise = torch.randn(5, transform.num_params, generator=torch.Generator().manual_seed(3))
    theta = 1.3137 * transform.identity.float() + 0.11 * noise
    options = {"sampler": sampler, "output_size": (12, 11), "padding": padding}
    exact = image.requires_grad_(), theta.double().requires_grad_(), "torch"
    ours = (
        laid_out(image.detach().float(), layout).requires_grad_(),
        theta.requires_grad_(),
        "fused",
    )
    results = []
    ways: Any = exact, ours
    for source, parameters, backend in ways:
        leaves = source, parameters
        output = warp(source, parameters, transform, backend=backend, **options)
        upstream = torch.cos(torch.arange(output.numel())).view(output.shape).to(output)
        given = torch.autograd.grad(output, leaves, upstream, materialize_grads=True)
        results.append((output, *given))
    for right, mine in zip(*results, strict=True):
        assert (mine - right).norm() <= 2e-4 * right.norm()


@pytest.mark.parametrize("side", [28, 64, 200])
def test_bfloat16_loses_the_rounding_of_the_output_alone(side):
    image = images(2, 3, side, side, dtype=torch.float32).bfloat16()
    theta = t.Rotation().identity.float().repeat(2, 1) + 0.3
    output = warp(image, theta, t.Rotation(), backend="fused")
    exact = warp(image.double(), theta.double(), t.Rotation(), backend="torch")
    assert (output - exact).norm() <= 2e-3 * exact.norm()


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_lost_points_are_nan_and_touch_nothing(processor, padding, kind):
    lost_points_touch_nothing(padding, kind)


def test_horizon_of_a_homography_is_lost(processor):
    image = images(1, 3, 5, 5, dtype=torch.float32).requires_grad_()
    theta = torch.tensor([[1.0, 0, 0, 0, 1, 0, 2.0, 0]]).requires_grad_()
    sizes = {"output_size": (3, 4), "align_corners": False}
    both = [warp(image, theta, t.Projective(), **sizes, backend=b) for b in ("fused", "torch")]
    torch.testing.assert_close(*both, equal_nan=True)
    assert both[0].isnan().any() or both[0].isfinite().all()
    gradients = [torch.autograd.grad(o.nan_to_num().sum(), (image, theta)) for o in both]
    torch.testing.assert_close(*gradients)


def test_offsets_beyond_2_to_the_31():
    """The pages that nothing is written to take no memory, and only a window is read."""
    image = torch.from_numpy(np.zeros((3, 1, 27000, 27000), dtype=np.float16))
    assert image.numel() > 2**31
    image[2, 0, -8:, -8:] = torch.arange(64.0).view(8, 8).half()
    step = 8 / 27000
    theta = torch.tensor([[step, 1 - step, 1 - step]]).repeat(3, 1)
    output = warp(image, theta, t.Attention(), output_size=(8, 8), backend="fused")
    assert not output[:2].any()
    torch.testing.assert_close(output[2, 0], image[2, 0, -8:, -8:], atol=0.2, rtol=0)
