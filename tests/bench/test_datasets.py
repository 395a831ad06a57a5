"""Data sets: what they hold, how they are split, and what one reads where they are not there."""

import importlib.util
import os
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.datasets.digits import Digits
from bench.datasets.distortion import Affine
from bench.datasets.images import Images, ResidentImages
from bench.datasets.mnist import MNIST
from bench.errors import BenchError

CPU = torch.device("cpu")
FILES = {
    "t10k-images-idx3-ubyte": (10000, 28, 28), "t10k-labels-idx1-ubyte": (10000,),
    "train-images-idx3-ubyte": (60000, 28, 28), "train-labels-idx1-ubyte": (60000,),
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return Digits(None).load()


def test_digits_are_scikit_learns(digits):
    known = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.cat([digits.train_images, digits.test_images])
    labels = torch.cat([digits.train_labels, digits.test_labels])
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


def test_the_split_is_fixed_and_disjoint(digits):
    again = Digits(None).load()
    assert torch.equal(digits.test_images, again.test_images)
    assert (len(digits.train_images), len(digits.test_images)) == (1297, 500)
    train = {image.numpy().tobytes() for image in digits.train_images}
    test = {image.numpy().tobytes() for image in digits.test_images}
    assert len(train & test) == 0
    assert min(torch.bincount(digits.test_labels, minlength=10)) >= 30


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


def small(count=6):
    images = torch.rand(2 * count, 1, 4, 5, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(2 * count)
    return Images(images[:count], labels[:count], images[count:], labels[count:])


def test_the_test_set_does_not_depend_on_the_seed():
    images, distortion = small(), Affine(rotation=90, translation=1)
    one, other = (ResidentImages(images, distortion, CPU, seed) for seed in (0, 1))
    assert torch.equal(one.test_images, other.test_images)
    assert not torch.equal(one.test_images, images.test_images)
    before = one.test_images.clone()
    one.batch(50)
    assert torch.equal(one.test_images, before)
    assert torch.equal(one.test_labels, images.test_labels)


def test_batches_are_drawn_from_the_training_set_by_the_seed():
    images = small()
    one, same, other = (ResidentImages(images, None, CPU, seed) for seed in (0, 0, 1))
    drawn = [one.batch(40) for _ in range(2)]
    for pixels, labels in drawn:
        assert torch.equal(pixels, images.train_images[labels])
    assert set(drawn[0][1].tolist()) == set(range(6))
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert torch.equal(same.batch(40)[1], drawn[0][1])
    assert not torch.equal(other.batch(40)[1], drawn[0][1])


def test_each_image_is_distorted_afresh():
    images = Images(torch.ones(1, 1, 5, 5), torch.zeros(1), torch.ones(1, 1, 5, 5), torch.zeros(1))
    data = ResidentImages(images, Affine(translation=3), CPU, 0)
    pixels, _ = data.batch(8)
    assert len({image.numpy().tobytes() for image in pixels}) == 8


def test_global_generators_are_not_touched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ResidentImages(small(), Affine(rotation=5), CPU, 3).batch(4)
    assert torch.equal(torch.get_rng_state(), before)


def mnist_folder():
    for place in (os.environ.get("STN_BENCH_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if place and all((Path(place) / "MNIST" / "raw" / name).is_file() for name in FILES):
            return Path(place)
    pytest.skip("needs MNIST: name the folder of its files in STN_BENCH_DATA")


def test_mnist_is_read_from_a_folder():
    images = MNIST(mnist_folder()).load()
    assert images.train_images.shape == (60000, 1, 28, 28)
    assert images.test_images.shape == (10000, 1, 28, 28)
    assert images.train_images.dtype == torch.float32
    assert (images.test_images.min(), images.test_images.max()) == (0, 1)
    assert images.train_labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert images.test_labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


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
    assert str(caught.value) == (
        f"data set `mnist`: not in {tmp_path}/MNIST/raw and not to be downloaded (RuntimeError); "
        "put its four IDX files there, or name another folder with --data-dir"
    )


def test_mnist_is_looked_for_in_the_cache_of_the_user(tmp_path, monkeypatch):
    no_network(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BenchError, match=f"not in {tmp_path}/.cache/stn-bench/MNIST/raw and not"):
        MNIST(None).load()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_mnist_is_named(name, tmp_path, monkeypatch):
    no_network(monkeypatch)
    raw = write(tmp_path, {key: (3, *shape[1:]) for key, shape in FILES.items()})
    assert MNIST(tmp_path).load().test_images.shape == (3, 1, 28, 28)
    file = raw / name
    for content in (file.read_bytes()[:-1], b"", b"<html>"):
        file.write_bytes(content)
        with pytest.raises(BenchError) as caught:
            MNIST(tmp_path).load()
        assert str(caught.value) == (
            f"data set `mnist`: the files in {raw} are damaged; put its four IDX files there anew"
        )
