import pickle
from typing import Any

import numpy as np
import pytest
import torch
from contract import images, seeded, thetas
from kornia.geometry.transform import get_tps_transform, warp_points_tps
from scipy.interpolate import RBFInterpolator
from torch import nn

from stn_core import SpatialTransformer, canonical_grid, grid
from stn_core.transforms import Affine, Compose, ThinPlateSpline

SPLINES = [
    ThinPlateSpline(),
    ThinPlateSpline((2, 2)),
    ThinPlateSpline((2, 10)),
    ThinPlateSpline((5, 3), ridge=0.3),
    ThinPlateSpline((3, 2, 4)),
    ThinPlateSpline((2, 3, 2), ridge=0.3),
]
every_spline = pytest.mark.parametrize("spline", SPLINES, ids=lambda s: s.extra_repr())


@every_spline
def test_is_the_interpolator_of_scipy(spline):
    theta = thetas(spline, 1, scale=0.3)
    control = spline.identity.unflatten(0, (-1, spline.dims))
    points = canonical_grid((4, 5, 6)[: spline.dims], align_corners=False, dtype=torch.float64)
    expected = RBFInterpolator(
        control.numpy(),
        theta[0].unflatten(0, (-1, spline.dims)).numpy(),
        kernel="thin_plate_spline" if spline.dims == 2 else "linear",
        degree=1,
        smoothing=spline.ridge,
    )(points.flatten(0, -2).numpy())
    computed = spline(theta, points)[0].flatten(0, -2)
    np.testing.assert_allclose(computed.numpy(), expected, atol=1e-12)


@every_spline
def test_is_as_exact_in_float32(spline):
    theta, points = thetas(spline, 50, scale=0.3), torch.rand(40, spline.dims, generator=seeded(1))
    computed = spline(theta.float(), points)
    torch.testing.assert_close(computed.double(), spline(theta, points.double()), atol=2e-6, rtol=0)


def test_kornia_puts_its_kernels_elsewhere():
    """It centres them on where the points go, so that it bends more, and may have no solution."""
    spline = ThinPlateSpline((3, 3))
    theta = thetas(spline, 3)
    control = spline.identity.unflatten(0, (1, -1, 2)).expand(3, -1, -1)
    ends = theta.unflatten(1, (-1, 2))
    points = torch.rand(3, 50, 2, dtype=torch.float64, generator=seeded(1))
    weights = get_tps_transform(control, ends)
    at_control = warp_points_tps(control, ends, *weights)
    torch.testing.assert_close(spline.map_points(theta, control), at_control, atol=1e-6, rtol=0)
    between = warp_points_tps(points, ends, *weights)
    assert (spline.map_points(theta, points) - between).abs().max() > 0.05


@every_spline
def test_affine_moves_are_affine_with_and_without_ridge(spline):
    affine = Affine(spline.dims)
    theta = thetas(affine, 3, scale=0.5)
    control = spline.identity.unflatten(0, (-1, spline.dims))
    points = canonical_grid((3,) * spline.dims, align_corners=True, dtype=torch.float64)
    moved = spline(affine(theta, control).flatten(1), points)
    torch.testing.assert_close(moved, affine(theta, points))


def test_control_points_by_hand_and_ridge_bends_less():
    assert ThinPlateSpline((2, 3)).identity.tolist() == [-1, -1, 0, -1, 1, -1, -1, 1, 0, 1, 1, 1]
    fiducials = ThinPlateSpline((2, 10)).identity.unflatten(0, (2, 10, 2))
    x = np.linspace(-1, 1, 10)
    np.testing.assert_allclose(fiducials[0], np.stack([x, -np.ones(10)], axis=1))
    np.testing.assert_allclose(fiducials[1], np.stack([x, np.ones(10)], axis=1))
    control = ThinPlateSpline((3, 3)).identity.unflatten(0, (-1, 2))
    theta = control.clone()
    theta[4] += 0.5
    ends = [ThinPlateSpline((3, 3), ridge=r)(theta.flatten()[None], control) for r in (0.0, 1.0)]
    torch.testing.assert_close(ends[0][0], theta)
    assert 0.05 < ends[1][0, 4, 0] < 0.3


def test_casting_the_module_does_not_round_its_constants():
    spline, points = ThinPlateSpline(), torch.rand(5, 2, dtype=torch.float64, generator=seeded(0))
    expected = spline.basis(points)
    assert torch.equal(ThinPlateSpline().half().basis(points), expected)


def test_built_on_meta_it_is_right_when_filled():
    with torch.device("meta"):
        moved, unfilled = ThinPlateSpline((2, 3)), ThinPlateSpline((2, 3))
    points = torch.rand(5, 2, dtype=torch.float64, generator=seeded(0))
    moved.to_empty(device="cpu")
    expected = ThinPlateSpline((2, 3)).basis(points)
    assert torch.equal(moved.get_buffer("_solution"), ThinPlateSpline((2, 3))._solution)
    assert torch.equal(moved.basis(points), expected)
    assert torch.equal(unfilled.basis(points), expected)


def test_its_basis_on_the_canonical_grid_is_made_once():
    spline, again = ThinPlateSpline((3, 4)), ThinPlateSpline((3, 4))
    theta = thetas(spline, 2, dtype=torch.float32)
    before = grid._kept.cache_info().misses
    with torch.inference_mode():
        spline.grid(theta, (6, 17), align_corners=False)
    missed = grid._kept.cache_info().misses
    theta.requires_grad_()
    again.grid(theta, (6, 17), align_corners=False).sum().backward()
    # The grid, the basis, and where theta starts.
    assert grid._kept.cache_info().misses == missed == before + 3
    assert len(pickle.dumps(spline)) < 20_000


@pytest.mark.usefixtures("compiling")
def test_compiled_and_exported_warps_are_eager():
    image, spline = images(2, 1, 5, 7), ThinPlateSpline((2, 3))
    transform = Compose(Affine(), spline)
    module = SpatialTransformer(nn.Sequential(nn.Flatten(), nn.Linear(35, 18)).double(), transform)
    for _ in range(2):
        # Before the constants are in the cache, and after.
        program = torch.export.export(module, (image,))
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        for output in (program.module()(image), compiled(image)):
            torch.testing.assert_close(output, module(image))


def test_half_theta_is_finite_everywhere():
    """kornia#4557: in float16 its spline was NaN, since the 1e-8 in its logarithm underflows."""
    spline = ThinPlateSpline((3, 3))
    points = spline.identity.half().unflatten(0, (-1, 2))
    moved = spline(thetas(spline, 2).half(), points)
    assert moved.dtype == torch.float32
    assert moved.isfinite().all()


def test_points_on_control_points_have_a_gradient():
    spline = ThinPlateSpline((2, 2))
    points = spline.identity.unflatten(0, (-1, 2)).requires_grad_()
    theta = thetas(spline, 1).requires_grad_()
    assert torch.autograd.gradcheck(spline, (theta, points))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(
        ValueError, match=r"`size` must be 2 or 3 lengths of at least 2, got \(1, 4"
    ):
        ThinPlateSpline((1, 4))
    with pytest.raises(
        ValueError, match=r"`size` must be 2 or 3 lengths of at least 2, got \(4,\)"
    ):
        ThinPlateSpline((4,))
    one: Any = 4
    with pytest.raises(ValueError, match=r"`size` must be 2 or 3 lengths of at least 2, got 4"):
        ThinPlateSpline(one)
    with pytest.raises(ValueError, match=r"`ridge` must be at least 0, got -1"):
        ThinPlateSpline(ridge=-1.0)
