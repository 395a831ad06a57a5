import numpy as np
import pytest
import reference
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from stn_core import canonical_grid
from stn_core.grid import from_pixels, kept, map_axes, shared_grid, to_pixels

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


OPTIONS = {"align_corners": False, "dtype": torch.float32, "device": torch.device("cpu")}


def test_shared_grid_is_made_once_and_anew_when_written_in():
    with torch.inference_mode():
        grid = shared_grid((3, 23), **OPTIONS)
    expected = canonical_grid((3, 23), align_corners=False)
    assert shared_grid([3, 23], **OPTIONS) is grid
    assert not grid.is_inference() and torch.equal(grid, expected)
    grid.unsqueeze(0).mul_(2)
    assert torch.equal(shared_grid((3, 23), **OPTIONS), expected)
    assert shared_grid((3, 23), **{**OPTIONS, "align_corners": True})[0, 0, 0] == -1
    assert shared_grid((3, 23), **{**OPTIONS, "device": torch.device("meta")}).is_meta


def test_what_is_kept_is_bounded_and_no_tracer():
    made = []

    def build(n):
        made.append(n)
        return torch.full((1,), float(n))

    for n in (*range(20), 19, 0):
        assert kept(build, n) == n
    assert made == [*range(20), 0]
    torch.func.grad(lambda x: (kept(build, 30) * x).sum())(torch.ones(1))
    with FakeTensorMode():
        kept(build, 30)
    assert type(kept(build, 30)) is torch.Tensor
    assert made[-3:] == [30, 30, 30]
