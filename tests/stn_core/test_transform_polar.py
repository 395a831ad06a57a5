import math

import cv2
import numpy as np
import pytest
import torch
from contract import images

from stn_core import canonical_grid, warp
from stn_core.grid import to_pixels
from stn_core.transforms import LogPolar, Polar

SIZE = (40, 50)


@pytest.mark.parametrize("inner", [None, 0.1])
def test_source_points_are_those_of_opencv(inner):
    """OpenCV is asked to read images whose pixels are their own coordinates."""
    side, flags = 41, cv2.WARP_POLAR_LINEAR if inner is None else cv2.WARP_POLAR_LOG
    transform = Polar(radius=0.8) if inner is None else LogPolar(radius=0.8, inner_radius=inner)
    origin = torch.tensor([[0.1, -0.05]], dtype=torch.float64)
    centre = to_pixels(origin, (side, side), align_corners=True)[0]
    per_pixel = (side - 1) / 2
    # In the logarithmic form the unit of OpenCV is one pixel, which has to be `inner`.
    zoom = 1.0 if inner is None else 1 / (inner * per_pixel)
    y, x = np.indices((200, 200), dtype=np.float64) - 100
    height, width = SIZE
    reach = 0.8 * per_pixel * zoom
    maps = [
        cv2.warpPolar(m, (width, height), (100, 100), reach, flags | cv2.INTER_LINEAR)
        for m in (x, y)
    ]
    arms = np.stack(maps, axis=-1)
    if inner is not None:
        # OpenCV takes 1 from the exponential, so that its radius starts at 0 and is no logarithm's.
        length = np.linalg.norm(arms, axis=-1, keepdims=True).clip(1)
        arms = arms * (1 + 1 / length)
    expected = arms / zoom + centre.numpy()
    # Pixel i of OpenCV stands at i / n of the range.
    rows, columns = torch.meshgrid(*[2 * torch.arange(n) / n - 1 for n in SIZE], indexing="ij")
    grid = transform(origin, torch.stack([columns, rows], dim=-1).double())
    pixels = to_pixels(grid, (side, side), align_corners=True)[0]
    # OpenCV rounds source points to 1/32 of a pixel, which turns the shortest arms.
    far = slice(0 if inner is None else 20, None)
    np.testing.assert_allclose(pixels[:, far].numpy(), expected[:, far], atol=2 / 32 / zoom)


def test_rotation_is_a_shift_along_y_and_scale_one_along_x():
    points = canonical_grid((8, 10), align_corners=False, dtype=torch.float64)
    origin = torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    polar, log_polar = (t(origin, points)[0] - origin for t in (Polar(), LogPolar()))
    angle = 2 * math.pi / 8
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    for arms in (polar, log_polar):
        torch.testing.assert_close(arms[:-1] @ turn.double(), arms[1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        log_polar[:, 1:] / log_polar[:, :-1], log_polar.new_full((8, 9, 2), 50**0.1)
    )


@pytest.mark.parametrize("transform", [Polar(), LogPolar()])
def test_origin_is_learned_and_there_is_no_identity(transform):
    assert transform.identity is None
    theta = torch.tensor([[0.1, 0.2]], requires_grad=True)
    warp(images(1, 1, 9, 9), theta, transform).square().sum().backward()
    assert theta.grad is not None and theta.grad.all()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`radius` must be positive, got 0.0"):
        Polar(radius=0.0)
    with pytest.raises(ValueError, match=r"`inner_radius` must be positive and .* got 2.0 and 1.0"):
        LogPolar(inner_radius=2.0)
