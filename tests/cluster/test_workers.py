"""A training that two workers share, on Ray: one is killed, then they learn what one alone does."""

import json
import os

import pytest
import torch
from command import stn_bench
from safetensors.torch import load

from bench.environment import usable_cpus
from bench.launch import run
from bench.results import ResultStore
from bench.study import load_study

TASK = '''\
"""Classification without timing, at whose first attempt the second worker is killed."""
import os
import signal
from bench.tasks.classify import Classify


class Learn:
    """Learn."""

    phases = ("accuracy",)
    data_parallel = True

    def check(self, settings, place):
        Classify().check(settings, place)

    def accuracy(self, settings, seed, place):
        print("this is worker", place.ranks.rank)
        if place.ranks.rank == 1 and not (killed := place.folder / "killed").exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Classify().accuracy(settings, seed, place)

    def timing(self, settings, seed, place, weights):
        raise NotImplementedError
'''
STUDY = """\
schema: 1
name: learning
question: Do two workers learn what one does?
task: learning.py:Learn
base:
  dataset: {name: digits, distortion: {name: affine, rotation: 90}}
  model: {name: cnn, filters: [4], kernel_sizes: [3], transformer: {transform: affine}}
  train: {steps: 60, batch_size: 32, optimizer: sgd, momentum: 0.9, lr: 3e-2, clip_norm: 1.0}
seeds: 1
"""
LIMIT = 30  # seconds, in which workers start, too
STAYING = f"""\
schema: 1
name: staying
question: Are they gone?
task: stay.py:Stay
base: {{dataset: digits, model: cnn, train: {{steps: 1, batch_size: 2, lr: 1}}}}
vary: {{train.lr: [1, 2]}}
seeds: 1
resources: {{accuracy: {{workers: 2, timeout: {LIMIT}}}}}
"""
# Sums of half a batch are rounded otherwise, and training carries that on.
WEIGHTS_WITHIN, LOSSES_WITHIN, POINTS_WITHIN = 1e-5, 1e-5, 0.3


def weights(store: ResultStore) -> dict[str, torch.Tensor]:
    (trial,) = store.trials().trial_id
    return load(store.read_checkpoint(trial))


@pytest.mark.ray
def test_two_workers_one_of_which_is_killed_learn_what_one_does_at_the_same_batch(tmp_path):
    (tmp_path / "learning.py").write_text(TASK)
    (study := tmp_path / "learning.yaml").write_text(STUDY)
    one, two = ResultStore(tmp_path / "one"), ResultStore(tmp_path / "two")
    words = ["resources.accuracy.workers=2", "--device", "cpu", "--json", "--results", two.location]
    out = stn_bench("run", study, *words).stdout
    list(run(load_study(study), one.location, device="cpu", in_process=True))

    events = [json.loads(line) for line in out.splitlines()]
    ended = [(e["failure_kind"], e["again"]) for e in events if e["event"] == "ended"]
    assert ended == [("lost", True), (None, False)]
    lost, done = sorted(two.read().table.to_pylist(), key=lambda row: row["attempt"])
    assert (lost["failure_kind"], lost["failure"][:12]) == ("lost", "WorkerLost: ")
    assert (done["status"], done["attempt"]) == ("done", 2)
    assert json.loads(done["environment"])["workers"] == 2
    assert two.marks() == []
    name = f"{done['trial_id']}.accuracy.2.{done['run_id']}"
    logs = two.logs(done["trial_id"])
    assert "this is worker 0\n" in logs[name]
    assert "this is worker 1\n" in logs[f"{name}.worker1"]

    expected, got = weights(one), weights(two)
    assert got.keys() == expected.keys()
    assert any(not torch.equal(got[name], expected[name]) for name in got), "one worker did it all"
    for name in got:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=WEIGHTS_WITHIN)
    curves = [store.curves().set_index(["name", "step"]).value for store in (one, two)]
    apart = (curves[0] - curves[1]).abs()
    assert apart["train_loss"].max() <= LOSSES_WITHIN
    assert apart["test_error"].max() <= POINTS_WITHIN


STAY = '''\
"""At the first learning rate all workers stay; at the second they count who has stayed before."""
import os
import time
import psutil
from bench.results import Metric
from bench.tasks.task import Measured


class Stay:
    """Stay."""

    phases = ("accuracy",)
    data_parallel = True

    def check(self, settings, place):
        pass

    def accuracy(self, settings, seed, place):
        if settings["train"]["lr"] == 1:
            (place.folder / f"stays.{os.getpid()}").touch()
            time.sleep(600)
        stayed = [int(file.suffix[1:]) for file in place.folder.glob("stays.*")]
        there = sum(psutil.pid_exists(pid) for pid in stayed)
        return Measured(metrics=(Metric("there", there, "", False),))

    def timing(self, settings, seed, place, weights):
        raise NotImplementedError
'''


@pytest.mark.ray
@pytest.mark.skipif(usable_cpus() < 2, reason="needs 2 CPUs")
def test_workers_past_their_time_limit_are_one_row_and_gone_before_the_next_training(tmp_path):
    (tmp_path / "stay.py").write_text(STAY)
    (study := tmp_path / "staying.yaml").write_text(STAYING)
    store = ResultStore(tmp_path / "store")
    two = sorted(os.sched_getaffinity(0))[:2]
    stn_bench(
        "run", study, "--device", "cpu", "--results", store.location, check=1,
        preexec_fn=lambda: os.sched_setaffinity(0, two),
    )  # fmt: skip
    late, done = sorted(store.read().table.to_pylist(), key=lambda row: row["variant"] != "base")
    assert (late["attempt"], late["failure_kind"]) == (1, "timeout")
    assert f"it ran for more than {LIMIT} s" in late["failure"]
    assert len(list(tmp_path.glob("stays.*"))) == 2, "it was over before both had begun"
    assert [m["value"] for m in done["metrics"]] == [0], "workers were left behind"
    assert store.marks() == []
