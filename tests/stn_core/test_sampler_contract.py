import math
import pickle
from typing import Any

import pytest
import torch
from contract import FILL, PADDINGS, SAMPLERS, grids, images

from stn_core import canonical_grid

EVERY: dict[str, Any] = SAMPLERS
INTERPOLATING = {name: sampler for name, sampler in EVERY.items() if sampler.interpolates}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
every_padding = pytest.mark.parametrize("padding", [*PADDINGS, FILL])
both_conventions = pytest.mark.parametrize("align_corners", [False, True])
both_sizes = pytest.mark.parametrize("size", [(5, 7), (3, 5, 6)], ids=str)


@pytest.mark.parametrize("sampler", INTERPOLATING.values(), ids=INTERPOLATING.keys())
@every_padding
@both_conventions
@pytest.mark.parametrize("size", [(5, 7), (1, 9), (6, 1), (1, 1), (3, 5, 6), (1, 3, 1)], ids=str)
def test_canonical_grid_gives_the_image(sampler, padding, align_corners, size):
    image = images(2, 3, *size, dtype=torch.float32)
    grid = canonical_grid(size, align_corners=align_corners).expand(2, *size, len(size))
    output = sampler(image, grid, padding=padding, align_corners=align_corners)
    torch.testing.assert_close(output, image, atol=2e-6, rtol=0)


@every_sampler
@pytest.mark.parametrize(
    ("size", "padding", "align_corners"),
    [
        ((3, 5), "zeros", False),
        ((3, 5), "border", True),
        ((3, 5), "reflection", False),
        ((3, 5), "reflection", True),
        ((3, 5), FILL, True),
        ((2, 3, 3), "zeros", True),
        ((2, 3, 3), "reflection", False),
    ],
    ids=str,
)
def test_gradient(sampler, padding, align_corners, size):
    image = images(2, 1, *size).requires_grad_()
    grid = grids(2, (2, *[1] * (len(size) - 1))).requires_grad_(sampler.has_exact_gradient)

    def read(image, grid):
        return sampler(image, grid, padding=padding, align_corners=align_corners)

    assert torch.autograd.gradcheck(read, (image, grid))


def read_apart(sampler, image, grid, padding, apart):
    """Outputs with channels last, and the gradients of those apart from a point, noise repeated."""
    torch.manual_seed(0)
    leaves = image.clone().requires_grad_(), grid.clone().requires_grad_()
    output = sampler(*leaves, padding=padding, align_corners=False).movedim(1, -1)
    return output, torch.autograd.grad(output[apart].sum(), leaves)


@every_sampler
@every_padding
@both_sizes
def test_a_point_that_is_not_finite_gives_nan_there_only(sampler, padding, size):
    image, good = images(2, 3, *size), grids(2, size)
    first = (0, *(0 for _ in size))
    apart = torch.ones(2, *size, dtype=torch.bool)
    apart[first] = False
    if not sampler.is_pointwise:
        for axis in range(len(size)):
            apart[(0, *(int(axis == other) for other in range(len(size))))] = False
    expected, gradients = read_apart(sampler, image, good, padding, apart)
    for axis, bad in zip([0, 1, len(size) - 1], [math.nan, math.inf, -math.inf], strict=True):
        broken = good.clone()
        broken[(*first, axis)] = bad
        output, gradient = read_apart(sampler, image, broken, padding, apart)
        assert output[first].isnan().all()
        assert output.isfinite().all(-1).sum() == 2 * math.prod(size) - 1
        assert torch.equal(output[apart], expected[apart])
        torch.testing.assert_close(gradient, gradients)
        _, gradient = read_apart(sampler, image, broken, padding, torch.ones_like(apart))
        assert all(by.isfinite().all() for by in gradient)
        assert not gradient[1][first].any()


@every_sampler
@both_sizes
@pytest.mark.parametrize("far", [1e7, -1e30])
def test_far_points_are_outside(sampler, size, far):
    image, grid = images(1, 2, *size, dtype=torch.float32), grids(1, size, dtype=torch.float32)
    grid[...] = far
    assert not sampler(image, grid, padding="zeros", align_corners=False).any()
    corner = image[(..., *[-1 if far > 0 else 0] * len(size))]
    output = sampler(image, grid, padding="border", align_corners=False)
    if sampler.interpolates:
        torch.testing.assert_close(output.flatten(2).amax(-1), corner)
    assert sampler(image, grid, padding="reflection", align_corners=False).isfinite().all()


@every_sampler
def test_a_fill_per_channel_is_what_lies_outside(sampler):
    image, grid = images(2, 3, 5, 7), grids(2, (6, 3), reach=3)
    fills = (-1.0, 0.0, 2.0)
    output = sampler(image, grid, padding=fills, align_corners=True)
    for channel, fill in enumerate(fills):
        alone = image[:, channel : channel + 1]
        torch.testing.assert_close(
            output[:, channel : channel + 1],
            sampler(alone, grid, padding=fill, align_corners=True),
        )
    far = sampler(image, grid + 20, padding=fills, align_corners=True)
    assert torch.equal(far, far.new_tensor(fills)[:, None, None].expand_as(far))
    zeros = sampler(image, grid, padding="zeros", align_corners=True)
    assert torch.equal(sampler(image, grid, padding=0.0, align_corners=True), zeros)


@every_sampler
@every_padding
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_image_dtype_is_kept_and_coordinates_are_not_rounded(sampler, padding, dtype):
    image = images(2, 3, 5, 301).to(dtype)
    grid = grids(2, (5, 301), dtype=torch.float32)
    output = sampler(image, grid, padding=padding, align_corners=False)
    expected = sampler(image.double(), grid.double(), padding=padding, align_corners=False)
    assert output.dtype == dtype
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(output.double(), expected, atol=tolerance, rtol=0)


@every_sampler
def test_autocast_changes_nothing(sampler):
    image, grid = images(2, 3, 5, 7, dtype=torch.float32), grids(2, (6, 3), dtype=torch.float32)
    expected = sampler(image, grid, padding="zeros", align_corners=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = sampler(image, grid, padding="zeros", align_corners=False)
    assert torch.equal(output, expected)


@every_sampler
@every_padding
@both_sizes
def test_batch_elements_are_independent(sampler, padding, size):
    image, grid = images(3, 2, *size), grids(3, size)
    expected = sampler(image, grid, padding=padding, align_corners=False)
    image[1], grid[1] = torch.nan, torch.inf
    output = sampler(image, grid, padding=padding, align_corners=False)
    assert torch.equal(output[[0, 2]], expected[[0, 2]])


@every_sampler
@every_padding
@both_sizes
def test_empty_batch(sampler, padding, size):
    image, grid = images(0, 3, *size), grids(0, size)
    assert sampler(image, grid, padding=padding, align_corners=False).shape == (0, 3, *size)


@every_sampler
@every_padding
@pytest.mark.parametrize(
    ("size", "layout"), [((5, 7), torch.channels_last), ((3, 5, 6), torch.channels_last_3d)]
)
def test_channels_last(sampler, padding, size, layout):
    image, grid = images(2, 3, *size), grids(2, size)
    expected = sampler(image, grid, padding=padding, align_corners=False)
    output = sampler(image.to(memory_format=layout), grid, padding=padding, align_corners=False)
    torch.testing.assert_close(output, expected)


@every_sampler
@both_sizes
def test_vmap_is_eager(sampler, size):
    image, grid = images(3, 2, *size), grids(3, size)

    def one(image, grid):
        return sampler(image[None], grid[None], padding="border", align_corners=False)[0]

    expected = sampler(image, grid, padding="border", align_corners=False)
    torch.testing.assert_close(torch.func.vmap(one)(image, grid), expected)


@every_sampler
def test_pickle_holds_no_grid(sampler):
    image, grid = images(2, 3, 50, 70), grids(2, (50, 70))
    fresh = pickle.dumps(sampler)
    output = sampler(image, grid, padding="zeros", align_corners=False)
    used = pickle.dumps(sampler)
    assert len(used) == len(fresh) < 20_000
    again = pickle.loads(used)(image, grid, padding="zeros", align_corners=False)
    assert torch.equal(again, output)
    assert not sampler.state_dict()


@every_sampler
@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager(sampler):
    arguments = images(2, 3, 5, 7), grids(2, (5, 7))
    options = {"padding": "reflection", "align_corners": False}
    expected = sampler(*arguments, **options)
    program = torch.export.export(sampler, arguments, options)
    torch.testing.assert_close(program.module()(*arguments, **options), expected)
    compiled = torch.compile(sampler, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments, **options), expected)


@every_sampler
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(sampler):
    image, grid = images(2, 3, 5, 7), grids(2, (6, 3))
    options = {"padding": "zeros", "align_corners": False}
    with pytest.raises(ValueError, match=r"`image` must have shape .* got \(3, 5, 7\)"):
        sampler(image[0], grid, **options)
    with pytest.raises(ValueError, match=r"`image` must have .* no side of length 0, got"):
        sampler(image[:, :, :0], grid, **options)
    with pytest.raises(TypeError, match=r"`image` must be of floating point, got torch.uint8"):
        sampler(image.byte(), grid, **options)
    with pytest.raises(ValueError, match=r"`grid` must have shape \(2, height, width, 2\), got"):
        sampler(image, grid[:1], **options)
    with pytest.raises(ValueError, match=r"`grid` must have shape \(2, depth, height, width, 3\)"):
        sampler(image.unsqueeze(2), grid, **options)
    for padding in ("edge", math.nan, True, (), (0.0, math.inf), [0.0], None):
        with pytest.raises(ValueError, match=r'`padding` must be "zeros", .* got'):
            sampler(image, grid, padding=padding, align_corners=False)
    with pytest.raises(ValueError, match=r"`padding` must have one value for .* 3 chan.* got 2"):
        sampler(image, grid, padding=(0.0, 1.0), align_corners=False)
