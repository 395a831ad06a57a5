"""The quick gradient of a convolution by an input of few channels."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn.functional import conv2d

from bench.models.cnn import CNN
from bench.models.svhn_cnn import SVHNCNN
from stn_core import few_channel
from stn_core.few_channel import Conv2d, input_gradient

SIDE = st.integers(1, 7)
pytestmark = pytest.mark.usefixtures("compiled")


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 4),
    filters=st.integers(1, 5),
    kernel=st.tuples(SIDE, SIDE),
    room=st.tuples(st.integers(0, 12), st.integers(0, 70)),
    padding=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_is_the_gradient(channels, filters, kernel, room, padding):
    padding = min(padding[0], kernel[0] - 1), min(padding[1], kernel[1] - 1)
    shape = (2, channels, kernel[0] + room[0], kernel[1] + room[1])
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(filters, channels, *kernel, generator=generator)
    output = conv2d(image, weight.double(), padding=padding)
    gradient = torch.randn(output.shape, generator=generator)
    (expected,) = torch.autograd.grad(output, image, gradient.double())
    result = input_gradient(gradient, weight, torch.Size(shape), padding)
    torch.testing.assert_close(result, expected.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": "same"}, {"dilation": 2}])
def test_layer_is_that_of_torch(options):
    ours, theirs = Conv2d(1, 8, 5, **options), nn.Conv2d(1, 8, 5, **options)
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(3, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    of_each = []
    for layer in (ours, theirs):
        leaf = image.clone().requires_grad_()
        output = layer(leaf)
        gradients = torch.autograd.grad(output.square().sum(), (leaf, *layer.parameters()))
        of_each.append((output, *gradients))
    assert torch.equal(of_each[0][0], of_each[1][0])
    torch.testing.assert_close(*of_each)


def test_is_the_same_to_the_bit_for_any_number_of_threads():
    gradient, weight = torch.randn(5, 6, 20, 20), torch.randn(6, 1, 9, 9)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            results.append(input_gradient(gradient, weight, (5, 1, 28, 28), (0, 0)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("kind", "size", "options"), [(CNN, (1, 28, 28), {}), (SVHNCNN, (3, 64, 64), {"width": 0.1})]
)
def test_models_of_the_harness_have_it(kind, size, options, monkeypatch):
    torch.manual_seed(0)
    model, image = kind(size, 10, **options), torch.rand(2, *size)
    of_each = []
    for is_quick in (True, False):
        if not is_quick:
            monkeypatch.setattr(few_channel, "MOST_CHANNELS", 0)
        torch.manual_seed(0)  # of dropout
        leaf = image.clone().requires_grad_()
        output = model(leaf)
        names = {type(f).__name__ for f in _functions(output.grad_fn)}
        assert ("_ConvolveBackward" in names) == is_quick
        of_each.append(torch.autograd.grad(output.square().sum(), (leaf, *model.parameters())))
    # Each number is a sum of many that cancel.
    for mine, theirs in zip(*of_each, strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


def _functions(function):
    seen, left = [], [function]
    while left:
        if (node := left.pop()) is not None and node not in seen:
            seen.append(node)
            left += [before for before, _ in node.next_functions]
    return seen


def test_second_derivatives_are_those_of_torch():
    of_each = []
    for kind in (Conv2d, nn.Conv2d):
        layer = kind(1, 2, 3, bias=False)
        nn.init.constant_(layer.weight, 0.5)
        image = torch.ones(1, 1, 5, 5, requires_grad=True)
        total = layer(image).square().sum()
        (slope,) = torch.autograd.grad(total, image, create_graph=True)
        of_each.append(torch.autograd.grad(slope.square().sum(), layer.weight)[0])
    torch.testing.assert_close(*of_each)
