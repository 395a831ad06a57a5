"""The fused backend against the sums of the paper in float64."""

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from contract import images
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from torch.nn.functional import affine_grid, grid_sample

from stn_core import canonical_grid, samplers, transforms as t, warp
from stn_core.grid import to_pixels
from stn_core.kernels import fused, library

# The rounding of a number of these types, half of its last place.
ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-9, torch.float16: 2.0**-11}
TRANSFORMS = [t.Affine(), t.Similarity(), t.Projective(), t.ThinPlateSpline((3, 3)), t.Flow()]


@pytest.fixture(autouse=True)
def _compiled():
    if missing := library.why_missing():
        pytest.skip(missing)


def laid_out(image, layout):
    """The same numbers, as they may lie in memory."""
    if layout == "channels_last":
        return image.contiguous(memory_format=torch.channels_last)
    if layout == "crop":
        room = torch.full((*image.shape[:2], image.shape[2] + 2, image.shape[3] + 3), math.nan)
        room = room.to(image.dtype)
        room[:, :, 1:-1, 2:-1] = image
        return room[:, :, 1:-1, 2:-1]
    if layout == "transposed":
        return image.mT.contiguous().mT
    return image


KINDS = ["near", "near", "far", "magnified", "shrunk", "singular", "lost"]
SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))
PROBLEMS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "batch": st.integers(0, 3),
        "channels": st.sampled_from([1, 2, 3, 4, 5, 8, 9, 17]),
        "size": SIDES,
        "out_size": SIDES,
        "transform": st.sampled_from(TRANSFORMS),
        "kind": st.sampled_from(KINDS),
        "value": st.sampled_from([math.nan, math.inf, -math.inf]),
        "dtype": st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    }
)


def made(seed, batch, channels, size, out_size, transform, kind, value, dtype):
    """The image, `theta` and the gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, 4) if transform.num_params is None else (transform.num_params,)
    start = 0 if transform.identity is None else transform.identity
    theta = start + 0.3 * torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
    scale = {"far": 9.0, "magnified": 0.1, "shrunk": 10.0, "singular": 0.0}.get(kind, 1.0)
    if isinstance(transform, t.Affine):
        factor = torch.tensor([scale, scale, 1.0] * 2, dtype=torch.float64)
        theta = theta * factor + (kind == "far") * torch.tensor([0, 0, 7.0, 0, 0, -5.0])
    if kind == "lost" and batch:
        theta[0] = value
    image = torch.randn(batch, channels, *size, generator=generator)
    gradient = torch.randn(batch, channels, *out_size, generator=generator)
    return image.to(dtype), theta.float(), gradient.to(dtype)


def near_a_jump(problem, sampler, padding, align_corners):
    """Whether a coordinate is so near to a jump (a pixel, or between two) that rounding decides."""
    image, theta, gradient = made(**problem)
    size = tuple(gradient.shape[2:])
    grid = problem["transform"].grid(theta.double(), size, align_corners=align_corners)
    shift = 0.5 if isinstance(sampler, samplers.Nearest) else 0.0
    pixels = to_pixels(grid, image.shape[2:], align_corners=align_corners) + shift
    # On such a side there is one coordinate only, and no gradient.
    is_fixed = torch.tensor([align_corners and n == 1 for n in reversed(image.shape[2:])])
    near = (pixels - pixels.round()).abs() < 2e-5 * (1 + pixels.abs())
    sides = torch.tensor(image.shape[:1:-1])
    # In a mirrored image there are jumps everywhere.
    inside = (pixels > -3) & (pixels < sides + 3) | (padding == "reflection")
    return bool((near & inside & ~is_fixed).any())


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


def is_as_the_reference(problem, layout, options, rounding=1):
    """`rounding`: in halves of the last place of the image's type."""
    image, theta, gradient = made(**problem)
    transform, size = problem["transform"], tuple(gradient.shape[2:])
    options = {"output_size": size, **options}
    leaves = laid_out(image, layout).requires_grad_(), theta.clone().requires_grad_()
    output = warp(*leaves, transform, **options, backend="fused")
    by_image, by_theta = torch.autograd.grad(output, leaves, gradient)
    exact_leaves = image.double().requires_grad_(), theta.double().requires_grad_()
    exact = warp(*exact_leaves, transform, **options, backend="reference")
    wide = gradient.double()
    expected = torch.autograd.grad(exact, exact_leaves, wide, materialize_grads=True)
    # Of the coordinates and the sums, which are of float32 whatever the image is.
    reach = 1 + theta.nan_to_num(0, 0, 0).abs().amax().item() if theta.numel() else 1
    rounding *= 2 * ROUNDING[image.dtype]
    assert output.dtype == by_image.dtype == image.dtype and by_theta.dtype == torch.float32
    assert output.isnan().equal(exact.isnan())
    close(output.nan_to_num(), exact.nan_to_num(), rounding, 2e-5 * reach)
    close(by_image, expected[0], rounding, 2e-5 * reach * math.prod(size) ** 0.5)
    most = wide.abs().sum(1).flatten(1).sum(1).amax().item() if theta.numel() else 1.0
    # Where theta is not finite both have 0 times NaN, or 0.
    is_lost = ~theta.flatten(1).isfinite().all(1)
    for of_lost in (by_theta[is_lost], expected[1][is_lost]):
        assert ((of_lost == 0) | of_lost.isnan()).all()
    absolute = 1e-5 * reach * most * max(image.shape[2:])
    close(by_theta[~is_lost], expected[1][~is_lost], 1e-4, absolute)


def close(actual, exact, relative, absolute):
    torch.testing.assert_close(actual.double(), exact, rtol=relative, atol=absolute, equal_nan=True)


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


@pytest.mark.parametrize(
    ("channels", "layout"),
    [(1, "contiguous"), (3, "contiguous"), (24, "contiguous"), (300, "channels_last")],
)
@pytest.mark.parametrize("transform", [t.Affine(), t.Projective(), t.ThinPlateSpline()])
def test_is_the_same_to_the_bit_for_any_number_of_threads(channels, layout, transform):
    """Of a spline's images, with one thread four are taken at once, with others each by itself."""
    side = 24 if channels > 100 else 70
    image = laid_out(
        images(5, channels, side - 4, side, dtype=torch.float32), layout
    ).requires_grad_()
    theta = transform.identity.float().repeat(5, 1).mul(0.9).requires_grad_()

    def run(threads, image, theta):
        torch.set_num_threads(threads)
        output = warp(image, theta, transform, output_size=(50, 120), backend="fused")
        return output, *torch.autograd.grad(output.square().sum(), (image, theta))

    before = torch.get_num_threads()
    try:
        first, *others = [run(n, image, theta) for n in (1, 2, 3, 1)]
        # One image is divided into bands.
        alone = [run(n, image[:1], theta[:1])[0] for n in (1, 3)]
    finally:
        torch.set_num_threads(before)
    for other in others:
        assert all(map(torch.equal, first, other))
    assert torch.equal(*alone)
    assert torch.equal(alone[0], first[0][:1])


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


def gradients(image, theta, transform, backend: Any, dtype, **options):
    leaves = image.to(dtype).requires_grad_(), theta.to(dtype).requires_grad_()
    output = warp(*leaves, transform, backend=backend, **options)
    upstream = torch.cos(torch.arange(output.numel())).view(output.shape).to(dtype)
    return output, *torch.autograd.grad(output, leaves, upstream)


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


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "crop"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("sampler", [samplers.Bilinear(), samplers.Nearest(), samplers.Bicubic()])
@pytest.mark.parametrize("transform", [t.Affine(), t.ThinPlateSpline((2, 2))])
def test_few_points_of_a_large_image(processor, layout, padding, sampler, transform):
    """Their pixels are read one by one, inside and outside, by several channels in turn."""
    image = images(5, 3, 100, 90)
    noise = torch.randn(5, transform.num_params, generator=torch.Generator().manual_seed(3))
    theta = 1.3137 * transform.identity.float() + 0.11 * noise
    options = {"sampler": sampler, "output_size": (20, 19), "padding": padding}
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


def lost_points_touch_nothing(padding, kind="bilinear"):
    """The gradient by the image, and which points are lost."""
    image = images(2, 5, 6, 7, dtype=torch.float32).requires_grad_()
    points = canonical_grid((4, 9), align_corners=False).repeat(2, 1, 1, 1)
    points[0, 1, 2, 0], points[1, 3, 8, 1] = math.nan, -math.inf
    points.requires_grad_()
    options: dict[str, Any] = {"interpolation": kind, "padding": padding, "align_corners": False}
    output = fused.fused_warp(image, points, (4, 9), **options)
    lost = torch.zeros(2, 4, 9, dtype=torch.bool)
    lost[0, 1, 2] = lost[1, 3, 8] = True
    assert output.isnan().equal(lost.unsqueeze(1).expand_as(output))
    by_image, by_points = torch.autograd.grad(output, (image, points), torch.ones_like(output))
    assert by_image.isfinite().all() and by_points.isfinite().all()
    assert not by_points[lost].any()
    return by_image, lost


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


# opcheck itself looks at gradients of what are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_operators_are_what_torch_expects():
    for channels, form in [(1, torch.contiguous_format), (6, torch.channels_last)]:
        image = images(2, channels, 5, 4, dtype=torch.float32).contiguous(memory_format=form)
        image.requires_grad_()
        matrix = torch.eye(2, 3).mul(0.7).repeat(2, 1, 1).requires_grad_()
        points = (0.8 * canonical_grid((3, 6), align_corners=False)).repeat(2, 1, 1, 1)
        for map in (matrix, points.detach().requires_grad_(), matrix.detach().bfloat16()):
            arguments = (image, map, None, 3, 6, "bilinear", "zeros", False)
            torch.library.opcheck(torch.ops.stn_core.warp.default, arguments)
            upstream = torch.ones(2, channels, 3, 6)
            options = (None, "bilinear", "zeros", False, True, True)
            detached = (upstream, image.detach(), map.detach(), *options)
            torch.library.opcheck(torch.ops.stn_core.warp_backward.default, detached)


@pytest.mark.parametrize("transform", [t.Affine(), t.ThinPlateSpline((2, 2))])
def test_transforms_of_torch_func(transform):
    image = images(3, 2, 5, 6, dtype=torch.float32)
    theta = transform.identity.float().repeat(3, 1) + 0.05

    def loss(theta, image):
        output = warp(image[None], theta[None], transform, backend="fused")
        return output.square().sum()

    each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(theta, image)
    for i in range(3):
        leaves = theta[i].clone().requires_grad_(), image[i].clone().requires_grad_()
        alone = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close(tuple(g[i] for g in each), alone)
    shared = torch.func.vmap(loss, in_dims=(0, None))(theta, image[0])
    torch.testing.assert_close(shared, torch.stack([loss(row, image[0]) for row in theta]))


@pytest.mark.usefixtures("compiling")
def test_is_in_an_exported_graph():
    class Module(torch.nn.Module):
        def forward(self, image, theta):
            return warp(image, theta, t.Affine(), backend="fused")

    arguments = images(2, 3, 5, 6, dtype=torch.float32), torch.eye(2, 3).flatten().repeat(2, 1)
    exported = torch.export.export(Module(), arguments)
    assert "stn_core.warp" in str(exported.graph)
    torch.testing.assert_close(exported.module()(*arguments), Module()(*arguments))


def test_autocast_leaves_the_coordinates_in_float32():
    image, theta = images(2, 3, 40, 40, dtype=torch.float32), torch.full((2, 1), 0.3)
    expected = warp(image, theta, t.Rotation(), backend="fused")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(warp(image, theta, t.Rotation(), backend="fused"), expected)


def test_second_derivatives_are_refused():
    theta = torch.full((1, 1), 0.3, requires_grad=True)
    output = warp(torch.ones(1, 1, 4, 4), theta, t.Rotation(), backend="fused")
    (slope,) = torch.autograd.grad(output.sum(), theta, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives; backend"):
        slope.backward()


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


def test_without_a_compiler_all_goes_on_and_says_so(tmp_path):
    code = """
import torch, stn_core
from stn_core import warp, transforms as t
image, theta = torch.ones(1, 1, 4, 4), torch.zeros(1, 2)
assert warp(image, theta, t.Translation()).equal(image)
stn_core.explain(image, theta, t.Translation())
warp(image, theta, t.Translation(), backend="fused")
"""
    environment = {**os.environ, "CXX": "/no/compiler", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    missing = "There are no compiled kernels. There is no C++ compiler (/no/compiler)."
    assert done.stdout == f"torch: {missing}\n"
    assert f'ValueError: The backend "fused" cannot do this warp. {missing}' in done.stderr
