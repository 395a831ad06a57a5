"""The antialiased sampler against renders of analytic images, supersampled 16 times a side."""

import numpy as np
import pytest
import torch
from contract import grids, images
from torch.nn.functional import avg_pool3d

from stn_core import canonical_grid
from stn_core.grid import from_pixels
from stn_core.samplers import Antialiased, Bilinear

HEIGHT, WIDTH = 72, 96


def sinusoids(x, y):
    """A sum of waves up to 0.45 periods a pixel, the band limit of the image being 0.5."""
    rng = np.random.default_rng(0)
    waves = zip(rng.uniform(-0.45, 0.45, (40, 2)), rng.uniform(0, 7, 40), strict=True)
    return sum(np.cos(2 * np.pi * (u * x + v * y) + phase) for (u, v), phase in waves) / 6


def zone_plate(x, y):
    return np.cos(0.022 * ((x - 47.5) ** 2 + (y - 35.5) ** 2))


def board(x, y):
    """Slanted rectangles of 5.3 by 3.1 pixels."""
    u, v = 0.83 * x + 0.55 * y, 0.83 * y - 0.55 * x
    return (np.floor(u / 5.3) + np.floor(v / 3.1)) % 2


def rings(x, y):
    return (np.hypot(x - 47, y - 35) / 4.7 % 1 < 0.5).astype(float)


def over_areas(function, points, across, down, samples):
    """The mean over parallelograms around points, from `samples` a side."""
    places = (np.arange(samples) + 0.5) / samples - 0.5
    moved = (points + a * across + b * down for a in places for b in places)
    return sum(function(*np.moveaxis(p, -1, 0)) for p in moved) / samples**2


def pixel_points(height, width):
    y, x = np.mgrid[:height, :width].astype(float)
    return np.stack([x, y], axis=-1)


def reduction(along_x, along_y, degrees):
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return rotation @ np.diag([along_x, along_y])


REDUCTIONS = {
    "isotropic": (reduction(4, 4, 0), (16, 20)),
    "rotated": (reduction(4, 4, 30), (10, 14)),
    "anisotropic": (reduction(4, 1, 0), (60, 20)),
    "anisotropic_rotated": (reduction(4, 2, 20), (22, 14)),
}


@pytest.mark.parametrize(("matrix", "size"), REDUCTIONS.values(), ids=REDUCTIONS.keys())
@pytest.mark.parametrize("function", [sinusoids, zone_plate, board, rings])
def test_error_is_at_most_a_quarter_of_bilinears(function, matrix, size):
    is_band_limited = function in (sinusoids, zone_plate)
    pixels = over_areas(
        function, pixel_points(HEIGHT, WIDTH), *np.eye(2), samples=1 if is_band_limited else 8
    )
    middle = (np.array(size[::-1]) - 1) / 2
    points = (pixel_points(*size) - middle) @ matrix.T + [47.3, 35.6]
    render = over_areas(function, points, *matrix.T, samples=16)
    grid = from_pixels(torch.from_numpy(points), (HEIGHT, WIDTH), align_corners=False)
    errors = []
    for sampler in (Antialiased(), Bilinear()):
        image = torch.from_numpy(pixels)[None, None]
        output = sampler(image, grid[None], padding="border", align_corners=False)
        errors.append(np.sqrt(np.mean((output[0, 0].numpy() - render) ** 2)))
    print(f"RMSE {errors[0]:.4f}, of bilinear {errors[1]:.4f}, ratio {errors[0] / errors[1]:.3f}")
    assert errors[0] <= 0.25 * errors[1]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", 0.7])
@pytest.mark.parametrize("size", [(9, 13), (5, 6, 7)], ids=str)
def test_is_bilinear_to_the_bit_where_nothing_shrinks(size, padding, align_corners):
    image = images(2, 2, *size, dtype=torch.float32)
    grid = canonical_grid([n + 3 for n in size], align_corners=align_corners)
    grid = (0.7 * grid + 0.2 * grid.roll(1, -1)).expand(2, *grid.shape)
    options = {"padding": padding, "align_corners": align_corners}
    assert torch.equal(Antialiased()(image, grid, **options), Bilinear()(image, grid, **options))


def test_shrinks_volumes():
    image = images(1, 2, 16, 20, 24)
    grid = canonical_grid((4, 5, 6), align_corners=False, dtype=torch.float64).unsqueeze(0)
    mean = avg_pool3d(image, 4)
    errors = [
        (sampler(image, grid, padding="border", align_corners=False) - mean).square().mean()
        for sampler in (Antialiased(), Bilinear())
    ]
    assert errors[0].sqrt() <= 0.25 * errors[1].sqrt()


def test_a_seam_or_a_lost_point_blurs_nothing():
    image = images(1, 1, 9, 12)
    grid = canonical_grid((9, 12), align_corners=False, dtype=torch.float64).unsqueeze(0)
    torn = torch.cat([grid[:, :, 6:], grid[:, :, :6]], dim=2)
    output = Antialiased()(image, torn, padding="zeros", align_corners=False)
    torch.testing.assert_close(output, torch.cat([image[..., 6:], image[..., :6]], dim=-1))
    lost = grid.clone()
    lost[:, 3, 4], lost[:, 3, 6], lost[:, 0] = torch.nan, torch.inf, -torch.inf
    output = Antialiased()(image, lost, padding="zeros", align_corners=False)
    is_lost = ~lost.isfinite().all(-1).unsqueeze(1)
    assert output[is_lost].isnan().all()
    torch.testing.assert_close(output[~is_lost], image[~is_lost])


def test_longer_steps_than_max_shrink_still_gain():
    image, grid = images(1, 1, 64, 64), canonical_grid((4, 4), align_corners=False).unsqueeze(0)
    errors = [
        (sampler(image, grid, padding="border", align_corners=False) - 0.5).std()
        for sampler in (Antialiased(16), Antialiased(4), Bilinear())
    ]
    assert errors[0] < 0.5 * errors[1] < 0.25 * errors[2]


def test_nothing_jumps_where_a_step_grows_beyond_a_pixel():
    image, centre = images(1, 1, 9, 9), grids(1, (1, 1), reach=0.3)
    steps = torch.tensor([[-1.0, 0], [0, 0], [1, 0]], dtype=torch.float64) * 2 / 9
    outputs = []
    for stretch in (1 - 1e-9, 1 + 1e-9):
        grid = (centre + stretch * steps).requires_grad_()
        output = Antialiased()(image, grid, padding="zeros", align_corners=False)
        assert torch.autograd.grad(output.sum(), grid)[0].isfinite().all()
        outputs.append(output)
    torch.testing.assert_close(*outputs)


@pytest.mark.usefixtures("unchecked")
def test_wrong_argument_is_refused():
    with pytest.raises(ValueError, match=r"`max_shrink` must be at least 2, got 1"):
        Antialiased(1)
