"""Our optimizer against the classes of torch.optim: the same parameters to the bit."""

import subprocess
import sys

import pytest
import torch
from command import ROOT

from bench.optimizer import optimizer

BASE = {"lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}


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
    step, reference = optimizer(ours.parameters(), settings), kind(theirs.parameters(), settings)
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
    step = optimizer([used, unused], {**BASE, "optimizer": "adamw", "weight_decay": 0.5})
    used.sum().backward()
    step.step(0.1)
    assert torch.equal(unused, torch.ones(2))
    assert not torch.equal(used, torch.ones(2))


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
