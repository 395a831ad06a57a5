"""The training loop, the optimizer's steps, and the timing protocol."""

import math

import pytest
import torch
from torch import nn

import stn_core
from bench import measurement, training
from bench.datasets.dataset import Resident, Split, Splits
from bench.errors import BenchError
from bench.execution import check_execution
from bench.results import ResultStore
from bench.resume import Halfway
from bench.study.schema import Train

CPU = torch.device("cpu")
SETTINGS = Train(steps=40, batch_size=8, lr=0.05).model_dump()


class Corners:
    """Two classes of 3×3 noise: which of two corners is lighter; two labels where asked."""

    version = 1
    in_shape = (1, 3, 3)
    num_classes = 2

    def __init__(self, labels=1):
        self.labels = labels

    def load(self):
        images = torch.rand(80, 1, 3, 3, generator=torch.Generator().manual_seed(7))
        first = (images[:, 0, 0, 0] > images[:, 0, 2, 2]).long()
        second = (images[:, 0, 0, 2] > images[:, 0, 2, 0]).long()
        targets = first if self.labels == 1 else torch.stack([first, second], 1)
        return Splits(*(Split(images[i], targets[i]) for i in
                        (slice(40), slice(40, 60), slice(60, 80))))  # fmt: skip

    def examples(self, split, index, train, generator):
        return split.images[index], split.targets[index]


def data(seed=0, labels=1):
    corners = Corners(labels)
    return Resident(corners, corners.load(), seed)


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
    for name in ("validation_error", "test_error"):
        assert [c.step for c in curves if c.name == name] == error_steps
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


def rates(**settings):
    settings = Train(batch_size=1, lr=0.2, **settings).model_dump()
    return [training.learning_rate(settings, step) for step in range(settings["steps"])]


def test_the_learning_rate_follows_its_schedule():
    cosine = [0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5))]
    assert rates(steps=4) == [0.2] * 4
    assert rates(steps=4, schedule="cosine") == pytest.approx(cosine)
    assert rates(steps=5, schedule="step", step_every=2, step_factor=0.5) == pytest.approx(
        [0.2, 0.2, 0.1, 0.1, 0.05]
    )
    assert rates(steps=4, warmup_steps=2) == pytest.approx([0.1, 0.2, 0.2, 0.2])
    assert rates(steps=6, warmup_steps=2, schedule="cosine") == pytest.approx([0.1, 0.2, *cosine])


def test_the_schedule_reaches_the_optimizer():
    assert not torch.equal(trained(schedule="cosine")[0], trained()[0])
    first = (trained(steps=1)[0], trained(steps=1, schedule="cosine")[0])
    assert torch.equal(*first), "it begins at the whole rate"


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_loss_that_is_not_finite_ends_the_training(optimizer):
    with pytest.raises(training.Diverged, match=r"^the loss was (nan|inf) at step \d+$"):
        trained(optimizer=optimizer, lr=3e37, steps=60)


def test_divergence_names_its_step_and_is_seen_soon(monkeypatch):
    steps = []

    def loss(scores, targets):
        steps.append(len(steps) + 1)
        return scores.sum() * (math.nan if len(steps) == 7 else 0)

    broken = training.CLASSIFICATION._replace(loss=loss)
    monkeypatch.setattr(training, "CHECK_EVERY", 10)
    with pytest.raises(training.Diverged, match="^the loss was nan at step 7$"):
        training.train(model(), data(), SETTINGS | {"steps": 4000}, objective=broken)
    assert len(steps) == 10, "long before the first point of the curve, step 200"


def test_a_last_step_into_nothing_is_no_result():
    """The loss of the last step is that before it, so the scores must tell."""
    net = model()
    weight_of(net).fill_(math.inf)
    with pytest.raises(
        training.Diverged, match="^the scores of the images to evaluate are not finite$"
    ):
        training.evaluate(net.eval(), data().test(7))


def constant_from(step, answer_before=None):
    """An objective under which the model gives one answer to all from an evaluation on."""
    seen = []

    def answers(scores):
        seen.append(len(seen))
        return scores.argmax(1) if len(seen) <= step else torch.zeros(len(scores), dtype=torch.long)

    return training.CLASSIFICATION._replace(answers=answers)


@pytest.mark.parametrize(
    ("steps", "good", "message"),
    [
        # 5 evaluations of validation and test; the model errs little at the first, at step 200.
        (1000, 2, "collapsed: from step 400 on every validation image gets one answer"),
        (500, 0, "collapsed: from step 100 on every validation image gets one answer"),
        (40, 0, None),  # too young to say
    ],
)
def test_a_model_that_gives_one_answer_has_collapsed(steps, good, message):
    settings = SETTINGS | {"steps": steps, "batch_size": 20, "lr": 0.02}
    arguments = (model(), data(), settings)
    if message is None:
        assert training.train(*arguments, objective=constant_from(good))
        return
    with pytest.raises(training.Diverged, match=f"^{message}$"):
        training.train(*arguments, objective=constant_from(good))


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


def test_the_test_error_is_the_share_of_the_misclassified():
    class Constant(nn.Module):
        def forward(self, image):
            assert not self.training and not torch.is_grad_enabled()
            return torch.tensor([[0.0, 1.0]]).expand(len(image), 2)

    same = data()
    wanted = 100 * (same.splits.test.targets == 0).sum().item() / 20
    assert 0 < wanted < 100
    for batch in (1000, 7, 1):
        assert training.evaluate(Constant().eval(), same.test(batch)) == (wanted, True)


def test_an_image_is_wrong_when_any_of_its_labels_is():
    both = data(labels=2)
    targets = both.splits.test.targets
    scores = nn.functional.one_hot(targets, 2).float()
    scores[:, 1] = torch.tensor([1.0, 0.0])
    found = training.evaluate(lambda _: scores, [(both.splits.test.images, targets)])
    assert found.error == pytest.approx(100 * (targets[:, 1] == 1).float().mean().item())


def test_the_loss_of_several_labels_is_the_sum_of_theirs():
    scores, targets = torch.randn(5, 3, 4), torch.randint(4, (5, 3))
    each = [nn.functional.cross_entropy(scores[:, i], targets[:, i]) for i in range(3)]
    assert float(training.cross_entropy(scores, targets)) == pytest.approx(float(sum(each)))


@pytest.mark.parametrize(
    "change", [{}, {"precision": "bfloat16"}, {"memory_format": "channels_last"}], ids=str
)
def test_a_small_convolution_learns_whatever_the_precision(change):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    curves = training.train(net, data(), SETTINGS | {"steps": 200, "lr": 0.02} | change)
    assert curves[-1].value <= 20
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    wide = nn.Sequential(nn.Conv2d(3, 8, 2), nn.Flatten(), nn.Linear(32, 2))
    step = training.training_step(wide, SETTINGS | change)
    step(torch.rand(4, 3, 3, 3), torch.zeros(4, dtype=torch.long), 0.1)
    last = wide.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert last == ("memory_format" in change)


def test_bfloat16_reaches_the_layers_and_not_theta():
    seen = {}

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            transform = stn_core.transforms.Affine()
            body = stn_core.localisation.FCN((1, 3, 3))
            network = stn_core.LocalisationNetwork(body, transform)
            self.transformer = stn_core.SpatialTransformer(network, transform)
            self.last = nn.Linear(9, 2)

        def forward(self, image):
            warped = self.transformer.warp(image)
            scores = self.last(warped.output.flatten(1))
            seen["theta"], seen["scores"] = warped.theta.dtype, scores.dtype
            return scores

    net = Watch()
    training.training_step(net, SETTINGS | {"precision": "bfloat16"})(*data().batch(4), 0.1)
    assert seen == {"theta": torch.float32, "scores": torch.bfloat16}


def test_float16_scales_its_loss_and_leaves_out_a_step_that_overflows():
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    step = training.training_step(net, SETTINGS | {"precision": "float16"})
    before = step.scaler.get_scale()
    images, targets = data().batch(8)
    old = weight_of(net).clone()
    step(images * 1e4, targets, 0.1)
    assert torch.equal(weight_of(net), old)
    assert step.scaler.get_scale() == before / 2
    for _ in range(20):
        step(images, targets, 0.1)
    assert not torch.equal(weight_of(net), old)


def test_a_cuda_graph_needs_a_gpu():
    with pytest.raises(BenchError, match="^train.execution: `cuda_graph` needs a GPU"):
        check_execution(SETTINGS | {"execution": "cuda_graph"}, CPU)


def test_a_compiled_model_is_trained_compiled_and_evaluated_as_it_is(monkeypatch):
    runs = []
    monkeypatch.setattr(
        torch, "compile", lambda net: lambda images: runs.append(net.training) or net(images)
    )
    training.train(model(), data(), SETTINGS | {"steps": 10, "execution": "compile"})
    assert runs == [True] * 10


class Killed(Exception):
    """What ends a training in its midst."""


@pytest.mark.parametrize(
    "change",
    [{}, {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine"}, {"precision": "float16"}],
    ids=str,
)
def test_a_training_cut_short_goes_on_to_the_bit(change, tmp_path):
    settings = SETTINGS | {"steps": 47} | change
    store = ResultStore(tmp_path)

    def run(kill_at=None, halfway=None):
        net, same, drawn = model(), data(), []
        torch.manual_seed(1)
        if kill_at is not None:
            batch = same.batch

            def until(size):
                drawn.append(size)
                if len(drawn) > kill_at:
                    raise Killed
                return batch(size)

            same.batch = until
        return training.train(net, same, settings, halfway=halfway), weight_of(net)

    whole, weight = run()
    with pytest.raises(Killed):
        run(kill_at=31, halfway=Halfway(store, "t", "code", 0.0))
    torch.manual_seed(99)
    other = Halfway(store, "t", "other code", 1e9).found()
    assert other is None
    found = Halfway(store, "t", "code", 1e9).found()
    assert found is not None and found[1]["done"] == 31
    curves, same = run(halfway=Halfway(store, "t", "code", 1e9))
    assert curves == whole
    assert torch.equal(same, weight)


def test_warm_is_when_two_windows_agree():
    stable = measurement._stable
    assert not stable([1.0] * 9)
    assert stable([1.0] * 10)
    assert stable([9.0] * 20 + [1.0] * 5 + [1.01] * 5)
    assert not stable([1.0] * 5 + [1.03] * 5)
    assert not stable([1.03] * 5 + [1.0] * 5)
    assert stable([1.0] * 5 + [1.0, 50.0, 1.0, 50.0, 1.0]), "medians: outliers do not count"
