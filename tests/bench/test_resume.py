"""A training whose process is killed goes on in another one, to the bit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import QUICKSTART, ROOT
from safetensors.torch import load

import bench.trial
from bench.jobs import Job, Launch
from bench.results import ResultStore
from bench.results.marks import of_run
from bench.resume import Halfway
from bench.runner.in_process import InProcess
from bench.study import Study, load_study
from bench.tasks import colocalise

STEPS, AN_EVALUATION = 100, 20
DATA = os.environ.get("STN_BENCH_DATA")


def studied(task: str) -> Study:
    """A study of the task with one variant."""
    words = [f"train.steps={STEPS}"]
    if task == "classify":
        return load_study(QUICKSTART, words, only=["ST-CNN"])
    colocalise.ENCODER["steps"] = 5
    words += ["dataset.images=10", "train.batch_size=4"]
    file = ROOT / "studies" / "paper_colocalisation.yaml"
    return load_study(file, words, only=["base"])


def train(folder: Path, run: str, task: str) -> None:
    """One attempt at a trial, by the runner without Ray."""
    study = studied(task)
    store = ResultStore(folder)
    launch = Launch(run, store.location, Path(study.folder), Path(DATA) if DATA else None, "code")
    job = Job(study.trials("cpu")[0], "accuracy", 1, 1)
    with store.mark(of_run(study.name, run)):
        _, ended = InProcess().accuracy([job], launch)
    assert ended.outcome is not None and ended.outcome.failure is None


def kept_at(folder: Path) -> int:
    """At which step the state was kept that there is; 0 where there is none."""
    for file in (folder / "partial").glob("*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            return json.loads(bytes(load(file.read_bytes())["meta"].numpy()))["done"]
    return 0


def row_and_weights(folder: Path):
    (row,) = ResultStore(folder).read().table.to_pylist()
    (weights,) = (folder / "checkpoints").iterdir()
    kept = ("trial_id", "status", "settings", "metrics", "curves", "pictures")
    return {key: row[key] for key in kept}, weights.read_bytes()


@pytest.mark.parametrize("task", ["classify", "colocalise"])
def test_a_training_killed_in_its_midst_goes_on_to_the_bit(task, tmp_path, monkeypatch):
    if task == "colocalise" and not DATA:
        pytest.skip("STN_BENCH_DATA names no folder with MNIST")
    monkeypatch.setattr(colocalise, "ENCODER", dict(colocalise.ENCODER))
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    train(undisturbed, "a", task)

    child = subprocess.Popen([sys.executable, __file__, str(killed), task], cwd=ROOT)
    with child:
        # Behind the first evaluation, which has seen what its row has to tell.
        while kept_at(killed) <= AN_EVALUATION:
            assert child.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert AN_EVALUATION < kept_at(killed) < STEPS, "its state outlives it"
    assert not list(killed.glob("attempts/*")), "it had no time for a row"

    begun = []
    found = Halfway.found

    def told(self):
        state = found(self)
        begun.append(state and state[1]["done"])
        return state

    monkeypatch.setattr(Halfway, "found", told)
    at = kept_at(killed)
    train(killed, "c", task)
    assert begun == [at], "it began where the other was killed, not anew"
    assert row_and_weights(killed) == row_and_weights(undisturbed)
    assert kept_at(killed) == 0, "what is finished needs no state"


if __name__ == "__main__":
    bench.trial.KEEP_SECONDS = 0.0
    train(Path(sys.argv[1]), "b", sys.argv[2])
