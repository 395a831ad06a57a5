"""Linearised multi-sampling: bilinear going forward, a fitted plane going back."""

import pytest
import torch
from contract import grids, images

from stn_core import canonical_grid, warp
from stn_core.samplers import Bilinear, LinearisedMultisample
from stn_core.transforms import Translation

OPTIONS = {"padding": "border", "align_corners": False}


def gradients(sampler, image, grid):
    leaves = image.clone().requires_grad_(), grid.clone().requires_grad_()
    output = sampler(*leaves, **OPTIONS)
    return output, *torch.autograd.grad(output.square().sum(), leaves)


@pytest.mark.parametrize("size", [(5, 7), (1, 9), (3, 5, 6)], ids=str)
def test_output_and_gradient_by_the_image_are_bilinear(size):
    image, grid = images(2, 3, *size), grids(2, size)
    output, by_image, by_grid = gradients(LinearisedMultisample(), image, grid)
    expected, wanted, derivative = gradients(Bilinear(), image, grid)
    assert torch.equal(output, expected)
    torch.testing.assert_close(by_image, wanted)
    assert by_grid.isfinite().all()
    assert not torch.allclose(by_grid, derivative)


@pytest.mark.parametrize("size", [(30, 40), (20, 21, 22)], ids=str)
@pytest.mark.parametrize("taps", [3, 7])
def test_on_a_plane_the_slope_is_the_planes(size, taps):
    sides = canonical_grid(size, align_corners=False, dtype=torch.float64)
    image = (sides * torch.arange(1, len(size) + 1)).sum(-1).expand(1, 1, *size)
    grid = grids(1, (7, *[5] * (len(size) - 1)), reach=0.3)
    leaf = grid.requires_grad_()
    LinearisedMultisample(taps)(image, leaf, **OPTIONS).sum().backward()
    expected = torch.arange(1, len(size) + 1).expand_as(grid).double()
    assert leaf.grad is not None
    error = (leaf.grad - expected).abs().flatten()
    # Few points lie almost on a line or in a plane here and there, where the ridge shows.
    assert error.median() < (1e-3 if taps == 3 else 1e-4)
    assert taps == 3 or error.max() < 1e-3


def test_the_generator_decides():
    image, grid = images(2, 1, 9, 11), grids(2, (5, 6))
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(gradients(LinearisedMultisample(), image, grid)[2])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    state = torch.get_rng_state()
    LinearisedMultisample()(image, grid, **OPTIONS)
    assert torch.equal(torch.get_rng_state(), state)


def test_taps_on_a_line_give_no_slope_across(monkeypatch):
    """The authors' code inverts the singular matrix and puts zero for the NaN of both axes."""
    along = torch.tensor([1.0, 0.0], dtype=torch.float64)
    draw = torch.randn_like
    monkeypatch.setattr(torch, "randn_like", lambda x: draw(x) * along)
    image = canonical_grid((20, 20), align_corners=False, dtype=torch.float64).sum(-1)[None, None]
    _, _, by_grid = gradients(LinearisedMultisample(), image, grids(1, (4, 5), reach=0.2) + 0.5)
    assert by_grid.isfinite().all()
    assert not by_grid[..., 1].any()
    assert (by_grid[..., 0] > 0.5).all()


def test_functional_gradients_are_those_of_autograd():
    image, grid = images(1, 2, 6, 7), grids(1, (3, 4))
    sampler = LinearisedMultisample()
    torch.manual_seed(0)
    expected = gradients(sampler, image, grid)[2]
    torch.manual_seed(0)
    by_grid = torch.func.grad(lambda g: sampler(image, g, **OPTIONS).square().sum())(grid)
    torch.testing.assert_close(by_grid, expected)


def test_the_basin_of_convergence_is_wider():
    """A spot of 4 pixels, from 6 to 12 pixels beside it, where bilinear reads only black."""
    torch.manual_seed(0)
    points = canonical_grid((32, 32), align_corners=False)
    spot = torch.exp(-(points * 16).square().sum(-1) / 4).where(points.norm(dim=-1) < 0.3, 0.0)
    image = spot.expand(5, 1, 32, 32)
    angle = torch.arange(5.0) * 1.1
    start = torch.stack([angle.cos(), angle.sin()], dim=-1) * torch.linspace(6, 12, 5)[:, None] / 16
    found = []
    for sampler in (LinearisedMultisample(noise=5.0), Bilinear()):
        theta = start.clone().requires_grad_()
        adam = torch.optim.Adam([theta], lr=0.02)
        for _ in range(150):
            adam.zero_grad()
            output = warp(image, theta, Translation(), sampler=sampler)
            (output - image).square().sum().backward()
            adam.step()
        found.append((theta.norm(dim=-1) * 16 < 0.5).sum().item())
    print(f"starts that arrive, of 5: linearised {found[0]}, bilinear {found[1]}")
    assert found[0] == 5
    assert found[1] <= 2


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`taps` must be at least 3, got 2"):
        LinearisedMultisample(taps=2)
    for noise in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"`noise` must be a positive number of pixels, got"):
            LinearisedMultisample(noise=noise)
