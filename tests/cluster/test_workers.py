"""Trainings that several workers share: what one learns, and what a failing one does."""

import json
from pathlib import Path

import pytest
import torch
from command import stn_bench
from safetensors.torch import load

from bench.results import ResultStore

LEARNING = """\
schema: 1
name: learning
question: Do two workers learn what one does?
task: classify
base:
  dataset: {name: digits, distortion: {name: affine, rotation: 90}}
  model: {name: cnn, filters: [4], kernel_sizes: [3], transformer: {transform: affine}}
  train: {steps: 60, batch_size: 32, optimizer: sgd, momentum: 0.9, lr: 3e-2, clip_norm: 1.0}
seeds: 1
rounds: 1
"""
TASK = '''\
"""The second worker fails while the first one waits for it; at lr 2 only the first time."""
import os
import signal
import torch
from bench.results import Metric
from bench.tasks.task import Measured


class Failing:
    """Fail."""

    phases = ("accuracy",)
    data_parallel = True

    def check(self, settings, place):
        pass

    def accuracy(self, settings, seed, place):
        print("this is worker", place.ranks.rank)
        if place.ranks.rank == 1 and settings["train"]["lr"] == 1:
            raise MemoryError("no room for this share")
        if place.ranks.rank == 1 and not (killed := place.folder / "killed").exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        mean = torch.tensor(float(place.ranks.rank))
        place.ranks.average([mean])
        return Measured(metrics=(Metric("test_error", float(mean), "percent", False),))

    def timing(self, settings, seed, place, weights):
        raise NotImplementedError
'''
FAILING = """\
schema: 1
name: failing
question: What becomes of the others?
task: failing.py:Failing
base: {dataset: digits, model: cnn, train: {steps: 1, batch_size: 2, lr: 1}}
vary: {train.lr: [1, 2]}
seeds: 1
resources: {accuracy: {workers: 2}}
retries: {out_of_host_memory: 0}
"""
# Sums of half a batch are rounded otherwise, and training carries that on.
WEIGHTS_WITHIN, LOSSES_WITHIN, POINTS_WITHIN = 1e-5, 1e-5, 0.3


def weights(store: ResultStore) -> dict[str, torch.Tensor]:
    (trial,) = store.trials().trial_id
    return load(store.read_checkpoint(trial))


@pytest.mark.ray
def test_two_workers_learn_what_one_does_at_the_same_batch(tmp_path):
    study = tmp_path / "learning.yaml"
    study.write_text(LEARNING)
    stn_bench("run", study, "--in-process", "--results", tmp_path / "one")
    stn_bench("run", study, "resources.accuracy.workers=2", "--results", tmp_path / "two")
    one, two = ResultStore(tmp_path / "one"), ResultStore(tmp_path / "two")
    rows = two.read().table.to_pylist()
    assert [(r["phase"], r["status"], r["attempt"]) for r in rows] == [
        ("accuracy", "done", 1), ("timing", "done", 1),
    ]  # fmt: skip
    assert json.loads(rows[0]["environment"])["workers"] == 2
    assert two.marks() == []
    expected, got = weights(one), weights(two)
    assert got.keys() == expected.keys()
    assert any(not torch.equal(got[name], expected[name]) for name in got), "one worker did it all"
    for name in got:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=WEIGHTS_WITHIN)
    curves = [store.curves().set_index(["name", "step"]).value for store in (one, two)]
    apart = (curves[0] - curves[1]).abs()
    assert apart["train_loss"].max() <= LOSSES_WITHIN
    assert apart["test_error"].max() <= POINTS_WITHIN


@pytest.mark.ray
def test_a_worker_that_fails_ends_its_partners_and_is_a_row_of_its_kind(tmp_path):
    (tmp_path / "failing.py").write_text(TASK)
    study: Path = tmp_path / "failing.yaml"
    study.write_text(FAILING)
    stn_bench("run", study, "--device", "cpu", "--results", tmp_path / "store", check=1)
    store = ResultStore(tmp_path / "store")
    rows = store.read().table.to_pylist()
    found = {(json.loads(r["settings"])["train"]["lr"], r["attempt"]): r for r in rows}
    kinds = {key: row["failure_kind"] for key, row in found.items()}
    assert kinds == {(1, 1): "out_of_host_memory", (2, 1): "lost", (2, 2): None}
    assert len(rows) == 3
    refused = found[1, 1]
    assert refused["failure"] == "MemoryError: no room for this share"
    assert 'failing.py", line' in refused["traceback"]
    assert found[2, 1]["failure"].startswith("WorkerLost: ")
    assert found[2, 2]["metrics"][0]["value"] == 0.5, "the mean of 0 and 1"
    logs = store.logs(refused["trial_id"])
    assert logs[f"{refused['trial_id']}.accuracy.1.{refused['run_id']}.worker1"] == (
        "this is worker 1\n"
    )
    assert store.marks() == []
