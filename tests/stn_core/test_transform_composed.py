import pytest
import torch
from contract import images, seeded, thetas

from stn_core import canonical_grid, warp
from stn_core.transforms import (
    Affine,
    Compose,
    Flow,
    Inverse,
    PiecewiseAffine,
    Polar,
    Projective,
    Rigid,
    Scaling,
    Shear,
    ThinPlateSpline,
    Translation,
)

NUMERIC = [
    Shear(3),
    ThinPlateSpline(),
    ThinPlateSpline((2, 3, 2)),
    Compose(Affine(), ThinPlateSpline((3, 3))),
    Flow(size=(3, 3)),
]
CLOSED = [Rigid(), Projective(), PiecewiseAffine()]
every_inverse = pytest.mark.parametrize("transform", NUMERIC + CLOSED, ids=lambda t: t._get_name())


def test_compose_warps_by_the_first_and_then_by_the_second():
    image = images(1, 2, 6, 9)
    shift = torch.tensor([[2 * 3 / 9, 0]], dtype=torch.float64)
    mirror = torch.tensor([[-1.0, 1]], dtype=torch.float64)
    expected = warp(warp(image, shift, Translation()), mirror, Scaling())
    both = Compose(Translation(), Scaling())
    torch.testing.assert_close(warp(image, torch.cat([shift, mirror], dim=1), both), expected)
    other = warp(warp(image, mirror, Scaling()), shift, Translation())
    assert not torch.allclose(other, expected)


def test_compose_concatenates():
    affine, spline = Affine(), ThinPlateSpline((2, 3))
    both = Compose(affine, Compose(spline, Flow(size=(2, 2))))
    assert both.num_params == 6 + 12 + 8
    assert both.identity is not None
    torch.testing.assert_close(both.identity[:18], torch.cat([affine.identity, spline.identity]))
    assert Compose(affine, Polar()).identity is None
    assert Compose(Polar(), affine).identity is None


def test_a_point_lost_on_the_way_is_nan_and_has_no_gradient():
    both = Compose(ThinPlateSpline((2, 2)), Projective())
    theta = torch.cat([ThinPlateSpline((2, 2)).identity, Projective().identity])[None].clone()
    theta[0, -2] = 2
    theta.requires_grad_()
    grid = both(theta, torch.tensor([[-0.5, 0.0], [0.5, 0.0]], dtype=torch.float64))
    assert grid.isnan().any(-1).tolist() == [[True, False]]
    (gradient,) = torch.autograd.grad(grid.nan_to_num().sum(), theta)
    assert gradient.isfinite().all()


@every_inverse
def test_inverse_there_and_back(transform):
    theta = thetas(transform, 50, scale=0.04)
    points = canonical_grid((4,) * transform.dims, align_corners=False, dtype=torch.float64)
    there = Inverse(transform)(theta, points)
    back = transform.map_points(theta, there)
    torch.testing.assert_close(back, points.expand_as(back), atol=1e-4, rtol=0)
    there = Inverse(transform)(theta.float(), points.float())
    back = transform.map_points(theta.float(), there)
    torch.testing.assert_close(back, points.float().expand_as(back), atol=1e-4, rtol=0)


def test_inverse_of_a_flow_of_any_size():
    theta = 0.05 * torch.randn(2, 2, 4, 5, dtype=torch.float64, generator=seeded(0))
    points = canonical_grid((6, 7), align_corners=False, dtype=torch.float64)
    there = Inverse(Flow())(theta, points)
    back = Flow().map_points(theta, there)
    torch.testing.assert_close(back, points.expand_as(back), atol=1e-4, rtol=0)


def test_gradient_of_a_numeric_inverse():
    spline = ThinPlateSpline((2, 2))
    theta = thetas(spline, 1).requires_grad_()
    points = canonical_grid((1, 2), align_corners=False, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(Inverse(spline), (theta, points), fast_mode=True)


def test_a_point_without_an_inverse_is_nan_alone_and_has_no_gradient():
    """Everything is squeezed to a line, and only its points are reached."""
    shear = Shear()
    theta = torch.tensor([[1.0, 1.0], [0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    points = torch.rand(5, 2, dtype=torch.float64, generator=seeded(0))
    grid = Inverse(shear)(theta, points)
    assert grid[0].isnan().all()
    torch.testing.assert_close(shear.map_points(theta[1:], grid[1:])[0], points)
    (gradient,) = torch.autograd.grad(grid.nan_to_num().sum(), theta)
    assert not gradient[0].any()
    assert gradient[1].isfinite().all()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`second` must have dims=2 as `first` has, got dims=3"):
        Compose(Affine(), Affine(3))
    with pytest.raises(ValueError, match=r"`second` must have a fixed number .* got Flow without"):
        Compose(Affine(), Flow())
    with pytest.raises(ValueError, match=r"`first` must have a fixed number of parameters"):
        Compose(Flow(), Affine())
