"""Our optimizer against the classes of torch.optim: the same parameters to the bit."""

import subprocess
import sys

import pytest
import torch
from command import ROOT

import stn_core
from bench.optimizer import optimizer

BASE = {
    "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": None, "localisation_lr": 1.0,
}  # fmt: skip


def sgd(parameters, s):
    return torch.optim.SGD(parameters, s["lr"], s["momentum"], weight_decay=s["weight_decay"])


def adamw(parameters, s):
    return torch.optim.AdamW(parameters, s["lr"], weight_decay=s["weight_decay"])


@pytest.mark.parametrize("kind", [sgd, adamw])
@pytest.mark.parametrize("change", [{}, {"momentum": 0.9}, {"weight_decay": 0.1}], ids=str)
def test_ten_steps_equal_those_of_torch(kind, change):
    settings = {**BASE, **change, "optimizer": kind.__name__}
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    theirs.load_state_dict(ours.state_dict())
    step, reference = optimizer(ours, settings), kind(theirs.parameters(), settings)
    for i in range(10):
        image, lr = torch.randn(4, 5), 0.05 / (1 + i)
        step.zero_grad()
        ours(image).square().sum().backward()
        step.step(lr)
        reference.param_groups[0]["lr"] = lr
        reference.zero_grad()
        theirs(image).square().sum().backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_gradient_stays():
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    model = torch.nn.ParameterList([used, unused])
    step = optimizer(model, {**BASE, "optimizer": "adamw", "weight_decay": 0.5})
    used.sum().backward()
    step.step(0.1)
    assert torch.equal(unused, torch.ones(2))
    assert not torch.equal(used, torch.ones(2))


def test_localisation_networks_learn_at_their_own_rate():
    def moved(factor):
        torch.manual_seed(0)
        localisation = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        model = torch.nn.Sequential(
            stn_core.SpatialTransformer(localisation, stn_core.transforms.Translation()),
            torch.nn.Flatten(),
            torch.nn.Linear(9, 2),
        )
        before = [p.detach().clone() for p in model.parameters()]
        step = optimizer(model, {**BASE, "optimizer": "sgd", "localisation_lr": factor})
        model(torch.rand(4, 1, 3, 3)).square().sum().backward()
        step.step(0.1)
        return [(p - b).detach() for p, b in zip(model.parameters(), before, strict=True)]

    whole, tenth, none = moved(1.0), moved(0.1), moved(0.0)
    for i in (0, 1):
        assert whole[i].abs().max() > 1e-4
        assert (tenth[i] - whole[i] / 10).abs().max() < 1e-6
        assert not none[i].any()
    for i in (2, 3):
        assert torch.equal(whole[i], tenth[i])


def test_a_long_gradient_is_clipped():
    weight = torch.nn.Parameter(torch.zeros(2))
    step = optimizer(
        torch.nn.ParameterList([weight]), {**BASE, "optimizer": "sgd", "clip_norm": 0.5}
    )
    (weight * torch.tensor([3.0, 4.0])).sum().backward()
    step.step(1.0)
    assert (weight - torch.tensor([-0.3, -0.4])).abs().max() < 1e-5


def test_an_attempt_does_not_import_the_compiler():
    """Which takes as long as a short trial; the reason for bench.optimizer."""
    code = (
        "import sys, torch; from pathlib import Path; from bench.study import load_study;"
        "from bench.tasks.classify import Classify; from bench.tasks.task import Place;"
        "study = load_study('studies/quickstart.yaml', ['train.steps=1']);"
        "place = Place(torch.device('cpu'), None, Path());"
        "Classify().accuracy(study.variants[1].settings('classify'), 0, place);"
        "assert 'torch._dynamo' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
