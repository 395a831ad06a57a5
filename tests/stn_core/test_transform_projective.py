import cv2
import numpy as np
import pytest
import torch
from contract import images, seeded, thetas
from kornia.geometry.conversions import convert_points_from_homogeneous

from stn_core import canonical_grid, warp
from stn_core.transforms import Affine, Projective

# Column 1 of a row of 4, at the normalised coordinate -0.25, lies on the horizon.
HORIZON = torch.tensor([[1.0, 0, 0, 0, 1, 0, 4, 0]], dtype=torch.float64)


def to_pixels(size):
    """The matrix from normalised to pixel coordinates, with `align_corners=False`."""
    height, width = size
    return np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])


def test_warp_is_that_of_opencv():
    size, out_size, theta = (33, 47), (29, 51), thetas(Projective(), 1)
    image = images(1, 1, *size)
    output = warp(image, theta, Projective(), output_size=out_size)
    matrix = Projective().homography(theta)[0].numpy()
    matrix = to_pixels(size) @ matrix @ np.linalg.inv(to_pixels(out_size))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpPerspective(image[0, 0].numpy(), matrix, out_size[::-1], flags=flags)
    # OpenCV rounds source points to 1/32 of a pixel.
    np.testing.assert_allclose(output[0, 0].numpy(), expected, atol=1 / 32)
    assert np.abs(output[0, 0].numpy() - expected).mean() < 0.006


@pytest.mark.parametrize("dims", [2, 3])
def test_without_a_last_row_it_is_affine(dims):
    theta, points = thetas(Affine(dims), 3), canonical_grid((4,) * dims, align_corners=True)
    padded = torch.cat([theta, torch.zeros(3, dims, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(Projective(dims)(padded, points), Affine(dims)(theta, points))


@pytest.mark.parametrize("dims", [2, 3])
def test_inverse(dims):
    theta = thetas(Projective(dims), 1000, scale=0.1)
    points = canonical_grid((3,) * dims, align_corners=True, dtype=torch.float64)
    there = Projective(dims)(theta, points)
    back = Projective(dims).map_points(Projective(dims).inverse(theta), there)
    torch.testing.assert_close(back, points.expand_as(back), atol=1e-7, rtol=0)


def test_horizon_is_nan_there_only_and_has_no_gradient():
    image, theta = images(1, 2, 3, 4), HORIZON.clone().requires_grad_()
    output = warp(image, theta, Projective())
    lost = torch.tensor([False, True, False, False])
    assert output[..., lost].isnan().all()
    assert output[..., ~lost].isfinite().all()
    (gradient,) = torch.autograd.grad(output.nan_to_num().sum(), theta)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_kornia_gives_numbers_on_the_horizon():
    """It divides by 1 where the last coordinate is 0, and shows a place that is not there."""
    points = torch.tensor([[-0.25, 0.5, 0.0]])
    assert convert_points_from_homogeneous(points).tolist() == [[-0.25, 0.5]]
    assert Projective()(HORIZON, torch.tensor([[-0.25, 0.5]])).isnan().all()


def test_gradient_near_the_horizon_does_not_overflow():
    x = -0.25 + torch.logspace(-9, -3, 50, dtype=torch.float32)
    points = torch.stack([x, torch.rand(50, generator=seeded(0))], dim=-1)
    theta = HORIZON.float().requires_grad_()
    grid = Projective()(theta, points)
    (gradient,) = torch.autograd.grad(grid.nan_to_num().sum(), theta)
    assert gradient.isfinite().all()
