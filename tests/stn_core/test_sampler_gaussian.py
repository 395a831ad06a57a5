"""The Gaussian sampler against DRAW's filter bank and SciPy's filter."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from contract import grids, images

from stn_core import canonical_grid, warp
from stn_core.samplers import Gaussian, Nearest
from stn_core.transforms import Attention


def filter_bank(centres, sigma, pixels):
    """Gregor et al., 2015, eq. 25: a Gaussian per centre over these pixels, each summing to one."""
    bank = np.exp(-((pixels - centres[:, None]) ** 2) / (2 * sigma**2))
    return bank / bank.sum(1, keepdims=True)


@pytest.mark.parametrize("sigma", [0.6, 1.3])
@pytest.mark.parametrize(("scale", "shift"), [(0.5, (0.1, -0.2)), (1.4, (0.3, 0.5))])
def test_on_an_attention_grid_it_is_draws_filter_bank(sigma, scale, shift):
    height, width, n = 17, 23, 5
    image = images(1, 2, height, width)
    theta = torch.tensor([[scale, *shift]], dtype=torch.float64)
    glimpse = warp(image, theta, Attention(), sampler=Gaussian(sigma), output_size=(n, n))[0]
    banks, is_inside = [], []
    for side, move in ((height, shift[1]), (width, shift[0])):
        # g + (i - N/2 - 0.5) delta for i = 1..N, in pixels counted from 0.
        delta = scale * side / n
        centres = (move * side + side - 1) / 2 + (np.arange(1, n + 1) - n / 2 - 0.5) * delta
        plane = filter_bank(centres, sigma, np.arange(-60, side + 60))[:, 60 : 60 + side]
        draws = filter_bank(centres, sigma, np.arange(side))
        is_inside.append((centres > 4 * sigma) & (centres < side - 1 - 4 * sigma))
        assert np.abs(plane - draws)[is_inside[-1]].max(initial=0) < 1e-4
        banks.append(plane)
    expected = banks[0] @ image[0].numpy() @ banks[1].T
    np.testing.assert_allclose(glimpse.numpy(), expected, atol=2e-4)
    if scale < 1:
        assert all(inside.any() for inside in is_inside)


@pytest.mark.parametrize("size", [(9, 13), (5, 6, 7)], ids=str)
@pytest.mark.parametrize(
    ("padding", "align_corners", "mode"),
    [
        ("zeros", False, "constant"),
        ("border", False, "nearest"),
        ("reflection", False, "reflect"),
        ("reflection", True, "mirror"),
        (0.7, False, "constant"),
    ],
)
def test_on_the_canonical_grid_it_is_scipys_filter(size, padding, align_corners, mode):
    image = images(1, 1, *size)
    grid = canonical_grid(size, align_corners=align_corners, dtype=torch.float64).unsqueeze(0)
    output = Gaussian(1.1)(image, grid, padding=padding, align_corners=align_corners)
    fill = 0.0 if isinstance(padding, str) else padding
    expected = scipy.ndimage.gaussian_filter(image[0, 0].numpy(), 1.1, mode=mode, cval=fill)
    np.testing.assert_allclose(output[0, 0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.01, 0.2, 0.7, 3.0])
def test_weights_sum_to_one(sigma):
    grid, image = grids(2, (4, 5), reach=3), torch.full((2, 1, 6, 7), 0.3, dtype=torch.float64)
    output = Gaussian(sigma)(image, grid, padding="border", align_corners=False)
    torch.testing.assert_close(output, torch.full_like(output, 0.3))


def test_a_narrow_one_is_nearest_and_stays_finite_halfway():
    image, grid = images(1, 2, 6, 7), grids(1, (4, 5))
    options = {"padding": "zeros", "align_corners": False}
    torch.testing.assert_close(
        Gaussian(0.01)(image, grid, **options), Nearest()(image, grid, **options)
    )
    halfway = torch.zeros(1, 1, 1, 2, dtype=torch.float64, requires_grad=True)
    output = Gaussian(0.001)(image, halfway, **options)
    assert torch.autograd.grad(output.sum(), halfway)[0].isfinite().all()
    torch.testing.assert_close(output[0, :, 0, 0], image[0, :, 2:4, 3].mean(-1))


def test_gradient_reaches_four_sigma():
    image = torch.zeros(1, 1, 1, 41, dtype=torch.float64)
    image[..., 20] = 1
    grid = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    grid[..., 0] = 2 * 7.3 / 41
    for sigma, is_felt in ((1.0, False), (2.0, True)):
        leaf = grid.clone().requires_grad_()
        Gaussian(sigma)(image, leaf, padding="zeros", align_corners=False).sum().backward()
        assert leaf.grad is not None and (leaf.grad[..., 0] < 0).item() is is_felt


@pytest.mark.usefixtures("unchecked")
def test_wrong_argument_is_refused():
    for sigma in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"`sigma` must be a positive number of pixels, got"):
            Gaussian(sigma)
