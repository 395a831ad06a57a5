"""Warps of all kinds, and what the fused backend must give for each."""

import math
from typing import Any

import torch
from contract import images
from hypothesis import strategies as st

from stn_core import canonical_grid, samplers, transforms as t, warp
from stn_core.grid import to_pixels
from stn_core.kernels import fused

# The rounding of a number of these types, half of its last place.
ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-9, torch.float16: 2.0**-11}
TRANSFORMS = [t.Affine(), t.Similarity(), t.Projective(), t.ThinPlateSpline((3, 3)), t.Flow()]


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


def gradients(image, theta, transform, backend: Any, dtype, **options):
    leaves = image.to(dtype).requires_grad_(), theta.to(dtype).requires_grad_()
    output = warp(*leaves, transform, backend=backend, **options)
    upstream = torch.cos(torch.arange(output.numel())).view(output.shape).to(dtype)
    return output, *torch.autograd.grad(output, leaves, upstream)


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
