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
