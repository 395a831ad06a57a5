"""Marks of attempts under way: whose worker lives, and whose is gone."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import psutil
import pytest

import bench.results.marks as module
from bench.errors import InfrastructureError
from bench.results import ResultStore
from bench.results.marks import SILENT_SECONDS, Mark, this_process


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path)


def mark(**changes):
    host, pid, started = this_process()
    one = Mark("a" * 16, "study", "base", 0, "accuracy", 1, "run", host, pid, started, time.time())
    return dataclasses.replace(one, **changes)


def wait(condition):
    deadline = time.time() + 10
    while not (found := condition()):
        assert time.time() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def test_a_mark_stands_while_the_block_runs(store):
    mine = mark()
    with store.mark(mine):
        (seen,) = wait(store.marks)
        assert dataclasses.replace(seen, beat=0.0, path="") == mine
        assert seen.alive
        assert abs(seen.beat - time.time()) < 10
    assert store.marks() == []


def test_a_mark_goes_when_the_block_raises(store):
    with pytest.raises(ZeroDivisionError), store.mark(mark()):
        wait(store.marks)
        raise ZeroDivisionError
    assert store.marks() == []


def test_two_attempts_of_one_number_have_two_marks(store):
    with store.mark(mark()), store.mark(mark()):
        assert wait(lambda: len(store.marks()) == 2)


def test_the_heart_beats(store, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    with store.mark(mark()):
        first = wait(store.marks)[0].beat
        assert wait(lambda: [m for m in store.marks() if m.beat > first])


def test_where_its_store_is_gone_the_heart_makes_no_other(store, tmp_path, monkeypatch):
    """As behind a mount that is lost: a worker would take what it finds there for its store."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    running, away = tmp_path / "running", tmp_path / "away"
    with store.mark(mark()):
        running.rename(away)
        time.sleep(0.2)
        assert not running.exists()
        away.rename(running)
        first = store.marks()[0].beat
        assert wait(lambda: [m for m in store.marks() if m.beat > first])


def test_on_this_host_the_process_tells():
    assert mark(beat=0.0).alive, "a heartbeat that was missed is no death"
    assert not mark(process_started=this_process()[2] - 10, beat=time.time()).alive, (
        "the number was given to another process"
    )


def test_a_process_that_ended_is_dead_even_before_it_is_reaped():
    """In a container whose first process reaps nobody a killed worker stays a zombie for ever."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    theirs = mark(pid=child.pid, process_started=psutil.Process(child.pid).create_time())
    assert theirs.alive
    child.kill()
    wait(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not theirs.alive
    child.communicate()
    assert not theirs.alive


def test_on_another_host_the_heartbeat_tells():
    assert mark(host="elsewhere", pid=1, beat=time.time()).alive
    assert not mark(host="elsewhere", beat=time.time() - SILENT_SECONDS - 1).alive


def test_a_mark_of_a_dead_worker_is_taken_away(store, tmp_path):
    folder = tmp_path / "running"
    folder.mkdir()
    dead = mark(host="elsewhere")
    (folder / "a.json").write_text(json.dumps(dataclasses.asdict(dead)))
    (seen,) = store.marks()
    store.remove_mark(seen)
    assert store.marks() == []
    store.remove_mark(seen)


def test_files_that_are_no_marks_are_passed_over(store, tmp_path):
    folder = tmp_path / "running"
    folder.mkdir()
    for name, text in {"a": "", "b": "[]", "c": "{}", "d": '{"x": 1}', "e": "\x00"}.items():
        (folder / f"{name}.json").write_text(text)
    assert store.marks() == []


def test_a_mark_that_cannot_be_written_stops_nothing(store, monkeypatch):
    tries = []

    def full(*arguments, **options):
        tries.append(arguments)
        raise InfrastructureError("store: cannot write: No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    with store.mark(mark()):
        wait(lambda: tries)
    assert store.marks() == []


def test_marks_are_listed_while_they_come_and_go(store, monkeypatch):
    from bench.results import files

    real, fails = files.fs.FileSelector, [1, 1]

    def selector(*arguments, **options):
        if fails:
            fails.pop()
            raise FileNotFoundError
        return real(*arguments, **options)

    with store.mark(mark()):
        wait(store.marks)
        monkeypatch.setattr(files.fs, "FileSelector", selector)
        assert len(store.marks()) == 1
        assert fails == []


def test_this_process():
    host, pid, started = this_process()
    assert (host, pid) == (os.uname().nodename, os.getpid())
    assert started <= time.time()
