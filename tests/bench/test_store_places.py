"""The store in a bucket, on a disk that is full or read-only, and with any byte of it broken."""

import errno
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from attempts import attempt, fill, rows

from bench.errors import DiskFull, InfrastructureError, StoreError
from bench.results import ResultStore
from bench.results.marks import of_run


def test_a_store_in_a_bucket_does_all_that_a_folder_does(bucket, tmp_path):
    there, here = ResultStore(bucket), ResultStore(tmp_path)
    assert rows(there) == [] and there.marks() == []
    for store in (there, here):
        fill(store)
        store.write_checkpoint("a" * 16, b"weights")
        store.write_study("study", "{}")
        store.write_log("a.accuracy.1.run", b"printed")
    with there.mark(of_run("study", "run")):
        there.check_seen("run")
        assert [mark.run_id for mark in there.marks()] == ["run"]
        with pytest.raises(StoreError, match="does not see there what the driver wrote"):
            there.check_seen("another")
    assert there.marks() == []
    assert rows(there) == rows(here)
    assert there.compact() == here.compact() == 3
    assert rows(there) == rows(here)
    assert there.read_checkpoint("a" * 16) == b"weights"
    assert there.read_study("study") == "{}"
    assert there.logs("a") == {"a.accuracy.1.run": "printed"}


def test_a_broken_file_in_a_bucket_is_set_aside(bucket):
    from pyarrow import fs

    store = ResultStore(bucket)
    names = fill(store)
    system, root = fs.FileSystem.from_uri(bucket)
    with system.open_output_stream(f"{root}/attempts/{names[0]}") as stream:
        stream.write(b"torn")
    assert store.read().corrupt == (f"attempts/{names[0]}",)
    store.set_aside(f"attempts/{names[0]}")
    assert store.read().corrupt == ()
    assert len(rows(store)) == 2


def test_a_mount_whose_server_is_gone_is_a_store_that_is_away(tmp_path, monkeypatch):
    """It cannot be made here for real: Linux then fails each look at it, and so does this."""

    def gone(self, **_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))

    monkeypatch.setattr(Path, "stat", gone)
    with pytest.raises(StoreError, match="cannot be read: .*Stale file handle"):
        ResultStore(tmp_path / "store")


def test_a_bucket_that_is_not_there_is_told(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    place = f"s3://nobody/x?endpoint_override={server}&scheme=http&region=us-east-1"
    with pytest.raises(InfrastructureError) as caught:
        ResultStore(place).write(attempt())
    assert str(caught.value).count("\n") == 0


def test_a_bucket_that_does_not_answer_is_told_whatever_is_asked_of_it():
    place = "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    store = ResultStore(place.replace("s3://", "s3://key:secret@"))
    asked = (
        store.marks, store.read, lambda: store.check_seen("run"), lambda: store.read_partial("a"),
        lambda: store.has_checkpoint("a"), lambda: store.rows_of("a", "accuracy"),
    )  # fmt: skip
    for ask in asked:
        with pytest.raises(StoreError) as caught:
            ask()
        assert str(caught.value).count("\n") == 0


def test_a_file_size_limit_is_a_full_disk_and_loses_nothing(tmp_path):
    """What a full disk does, without one: the kernel refuses to let a file grow."""
    store = ResultStore(tmp_path)
    fill(store)
    before = rows(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DiskFull, match=r"^store: cannot write [^\n]* File too large"):
            store.write(attempt("b" * 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert rows(store) == before
    assert [p.name for p in tmp_path.rglob("*.tmp")] == []
    store.write(attempt("b" * 16))
    assert len(rows(store)) == 4


def test_a_disk_runs_full_and_has_room_again(small_disk):
    store = ResultStore(small_disk / "store")
    written = []
    with pytest.raises(DiskFull, match="No space left on device"):
        for i in range(1000):
            written.append(store.write(attempt(f"{i:016x}")))
    assert written
    assert sorted(row["file"] for row in rows(store)) == sorted(written)
    assert store.read().corrupt == ()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    written.append(store.write(attempt("f" * 16)))
    assert store.compact() == len(written)


def test_a_disk_that_is_read_only_is_told(small_disk):
    store = ResultStore(small_disk / "store")
    fill(store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="Read-only file system"):
        store.write(attempt("b" * 16))
    assert len(rows(store)) == 3
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    store.write(attempt("b" * 16))
    assert len(rows(store)) == 4


@pytest.fixture
def one(tmp_path):
    """A store of one small file, and that file."""
    store = ResultStore(tmp_path)
    name = store.write(attempt("1" * 16, curves=(), traceback=None, environment="{}"))
    return store, Path(tmp_path) / "attempts" / name


def found(store, file):
    results = store.read(["trial_id"])
    assert results.corrupt == (f"attempts/{file.name}",)
    return results.table.num_rows


def test_every_byte_that_is_flipped_is_found(one):
    store, file = one
    content = file.read_bytes()
    for i in range(len(content)):
        file.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 8)]) + content[i + 1 :])
        assert found(store, file) == 0
    file.write_bytes(content)
    assert store.read().corrupt == ()


def test_every_length_to_which_it_is_cut_is_found_and_nothing_else_affected(one):
    store, file = one
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        assert found(store, file) == 0
    store.write(attempt("0" * 16))
    assert found(store, file) == 1
    store.set_aside(f"attempts/{file.name}")
    assert store.read().corrupt == ()
    assert [row["trial_id"] for row in rows(store)] == ["0" * 16]
    assert len(os.listdir(file.parent.parent / "corrupt")) == 1
