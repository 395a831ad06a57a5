"""Birds from a made folder with gaps in its ids, and from the real one."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.datasets import cub
from bench.datasets.cub import CUB, read_cub
from bench.datasets.dataset import Resident, Split
from bench.errors import BenchError


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """The cache of decoded images."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def official(tmp_path):
    """Twelve training and three test images of classes 7 and 200, wide and tall, with odd ids."""
    folder = tmp_path / "CUB_200_2011"
    lists = {name: [] for name in cub.LISTS}
    for i in range(15):
        image, label = 10 + 3 * i, 7 if i % 2 else 200
        name = f"{label:03}.Bird/Bird_{i}.jpg"
        size = (300, 200) if i % 3 else (150, 280)
        file = folder / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((size[1], size[0], 3), 30, np.uint8)
        pixels[40:140, 60:120] = (200, 10 * i, 90)
        Image.fromarray(pixels).save(file, quality=95)
        lists["images"].append(f"{image} {name}")
        lists["image_class_labels"].append(f"{image} {label}")
        lists["train_test_split"].append(f"{image} {int(i < 12)}")
        lists["bounding_boxes"].append(f"{image} 60.0 40.0 60.0 100.0")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_ids_may_have_gaps_and_classes_are_the_official_ones(official):
    splits = CUB(official).load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [11, 1, 3]
    assert splits.test.targets.tolist() == [199, 6, 199]
    assert splits.test.images.shape == (3, 3, 256, 256)
    assert splits.test.images.dtype == torch.uint8


def test_the_largest_square_in_the_middle_is_kept(official):
    train, validation, test = read_cub(official / "CUB_200_2011", box=False)
    assert {p.box for part in (train, validation, test) for p in part} == {None}
    image = CUB(official).load().test.images[1].float()  # number 13: 300 x 200, from 50 to 250
    columns = torch.where(image[0, 128] > 115)[0]
    assert columns[[0, -1]].tolist() == pytest.approx([10 * 1.28, 70 * 1.28 - 1], abs=2)
    assert image[1, 128, 50] == pytest.approx(130, abs=6)


def test_the_square_around_the_bird_is_kept_when_asked(official):
    image = CUB(official, box=True).load().test.images[1].float()  # 40..140 both ways
    columns, rows = (torch.where(image[0].amax(axis) > 115)[0] for axis in (0, 1))
    assert columns[[0, -1]].tolist() == pytest.approx([51, 204], abs=3)
    assert rows[[0, -1]].tolist() == [0, 255]


def test_training_images_are_cropped_and_flipped_at_random(official):
    dataset = CUB(official)
    data = Resident(dataset, dataset.load(), 0)
    marked = torch.arange(256.0)[:, None] * 0 + torch.arange(256.0)
    images = torch.stack([marked, marked.T, 0 * marked])[None].expand(4, -1, -1, -1) / 255
    train, test = (Split(images, torch.arange(4)) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    made, targets = dataset.examples(train, torch.arange(4).repeat(80), train, generator)
    assert made.shape == (320, 3, 224, 224) and targets[:5].tolist() == [0, 1, 2, 3, 0]
    left, top = (made[:, 0, 0, 0] * 255).round(), (made[:, 1, 0, 0] * 255).round()
    flipped = made[:, 0, 0, 1] < made[:, 0, 0, 0]
    assert 0.4 < flipped.float().mean() < 0.6
    left = torch.where(flipped, left - 223, left)
    assert set(left.tolist()) == set(top.tolist()) == set(range(33))
    middle, _ = dataset.examples(test, torch.arange(4), train, generator)
    assert torch.equal(middle[0], images[0, :, 16:240, 16:240])
    assert next(data.test(2))[0].shape == (2, 3, 224, 224)


def test_large_images(official):
    dataset = CUB(official, size=448)
    assert dataset.in_shape == (3, 448, 448)
    assert Resident(dataset, dataset.load(), 0).batch(2)[0].shape == (2, 3, 448, 448)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("image_class_labels", "13 7\n", "", "image_class_labels.txt lacks image 13 (007.Bird/"),
        ("image_class_labels", "13 7\n", "13 201\n", "jpg) has class 201, not 1 to 200"),
        ("image_class_labels", "13 7\n", "13 x\n", "labels.txt:2: must be an image's id and its"),
        ("train_test_split", "13 1\n", "13\n", "split.txt:2: must be an image's id and its values"),
        ("images", "13 007", "13 008", "data set `cub`: there is no "),
        ("bounding_boxes", "13 60.0", "13 600", "the box (580.0, 40.0, 680.0, 140.0) lies outside"),
    ],
)
def test_a_broken_folder_is_one_message(name, old, new, message, official):
    file = official / "CUB_200_2011" / f"{name}.txt"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(BenchError) as caught:
        CUB(official, box=True).load()
    assert message in str(caught.value) and str(caught.value).startswith("data set `cub`: ")


def test_a_list_that_is_not_there_is_named(official):
    (official / "CUB_200_2011" / "images.txt").unlink()
    with pytest.raises(BenchError, match="^data set `cub`: cannot read .*/images.txt: No such"):
        CUB(official).load()


def test_without_folder_and_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(cub, "ARCHIVE", cub.Remote("http://127.0.0.1:1/CUB_200_2011.tgz", ""))
    with pytest.raises(
        BenchError, match=r"^data set `cub`: .*CUB_200_2011.tgz is not there and can"
    ):
        CUB(tmp_path).load()


def test_the_real_birds():
    for place in (os.environ.get("STN_BENCH_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if place and (Path(place) / "CUB_200_2011").is_dir():
            break
    else:
        pytest.skip("needs CUB_200_2011: name its folder's folder in STN_BENCH_DATA")
    train, validation, test = read_cub(Path(place) / "CUB_200_2011", box=True)
    everything = [*train, *validation, *test]
    assert len(everything) >= 471 and {p.target for p in everything} >= {11, 12, 15, 43}
    assert len({p.name for p in everything}) == len(everything)
    assert 0.4 < len(test) / len(everything) < 0.6
    from bench.datasets.decoded import _pixels

    for picture in everything[::60]:
        pixels = _pixels("cub", picture, 64, 3)
        assert pixels.shape == (3, 64, 64) and pixels.std() > 10
