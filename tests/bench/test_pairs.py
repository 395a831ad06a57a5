"""Any two of what a study combines: `plan` accepts what works, and refuses what does not.

Each pair stands on a plain base. What `plan` accepts is built and reads images, or the check before
a run refuses it for its sizes. What `plan` refuses is built all the same, and must fail, or be one
of the few refusals that rest on sense alone. Of the pairs of two long lists every fifth is tried;
`python tests/bench/test_pairs.py` tries all.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import build
from bench.components import ROLES
from bench.errors import BenchError
from bench.study.settings import resolve

Config = dict[str, Any]

PLAIN = {"filters": [3, 4], "kernel_sizes": [5, 3]}
FIXED = [[0.5, 0, None], [0, 0.5, None]]
BACKBONE = {"name": "backbone", "architecture": "test_resnet"}
AXES: dict[str, list[Any]] = {
    "dataset": [
        "mnist",
        "mnist_addition",
        "mnist_sequence",
        "mnist_colocalisation",
        "svhn_layout",
        {"name": "extruded_mnist", "side": 20},
    ],
    "model": [
        {"name": "cnn", **PLAIN},
        {"name": "cnn", **PLAIN, "project": True},
        {"name": "fcn", "units": [5]},
        {"name": "rnn", "units": 6},
        {"name": "svhn_cnn", "width": 0.03},
        BACKBONE,
    ],
    "transform": [
        *sorted(set(ROLES["transform"]) - {"affine", "compose", "constrained_affine", "inverse"}),
        {"name": "compose", "first": "affine", "second": "thin_plate_spline"},
        {"name": "compose", "first": "polar", "second": "rotation"},
        {"name": "constrained_affine", "fixed": FIXED},
        {"name": "inverse", "transform": "similarity"},
        {"name": "flow", "size": [4, 4]},
        {"name": "diffeomorphic_flow", "size": [4, 4]},
        {"name": "thin_plate_spline", "size": [2, 2, 2]},
    ],
    "sampler": [*ROLES["sampler"]],
    "localisation": [{"name": "cnn", "channels": 3}, {**BACKBONE, "units": 4}],
    "placement": [
        "conv2", "relu1", "pool7", "project", "network.layer2", "classifier", "fc1", "gru",
        ["input", "conv2"], "C0", "C1", "C2", "DL2", "SL1", "SL9", ["C1", "conv2"],
    ],
    "keys": [
        {"count": 2},
        {"count": 2, "network": "shared"},
        {"network": "shared"},
        {"count": 2, "network": "recurrent", "join": "features"},
        {"count": 3, "network": "recurrent", "join": "labels"},
        {"iterations": 2},
        {"theta_forward": True},
        {"pool": 2},
        {"output_size": [24, 24]},
        {"output_size": [12, 12, 12]},
        {"padding": "reflection"},
        {"padding": [0.1]},
        {"padding": [0.1, 0.2, 0.3]},
        {"align_corners": True},
    ],
}  # fmt: skip
BASE: Config = {
    "dataset": "mnist",
    "model": {"name": "cnn", **PLAIN},
    "transform": "affine",
    "sampler": "bilinear",
    "localisation": {"name": "fcn", "units": 4},
    "placement": "input",
    "keys": {},
}
PAIRS = tuple(itertools.combinations(AXES, 2))
LONG = 50
# What could be built, and is refused since it says one thing and does another.
SENSE = (
    "network: `shared` needs a `count` of at least 2",
    "join: `features` needs several transformers at the input",
    "join: `labels` needs several transformers at the input",
    "has no labels to learn",
    "stands alone, not in a list",
    "write the placement by layer",
    "theta_forward: needs one transformer at the input",
)
# What the layers of a model can read hangs on sizes and on timm: the check before a run tells.
SIZES = (
    "`pool` or `output_size`",
    "`kernel_sizes[1]` must be",
    "of 16 pixels or more",
    "cannot be multiplied",
    "`padding` must have one value",
    "the model has no such layer",
)


def chosen(axes: tuple[str, str]) -> list[Config]:
    """The base with each pair of values of two axes."""
    one, other = axes
    return [BASE | {one: a, other: b} for a in AXES[one] for b in AXES[other]]


def settled(config: Config) -> tuple[Config, list[str]]:
    """Canonical settings, and what `plan` says against them."""
    parts = {key: config[key] for key in ("transform", "sampler", "localisation", "placement")}
    model = {**config["model"], "transformer": parts | config["keys"]}
    train = {"steps": 1, "batch_size": 1, "lr": 1}
    study = {"dataset": config["dataset"], "model": model, "train": train}
    settings, problems = resolve(study, "classify", Path())
    return settings, [f"{path[-1]}: {text}" for path, text in problems]


def failure(settings: Config) -> str:
    """Why a model is not built or does not read images; empty where it does."""
    data = build.dataset(settings, None, Path())
    wanted = (data.num_classes,) if data.labels == 1 else (data.labels, data.num_classes)
    try:
        net = build.model(settings, data, Path())
        with torch.no_grad():
            scores = net.eval()(torch.rand(2, *data.in_shape))
    except BenchError as error:
        return str(error)
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if scores.shape != (2, *wanted):
        return f"gives {tuple(scores.shape)}"
    return "" if scores.isfinite().all() else "not finite"


def disagreements(configs: list[Config]) -> list[tuple[str, Config, object]]:
    """Where `plan` and the build say different things, without a good reason."""
    wrong: list[tuple[str, Config, object]] = []
    for config in configs:
        settings, problems = settled(config)
        reason = failure(settings)
        if not problems and reason:
            with pytest.raises(BenchError):
                build.check_settings(settings, None, Path())
            if not any(words in reason for words in SIZES):
                wrong.append(("accepted", config, reason))
        sense = any(words in text for words in SENSE for text in problems)
        if problems and not reason and not sense:
            wrong.append(("refused", config, problems))
    return wrong


@pytest.mark.parametrize("axis", AXES)
def test_each_value_alone(axis):
    wrong = disagreements([BASE | {axis: value} for value in AXES[axis]])
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("axes", PAIRS, ids="-".join)
def test_plan_and_the_build_agree(axes):
    configs = chosen(axes)
    wrong = disagreements(configs[:: 5 if len(configs) > LONG else 1])
    assert not wrong, "\n".join(map(str, wrong))


def main() -> None:
    """Try all, and say how many there were of each kind."""
    for axes in PAIRS:
        configs = chosen(axes)
        accepted = sum(not settled(config)[1] for config in configs)
        wrong = disagreements(configs)
        print(f"{'-'.join(axes)}: {len(configs)} pairs, {accepted} planned, {len(wrong)} wrong")
        for each in wrong:
            print("  ", *each)


if __name__ == "__main__":
    main()
