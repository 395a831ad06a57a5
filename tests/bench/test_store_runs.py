"""Whole runs whose store is full, read-only, away, torn or killed in a bucket: nothing is lost."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from typing import cast

import pytest
from attempts import files, rows
from command import COMMAND, ROOT
from idle_study import write_study

from bench.errors import DiskFull, StoreError
from bench.launch import run
from bench.results import ResultStore
from bench.study import load_study

TRIALS = 30


@pytest.fixture
def study(tmp_path):
    return load_study(write_study(tmp_path / "study", TRIALS))


def events(study, place):
    return run(study, place, device="cpu", in_process=True)


def complete(store, study):
    """Every trial has one good row with what it computes, and nothing is left over."""
    found = [row for row in rows(store) if row["status"] == "done"]
    assert sorted(row["trial_id"] for row in found) == sorted(
        trial.trial_id for trial in study.trials("cpu")
    )
    assert all(row["metrics"][0]["value"] == 1e-3 * row["seed"] for row in found)
    assert store.marks() == [] and store.read().corrupt == ()


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def test_a_disk_that_fills_up_is_read_only_and_goes_away_before_the_run_ends(small_disk, study):
    store = ResultStore(small_disk / "store")
    with pytest.raises(DiskFull, match=r"^store: cannot write [^\n]*No space left on device$"):
        list(events(study, store.location))
    kept = rows(store)
    assert 0 < len(kept) < TRIALS and store.read().corrupt == ()
    mount("-o", "remount,ro", small_disk)
    with pytest.raises(
        StoreError, match=r"^store: cannot write [^\n]*Read-only file system[^\n]*$"
    ):
        list(events(study, store.location))
    assert rows(store) == kept

    mount("-o", "remount,rw,size=16m", small_disk)
    ended = 0
    for event in events(study, store.location):
        ended += event.kind == "ended"
        if event.kind == "ended" and ended == 3:
            mount("-t", "tmpfs", "tmpfs", small_disk)  # hides what is there
            assert rows(store) == []
            threading.Timer(1.5, subprocess.run, [["umount", "-l", str(small_disk)]]).start()
    assert ended == TRIALS - len(kept)
    complete(store, study)
    assert all(row in rows(store) for row in kept)


def test_a_torn_file_is_named_and_its_trial_runs_again_alone(study, tmp_path):
    store, made = ResultStore(tmp_path / "store"), events(study, tmp_path / "store")
    for _ in range(5):
        next(event for event in made if event.kind == "ended")
    cast(Generator[object], made).close()
    torn, *whole = files(store, "attempts")
    content = bytearray(torn.read_bytes())
    content[len(content) // 2] ^= 1
    torn.write_bytes(content)
    again = list(events(study, tmp_path / "store"))
    said = [event.text for event in again if event.kind == "stage"]
    assert said[0] == f"set aside attempts/{torn.name}: its content is not what its name says"
    assert len(next(event.jobs for event in again if event.kind == "planned")) == TRIALS - 4
    complete(store, study)
    assert {file.name for file in whole} <= {row["file"] for row in rows(store)}
    assert [f.name.startswith(torn.name) for f in files(store, "corrupt")] == [True]


def test_a_run_in_a_bucket_that_is_killed_goes_on_where_it_was(bucket, study, tmp_path):
    write_study(tmp_path / "study", TRIALS, rest=0.05)
    store = ResultStore(bucket)
    command = ["run", str(tmp_path / "study" / "nothing.yaml"), "--results", bucket, "--in-process"]
    with subprocess.Popen([*COMMAND, *command, "--device", "cpu"], cwd=ROOT) as driver:
        deadline = time.time() + 120
        while len(store.names()) < 3 or not any(m.phase == "accuracy" for m in store.marks()):
            assert driver.poll() is None and time.time() < deadline
            time.sleep(0.02)
        os.kill(driver.pid, signal.SIGKILL)
    kept = rows(store)
    assert 3 <= len(kept) < TRIALS
    assert len(store.marks()) >= 1, "what it did when it was killed"
    list(events(study, bucket))
    complete(store, study)
    assert all(row in rows(store) for row in kept)
    with contextlib.suppress(StopIteration):
        pytest.fail(f"something is left to do: {next(events(study, bucket))}")
