"""Compaction: many files become one, and every row is there once, whatever happens meanwhile."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attempts import attempt, files, fill, rows
from hypothesis import HealthCheck, given, settings, strategies as st

import bench.results.store as module
from bench.errors import InfrastructureError
from bench.results import SCHEMA, ResultStore


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "store")


def test_compaction_keeps_every_row_and_repeats_itself(store):
    fill(store)
    before = rows(store)
    assert store.compact() == 3
    assert (files(store, "attempts"), len(files(store, "compact"))) == ([], 1)
    assert rows(store) == before
    (first,) = files(store, "compact")
    assert store.compact() == 3
    assert files(store, "compact") == [first]
    store.write(attempt("b" * 16))
    store.write(attempt("b" * 16, "timing"))
    before = rows(store)
    assert store.compact() == 5
    assert (files(store, "attempts"), len(files(store, "compact"))) == ([], 1)
    assert rows(store) == before
    assert pq.read_schema(files(store, "compact")[0]).metadata == SCHEMA.metadata


def test_a_lone_attempt_is_left_as_it_is(store):
    fill(store, 1)
    assert store.compact() == 1
    assert len(files(store, "attempts")) == 1


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8, deadline=None
)
@given(st.sets(st.integers(0, 3)))
def test_compaction_cut_short_between_writing_and_removing(tmp_path_factory, gone):
    """Whatever of the originals had been removed, rows count once and the next one ends it."""
    store = ResultStore(tmp_path_factory.mktemp("store"))
    fill(store, 4)
    before = rows(store)
    originals = [(file, file.read_bytes()) for file in files(store, "attempts")]
    store.compact()
    for i, (file, content) in enumerate(originals):
        if i not in gone:
            file.write_bytes(content)
    assert rows(store) == before
    assert store.compact() == 4
    assert files(store, "attempts") == []
    assert len(files(store, "compact")) == 1
    assert rows(store) == before


def test_two_compactions_at_once_lose_nothing(store, monkeypatch):
    """The other one ends, and an attempt comes in, after this one has read."""
    fill(store)
    write_whole, expected = module.write_whole, []

    def meanwhile(*arguments):
        monkeypatch.setattr(module, "write_whole", write_whole)
        other = ResultStore(store.location)
        other.compact()
        other.write(attempt("c" * 16))
        other.compact()
        expected.extend(rows(other))
        write_whole(*arguments)

    monkeypatch.setattr(module, "write_whole", meanwhile)
    assert store.compact() == 3
    assert len(expected) == 4
    assert rows(store) == expected
    assert store.compact() == 4
    assert len(files(store, "compact")) == 1


@pytest.mark.parametrize("count", [2, 9])
def test_a_store_is_read_while_a_compaction_takes_its_files_away(count, store, monkeypatch):
    """Each is gone when it is about to be read; it went on for longer than anyone tries again."""
    fill(store, count)
    before = rows(store)
    originals = {file: file.read_bytes() for file in files(store, "attempts")}
    store.compact()
    for file, content in originals.items():
        file.write_bytes(content)
    read_bytes = module.read_bytes

    def slow(system, path):
        if "/attempts/" in path:
            Path(path).unlink()
        return read_bytes(system, path)

    monkeypatch.setattr(module, "read_bytes", slow)
    assert rows(store) == before
    assert files(store, "attempts") == []


def test_a_compacted_file_that_does_not_read_back_removes_nothing(store, monkeypatch):
    fill(store)
    read, table = store.read(), pa.Table.from_pylist([], schema=SCHEMA)
    monkeypatch.setattr(store, "read", lambda: read)
    monkeypatch.setattr(module, "from_parquet", lambda content, digest: table)
    with pytest.raises(InfrastructureError, match=r"^store: .*/compact/[0-9a-f]{64}.parquet does "
                       r"not read back as it was written$"):  # fmt: skip
        store.compact()
    assert len(files(store, "attempts")) == 3
