"""Data of the user's own: read right, and refused with the reason."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bench.components import describe
from bench.datasets.clutter import T
from bench.datasets.dataset import Resident
from bench.datasets.files import ImageFolder, Parquet
from bench.datasets.npz import Npz
from bench.errors import BadData, BenchError, StudyError
from bench.study import load_study
from bench.study.study import trial_id


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """The cache of decoded images."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def arrays(**changes):
    random = np.random.default_rng(0)
    found = {
        "x_train": random.integers(0, 256, (30, 6, 8), np.uint8), "y_train": np.arange(30) % 3,
        "x_test": random.integers(0, 256, (9, 6, 8), np.uint8), "y_test": np.arange(9) % 3,
    }  # fmt: skip
    return {k: v for k, v in (found | changes).items() if v is not None}


def npz(folder, distortion=None, **changes):
    np.savez(folder / "mine.npz", **arrays(**changes))
    return Npz(folder, path="mine.npz", distortion=distortion)


def test_grey_bytes_of_an_npz(tmp_path):
    dataset = npz(tmp_path)
    assert (dataset.in_shape, dataset.num_classes, dataset.labels) == ((1, 6, 8), 3, 1)
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [27, 3, 9]
    images, targets = next(Resident(dataset, splits, 0).test(9))
    assert (images[:, 0] * 255 - torch.from_numpy(arrays()["x_test"])).abs().max() < 1e-3
    assert targets.tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_colour_floats_of_an_npz_with_validation(kind, tmp_path):
    colour = np.linspace(0, 1, 4 * 3 * 5 * 7).reshape(4, 3, 5, 7).astype(kind)
    labels = np.array([[0, 1], [1, 2], [2, 0], [1, 1]], np.uint8)
    parts = {f"{k}_{part}": v for part in ("train", "validation", "test")
             for k, v in (("x", colour), ("y", labels))}  # fmt: skip
    dataset = npz(tmp_path, **parts)
    assert (dataset.in_shape, dataset.num_classes, dataset.labels) == ((3, 5, 7), 3, 2)
    splits = dataset.load()
    assert len(splits.train) == len(splits.validation) == 4
    images, targets = next(Resident(dataset, splits, 0).validation(4))
    assert images.dtype == torch.float32 and targets.tolist() == labels.tolist()
    assert torch.equal(images, torch.from_numpy(colour.astype("float32")))


def test_an_npz_is_distorted(tmp_path):
    dataset = npz(tmp_path, distortion=T(canvas=12))
    assert dataset.in_shape == (1, 12, 12)
    assert Resident(dataset, dataset.load(), 0).batch(4)[0].shape == (4, 1, 12, 12)


BAD_LABELS = np.arange(9) % 3 - 1
OBJECTS = np.array([{"code": 1}] * 9, dtype=object)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "mine.npz has no array `x_test`; it has ['x_train', 'y_train',"),
        ({"y_train": None}, "mine.npz has no array `y_train`; it has"),
        ({"x_train": np.zeros((30, 48))}, "`x_train` must be (count, height, width) or (c"),
        ({"x_train": np.zeros((30, 6, 8, 3))}, "`x_train` is (30, 6, 8, 3), with channels last; it "
         "must be (30, 3, 6, 8)"),
        ({"x_train": np.zeros((30, 6, 8), int)}, "`x_train` must be uint8 or float, got int64"),
        ({"x_train": np.full((30, 6, 8), 255.0)}, "`x_train` must lie between 0 and 1, goes from "
         "255 to 255; divide it, or save it as uint8"),
        ({"x_test": np.full((9, 6, 8), np.nan)}, "`x_test` must lie between 0 and 1, goes from"),
        ({"x_test": np.zeros((9, 5, 8))}, "images are (1, 6, 8) in `x_train` and (1, 5, 8) in"),
        ({"y_train": np.arange(29) % 3}, "`y_train` has 29 entries for 30 images"),
        ({"y_test": np.zeros(9)}, "`y_test` must be whole numbers, got float64"),
        ({"y_test": BAD_LABELS}, "`y_test` must count classes from 0, got -1"),
        ({"y_test": np.zeros((9, 1, 1), int)}, "`y_test` must be (count,) or (count, labels)"),
        ({"y_test": np.zeros((9, 2), int)}, "an example has labels () for training and (2,) in"),
        ({"y_train": np.arange(30) % 3 * 2}, "class 1 has no training image; classes must be"),
        ({"y_test": np.arange(9)}, "class 3 has no training image; classes must be 0 to 8"),
        ({"x_test": OBJECTS}, "`x_test` holds Python objects, which are not read since that could"),
        ({"y_test": OBJECTS}, "`y_test` holds Python objects, which are not read since that could"),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_broken_npz_is_one_message(changes, message, tmp_path):
    with pytest.raises(BenchError) as caught:
        npz(tmp_path, **changes).load()
    assert str(caught.value).startswith(f"data set `npz`: {tmp_path}/mine.npz")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello", "is no NumPy file; make it with"), (b"", "is no NumPy file; make it with"),
     (None, "cannot be read: No such file"), ("array", "holds one array; make it with `np.savez`"),
     ("cut", "is no NumPy file"), ("damaged", "`x_train` is damaged: Bad CRC-32")],
)  # fmt: skip
def test_what_is_no_npz_is_one_message(content, message, tmp_path):
    file = tmp_path / "mine.npz"
    if content == "array":
        with file.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif content in ("cut", "damaged"):
        np.savez(file, **arrays())
        whole = bytearray(file.read_bytes())
        whole[400] ^= 1
        file.write_bytes(whole[:-100] if content == "cut" else whole)
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(BenchError, match=message):
        Npz(tmp_path, path="mine.npz").load()


def picture(value, size=(9, 7), mode="RGB"):
    colour = (value, 40, 200) if mode == "RGB" else value
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 10), ("test", 3)):
        for number, name in enumerate(("cat", "dog")):
            place = tmp_path / "mine" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i}.png").write_bytes(picture(100 * number + i))
    return tmp_path


def test_an_image_folder(folder):
    dataset = ImageFolder(folder, path="mine", size=6)
    assert (dataset.in_shape, dataset.num_classes, dataset.labels) == ((3, 6, 6), 2, 1)
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [18, 2, 6]
    assert splits.test.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.test.images[:, :, 3, 3].tolist() == [
        [100 * n + i, 40, 200] for n in range(2) for i in range(3)
    ]
    grey = ImageFolder(folder, path="mine", size=6, channels=1, distortion=T(canvas=8))
    assert grey.in_shape == (1, 8, 8)
    assert Resident(grey, grey.load(), 0).batch(5)[0].shape == (5, 1, 8, 8)


def test_a_changed_image_is_seen(folder):
    dataset = ImageFolder(folder, path="mine", size=6)
    dataset.load()
    (folder / "mine" / "test" / "cat" / "0.png").write_bytes(picture(77))
    assert dataset.load().test.images[0, 0, 0, 0] == 77


def test_validation_of_ones_own(folder):
    (folder / "mine" / "test").rename(folder / "mine" / "validation")
    (folder / "mine" / "test").mkdir()
    (folder / "mine" / "test" / "dog").mkdir()
    (folder / "mine" / "test" / "dog" / "x.png").write_bytes(picture(5, mode="L"))
    splits = ImageFolder(folder, path="mine", size=6).load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [20, 6, 1]
    assert splits.test.targets.tolist() == [1]


def empty(place):
    for file in place.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "test").rename(f / "tests"), "mine/test: No such file or directory; it"),
        (lambda f: empty(f / "train" / "dog"), "class dog has no image in "),
        (lambda f: (f / "test" / "cow").mkdir(), "mine/test/cow is no class: there is no "),
        (lambda f: [(empty(p), p.rmdir()) for p in (f / "train").iterdir()], "mine/train holds no "
         "folder for a class"),
        (lambda f: (f / "train/cat/0.png").write_bytes(picture(1, (40, 40))[:-30]), "cannot dec"),
        (lambda f: (f / "train/cat/a.txt").write_text("x"), "a.txt: it is empty or no image"),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_broken_image_folder_is_one_message(harm, message, folder):
    harm(folder / "mine")
    with pytest.raises(BenchError) as caught:
        ImageFolder(folder, path="mine", size=6).load()
    assert message in str(caught.value)
    assert str(caught.value).startswith("data set `image_folder`: ")


def write(folder, parts, image="image", label="label"):
    (folder / "mine").mkdir(exist_ok=True)
    for part, (images, labels) in parts.items():
        pq.write_table(pa.table({image: images, label: labels}), folder / "mine" / part)


PNGS = [picture(10 * i) for i in range(20)]
GOOD = {
    "train-0.parquet": (PNGS[:10], [i % 2 for i in range(10)]),
    "train-1.parquet": (PNGS[10:], [i % 2 for i in range(10)]),
    "test.parquet": (PNGS[:3], [0, 1, 1]),
}


@pytest.mark.parametrize("nested", [False, True])
def test_parquet(nested, tmp_path):
    def wrap(images):
        return [{"bytes": i, "path": "a"} for i in images] if nested else images

    write(tmp_path, {k: (wrap(i), t) for k, (i, t) in GOOD.items()})
    dataset = Parquet(tmp_path, path="mine", size=6)
    assert (dataset.in_shape, dataset.num_classes) == ((3, 6, 6), 2)
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [18, 2, 3]
    assert splits.test.targets.tolist() == [0, 1, 1]
    assert splits.test.images[:, 0, 3, 3].tolist() == [0, 10, 20]
    write(tmp_path, {"test.parquet": (wrap(PNGS[5:8]), [0, 1, 1])})
    again = Parquet(tmp_path, path="mine", size=6).load()
    assert again.test.images[:, 0, 3, 3].tolist() == [50, 60, 70], "a changed file is seen"


def test_parquet_with_columns_of_other_names(tmp_path):
    write(tmp_path, GOOD, "pixels", "kind")
    dataset = Parquet(tmp_path, path="mine", size=6, image="pixels", label="kind", channels=1)
    assert dataset.load().train.images.shape == (18, 1, 6, 6)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"test.parquet": None}, "there is no "),
        ({"test.parquet": ([b"hi"] * 2, [0, 1])}, "row 0 of "),
        ({"test.parquet": (["text"], [0])}, "must hold the bytes of an image file, or a struct "
         "with `bytes`, got str"),
        ({"test.parquet": (PNGS[:2], ["a", "b"])}, "column `label` must be whole numbers, got"),
        ({"test.parquet": (PNGS[:2], [0, 2])}, "class 2 has no training image; classes must"),
    ],
    ids=range(5),
)  # fmt: skip
def test_broken_parquet_is_one_message(parts, message, tmp_path):
    write(tmp_path, {k: v for k, v in (GOOD | parts).items() if v})
    with pytest.raises(BenchError) as caught:
        Parquet(tmp_path, path="mine", size=6).load()
    assert message in str(caught.value) and str(caught.value).startswith("data set `parquet`: ")


def test_parquet_without_a_column_and_what_is_none(tmp_path):
    write(tmp_path, GOOD, "pixels")
    with pytest.raises(BenchError, match=r"has no column `image`; it has \['pixels', 'label'\]"):
        Parquet(tmp_path, path="mine", size=6).load()
    (tmp_path / "mine" / "train-0.parquet").write_text("nothing")
    with pytest.raises(BenchError, match="train-0.parquet is no Parquet file"):
        Parquet(tmp_path, path="mine", size=6).load()


STUDY = """\
schema: 1
name: own
question: Does it read my data?
task: classify
base:
  dataset: {name: npz, path: data/mine.npz}
  model: {name: fcn, units: [4]}
  train: {steps: 2, batch_size: 4, lr: 0.1}
seeds: 1
"""


def identity(tmp_path):
    (variant,) = load_study(tmp_path / "own.yaml").variants
    return trial_id(variant.settings("classify"), 0, "cpu")


def test_what_a_file_holds_is_part_of_the_identity(tmp_path):
    (tmp_path / "own.yaml").write_text(STUDY)
    (tmp_path / "data").mkdir()
    ids = []
    for value in (0, 0, 1):
        file = tmp_path / "data" / "mine.npz"
        np.savez(file, **arrays(x_test=np.full((9, 6, 8), value, np.uint8)))
        ids.append(identity(tmp_path))
    assert ids[0] == ids[1] != ids[2]


def test_a_file_that_is_not_there_is_a_problem_of_the_study(tmp_path):
    (tmp_path / "own.yaml").write_text(STUDY)
    with pytest.raises(StudyError) as caught:
        load_study(tmp_path / "own.yaml")
    assert str(caught.value).endswith(
        f"own.yaml:6: base.dataset.path: cannot read {tmp_path}/data/mine.npz: "
        "No such file or directory"
    )


def test_a_folder_is_known_by_its_files(folder):
    (folder / "own.yaml").write_text(
        STUDY.replace("npz, path: data/mine.npz", "image_folder, path: mine, size: 6")
    )
    before = identity(folder)
    assert identity(folder) == before
    (folder / "mine" / "test" / "cat" / "7.png").write_bytes(picture(7))
    assert identity(folder) != before


def test_a_file_that_changes_after_the_study_was_read_is_refused(tmp_path):
    from bench.tasks.resident import splits
    from bench.tasks.task import Place

    (tmp_path / "own.yaml").write_text(STUDY)
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "mine.npz"
    np.savez(file, **arrays())
    (variant,) = load_study(tmp_path / "own.yaml").variants
    settings, place = variant.settings("classify"), Place(torch.device("cpu"), None, tmp_path)
    assert len(splits(settings, place).train) == 27
    np.savez(file, **arrays(x_test=np.zeros((9, 6, 8), np.uint8)))
    load_study(tmp_path / "own.yaml")
    moved = settings | {"dataset": settings["dataset"] | {"distortion": None, "other": 1}}
    with pytest.raises(BadData, match="mine.npz is not what it was when the study was read; run"):
        splits(moved, place)


def test_plan_knows_the_parameters_without_torch(tmp_path):
    parameters = describe("dataset", "parquet", tmp_path).parameters
    assert list(parameters) == ["path", "size", "image", "label", "channels", "distortion"]
    assert parameters["path"].type is str and parameters["path"].required
