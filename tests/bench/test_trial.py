"""One attempt: what becomes of it when another run, a time limit or the store is in its way."""

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from attempts import attempt

import bench.trial as module
from bench import jobs
from bench.errors import BadData, DiskFull, StoreError
from bench.jobs import Job, Launch
from bench.results import ResultStore, marks
from bench.results.marks import of_run
from bench.runner import fresh, logs
from bench.runner.runner import gone
from bench.study import load_study
from bench.study.schema import Accuracy, Resources, Timing
from bench.training import Diverged

TASK = '''
"""A task that does what its setting says."""
import os, sys, time
from bench.results import Metric
from bench.tasks.task import Measured

class Act:
    """Act as DO says."""
    def check(self, settings, place): pass
    def accuracy(self, settings, seed, place):
        do = (place.folder / "do").read_text() if (place.folder / "do").exists() else ""
        if do == "sleep":
            time.sleep(60)
        if do == "print":
            print("to out"); print("to err", file=sys.stderr); os.write(1, b"from below\\n")
            os.system("echo from a child")
        if do == "kill":
            print("last words", flush=True); time.sleep(0.5)
            os.kill(os.getpid(), 9)
        if do == "memory":
            raise MemoryError("no room")
        return Measured(metrics=(Metric("test_error", 1.0, "percent", False),))
    timing = lambda self, settings, seed, place, weights: Measured()
'''
STUDY = """\
schema: 1
name: study
question: Does it act?
task: act.py:Act
base: {dataset: digits, model: cnn, train: {steps: 1, batch_size: 1, lr: 1}}
seeds: 1
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "act.py").write_text(TASK)
    (tmp_path / "study.yaml").write_text(STUDY)
    return load_study(tmp_path / "study.yaml")


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "store")


@pytest.fixture
def launch(study, store):
    made = Launch("run", store.location, Path(study.folder), None, "code")
    with store.mark(of_run("study", "run")):
        yield made


@pytest.fixture
def job(study):
    return Job(study.trials("cpu")[0], "accuracy", 1, 1)


def limited(launch, seconds):
    resources = Resources(accuracy=Accuracy(timeout=seconds), timing=Timing(timeout=seconds))
    return dataclasses.replace(launch, resources=resources)


def kinds(store):
    return [row["failure_kind"] for row in store.read().table.to_pylist()]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(torch.OutOfMemoryError("x"), "out_of_memory"), (MemoryError(), "out_of_host_memory"),
     (Diverged("x"), "diverged"), (BadData("x"), "bad_data"), (module.TimeLimit(), "timeout"),
     (DiskFull("x"), "disk_full"), (StoreError("x"), "store"), (OSError("x"), "exception")],
)  # fmt: skip
def test_what_an_exception_is_a_failure_of(error, kind):
    assert module._kind(error) == kind


def test_what_torch_says_of_memory_that_it_does_not_get():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert module._kind(caught.value) == "out_of_host_memory"
    for words in (
        "out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ):
        assert module._kind(RuntimeError(f"CUDA error: {words}")) == "out_of_memory"


def test_an_attempt_ends_itself_at_its_time_limit_and_says_where_it_was(
    job, launch, store, tmp_path
):
    (tmp_path / "do").write_text("sleep")
    before = signal.getsignal(signal.SIGALRM)
    outcome = module.run_attempt(job, limited(launch, 0.2))
    assert outcome.failure_kind == "timeout"
    assert outcome.failure == "TimeLimit: it ran for more than 0.2 s"
    (row,) = store.read().table.to_pylist()
    assert "time.sleep(60)" in row["traceback"]
    assert signal.getsignal(signal.SIGALRM) is before
    (tmp_path / "do").write_text("")
    assert module.run_attempt(job, limited(launch, 60)).failure is None


def test_one_that_cannot_end_itself_is_killed(job, launch, store, tmp_path, monkeypatch):
    (tmp_path / "do").write_text("sleep")
    monkeypatch.setattr(fresh, "GRACE_SECONDS", 0.5)
    # The limit of the attempt is far, that of whom waits for it near.
    monkeypatch.setattr(Launch, "timeout", lambda self, job: 0.5)
    outcome = fresh.run_attempt(job, launch)
    assert (outcome.failure_kind, kinds(store)) == ("timeout", ["timeout"])
    assert store.marks(but_of="") == [m for m in store.marks() if m.phase == "run"]


def test_one_that_waits_for_its_store_is_not_slow(job, launch, store, tmp_path, monkeypatch):
    away, here = tmp_path / "away", tmp_path / "store"
    monkeypatch.setattr(fresh, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(Launch, "timeout", lambda self, job: 0.5)
    here.rename(away)
    back = threading.Timer(3, lambda: away.rename(here))
    back.start()
    outcome = fresh.run_attempt(job, launch)
    back.join()
    assert (outcome.failure_kind, kinds(store)) == ("store", ["store"])


def test_a_process_that_is_killed_is_lost_and_its_row_written(job, launch, store, tmp_path):
    (tmp_path / "do").write_text("kill")
    outcome = fresh.run_attempt(job, launch)
    assert (outcome.failure_kind, kinds(store)) == ("lost", ["lost"])
    assert [m.phase for m in store.marks()] == ["run"]


def test_what_an_attempt_prints_is_kept(job, launch, store, tmp_path, capfd):
    (tmp_path / "do").write_text("print")
    with logs.kept(job, launch):
        module.run_attempt(job, launch)
    print("after")
    ((name, text),) = store.logs(job.trial.trial_id).items()
    assert name == f"{job.trial.trial_id}.accuracy.1.run"
    assert {"to out", "to err", "from below", "from a child"} <= set(text.split("\n"))
    assert capfd.readouterr().out == "after\n"


def test_a_log_is_in_the_store_while_its_attempt_runs_and_its_end_when_it_is_long(
    job, launch, store, monkeypatch
):
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(logs, "LONGEST", 10)
    with logs.kept(job, launch):
        os.write(1, b"0123456789abcdef")
        deadline = time.time() + 20
        while not store.logs(job.trial.trial_id) and time.time() < deadline:
            time.sleep(0.02)
        (text,) = store.logs(job.trial.trial_id).values()
    assert text == "6789abcdef"


def test_memory_that_is_short_is_a_row(job, launch, store, tmp_path):
    (tmp_path / "do").write_text("memory")
    outcome = module.run_attempt(job, launch)
    assert (outcome.failure_kind, outcome.failure) == ("out_of_host_memory", "MemoryError: no room")


def other(job, **changes):
    mark = dataclasses.replace(of_run("study", "other"), phase="accuracy", variant="base")
    return dataclasses.replace(mark, trial_id=job.trial.trial_id, attempt=1, **changes)


def test_what_another_run_makes_is_left_to_it(job, launch, store):
    with store.mark(other(job)):
        assert module.run_attempt(job, launch).elsewhere == "running"
        assert store.read().table.num_rows == 0
    with store.mark(other(job, host="elsewhere")):
        assert module.run_attempt(job, launch).elsewhere == "running"
    assert module.run_attempt(job, launch).elsewhere is None
    assert kinds(store) == [None]


def test_of_two_that_began_at_once_one_goes_on(job, launch, store):
    with store.mark(other(job, started=time.time() + 60)):
        assert module.run_attempt(job, launch).elsewhere is None


def test_what_a_dead_run_had_begun_is_made(job, launch, store):
    with store.mark(other(job, process_started=1.0)):
        assert module.run_attempt(job, launch).elsewhere is None


def test_what_another_run_has_made_meanwhile_is_not_made_again(job, launch, store):
    import datetime

    now = datetime.datetime.now(datetime.UTC)
    trial = job.trial.trial_id
    with store.mark(dataclasses.replace(of_run("study", "other"))):
        long_ago = attempt(trial, run_id="other")
        store.write(long_ago)
        store.write(attempt(trial, run_id="other", failure="X: no", started_at=now))
        assert module.run_attempt(job, launch).elsewhere is None, "it was there, or has failed"
        store.write(attempt(trial, run_id="other", started_at=now))
        assert module.run_attempt(job, launch).elsewhere == "done"


def test_what_was_taken_for_lost_but_goes_on_is_not_made_beside_it(job, launch, store, monkeypatch):
    """A host that was cut off works on, and may still see the store."""
    monkeypatch.setattr(marks, "HEARTBEAT_SECONDS", 0.1)
    lost, trial = gone(job, launch, "node_lost", "no heartbeat", time.time()), job.trial.trial_id
    assert lost.failure_kind == "node_lost"
    with store.mark(other(job, run_id="run", host="cut off", beat=time.time())):
        assert module.run_attempt(job.again(), launch).elsewhere == "running"
    store.write(attempt(trial, "accuracy", run_id="run"))
    assert module.run_attempt(job.again(), launch).elsewhere == "done"
    assert sorted(map(str, kinds(store))) == ["None", "node_lost"]


def test_what_is_lost_after_its_row_was_written_is_what_the_row_says(job, launch, store):
    store.write(attempt(job.trial.trial_id, "accuracy", run_id="run", seconds=7.0))
    with store.mark(dataclasses.replace(other(job), run_id="run")):
        outcome = gone(job, launch, "lost", "killed", time.time())
        assert [m.phase for m in store.marks()] == ["run"], "it was killed before its mark was gone"
    assert (outcome.failure_kind, outcome.seconds) == (None, 7.0)
    assert kinds(store) == [None]
    assert gone(job.again(), launch, "lost", "killed", time.time()).failure_kind == "lost"


def test_what_was_given_up_but_goes_on_is_not_made_beside_it(job, launch, store):
    """A worker that was given several may still be at one that has gone to another since."""
    with store.mark(dataclasses.replace(other(job), run_id="run")):
        assert module.run_attempt(job.again(), launch).elsewhere == "running"
    assert module.run_attempt(job.again(), launch).elsewhere is None


def test_nothing_is_trained_on_a_host_while_another_run_times_there(job, launch, store):
    timing = dataclasses.replace(other(job), trial_id="b" * 16, phase="timing")
    with store.mark(timing):
        assert module.run_attempt(job, launch).elsewhere == "running"
    with store.mark(dataclasses.replace(timing, host="elsewhere", beat=time.time())):
        assert module.run_attempt(job, launch).elsewhere is None


def test_a_timing_waits_until_the_host_is_quiet(job, launch, store):
    ended: list[float] = []
    mine = dataclasses.replace(other(job), run_id="run", phase="timing")

    def time_it():
        timing = dataclasses.replace(job, phase="timing", round=0)
        module._elsewhere(timing, launch, store, mine)
        ended.append(time.time())

    waiting = threading.Thread(target=time_it)
    with store.mark(other(job, process_started=0.0)):  # a dead one disturbs nobody
        time_it()
    ended.clear()
    mark = store.mark(other(job))
    mark.__enter__()
    waiting.start()
    time.sleep(0.5)
    assert not ended
    mark.__exit__(None, None, None)
    waiting.join(timeout=10)
    assert ended


def test_a_store_that_goes_and_comes_back_loses_nothing(job, launch, store, tmp_path):
    away, here = tmp_path / "away", tmp_path / "store"

    def leave(*_):
        here.rename(away)
        threading.Timer(1.5, back).start()
        return module.Measured()

    def back():
        away.rename(here)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_run_phase", leave)
        assert module.run_attempt(job, launch).failure is None
    assert kinds(store) == [None]
    assert not away.exists()


def test_the_row_of_a_worker_that_is_gone_waits_for_a_store_that_is_away(
    job, launch, store, tmp_path
):
    away, here = tmp_path / "away", tmp_path / "store"
    here.rename(away)
    back = threading.Timer(1.5, lambda: away.rename(here))
    back.start()
    assert gone(job, launch, "lost", "killed", time.time()).failure_kind == "lost"
    back.join()
    assert kinds(store) == ["lost"]


def test_no_attempt_is_begun_where_the_store_of_the_run_is_not(job, launch, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 0)
    away, here = tmp_path / "away", tmp_path / "store"
    here.rename(away)
    with pytest.raises(StoreError, match="does not see there what the driver wrote"):
        module.run_attempt(job, launch)
    assert not here.exists()
    away.rename(here)


def test_a_store_that_stays_away_is_told_and_no_other_made_in_its_place(
    job, launch, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 0)
    away, here = tmp_path / "away", tmp_path / "store"
    monkeypatch.setattr(module, "_run_phase", lambda *_: (here.rename(away), module.Measured())[1])
    with pytest.raises(StoreError, match="does not see there what the driver wrote"):
        module.run_attempt(job, launch)
    assert not (here / "attempts").exists()
    away.rename(here) if not here.exists() else None
