"""The verbs of the gate as they are typed: exit statuses and files; and one check of real code."""

import json
import shutil
import sys
import xml.etree.ElementTree as ET

import pytest
from command import ROOT
from toy import ARM, repository, run
from typer.testing import CliRunner

from bench import margin
from bench.check import gate, judge, stored
from bench.check.trees import Tree
from bench.cli import app
from bench.errors import BenchError, InfrastructureError
from bench.results.schema import PROTOCOL

STUDY = str(ROOT / "studies" / "throughput_gate.yaml")
ONLY = ["--only", "reference", "--only", "warp images", "--device", "cpu"]
SAME = {"reference": {"modes": {"forward": 0.02}}, "warp": {"modes": {"forward": 0.001}}}
SLOW = SAME | {"warp": {"modes": {"forward": 0.002}}}
NOISY = SAME | {"noise": 0.4, "fixed": True}
GONE = {"reference": SAME["reference"]}


@pytest.fixture
def repo(tmp_path, monkeypatch):
    def make(head, base=SAME):
        tree = repository(tmp_path, base, head, PROTOCOL)
        for module in (gate, stored):
            monkeypatch.setattr(module, "working_tree", lambda: tree)
        return tree

    return make


def typed(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.mark.parametrize(
    ("head", "base", "status", "verdict"),
    [
        (SAME, SAME, 0, "PASS"),
        (SLOW, SAME, 1, "REGRESSION"),
        (NOISY, NOISY, 3, "INCONCLUSIVE"),
        (GONE, SAME, 4, "MISSING"),
    ],
    ids=["pass", "regression", "inconclusive", "missing"],
)
def test_check_ends_with_the_status_of_its_verdict(repo, tmp_path, head, base, status, verdict):
    repo(head, base)
    out = tmp_path / "out"
    done = typed("check", STUDY, *ONLY, "--results", tmp_path / "store", "--output", out)
    assert done.exit_code == status, done.output
    assert f"\n{verdict} (" in done.stdout
    assert json.loads((out / "check.json").read_text())["verdict"] == verdict
    assert verdict in (out / "summary.md").read_text().splitlines()[0]
    assert ET.parse(out / "junit.xml").getroot().get("tests") == "2"


def test_mistakes_and_broken_machines_have_statuses_of_their_own(repo, tmp_path):
    repo([])
    words = ("check", STUDY, *ONLY, "--results", tmp_path / "store")
    usage, broken = typed(*words, "--against", "nowhere").exception, typed(*words).exception
    assert isinstance(usage, BenchError) and usage.exit_status == 2
    assert isinstance(broken, InfrastructureError) and broken.exit_status == 5


def test_what_nobody_foresaw_is_no_regression(repo, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("no space")

    monkeypatch.setattr(gate, "checkout", fails)
    repo(SAME)
    done = typed("check", STUDY, *ONLY, "--results", tmp_path / "store")
    assert isinstance(done.exception, InfrastructureError)
    assert "OSError: no space" in str(done.exception)


def test_calibrate_check_against_the_store_and_history(repo, tmp_path):
    tree = repo(SAME)
    store = tmp_path / "store"
    done = typed("calibrate", STUDY, *ONLY, "--results", store, "--rounds", 6)
    assert done.exit_code == 0 and "noise of a round" in done.stdout
    assert "Measured on a processor, 1 threads" in done.stdout
    done = typed("check", STUDY, *ONLY, "--against", store, "--results", tmp_path / "now")
    assert done.exit_code == 0, done.output
    (tree.folder / "speeds.json").write_text(json.dumps(SLOW))
    done = typed("check", STUDY, *ONLY, "--against", store, "--results", tmp_path / "now")
    assert done.exit_code == 1, done.output
    told = typed("history", "throughput_gate", "--results", store).stdout
    assert told.startswith("warp images [forward] on a processor") and "no change" in told
    found = json.loads(typed("history", STUDY, "--results", store, "--json").stdout)
    assert found[0]["cell"] == "warp images [forward]"


def test_a_planted_slowdown_of_real_code_is_found(tmp_path, monkeypatch):
    """The short version of docs/measure_gate.py: here 100 % are found at a look after 3 rounds."""
    for module in (margin, gate, judge):
        monkeypatch.setattr(module, "LOOKS", (3,))
    monkeypatch.setattr(margin, "LEVELS", (0.01,))
    folder = tmp_path / "repo"
    for name in ("bench", "stn_core", "studies"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
        )
    assert (folder / "bench" / "arm.py").read_text() != ARM
    run(folder, "init", "-q", "-b", "main")
    run(folder, "add", "-f", ".")
    run(folder, "commit", "-q", "-m", "base")
    with (folder / "stn_core" / "_warp.py").open("a") as file:
        file.write(
            "\n\n_once = warp\n\n\ndef warp(*words, **options):\n"
            "    _once(*words, **options)\n    return _once(*words, **options)\n"
        )
    monkeypatch.setattr(gate, "working_tree", lambda: tree)
    tree = Tree(folder, sys.executable, run(folder, "rev-parse", "HEAD"), "head")
    only = ["--only", "warp images", "--device", "cpu", "--results", tmp_path / "store"]
    done = typed("check", STUDY, *only, "--output", tmp_path / "out")
    assert done.exit_code == 1, done.output
    (cell,) = json.loads((tmp_path / "out" / "check.json").read_text())["cells"]
    assert cell["verdict"] == "REGRESSION" and 1.5 < cell["ratio"]["mean"] < 3
    assert cell["ratio"]["n"] == 3
