"""SVHN from small files in the official format, and MNIST digits in its true boxes."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from bench.datasets import decoded, svhn
from bench.datasets.dataset import Resident, Split, Splits
from bench.datasets.svhn import SVHN, read_digit_struct
from bench.datasets.svhn_layout import SVHNLayout, reading
from bench.errors import BenchError

# Digits with their boxes: left, top, width, height.
NUMBERS = [
    [(1, (30, 10, 8, 20)), (10, (40, 12, 10, 20))],
    [(7, (5, 5, 12, 30))],
    [(2, (4, 3, 6, 9)), (3, (10, 3, 6, 9)), (4, (16, 3, 6, 9)), (5, (22, 3, 6, 9)),
     (6, (28, 3, 6, 9)), (7, (34, 3, 6, 9))],
    [(9, (20, 20, 5, 8)), (9, (25, 20, 5, 8)), (1, (30, 20, 5, 8))],
]  # fmt: skip


def write(folder, numbers=NUMBERS, size=(100, 50)):
    """What MATLAB writes: a struct of references; a field of one entry is the value itself."""
    folder.mkdir(parents=True)
    with h5py.File(folder / "digitStruct.mat", "w") as file:
        bag = file.create_group("#refs#")
        count = 0

        def held(value):
            nonlocal count
            count += 1
            return bag.create_dataset(str(count), data=value).ref

        struct = file.create_group("digitStruct")
        names = struct.create_dataset("name", (len(numbers), 1), h5py.ref_dtype)
        boxes = struct.create_dataset("bbox", (len(numbers), 1), h5py.ref_dtype)
        for i, number in enumerate(numbers):
            name = f"{i + 1}.png"
            names[i, 0] = held(np.frombuffer(name.encode(), np.uint8).astype(np.uint16)[:, None])
            group = bag.create_group(f"box{i}")
            fields = {"label": [d for d, _ in number]}
            for k, key in enumerate(("left", "top", "width", "height")):
                fields[key] = [box[k] for _, box in number]
            for key, values in fields.items():
                if len(values) == 1:
                    group.create_dataset(key, data=np.array([values], float))
                else:
                    field = group.create_dataset(key, (len(values), 1), h5py.ref_dtype)
                    for k, value in enumerate(values):
                        field[k, 0] = held(np.array([[value]], float))
            boxes[i, 0] = group.ref
            pixels = np.full((size[1], size[0], 3), 40, np.uint8)
            for digit, (left, top, width, height) in number:
                pixels[top : top + height, left : left + width] = (20 * digit, 255, 100)
            Image.fromarray(pixels).save(folder / name)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """The cache of decoded images."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home" / ".cache" / "stn-bench" / "decoded"


@pytest.fixture
def official(tmp_path):
    for part in ("train", "test"):
        write(tmp_path / "SVHN" / part)
    write(tmp_path / "SVHN" / "extra", NUMBERS[:2] * 10)
    return tmp_path


def test_digits_and_boxes_are_read(official):
    numbers = list(read_digit_struct(official / "SVHN" / "train" / "digitStruct.mat"))
    assert [name for name, _, _ in numbers] == ["1.png", "2.png", "3.png", "4.png"]
    assert [digits for _, digits, _ in numbers] == [(1, 0), (7,), (2, 3, 4, 5, 6, 7), (9, 9, 1)]
    assert numbers[0][2] == [(30, 10, 38, 30), (40, 12, 50, 32)]
    assert numbers[1][2] == [(5, 5, 17, 35)]


def test_numbers_are_cropped_and_labelled(official):
    dataset = SVHN(official)
    splits = dataset.load()
    assert dataset.in_shape == (3, 64, 64)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [21, 2, 3]
    assert splits.test.targets.tolist() == [
        [1, 0, 10, 10, 10], [7, 10, 10, 10, 10], [9, 9, 1, 10, 10]
    ]  # fmt: skip
    images, targets = Resident(dataset, splits, 0).batch(9)
    assert images.shape == (9, 3, 64, 64) and targets.shape == (9, 5)
    # The box of the first: 30..50 x 10..32, widened to 27..53 x 6.7..35.3.
    image = splits.test.images[0].float()
    green = image[1]
    columns, rows = (torch.where(green.amax(axis) > 147)[0] for axis in (0, 1))
    assert columns[[0, -1]].tolist() == pytest.approx([3 / 26 * 64, 23 / 26 * 64 - 1], abs=1)
    assert rows[[0, -1]].tolist() == pytest.approx([3.3 / 28.6 * 64, 25.3 / 28.6 * 64 - 1], abs=1)
    assert abs(image[0, 32, 12] - 20) < 2 and abs(image[0, 32, 45] - 200) < 2


def test_at_128_pixels_a_digit_is_as_large_as_at_64(official):
    small, large = (SVHN(official, size=size).load().test.images[2] for size in (64, 128))
    assert large.shape == (3, 128, 128)
    seen = [(image[1] > 147).sum().item() for image in (small, large)]
    # Where the image has room: a third of the height of the wider crop is outside.
    assert seen[0] == pytest.approx(64 * 64 / 1.3**2, rel=0.1)
    assert seen[1] == pytest.approx(seen[0], rel=0.1)


def test_extra_images_are_left_out_when_asked(official):
    assert len(SVHN(official, extra=False).load().train) == 3


def test_images_are_decoded_once(official, home, monkeypatch):
    wanted = SVHN(official).load()
    monkeypatch.setattr(decoded, "_make", None)
    again = SVHN(official).load()
    assert torch.equal(wanted.train.images, again.train.images)
    assert torch.equal(wanted.train.targets, again.train.targets)
    assert len([f for f in home.iterdir() if f.is_dir()]) == 1


def test_a_damaged_cache_is_made_anew(official, home):
    wanted = SVHN(official).load().train.images.clone()
    (file,) = home.glob("*/train.images.npy")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert torch.equal(SVHN(official).load().train.images, wanted)


def test_changed_annotations_are_decoded_anew(official):
    before = SVHN(official, extra=False).load().test.targets.tolist()
    part = official / "SVHN" / "test"
    part.rename(official / "old")
    write(part, NUMBERS[::-1])
    assert SVHN(official, extra=False).load().test.targets.tolist() == before[::-1]


def test_a_cut_off_image_is_named(official, home):
    file = official / "SVHN" / "train" / "4.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(BenchError, match=f"^data set `svhn`: cannot decode {file}: "):
        SVHN(official).load()
    assert not [f for f in home.iterdir() if f.is_dir()], "nothing half-made is left"


def test_an_image_that_is_not_there_is_named(official):
    (official / "SVHN" / "train" / "4.png").unlink()
    with pytest.raises(BenchError, match="^data set `svhn`: there is no .*/SVHN/train/4.png$"):
        SVHN(official).load()


@pytest.mark.parametrize("content", [b"nothing", None])
def test_a_broken_digit_struct_is_one_message(official, content):
    file = official / "SVHN" / "train" / "digitStruct.mat"
    if content is None:
        h5py.File(file, "w").close()
    else:
        file.write_bytes(content)
    with pytest.raises(BenchError, match=r"digitStruct.mat is not SVHN's or is damaged \(.*anew$"):
        SVHN(official).load()


def test_without_files_and_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(svhn, "SITE", "http://127.0.0.1:1")
    with pytest.raises(BenchError) as caught:
        SVHN(tmp_path).load()
    assert str(caught.value) == (
        f"data set `svhn`: {tmp_path}/SVHN/train.tar.gz is not there and cannot be downloaded "
        "([Errno 111] Connection refused); put http://127.0.0.1:1/train.tar.gz there, "
        "or name another folder with --data-dir"
    )


BOXES = """\
image,width,height,position,digit,xmin,ymin,xmax,ymax
1,100,50,1,10,40,12,50,32
1,100,50,0,1,30,10,38,30
2,60,40,0,7,5,5,17,35
""" + "".join(f"3,100,20,{i},{i},{4 + 6 * i},3,{10 + 6 * i},12\n" for i in range(6))


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    """Digit d is a full block of brightness 105 + 15 d where digits have ink."""
    targets = torch.arange(60) % 10
    images = torch.zeros(60, 1, 28, 28)
    images[:, :, 4:24, 4:24] = (105 + 15 * targets)[:, None, None, None].float()
    part = Split(images.byte(), targets)
    monkeypatch.setattr(
        "bench.datasets.svhn_layout.read_mnist", lambda folder: Splits(part, part, part)
    )
    (tmp_path / "svhn_boxes").mkdir()
    for name in ("train", "test"):
        (tmp_path / "svhn_boxes" / f"{name}.csv").write_text(BOXES)
    return tmp_path


@pytest.mark.parametrize("size", [64, 128])
def test_digits_lie_in_their_boxes(boxes, size, monkeypatch):
    black_and_white = torch.zeros(2, 3, 1, 1), torch.ones(2, 3, 1, 1)
    monkeypatch.setattr("bench.datasets.svhn_layout._colours", lambda n, g: black_and_white)
    dataset = SVHNLayout(boxes, size=size)
    images, targets = next(Resident(dataset, dataset.load(), 0).test(9))
    assert targets.tolist() == [[1, 0, 10, 10, 10], [7, 10, 10, 10, 10]], "six digits are too many"
    assert images.shape == (2, 3, size, size)
    crop = {64: (27, 6.7, 53, 35.3), 128: (14, 0, 66, 49.6)}[size]
    scale = size / (crop[2] - crop[0]), size / (crop[3] - crop[1])
    for digit, box in ((1, (30, 10, 38, 30)), (0, (40, 12, 50, 32))):
        edges = [(box[k] - crop[k % 2]) * scale[k % 2] for k in range(4)]
        left, top, right, bottom = (round(e) for e in edges)
        block = images[0, 0, top + 2 : bottom - 2, left + 2 : right - 2]
        assert block.numel() > 100 and (block * 255 - 105 - 15 * digit).abs().max() < 0.1
    inside = images[0, 0] > 0.2
    area = sum(w * h for w, h in ((8, 20), (10, 20))) * scale[0] * scale[1]
    assert inside.sum().item() == pytest.approx(area, rel=0.12)


def test_rows_are_read_as_torch_reads_them():
    digits = torch.rand(1, 1, 28, 1)
    edges = torch.tensor([[0.1, 0.9]])
    got = reading(edges, 50)[0] @ digits[0, 0]
    at = ((torch.arange(50) + 0.5) / 50 - 0.5) / 0.8 * 2 * 20 / 28
    grid = torch.stack([torch.zeros(50), at], -1)[None, None]
    wanted = torch.nn.functional.grid_sample(digits, grid, align_corners=False)
    assert (got[:, 0] - wanted[0, 0, 0]).abs().max() < 1e-5


def test_reduced_digits_keep_their_ink():
    """A bright row counts the same wherever the pixels stand, though they are fewer than rows."""
    weights = reading(torch.tensor([[0.2, 0.8], [0.23, 0.83]]), 10)
    share = weights[:, :, 6:22].sum(1) * 20 / 6
    assert (share - 1).abs().max() < 0.02


def test_colours_differ():
    from bench.datasets.svhn_layout import _colours

    ground, colour = _colours(2000, torch.Generator().manual_seed(0))
    apart = (ground.mean(1) - colour.mean(1)).abs()
    assert (apart > 0.15).float().mean() > 0.98
    assert 0 <= min(ground.min(), colour.min()) and max(ground.max(), colour.max()) <= 1


def test_boxes_that_are_not_there_are_named(tmp_path, boxes):
    (boxes / "svhn_boxes" / "test.csv").write_text("image,width\n1,2\n")
    with pytest.raises(
        BenchError, match="^data set `svhn_layout`: cannot read .*/test.csv .Usecols"
    ):
        SVHNLayout(boxes).load()


def test_the_true_layouts():
    for place in (os.environ.get("STN_BENCH_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if place and (Path(place) / "svhn_boxes" / "train.csv").is_file():
            break
    else:
        pytest.skip("needs SVHN's boxes: name the folder of svhn_boxes in STN_BENCH_DATA")
    dataset = SVHNLayout(Path(place))
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [30061, 3340, 13068]
    assert splits.train.boxes is not None
    shown = splits.train.targets != 10
    lengths = torch.bincount(shown.sum(1), minlength=6)
    assert lengths[0] == 0 and lengths[2] == lengths.max()
    # The official count of zeros is 4,948 of 73,257.
    zeros = (splits.train.targets[shown] == 0).float().mean()
    assert zeros.item() == pytest.approx(4948 / 73257, rel=0.03)
    images, targets = Resident(dataset, splits, 0).batch(16)
    assert images.shape == (16, 3, 64, 64) and targets.shape == (16, 5)
    assert 0 <= images.min() and images.max() <= 1
