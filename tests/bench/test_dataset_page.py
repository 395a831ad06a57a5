"""docs/datasets.md is true: names, pictures, examples."""

import os
import re
import runpy
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from bench.components import ROLES
from bench.study import load_study

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "datasets.md").read_text()


def named(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall("`(.*?)`", cell)}


def test_the_tables_name_all_there_is():
    assert named("Distortions") == ROLES["distortion"].keys()
    assert named("Data sets") == ROLES["dataset"].keys()
    assert named("Your own") == {"npz", "parquet", "image_folder"}


def test_pictures_are_there_and_small():
    shown = re.findall(r"\]\((dataset_pictures/.*?)\)", PAGE)
    assert len(shown) == 2
    assert all(0 < (DOCS / name).stat().st_size < 60_000 for name in shown)


def test_pictures_are_those_that_the_script_makes(tmp_path, monkeypatch):
    folder = os.environ.get("STN_BENCH_DATA")
    if not folder:
        pytest.skip("STN_BENCH_DATA names no folder with MNIST and svhn_boxes")
    data, made = tmp_path / "data", tmp_path / "made"
    data.mkdir()
    made.mkdir()
    for name in ("MNIST", "svhn_boxes"):
        (data / name).symlink_to(Path(folder) / name)
    monkeypatch.syspath_prepend(DOCS)
    runpy.run_path(str(DOCS / "dataset_pictures.py"))["main"](data, made)
    committed = sorted((DOCS / "dataset_pictures").iterdir())
    assert [file.name for file in committed] == sorted(file.name for file in made.iterdir())
    for file in committed:
        with Image.open(file) as old, Image.open(made / file.name) as new:
            assert old.size == new.size
            apart = ImageChops.difference(old.convert("L"), new.convert("L"))
            # Letters may be drawn otherwise elsewhere, and colours be rounded.
            assert ImageStat.Stat(apart).mean[0] < 3


@pytest.mark.parametrize("line", re.findall(r"^dataset: .*", PAGE, re.MULTILINE))
def test_examples_are_valid(line, tmp_path):
    (tmp_path / "birdsong.npz").write_bytes(b"")
    (tmp_path / "page.yaml").write_text(
        f"schema: 1\nname: page\nquestion: Is it true?\ntask: classify\nbase:\n  {line}\n"
        "  model: fcn\n  train: {steps: 1, batch_size: 1, lr: 1}\nseeds: 1\n"
    )
    assert len(load_study(tmp_path / "page.yaml").variants) == 1
