"""The training loop, the optimizer's steps, and the timing protocol."""

import gc
import math

import pytest
import torch
from torch import nn

from bench import measurement, training
from bench.datasets.dataset import Resident, Split, Splits
from bench.measurement import measure

CPU = torch.device("cpu")
SETTINGS = {
    "steps": 40, "batch_size": 8, "optimizer": "adamw", "lr": 0.05, "momentum": 0.0,
    "weight_decay": 0.0, "schedule": "constant",
}  # fmt: skip


class Corners:
    """Which of two corners of an image is the brighter one."""

    version, in_shape, num_classes, labels = 1, (1, 3, 3), 2, 1

    def load(self):
        images = torch.rand(80, 1, 3, 3, generator=torch.Generator().manual_seed(7))
        labels = (images[:, 0, 0, 0] > images[:, 0, 2, 2]).long()
        return Splits(*map(Split, images.split([40, 20, 20]), labels.split([40, 20, 20])))

    def examples(self, split, index, train, generator):
        return split.images[index], split.targets[index]


def data(seed=0):
    return Resident(Corners(), Corners().load(), seed)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(9, 2))


def weight_of(net: nn.Sequential) -> torch.Tensor:
    layer = net[-1]
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach()


def trained(seed=0, **changes):
    net = model()
    torch.manual_seed(1)
    curves = training.train(net, data(seed), SETTINGS | changes)
    return weight_of(net).clone(), curves


@pytest.mark.parametrize("change", [{}, {"optimizer": "sgd", "momentum": 0.9}])
def test_training_is_the_same_to_the_bit(change):
    one, other = trained(**change), trained(**change)
    assert torch.equal(one[0], other[0])
    assert one[1] == other[1]
    assert not torch.equal(one[0], trained(seed=1, **change)[0])


def test_training_learns():
    _, curves = trained(steps=300)
    losses = [c.value for c in curves if c.name == "train_loss"]
    assert losses[-1] < 0.75 * losses[0]
    assert curves[-1].value <= 20


@pytest.mark.parametrize(
    ("steps", "loss_steps", "error_steps"),
    [
        (1, [1], [1]), (3, [1, 2, 3], [1, 2, 3]), (20, list(range(1, 21)), [4, 8, 12, 16, 20]),
        (45, [*range(3, 46, 3)], [9, 18, 27, 36, 45]), (47, [*range(3, 46, 3), 47],
                                                         [10, 20, 30, 40, 47]),
    ],
)  # fmt: skip
def test_the_curves_have_their_points(steps, loss_steps, error_steps):
    _, curves = trained(steps=steps)
    assert [c.step for c in curves if c.name == "train_loss"] == loss_steps
    assert [c.step for c in curves if c.name == "test_error"] == error_steps
    assert curves[-1].name == "test_error"


def test_the_loss_of_a_point_is_the_mean_since_the_one_before():
    net, twin = model(), model()
    torch.manual_seed(1)
    curves = training.train(net, data(), SETTINGS | {"steps": 40})
    torch.manual_seed(1)
    step, same, losses = training.training_step(twin.train(), SETTINGS), data(), []
    for _ in range(2):
        losses.append(step(*same.batch(8), 0.05).item())
    assert curves[0].step == 2
    assert curves[0].value == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_the_learning_rate_follows_its_schedule():
    def course(schedule):
        settings = {"lr": 0.2, "steps": 4, "schedule": schedule}
        return [training.learning_rate(settings, step) for step in range(4)]

    assert course("constant") == [0.2] * 4
    assert course("cosine") == pytest.approx(
        [0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5))]
    )


def test_the_schedule_reaches_the_optimizer():
    assert not torch.equal(trained(schedule="cosine")[0], trained()[0])
    first = (trained(steps=1)[0], trained(steps=1, schedule="cosine")[0])
    assert torch.equal(*first), "it begins at the whole rate"


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_loss_that_is_not_finite_ends_the_training(optimizer):
    with pytest.raises(
        training.Diverged, match=r"^the loss was (nan|inf) between steps \d+ and \d"
    ):
        trained(optimizer=optimizer, lr=3e37, steps=60)


def test_a_last_step_into_nothing_is_no_result():
    """The loss of the last step is that before it, so the scores must tell."""
    net = model()
    weight_of(net).fill_(math.inf)
    with pytest.raises(training.Diverged, match="^the scores of the test set are not finite$"):
        training.test_error(net, data())


def test_sgd_with_momentum_by_hand():
    """v ← m·v + g + d·w, w ← w - lr·v (torch's form)."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False))
    weight, velocity = weight_of(net).double().clone(), 0.0
    settings = SETTINGS | {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1}
    step, same = training.training_step(net, settings), data()
    for _ in range(3):
        images, labels = same.batch(8)
        flat = images.flatten(1).double()
        share = (flat @ weight.T).softmax(1) - nn.functional.one_hot(labels, 2)
        velocity = 0.9 * velocity + share.T @ flat / 8 + 0.1 * weight
        weight = weight - 0.3 * velocity
        step(images, labels, 0.3)
    assert (weight_of(net) - weight).abs().max() < 1e-5


def test_adamw_by_hand():
    """Loshchilov and Hutter, 2019, algorithm 2, with decay times the learning rate, as in torch."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False))
    weight, first, second = weight_of(net).double().clone(), 0.0, 0.0
    step, same = training.training_step(net, SETTINGS | {"weight_decay": 0.2}), data()
    for t in (1, 2, 3, 4):
        images, labels = same.batch(8)
        flat = images.flatten(1).double()
        share = (flat @ weight.T).softmax(1) - nn.functional.one_hot(labels, 2)
        gradient = share.T @ flat / 8
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = (second / (1 - 0.999**t)).sqrt() + 1e-8
        weight = weight - 0.3 * 0.2 * weight - 0.3 * first / (1 - 0.9**t) / root
        step(images, labels, 0.3)
    assert (weight_of(net) - weight).abs().max() < 1e-4


def test_a_step_at_rate_zero_leaves_the_model_as_it_is():
    net = model()
    before = [p.detach().clone() for p in net.parameters()]
    step = training.training_step(net, SETTINGS | {"weight_decay": 0.5})
    step(*data().batch(8), 0.0)
    assert all(torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))


def test_the_test_error_is_the_share_of_the_misclassified(monkeypatch):
    class Constant(nn.Module):
        def forward(self, image):
            assert not self.training and not torch.is_grad_enabled()
            return torch.tensor([[0.0, 1.0]]).expand(len(image), 2)

    same = data()
    wanted = 100 * (same.splits.test.targets == 0).sum().item() / 20
    assert 0 < wanted < 100
    for batch in (1000, 7, 1):
        monkeypatch.setattr(training, "EVALUATION_BATCH", batch)
        assert training.test_error(Constant(), same) == wanted


@pytest.fixture
def quick(monkeypatch):
    for name, value in {"BLOCK_SECONDS": 1e-4, "WARMUP_SECONDS": (0.002, 0.02),
                        "MEASURE_SECONDS": 0.002}.items():  # fmt: skip
        monkeypatch.setattr(measurement, name, value)


def test_all_blocks_are_kept_and_the_warm_up_is_flagged(quick):
    calls = []
    samples = measure("forward", lambda: calls.append(gc.isenabled()), CPU)
    assert {s.mode for s in samples} == {"forward"}
    assert [s.sample for s in samples] == list(range(len(samples)))
    flags = [s.warmup for s in samples]
    assert flags == sorted(flags, reverse=True), "the warm-up comes first"
    assert flags[0] and flags.count(False) >= measurement.BLOCKS
    assert samples[0].iterations == 1
    assert len({s.iterations for s in samples[1:]}) == 1
    assert sum(s.iterations for s in samples) + 1 == len(calls), "one more to find their number"
    assert all(s.seconds > 0 for s in samples)
    assert not any(calls), "no garbage is collected meanwhile"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_it_was(enabled, quick):
    def fail():
        raise ZeroDivisionError

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        measure("forward", lambda: None, CPU)
        assert gc.isenabled() is enabled
        with pytest.raises(ZeroDivisionError):
            measure("forward", fail, CPU)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_warm_is_when_two_windows_agree():
    stable = measurement._stable
    assert not stable([1.0] * 9)
    assert stable([1.0] * 10)
    assert stable([9.0] * 20 + [1.0] * 5 + [1.01] * 5)
    assert not stable([1.0] * 5 + [1.03] * 5)
    assert not stable([1.03] * 5 + [1.0] * 5)
    assert stable([1.0] * 5 + [1.0, 50.0, 1.0, 50.0, 1.0]), "medians: outliers do not count"
