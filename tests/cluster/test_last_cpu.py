"""Workers that die when it is least convenient: while they check, and while timing waits."""

import json
import os
import signal
import subprocess
import time

import pytest
from command import COMMAND, ROOT

from bench.environment import usable_cpus
from bench.results import ResultStore

TASK = '''\
"""The second seed's training ends when there is no file `hold` any more.

The first worker that is asked to check it dies.
"""
import os
import signal
import time
import torch
from bench.results import Metric
from bench.tasks.task import Measured

ERROR = Metric("test_error", 1.0, "percent", False)
DONE = Measured(metrics=(ERROR,), weights={"weight": torch.zeros(1)})


class Held:
    """Wait."""

    phases = ("accuracy", "timing")

    def check(self, settings, place):
        if not (asked := place.folder / "asked").exists():
            asked.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def accuracy(self, settings, seed, place):
        while seed == 1 and (place.folder / "hold").exists():
            time.sleep(0.01)
        return DONE

    def timing(self, settings, seed, place, weights):
        return DONE
'''
STUDY = """\
schema: 1
name: held
question: Does a training that comes back find a CPU?
task: held.py:Held
base: {dataset: digits, model: cnn, train: {steps: 1, batch_size: 1, lr: 1}}
seeds: 2
rounds: 1
resources: {timing: {cpus: 2}}
"""


@pytest.mark.ray
@pytest.mark.skipif(usable_cpus() < 2, reason="needs 2 CPUs")
def test_a_training_that_comes_back_gets_the_cpu_that_timing_waits_with(tmp_path):
    """The timing process, that wants both CPUs, is there first when a worker is killed."""
    (tmp_path / "held.py").write_text(TASK)
    (tmp_path / "held.yaml").write_text(STUDY)
    (hold := tmp_path / "hold").touch()
    words = ["run", str(tmp_path / "held.yaml"), "--results", str(tmp_path / "store"), "--json"]
    two = sorted(os.sched_getaffinity(0))[:2]
    with subprocess.Popen(
        [*COMMAND, *words, "--device", "cpu"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, two),
    ) as driver:  # fmt: skip
        try:
            assert driver.stdout is not None
            next(line for line in driver.stdout if json.loads(line)["event"] == "ended")
            time.sleep(1)  # the timing process has been asked for
            store = ResultStore(tmp_path / "store")
            (mark,) = [mark for mark in store.marks() if mark.phase == "accuracy"]
            hold.unlink()
            os.kill(mark.pid, signal.SIGKILL)
            driver.communicate(timeout=120)
        finally:
            driver.kill()
    assert driver.returncode == 0
    rows = store.read().table.to_pylist()
    made = sorted((r["phase"], r["seed"], r["attempt"], r["failure_kind"] or "") for r in rows)
    assert made == [
        ("accuracy", 0, 1, ""), ("accuracy", 1, 1, "lost"), ("accuracy", 1, 2, ""),
        ("timing", 0, 1, ""),
    ]  # fmt: skip
