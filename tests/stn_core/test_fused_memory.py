"""The fused warp's results lie where they should, and all of them; so do the pixels it reads."""

import pytest
import torch

from stn_core import samplers, transforms as t, warp

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture
def nan_in_new_memory():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_numbers_that_are_negated_when_they_are_read(processor):
    plain = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    image, theta = (torch.complex(x, x).conj().imag for x in (plain, torch.full((1, 2), -0.5)))
    assert image.is_neg() and theta.is_neg()
    expected = warp(-plain, torch.full((1, 2), 0.5), t.Translation(), backend="fused")
    assert torch.equal(warp(image, theta, t.Translation(), backend="fused"), expected)


def test_an_image_whose_cells_have_no_number_is_refused():
    thin = torch.empty(1, dtype=torch.bfloat16).expand(1, 1, 1, (1 << 30) - 1)
    with pytest.raises(ValueError, match=r'"fused" cannot .* images of less than 2\^30 pixels'):
        warp(thin, torch.zeros(1, 2), t.Translation(), output_size=(1, 4), backend="fused")


def test_gradient_of_a_single_pixel_is_written_in_all_channels(processor, nan_in_new_memory):
    image = torch.ones(1, 24, 1, 1, requires_grad=True)
    output = warp(image, torch.zeros(1, 2), t.Translation(), backend="fused")
    (gradient,) = torch.autograd.grad(output.sum(), image)
    assert gradient.flatten().tolist() == [1.0] * 24


@pytest.mark.parametrize("sampler", [samplers.Bilinear(), samplers.Nearest()])
def test_rows_farther_apart_than_32_bits_count(processor, sampler):
    image = torch.empty((1 << 32) + 3, dtype=torch.bfloat16).as_strided(
        (1, 1, 3, 3), (0, 0, 1 << 31, 1)
    )
    image.copy_(torch.arange(9).view(1, 1, 3, 3))
    theta = torch.tensor([[2 / 3, 2 / 3]])
    output = warp(image, theta, t.Translation(), sampler=sampler, backend="fused")
    assert output.flatten().tolist() == [4, 5, 0, 7, 8, 0, 0, 0, 0]
