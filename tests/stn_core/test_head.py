import copy
import math
import pickle

import pytest
import torch
from contract import images, seeded
from torch import nn

from stn_core import Head
from stn_core.head import bounded_step
from stn_core.transforms import Affine, Attention, Transform


class Rootless(Transform):
    """A family without an identity."""

    dims = 2
    num_params = 2

    @property
    def identity(self):
        return None

    def map_points(self, theta, points):
        return theta[:, None] + points


POSES = torch.tensor([[1 / 3, -0.1, 0.7], [0.3, 2 / 3, 0.0]], dtype=torch.float64)


def test_starts_at_each_of_its_poses():
    theta = Head(4, Attention(), poses=POSES)(torch.randn(5, 4))
    assert torch.equal(theta, POSES.float().expand(5, 2, 3))
    theta = Head(4, Rootless(), poses=POSES[0, :2])(torch.randn(5, 4))
    assert torch.equal(theta, POSES[0, :2].float().expand(5, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_changing_its_dtype_does_not_round_the_poses(dtype):
    head = Head(4, Attention(), poses=POSES).float().to(dtype)
    theta = head(torch.zeros(1, 4, dtype=dtype))
    assert torch.equal(theta[0], POSES.to(theta.dtype))
    assert theta.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_built_on_meta_it_starts_at_its_poses_when_filled():
    with torch.device("meta"):
        head = Head(4, Attention(), poses=POSES.cpu(), bounds=(-2.0, 3.0))
        identity = Head(4, Attention())
        assert head(torch.zeros(2, 4)).shape == (2, 2, 3)
    for module, expected in ((head, POSES.float()), (identity, torch.tensor([1.0, 0, 0]))):
        state = {name: torch.zeros(p.shape) for name, p in module.named_parameters()}
        assigned = copy.deepcopy(module)
        assigned.load_state_dict(state, assign=True)
        module.to_empty(device="cpu").reset_parameters()
        for filled in (module, assigned, pickle.loads(pickle.dumps(assigned))):
            assert torch.equal(filled(torch.randn(1, 4))[0], expected)


def test_weight_decay_draws_theta_to_the_poses():
    head = Head(4, Attention(), poses=POSES)
    nn.init.normal_(head.weight, generator=seeded(0))
    nn.init.normal_(head.bias, generator=seeded(0))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5, weight_decay=1.0)
    features = images(1, 4, dtype=torch.float32)
    for _ in range(60):
        optimizer.zero_grad()
        (0 * head(features).sum()).backward()
        optimizer.step()
    torch.testing.assert_close(head(features)[0], POSES.float(), atol=1e-6, rtol=0)


def test_bounds_hold_and_leave_a_gradient_where_a_tanh_has_none():
    head = Head(1, Attention(), bounds=([0.2, -1.0, -math.inf], [1.5, 0.5, math.inf]))
    assert torch.equal(head(torch.ones(1, 1)), torch.tensor([[1.0, 0, 0]]))
    for push in (-1e6, -30.0, 30.0, 1e6):
        head.reset_parameters()
        with torch.no_grad():
            head.bias.fill_(push)
        theta = head(torch.zeros(1, 1))
        (gradient,) = torch.autograd.grad(theta.sum(), head.bias)
        assert torch.tanh(torch.tensor(abs(push))) == 1
        assert gradient.isfinite().all() and (gradient > 0).all()
        low, high = torch.tensor([0.2, -1.0]), torch.tensor([1.5, 0.5])
        assert (theta[0, :2] >= low - 1e-6).all() and (theta[0, :2] <= high + 1e-6).all()
        assert theta[0, 2] == push


def test_bounded_step_is_its_formula_with_slope_one_and_no_curvature_at_zero():
    below, above = torch.tensor(0.8).double(), torch.tensor(0.5).double()
    steps = torch.linspace(-5, 5, 21, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: bounded_step(x, below, above), steps)
    side = torch.where(steps < 0, below, above)
    expected = side * 2 / math.pi * torch.atan(math.pi / 2 * steps / side)
    torch.testing.assert_close(bounded_step(steps, below, above), expected)
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(bounded_step(zero, below, above), zero, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, zero)
    assert (slope, curvature) == (1, 0)
    far = torch.tensor(1e18, requires_grad=True)
    (slope,) = torch.autograd.grad(bounded_step(far, torch.tensor(1.0), torch.tensor(1.0)), far)
    assert slope > 0


def test_nan_features_poison_no_other_row_and_empty_batches_pass():
    head = Head(4, Affine(), bounds=(-2.0, 2.0))
    nn.init.normal_(head.weight, generator=seeded(0))
    features = images(3, 4, dtype=torch.float32)
    expected = head(features)
    features[1] = math.nan
    theta = head(features)
    assert torch.equal(theta[[0, 2]], expected[[0, 2]]) and theta[1].isnan().all()
    assert head(features[:0]).shape == (0, 6)


def test_state_dict_is_parameters_only():
    assert set(Head(4, Affine(), bounds=(-2.0, 2.0)).state_dict()) == {"weight", "bias"}


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`transform` must have an identity .* got Rootless"):
        Head(4, Rootless())
    for poses in (torch.zeros(2), torch.zeros(0, 3), torch.zeros(1, 1, 3)):
        with pytest.raises(ValueError, match=r"`poses` must have shape \(\[n,\] 3\) for Attention"):
            Head(4, Attention(), poses=poses)
    with pytest.raises(ValueError, match=r"`bounds` must be numbers or 3 numbers each, got \[1"):
        Head(4, Attention(), bounds=(-2.0, [1.5, 2.0]))
    with pytest.raises(ValueError, match=r"`bounds` must lie below and above the poses .* \(0"):
        Head(4, Attention(), bounds=(0.0, 2.0))
