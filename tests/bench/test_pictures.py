"""What is seen of transformers while they train: right, small, and without a trace."""

import io
import math

import numpy as np
import pytest
import torch
from command import QUICKSTART
from PIL import Image
from torch import nn

from bench import build
from bench.datasets.dataset import Resident
from bench.pictures import BUDGET, Watch
from bench.results import Picture
from bench.study import load_study
from bench.tasks.classify import Classify
from bench.tasks.task import Place
from bench.training import train
from stn_core import Glimpses, Iterated, Parallel, SpatialTransformer
from stn_core.transforms import Attention


class Fixed(nn.Module):
    """A localisation network that always says the same."""

    def __init__(self, *theta):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, image):
        return self.theta.expand(len(image), *self.theta.shape)


def looking(*theta, **options):
    return SpatialTransformer(Fixed(*theta), Attention(), **options)


def classifier(front):
    return nn.Sequential(front, nn.Flatten(), nn.LazyLinear(10))


@pytest.fixture(scope="module")
def settings():
    return load_study(QUICKSTART, ["train.steps=20"]).variants[1].settings("classify")


@pytest.fixture(scope="module")
def data(settings):
    place = Place(torch.device("cpu"), None, QUICKSTART.parent)
    dataset = build.dataset(settings, None, place.folder)
    return Resident(dataset, dataset.load(), 0)


def watched(data, front, step=5, last=5, **options):
    watch = Watch(data, last, **options)
    watch(step, classifier(front).eval())
    return watch


def picture(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_outline_is_where_the_transformer_reads(data):
    taken = watched(data, looking(0.5, 0.25, 0.0)).pictures
    height, width = data.dataset.in_shape[1:]
    look = next(p for p in taken if p.kind == "output")
    x, y = np.array(look.outline).reshape(-1, 2).T
    # Half the image, its centre a quarter of the half width to the right; pixels count from -0.5.
    assert x.min() == pytest.approx((0.25 - 0.5 + 1) * width / 2 - 0.5, abs=0.01)
    assert x.max() == pytest.approx((0.25 + 0.5 + 1) * width / 2 - 0.5, abs=0.01)
    assert (y.min(), y.max()) == pytest.approx((height / 4 - 0.5, 3 * height / 4 - 0.5), abs=0.01)
    assert (x[0], y[0]) == (x.min(), y.min())


def test_pictures_are_the_test_images_and_what_comes_out(data):
    taken = watched(data, looking(1.0, 0.0, 0.0)).pictures
    images, targets = next(data.test(10))
    inputs = [p for p in taken if p.kind == "input"]
    assert [p.label for p in inputs] == [str(int(t)) for t in targets[: len(inputs)]]
    for kind in ("input", "output"):
        for i, each in enumerate(p for p in taken if p.kind == kind):
            expected = (255 * images[i, 0]).round().numpy()
            np.testing.assert_allclose(picture(each.png), expected, atol=1)


def test_several_transformers_have_names_of_their_own(data):
    theta, whole = (0.5, 0.0, 0.0), (1.0, 0.0, 0.0)
    fronts = {
        Parallel([looking(*theta), looking(*whole)]): [f"0.transformers.{i}" for i in (0, 1)],
        Iterated(looking(*theta), iterations=2): ["0"],
        Glimpses(looking(theta, theta)): ["0 1", "0 2"],
        nn.Identity(): [],
    }  # fmt: skip
    for front, names in fronts.items():
        watch = watched(data, front)
        outputs = [p for p in watch.pictures if p.kind == "output"]
        assert list(dict.fromkeys(p.transformer for p in outputs)) == names
        assert bool(watch.metrics) == bool(names)


def test_an_iterated_transformer_is_seen_as_a_whole(data):
    watch = watched(data, Iterated(looking(0.5, 0.0, 0.0), iterations=2))
    x = np.array(next(p for p in watch.pictures if p.kind == "output").outline)[::2]
    assert x.max() - x.min() == pytest.approx(data.dataset.in_shape[2] / 4, abs=0.05)


def test_diagnostics_are_those_of_the_map(data):
    watch = watched(data, looking(0.5, 0.0, 0.0))
    found = {m.name: m.value for m in watch.metrics}
    assert found["determinant"] == pytest.approx(0.25)
    assert found["outside_share"] == found["folding_share"] == found["collapsed_share"] == 0
    far = {m.name: m.value for m in watched(data, looking(0.5, 5.0, 0.0)).metrics}
    assert far["outside_share"] == far["collapsed_share"] == 1
    assert {c.name for c in watch.curves} == set(found)


def test_the_worst_errors_are_wrong_and_worst_first(data):
    torch.manual_seed(0)
    watch = Watch(data, 5)
    model = classifier(nn.Identity()).eval()
    watch(5, model)
    errors = [p for p in watch.pictures if p.kind == "error"]
    assert errors and all(p.label != p.predicted for p in errors)
    images, targets = (torch.cat(parts) for parts in zip(*data.test(200), strict=True))
    with torch.no_grad():
        losses = nn.functional.cross_entropy(model(images), targets, reduction="none")[:500]
    worst = images[losses.argmax()]
    np.testing.assert_allclose(picture(errors[0].png), 255 * worst[0].numpy(), atol=1)


def test_training_is_the_same_to_the_bit(data, settings):
    def run(watch):
        torch.manual_seed(3)
        net = build.model(settings, data.dataset, QUICKSTART.parent)
        again = Resident(data.dataset, data.splits, 3)
        return train(net, again, settings["train"], watch), net.state_dict(), torch.rand(3)

    watch = Watch(data, settings["train"]["steps"])
    curves, weights, chance = run(watch)
    curves_alone, weights_alone, chance_alone = run(None)
    assert curves == curves_alone
    assert all(torch.equal(weights[name], weights_alone[name]) for name in weights)
    assert torch.equal(chance, chance_alone)
    assert len({p.step for p in watch.pictures}) > 2


def test_pictures_stay_within_their_budget(data):
    watch = Watch(data, 5, draw=False)
    noise = bytes(9000)
    watch.taken.extend(Picture("output", "t", step, 0, noise, (), "", "") for step in range(30))
    kept = watch.pictures
    assert sum(len(p.png) for p in kept) <= BUDGET
    assert {0, 29} <= {p.step for p in kept}


def test_the_task_gives_pictures_of_the_first_seed_and_diagnostics_of_all(settings):
    place = Place(torch.device("cpu"), None, QUICKSTART.parent)
    first, second = (Classify().accuracy(settings, seed, place) for seed in (0, 1))
    assert first.pictures and not second.pictures
    assert sum(len(p.png) + 8 * len(p.outline) for p in first.pictures) < 150_000
    for measured in (first, second):
        values = {m.name: m.value for m in measured.metrics}
        assert math.isfinite(values["determinant"]) and 0 <= values["outside_share"] <= 1
