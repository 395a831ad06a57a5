from typing import Any

import pytest
import torch
from contract import images

from stn_core import warp
from stn_core.samplers import Bilinear, Sampler
from stn_core.transforms import Affine, Translation

IDENTITY = Affine().identity.unsqueeze(0)


class Own(Sampler):
    """A user's sampler."""

    interpolates = False
    has_exact_gradient = True

    def sample(self, image, grid, *, padding, align_corners):
        return image.new_full((*image.shape[:2], *grid.shape[1:-1]), 7.0)


def test_defaults_are_the_identity_of_the_image_size():
    image = images(1, 3, 5, 7)
    torch.testing.assert_close(warp(image, IDENTITY, Affine()), image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_output_has_the_dtype_of_the_image(dtype):
    assert warp(images(1, 3, 5, 7).to(dtype), IDENTITY.float(), Affine()).dtype == dtype


def test_a_users_sampler_is_called():
    output = warp(images(1, 3, 5, 7), IDENTITY, Affine(), sampler=Own(), output_size=(2, 3))
    assert torch.equal(output, torch.full((1, 3, 2, 3), 7.0, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_theta_that_is_nan_poisons_its_own_image_only(backend):
    image, theta = images(2, 3, 5, 7).requires_grad_(), IDENTITY.repeat(2, 1)
    theta[0] = torch.nan
    output = warp(image, theta, Affine(), backend=backend)
    assert output[0].isnan().all()
    torch.testing.assert_close(output[1], image[1])
    (gradient,) = torch.autograd.grad(output.sum(), image)
    torch.testing.assert_close(gradient[1], torch.ones_like(image[1]))
    assert not gradient[0].any()


def test_far_theta_gives_zeros():
    assert not warp(images(1, 3, 5, 7), torch.tensor([[9.0, 0]]), Translation()).any()


@pytest.mark.usefixtures("compiling")
def test_compiled_warp_and_its_gradients_are_eager():
    image, theta = images(2, 3, 5, 7), IDENTITY.repeat(2, 1) + 0.1
    leaves, affine = (image.requires_grad_(), theta.requires_grad_()), Affine()

    def run(image, theta):
        return warp(image, theta, affine, output_size=(6, 3), padding="border")

    inductor = torch.compile(run, fullgraph=True)
    torch.testing.assert_close(inductor(image.detach(), theta.detach()), run(*leaves).detach())
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")(*leaves)
    torch.testing.assert_close(compiled, run(*leaves))
    gradients = torch.autograd.grad(compiled.square().sum(), leaves)
    torch.testing.assert_close(gradients, torch.autograd.grad(run(*leaves).square().sum(), leaves))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    image, affine = images(1, 3, 5, 7), Affine()
    unknown: Any = "cuda"
    with pytest.raises(ValueError, match=r"`backend` must be one of \('auto', .* got 'cuda'"):
        warp(image, IDENTITY, affine, backend=unknown)
    with pytest.raises(ValueError, match=r"`sampler` must be Nearest, .* got Own"):
        warp(image, IDENTITY, affine, sampler=Own(), backend="reference")
    with pytest.raises(ValueError, match=r"`image` must have 4 axes .* got shape \(1, 3, 1, 5, 7"):
        warp(image.unsqueeze(2), IDENTITY, affine)
    with pytest.raises(ValueError, match=r"`theta` must have 1 rows, one per image, got 2"):
        warp(image, IDENTITY.repeat(2, 1), affine)
    with pytest.raises(ValueError, match=r"`theta` must have shape \(batch, 6\) for Affine, got"):
        warp(image, IDENTITY[:, :2], affine)
    with pytest.raises(ValueError, match=r"`output_size` must be 2 positive lengths .* got \(3,\)"):
        warp(image, IDENTITY, affine, output_size=(3,))
    whole: Any = 5
    with pytest.raises(ValueError, match=r"`output_size` must be 2 positive lengths .* got 5"):
        warp(image, IDENTITY, affine, output_size=whole)
    fraction: Any = (3, 3.5)
    with pytest.raises(ValueError, match=r"`output_size` must be 2 positive .* got \(3, 3\.5\)"):
        warp(image, IDENTITY, affine, output_size=fraction)
    with pytest.raises(ValueError, match=r"`output_size` must be 2 positive .* got \(0, 3\)"):
        warp(image, IDENTITY, affine, output_size=(0, 3))
    with pytest.raises(ValueError, match=r"`padding` must be .* got 'cuda'"):
        warp(image, IDENTITY, affine, padding=unknown)
    with pytest.raises(ValueError, match=r"`dims` must be 2 or 3, got 4"):
        Affine(dims=4)
    assert warp(image, IDENTITY, affine, sampler=Bilinear(), backend="reference").shape == (
        image.shape
    )
