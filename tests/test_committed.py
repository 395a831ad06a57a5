"""What is committed is current: studies can be planned, reports are what their stores give."""

import json
import runpy
from pathlib import Path

import pytest

from bench.report import write_report
from bench.results import ResultStore
from bench.study import Study, load_study

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
STORES = sorted(path.parent for path in REFERENCE.glob("*/compact"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_committed_study_is_sound(file):
    assert load_study(file).trials("cpu")


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_a_committed_report_is_what_its_store_gives(store, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    location = store.relative_to(ROOT)
    study = Study.model_validate_json(ResultStore(location).read_study(store.name))
    made = write_report(study, location, output=tmp_path)
    for name in ("report.md", "variants.csv", "variants.tex"):
        assert (store / name).is_file(), f"{location}/{name}: commit what `stn-bench report` writes"
        assert (tmp_path / name).read_bytes() == (store / name).read_bytes(), name
    assert made.undone == 0
    assert {f.name for f in tmp_path.glob("*.svg")} == {f.name for f in store.glob("*.svg")}


def test_the_committed_report_of_warps_is_what_its_results_give():
    folder = REFERENCE / "sampler_cpu"
    report = runpy.run_path(str(ROOT / "benchmarks" / "sampler_cpu_report.py"))
    results = json.loads((folder / "results.json").read_text())
    assert report["markdown"](results) == (folder / "report.md").read_text()


def test_the_readme_shows_the_committed_table():
    readme = (ROOT / "README.md").read_text()
    report = (REFERENCE / "quickstart" / "report.md").read_text()
    table = report[report.index("| variant") :].partition("\n\n")[0]
    assert table.count("\n") >= 3
    assert table in readme


def test_no_file_is_longer_than_400_lines():
    files = [f for d in ("stn_core", "bench", "tests") for f in (ROOT / d).rglob("*.py")]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}
    assert {name: n for name, n in lengths.items() if n > 400} == {}
