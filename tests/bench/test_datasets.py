"""Data sets: what they hold, how they are split, and what one reads where they are not there."""

import importlib.util
import os
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.datasets.dataset import FIXED_BATCH, Resident, Split, Splits
from bench.datasets.digits import Digits
from bench.datasets.distortion import Affine
from bench.datasets.mnist import MNIST
from bench.errors import BenchError

FILES = {
    "t10k-images-idx3-ubyte": (10000, 28, 28), "t10k-labels-idx1-ubyte": (10000,),
    "train-images-idx3-ubyte": (60000, 28, 28), "train-labels-idx1-ubyte": (60000,),
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return Digits(None).load()


def parts(splits):
    return splits.train, splits.validation, splits.test


def test_digits_are_scikit_learns(digits):
    known = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.cat([part.images for part in parts(digits)])
    labels = torch.cat([part.targets for part in parts(digits)])
    assert images.shape == (1797, 1, 28, 28)
    # Each digit with its label: enlarged by 2.5 about its centre, so cells of 5 hold whole means.
    inner = images[:, 0, 4:-4, 4:-4]
    assert images.sum() == pytest.approx(inner.sum().item())
    assert (images.min(), images.max()) == (0, 1)
    enlarge = torch.nn.functional.interpolate
    wanted = enlarge(torch.tensor(known.images / 16)[:, None].float(), size=20, mode="bilinear")
    order = torch.from_numpy(np.random.default_rng(0).permutation(1797))
    assert torch.equal(inner, wanted[order, 0])
    assert labels.tolist() == known.target[order].tolist()


def test_the_splits_are_fixed_and_disjoint(digits):
    again = Digits(None).load()
    for one, other in zip(parts(digits), parts(again), strict=True):
        assert torch.equal(one.images, other.images)
        assert min(torch.bincount(one.targets, minlength=10)) >= 10
    assert [len(part) for part in parts(digits)] == [1097, 200, 500]
    train, validation, test = (
        {image.numpy().tobytes() for image in part.images} for part in parts(digits)
    )
    assert not (train & test or train & validation or validation & test)


def test_digits_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError) as caught:
        Digits(None).load()
    assert str(caught.value) == ("data set `digits`: scikit-learn and its digits are not installed")


@pytest.mark.parametrize("kind", [Digits, MNIST])
def test_the_shape_is_that_of_the_distorted_images(kind):
    assert kind(None).in_shape == (1, 28, 28)
    assert kind(None, distortion=Affine(canvas=42)).in_shape == (1, 42, 42)
    assert kind(None).num_classes == 10


class Numbered:
    """Images that bear their number as target, blurred by chance."""

    version, in_shape, num_classes, labels = 1, (1, 4, 5), 9000, 1

    def __init__(self, distortion=None, count=6):
        self.distortion, self.count = distortion, count

    def load(self):
        images = torch.rand(3 * self.count, 1, 4, 5, generator=torch.Generator().manual_seed(5))
        numbers = torch.arange(3 * self.count)
        return Splits(*map(Split, images.split(self.count), numbers.split(self.count)))

    def examples(self, split, index, train, generator):
        images = split.images[index]
        if self.distortion:
            images = self.distortion(images, train.images, generator)
        return images, split.targets[index]


def resident(seed, distortion=None, count=6):
    dataset = Numbered(distortion, count)
    return Resident(dataset, dataset.load(), seed)


def whole(batches):
    return [torch.cat(part) for part in zip(*batches, strict=True)]


def test_fixed_sets_do_not_depend_on_the_seed():
    one, other = (resident(seed, Affine(rotation=90, translation=1)) for seed in (0, 1))
    for name, first in (("validation", 6), ("test", 12)):
        images, targets = whole(getattr(one, name)(100))
        assert targets.tolist() == list(range(first, first + 6))
        assert torch.equal(images, whole(getattr(other, name)(100))[0])
        assert not torch.equal(images, getattr(one.splits, name).images)
        one.batch(50)
        assert torch.equal(whole(getattr(one, name)(100))[0], images)
    assert not torch.equal(whole(one.validation(100))[0], whole(one.test(100))[0])


@pytest.mark.parametrize("size", [1, 7, FIXED_BATCH, 1000])
def test_fixed_sets_do_not_depend_on_the_size_of_their_batches(size):
    data = resident(0, Affine(translation=1), count=2 * FIXED_BATCH + 3)
    batches = list(data.test(size))
    assert {len(images) for images, _ in batches[:1]} == {min(size, FIXED_BATCH)}
    images, targets = whole(batches)
    wanted = whole(data.test(100))
    assert torch.equal(images, wanted[0])
    assert targets.tolist() == wanted[1].tolist() == data.splits.test.targets.tolist()


def test_batches_are_drawn_from_the_training_set_by_the_seed():
    one, same, other = (resident(seed) for seed in (0, 0, 1))
    drawn = [one.batch(40) for _ in range(2)]
    for pixels, labels in drawn:
        assert torch.equal(pixels, one.splits.train.images[labels])
    assert set(drawn[0][1].tolist()) == set(range(6))
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert torch.equal(same.batch(40)[1], drawn[0][1])
    assert not torch.equal(other.batch(40)[1], drawn[0][1])


def test_batches_go_on_from_a_state():
    one, other = (resident(seed, Affine(rotation=30)) for seed in (0, 1))
    one.batch(5)
    state = one.state()
    wanted = [one.batch(5) for _ in range(3)]
    list(one.test(5))
    other.restore(state)
    for images, targets in wanted:
        got = other.batch(5)
        assert torch.equal(got[0], images) and torch.equal(got[1], targets)


def test_each_image_is_distorted_afresh():
    pixels, _ = resident(0, Affine(translation=3), count=1).batch(8)
    assert len({image.numpy().tobytes() for image in pixels}) == 8


def test_global_generators_are_not_touched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    data = resident(3, Affine(rotation=5))
    data.batch(4)
    list(data.test(4))
    assert torch.equal(torch.get_rng_state(), before)


def mnist_folder():
    for place in (os.environ.get("STN_BENCH_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if place and all((Path(place) / "MNIST" / "raw" / name).is_file() for name in FILES):
            return Path(place)
    pytest.skip("needs MNIST: name the folder of its files in STN_BENCH_DATA")


def test_mnist_is_read_from_a_folder():
    mnist = MNIST(mnist_folder())
    splits = mnist.load()
    assert [len(part) for part in parts(splits)] == [55000, 5000, 10000]
    assert splits.train.images.shape == (55000, 1, 28, 28)
    assert splits.test.images.dtype == torch.uint8, "a quarter of the memory to read from"
    assert splits.train.targets[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert splits.test.targets[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    images, targets = next(Resident(mnist, splits, 0).test(8))
    assert (images.dtype, images.min(), images.max()) == (torch.float32, 0, 1)
    assert torch.equal(images, splits.test.images[:8] / 255)
    assert targets.dtype == torch.int64


def idx(shape):
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes() + bytes(np.prod(shape))


def write(folder, shapes):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, shape in shapes.items():
        (raw / name).write_bytes(idx(shape))
    return raw


def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def test_mnist_where_there_are_neither_files_nor_network(tmp_path, monkeypatch):
    no_network(monkeypatch)
    with pytest.raises(BenchError) as caught:
        MNIST(tmp_path).load()
    file = f"{tmp_path}/MNIST/raw/train-images-idx3-ubyte.gz"
    assert str(caught.value) == (
        f"data set `mnist`: {file} is not there and cannot be downloaded (no network); put "
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz there, "
        "or name another folder with --data-dir"
    )
    assert not list((tmp_path / "MNIST" / "raw").iterdir())


def test_mnist_is_looked_for_in_the_cache_of_the_user(tmp_path, monkeypatch):
    no_network(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BenchError, match=f"mnist`: {tmp_path}/.cache/stn-bench/MNIST/raw/train"):
        MNIST(None).load()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_mnist_is_named(name, tmp_path, monkeypatch):
    no_network(monkeypatch)
    raw = write(tmp_path, {key: (3, *shape[1:]) for key, shape in FILES.items()})
    assert MNIST(tmp_path).load().test.images.shape == (3, 1, 28, 28)
    file = raw / name
    for content in (file.read_bytes()[:-1], b"", b"<html>"):
        file.write_bytes(content)
        with pytest.raises(BenchError) as caught:
            MNIST(tmp_path).load()
        assert str(caught.value) == (
            f"data set `mnist`: the files in {raw} are damaged; put its four IDX files there anew"
        )
