import numpy as np
import pytest
import reference
import torch

from stn_core import canonical_grid
from stn_core.grid import from_pixels, map_axes, to_pixels

SIZES = [(3, 5), (7, 6), (1, 9), (11, 1), (1, 1), (3, 5, 7), (1, 6, 5), (5, 1, 3)]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_canonical_grid_is_the_definition(size, align_corners):
    grid = canonical_grid(size, align_corners=align_corners, dtype=torch.float64)
    expected = reference.target_points(size, align_corners)
    np.testing.assert_allclose(grid.numpy(), expected, atol=1e-15)


def test_canonical_grid_by_hand():
    grid = canonical_grid((2, 3), align_corners=True)
    assert grid.dtype == torch.float32
    assert grid.tolist() == [[[-1, -1], [0, -1], [1, -1]], [[-1, 1], [0, 1], [1, 1]]]


def test_canonical_grid_on_the_meta_device():
    grid = canonical_grid((2, 3), align_corners=True, dtype=torch.float64, device="meta")
    assert (grid.shape, grid.dtype) == ((2, 3, 2), torch.float64)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_of_the_canonical_grid_are_the_indices(size, align_corners):
    grid = canonical_grid(size, align_corners=align_corners, dtype=torch.float64)
    pixels = to_pixels(grid, size, align_corners=align_corners)
    expected = np.stack(np.indices(size)[::-1], axis=-1)
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-14)
    back = from_pixels(pixels, size, align_corners=align_corners)
    torch.testing.assert_close(back, grid)


def test_one_pixel_with_align_corners_is_pixel_zero_everywhere():
    pixels = to_pixels(torch.tensor([[-3.0, 0.5]]), (1, 4), align_corners=True)
    assert pixels.tolist() == [[-3.0, 0.0]]


@pytest.mark.parametrize("size", [(), (3,), (3, 4, 5, 6)], ids=str)
def test_canonical_grid_refuses(size):
    with pytest.raises(ValueError, match=r"`size` must be 2 or 3 lengths, got \("):
        canonical_grid(size, align_corners=False)


def test_map_axes_refuses():
    with pytest.raises(ValueError, match=r"`size` must have 2 lengths.*got \(3, 4, 5\)"):
        map_axes(lambda x, _: x, torch.zeros(1, 2), (3, 4, 5))
