"""The fused backend as a part of torch: threads, operators, compilers, autocast."""

import os
import subprocess
import sys

import pytest
import torch
from contract import images
from warp_problems import laid_out

from stn_core import canonical_grid, samplers, transforms as t, warp

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.mark.parametrize(
    ("channels", "layout"),
    [(1, "contiguous"), (3, "contiguous"), (24, "contiguous"), (300, "channels_last")],
)
@pytest.mark.parametrize(
    ("transform", "sampler"),
    [
        (t.Affine(), samplers.Bilinear()),
        (t.Affine(), samplers.Antialiased(2)),
        (t.Projective(), samplers.Bilinear()),
        (t.ThinPlateSpline(), samplers.Bilinear()),
    ],
)
def test_is_the_same_to_the_bit_for_any_number_of_threads(channels, layout, transform, sampler):
    """Of a spline's images, with one thread four are taken at once, with others each by itself."""
    side = 24 if channels > 100 else 70
    image = laid_out(
        images(5, channels, side - 4, side, dtype=torch.float32), layout
    ).requires_grad_()
    theta = transform.identity.float().repeat(5, 1).mul(0.9).requires_grad_()

    def run(threads, image, theta):
        torch.set_num_threads(threads)
        options = {"output_size": (50, 120), "backend": "fused", "sampler": sampler}
        output = warp(image, theta, transform, **options)
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


# opcheck itself looks at gradients of what are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_operators_are_what_torch_expects():
    for channels, form in [(1, torch.contiguous_format), (6, torch.channels_last)]:
        image = images(2, channels, 5, 4, dtype=torch.float32).contiguous(memory_format=form)
        image.requires_grad_()
        matrix = torch.eye(2, 3).mul(0.7).repeat(2, 1, 1).requires_grad_()
        points = (0.8 * canonical_grid((3, 6), align_corners=False)).repeat(2, 1, 1, 1)
        areas = matrix.detach().repeat(3, 1, 1).requires_grad_()
        maps = (matrix, points.detach().requires_grad_(), matrix.detach().bfloat16(), areas)
        fill = torch.arange(float(channels))
        for map in maps:
            options = ("antialiased" if map is areas else "bilinear", "zeros", False)
            options += (2 if map is areas else 1,)
            arguments = (image, map, None, fill, 3, 6, *options)
            torch.library.opcheck(torch.ops.stn_core.warp.default, arguments)
            upstream = torch.ones(2, channels, 3, 6)
            given = (None, fill, *options, True, True)
            detached = (upstream, image.detach(), map.detach(), *given)
            torch.library.opcheck(torch.ops.stn_core.warp_backward.default, detached)


@pytest.mark.parametrize("transform", [t.Affine(), t.ThinPlateSpline((2, 2))])
@pytest.mark.parametrize("sampler", [samplers.Bilinear(), samplers.Antialiased(2)])
def test_transforms_of_torch_func(transform, sampler):
    image = images(3, 2, 5, 6, dtype=torch.float32)
    theta = transform.identity.float().repeat(3, 1) + 0.05

    def loss(theta, image):
        options = {"sampler": sampler, "padding": 0.5, "backend": "fused"}
        output = warp(image[None], theta[None], transform, **options)
        return output.square().sum()

    each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(theta, image)
    for i in range(3):
        leaves = theta[i].clone().requires_grad_(), image[i].clone().requires_grad_()
        alone = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close(tuple(g[i] for g in each), alone)
    shared = torch.func.vmap(loss, in_dims=(0, None))(theta, image[0])
    torch.testing.assert_close(shared, torch.stack([loss(row, image[0]) for row in theta]))


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("sampler", [samplers.Bilinear(), samplers.Antialiased(2)])
def test_is_in_an_exported_graph(sampler):
    class Module(torch.nn.Module):
        def forward(self, image, theta):
            options = {"sampler": sampler, "padding": 0.5, "output_size": (4, 3)}
            return warp(image, theta, t.Affine(), **options, backend="fused")

    def arguments(*size):
        theta = torch.eye(2, 3).flatten().repeat(size[0], 1)
        return images(*size, dtype=torch.float32), theta

    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    shapes = {0: batch, 2: height, 3: width}, {0: batch}
    exported = torch.export.export(Module(), arguments(2, 3, 5, 6), dynamic_shapes=shapes)
    assert "stn_core.warp" in str(exported.graph)
    for given in (arguments(2, 3, 5, 6), arguments(3, 3, 11, 8)):
        torch.testing.assert_close(exported.module()(*given), Module()(*given))


@pytest.mark.usefixtures("compiling")
def test_a_fill_value_may_differ_from_call_to_call_of_a_compiled_function():
    transform = t.Translation()
    compiled = torch.compile(
        lambda image, theta, value: warp(image, theta, transform, padding=value),
        fullgraph=True,
        backend="aot_eager",
    )
    given = images(1, 1, 4, 4, dtype=torch.float32), torch.full((1, 2), 1.0)
    for value in (0.25, 0.5, 0.75):
        assert (compiled(*given, value)[..., -1] == value).all()


def test_a_fill_value_stands_where_the_image_is():
    image, theta = torch.ones(1, 2, 4, 4), torch.full((1, 2), 5.0)
    with torch.device("meta"):
        output = warp(image, theta, t.Translation(), padding=0.5, backend="fused")
    assert (output == 0.5).all()


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
