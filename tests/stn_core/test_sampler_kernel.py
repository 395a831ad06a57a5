"""A user's own kernel: eq. 3 of Jaderberg et al., 2015, as it stands there."""

import numpy as np
import pytest
import reference
import torch
from contract import grids, images, quadratic

from stn_core import warp
from stn_core.kernels.reference import Reference
from stn_core.samplers import Bilinear, Kernel
from stn_core.transforms import Affine


def hat(distance):
    return 1 - distance.abs()


def lanczos(distance):
    return torch.sinc(distance) * torch.sinc(distance / 3)


LANCZOS = Kernel(lanczos, radius=3.0)


@pytest.mark.parametrize("size", [(5, 7), (1, 9), (3, 5, 6)], ids=str)
def test_output_is_equation_3(size):
    def scalar(x, m):
        return float(np.sinc(x - m) * np.sinc((x - m) / 3)) if abs(x - m) <= 3 else 0.0

    image, grid = images(1, 2, *size), grids(1, (2, *[3] * (len(size) - 1)))
    output = LANCZOS(image, grid, padding="zeros", align_corners=False)
    pixels = reference.pixel_points(grid[0].numpy(), size, align_corners=False)
    expected = reference.sample(image[0].numpy(), pixels, scalar)
    np.testing.assert_allclose(output[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", (0.2, -3.0)])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (2, 1, 3)], ids=str)
def test_reference_and_bilinear_agree(size, padding, align_corners):
    image, grid = images(2, 2, *size), grids(2, (2, *[3] * (len(size) - 1)), reach=6)
    options = {"padding": padding, "align_corners": align_corners}
    for sampler in (LANCZOS, Kernel(quadratic, 1.5)):
        expected = Reference(sampler)(image, grid, **options)
        torch.testing.assert_close(sampler(image, grid, **options), expected)
    output = Kernel(hat, 1.0)(image, grid, **options)
    torch.testing.assert_close(output, Bilinear()(image, grid, **options))


def test_whether_it_interpolates_is_found():
    assert LANCZOS.interpolates
    assert Kernel(hat, 1.0).interpolates
    assert not Kernel(quadratic, 1.5).interpolates
    image = images(1, 2, 5, 7)
    output = warp(image, Affine().identity.unsqueeze(0), Affine(), sampler=LANCZOS)
    torch.testing.assert_close(output, image)


def test_beyond_the_radius_it_is_zero():
    constant = Kernel(torch.ones_like, 0.5)
    image, grid = images(1, 2, 5, 7), grids(1, (4, 3), reach=0.8)
    nearest = warp(image, Affine().identity.unsqueeze(0), Affine(), sampler=constant)
    torch.testing.assert_close(nearest, image)
    wide = Kernel(torch.ones_like, 50.0)(image, grid, padding="zeros", align_corners=False)
    torch.testing.assert_close(wide, image.sum((2, 3), keepdim=True).expand_as(wide))


def test_a_function_without_values_beyond_its_radius_has_gradients():
    sampler = Kernel(lambda d: (1.5 - d.abs()).sqrt(), radius=1.499)
    grid = grids(1, (4, 3)).requires_grad_()
    output = sampler(images(1, 2, 5, 7), grid, padding="zeros", align_corners=False)
    assert output.isfinite().all()
    assert torch.autograd.grad(output.sum(), grid)[0].isfinite().all()


def test_a_module_is_trained():
    """The parameters of eq. 3's kernel, Phi, get gradients."""

    class Soft(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.width = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, distance):
            return torch.exp(-(distance**2) / self.width)

    sampler = Kernel(Soft(), radius=2.0)
    assert list(sampler.state_dict()) == ["function.width"]
    output = sampler(images(1, 1, 5, 7), grids(1, (2, 3)), padding="zeros", align_corners=False)
    output.sum().backward()
    (width,) = sampler.parameters()
    assert width.grad is not None and width.grad.item() != 0


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    for radius in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"`radius` must be a positive number of pixels, got"):
            Kernel(hat, radius)
    with pytest.raises(ValueError, match=r"`function` must give one weight per distance, got sh"):
        Kernel(lambda distance: distance.sum(), 1.0)
