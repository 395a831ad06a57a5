"""Sets made of MNIST digits, on few and simple digits: what lies where, and its target."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bench.datasets.colocalisation import MNISTColocalisation
from bench.datasets.dataset import Resident, Split, Splits
from bench.datasets.extruded import ExtrudedMNIST
from bench.datasets.several_digits import MNISTAddition, MNISTSequence

MODULES = ("several_digits", "extruded", "colocalisation")


@pytest.fixture(autouse=True)
def digits(monkeypatch):
    """Digit d is a blurred block of brightness 100 + 10 d, in an otherwise dark frame."""
    counts = [60, 40, 50]
    targets = torch.arange(150) % 10
    images = torch.zeros(150, 1, 28, 28)
    images[:, :, 6:22, 8:20] = (100 + 10 * targets)[:, None, None, None].float()
    images = images.byte()
    splits = Splits(*map(Split, images.split(counts), targets.split(counts)))
    for module in MODULES:
        monkeypatch.setattr(f"bench.datasets.{module}.read_mnist", lambda folder: splits)
    return splits


def ink(targets):
    """Brightness of digits of these classes."""
    return (100 + 10 * targets.float()) / 255


def made(dataset, size=40, seed=0):
    return Resident(dataset, dataset.load(), seed).batch(size)


def test_addition_adds_what_its_channels_show():
    dataset = MNISTAddition(None)
    images, targets = made(dataset)
    assert images.shape == (40, *dataset.in_shape) == (40, 2, 42, 42)
    # Bilinear reading keeps the block's brightness within it.
    shown = (images.amax((2, 3)) * 255 - 100) / 10
    assert (shown - shown.round()).abs().max() < 1e-3
    assert targets.tolist() == shown.round().sum(1).long().tolist()
    assert targets.max() < dataset.num_classes == 19
    apart = (images[:, 0].sum((1, 2)) / images[:, 1].sum((1, 2))).std()
    assert apart > 0.1, "the digits are scaled each on its own"


def test_every_digit_of_the_test_set_begins_one_example(digits):
    for dataset in (MNISTAddition(None), MNISTSequence(None)):
        targets = torch.cat([t for _, t in Resident(dataset, dataset.load(), 0).test(7)])
        assert len(targets) == 50
        if dataset.labels == 3:
            assert targets[:, 0].tolist() == digits.test.targets.tolist()


def test_a_sequence_is_read_from_left_to_right():
    dataset = MNISTSequence(None, patches=0)
    images, targets = made(dataset, 300)
    assert images.shape == (300, 1, 100, 100) and targets.shape == (300, 3)
    tops = []
    for image, target in zip(images[:, 0], targets, strict=True):
        columns = image.amax(0)
        (starts,) = np.nonzero(np.diff(columns.numpy(), prepend=0) > 0.3)
        assert np.diff(starts).tolist() == [28, 28]
        assert columns[starts + 5].tolist() == pytest.approx(ink(target).tolist(), abs=1e-6)
        tops.append([int(image[:, s].argmax()) - 6 for s in starts])
    tops = np.array(tops)
    assert tops.min() == 0 and tops.max() == 72, "anywhere on the canvas"
    rises = np.diff(tops, axis=1)
    assert abs(rises).max() == 28, "at most 45 degrees"
    assert abs(rises[:, 0] - rises[:, 1]).max() <= 1, "on a straight line"


def test_a_sequence_is_cluttered():
    clean, full = (made(MNISTSequence(None, patches=n), 60)[0] for n in (0, 8))
    assert ((full > 0).sum() > 1.1 * (clean > 0).sum()).item()
    assert MNISTSequence(None).patches == 8 and MNISTSequence(None).patch_size == 9


@pytest.mark.parametrize("side", [60, 24])
def test_an_extruded_digit_is_scipys(side):
    """Its volume built, turned by SciPy's rotation and read by SciPy's interpolation."""
    dataset = ExtrudedMNIST(None, side=side, rotation=40)
    generator = torch.Generator().manual_seed(0)
    digits = torch.rand(2, 1, 28, 28, generator=generator)
    angles, shifts = dataset.draw(2, generator)
    got = dataset.apply(digits, angles, shifts)
    assert got.shape == (2, 1, side, side, side)
    for i in range(2):
        bar = np.broadcast_to(digits[i].numpy(), (28, 28, 28))
        turn = Rotation.from_euler("xyz", angles[i].numpy()).as_matrix()
        back = turn.T[::-1, ::-1]  # z, y, x
        scale = 60 / side
        centre_out, centre_in = np.full(3, (side - 1) / 2), np.full(3, 13.5)
        offset = centre_in - back @ (scale * centre_out + shifts[i].numpy()[::-1])
        wanted = ndimage.affine_transform(
            bar, back * scale, offset, (side,) * 3, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(got[i, 0].numpy(), wanted, atol=2e-5)


def test_extruded_digits_stay_within_their_volume():
    dataset = ExtrudedMNIST(None, rotation=0)
    assert dataset.in_shape == (1, 60, 60, 60)
    angles, shifts = dataset.draw(2000, torch.Generator().manual_seed(0))
    assert angles.abs().max() == 0
    assert 15.9 < shifts.abs().max() <= 16 and shifts.std() == pytest.approx(16 / 3**0.5, rel=0.03)
    images, targets = made(dataset, 3)
    # 16 x 12 pixels of each of 28 slices
    total = ink(targets) * 16 * 12 * 28
    assert images.sum((1, 2, 3, 4)).tolist() == pytest.approx(total.tolist(), rel=1e-4)


@pytest.mark.parametrize("patches", [0, 16])
def test_colocalisation_tells_where_the_digit_is(patches):
    dataset = MNISTColocalisation(None, digit=3, images=4, patches=patches)
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [4, 4, 4]
    assert torch.equal(splits.train.images, splits.test.images)
    images, boxes = made(dataset, 30)
    assert images.shape == (30, 1, 84, 84) and boxes.dtype == torch.float32
    for image, (x0, y0, x1, y1) in zip(images[:, 0], boxes.long().tolist(), strict=True):
        assert (x1 - x0, y1 - y0) == (28, 28) and min(x0, y0) >= 0 and max(x1, y1) <= 84
        assert (image[y0 + 6 : y0 + 22, x0 + 8 : x0 + 20] >= ink(torch.tensor(3)) - 1e-6).all()
        outside = (image > 0).sum() - (image[y0:y1, x0:x1] > 0).sum()
        assert (outside > 0) == (patches > 0)
    assert len({tuple(box.tolist()) for box in boxes}) == 4


def test_the_images_of_colocalisation_do_not_depend_on_the_seed():
    dataset = MNISTColocalisation(None, images=4)
    one, other = (Resident(dataset, dataset.load(), seed) for seed in (0, 1))
    assert torch.equal(one.splits.train.images, other.splits.train.images)
    assert not torch.equal(one.batch(20)[1], other.batch(20)[1])
