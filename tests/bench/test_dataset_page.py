"""docs/datasets.md is true: names, pictures, examples."""

import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("line", re.findall(r"^dataset: .*", PAGE, re.MULTILINE))
def test_examples_are_valid(line, tmp_path):
    (tmp_path / "birdsong.npz").write_bytes(b"")
    (tmp_path / "page.yaml").write_text(
        f"schema: 1\nname: page\nquestion: Is it true?\ntask: classify\nbase:\n  {line}\n"
        "  model: fcn\n  train: {steps: 1, batch_size: 1, lr: 1}\nseeds: 1\n"
    )
    assert len(load_study(tmp_path / "page.yaml").variants) == 1
