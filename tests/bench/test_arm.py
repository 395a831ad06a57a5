"""An arm of a comparison: it does what it is asked, and says in one line when it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT

from bench.check.lockstep import QUESTIONS
from bench.study import load_study

WARP = """schema: 1
name: study
question: "?"
task: latency
base:
  workload: {name: warp, transform: affine, sampler: bilinear, shape: [2, 1, 8, 8]}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    file = tmp_path_factory.mktemp("arm") / "study.yaml"
    file.write_text(WARP)
    (variant,) = load_study(file).variants
    return variant.settings("latency")


def test_an_arm_answers_line_by_line(settings):
    huge = {**settings, "workload": {**settings["workload"], "shape": [2**20, 2**10, 2**8, 2**8]}}
    unknown = {"task": "latency", "workload": {"name": "none of this commit"}}
    ready = {"do": "prepare", "seed": 0}
    block = {"do": "block", "untimed": 1, "steps": 3}
    place = {"do": "open", "device": "cpu", "threads": 1, "data_dir": None, "folder": "."}
    questions = [
        place, {**ready, "settings": unknown}, {**ready, "settings": huge},
        {**ready, "settings": settings}, {**block, "mode": "forward"},
        {**block, "mode": "backward"}, {"do": "sing"},
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.arm"], input="\n".join(map(json.dumps, questions)),
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=True,
    )  # fmt: skip
    opened, wrong, full, warm, block, other, verb = map(json.loads, done.stdout.splitlines())
    assert Path(opened["root"]) == ROOT
    assert opened["questions"] == QUESTIONS
    assert opened["protocol"] == "2" and opened["cpus"] == 1 and opened["environment"]["python"]
    assert "unknown workload" in wrong["failure"]
    assert "memory" in full["failure"]
    assert all(sample["warmup"] for sample in warm["samples"])
    seconds, made = warm["modes"]["forward"]
    assert 0 < seconds < 5 and made == sum(s["iterations"] for s in warm["samples"])
    (quality,) = (m for m in warm["metrics"] if m["name"] == "numeric_error")
    assert 0 < quality["value"] < 1e-5
    sample = block["sample"]
    assert not sample["warmup"] and sample["mode"] == "forward" and sample["iterations"] == 3
    assert 0 < sample["seconds"] < 20
    assert other["failure"].startswith("KeyError") and verb["failure"].startswith("KeyError")
