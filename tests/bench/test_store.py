"""The store: what is written comes back; what is broken is set aside and harms nothing else."""

import dataclasses
import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attempts import attempt, files, fill, rows

import bench.results.store as module
from bench.errors import BenchError, InfrastructureError
from bench.results import SCHEMA, SCHEMA_VERSION, ResultStore
from bench.results.files import to_parquet
from bench.results.schema import Metric, Picture, TimingSample, to_table


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "store")


def listed(value):
    """Plain data with lists for tuples, as Arrow gives it back."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value


PICTURES = (
    Picture("input", "transformer", 20, 3, b"\x89PNG\x00", (0.5, 1.0, 2.0, 3.5), "7"),
    Picture("error", "", 20, 4, b"", label="7", predicted="1"),
)


@pytest.mark.parametrize(
    "one",
    [attempt(), attempt(phase="timing", number=12, round=3), attempt(pictures=PICTURES),
     attempt(phase="timing", timings=(TimingSample("forward", 0, 1.0, 2, False, ("steal",)),)),
     attempt(failure="ValueError: no", failure_kind="out_of_memory", traceback="line\nline"),
     attempt(variant="é|`\n", metrics=(Metric("x", float("inf"), "", True),), seed=2**40)],
    ids=["accuracy", "timing", "pictures", "flagged", "failed", "odd"],
)  # fmt: skip
def test_every_column_comes_back(one, store):
    name = store.write(one)
    (row,) = rows(store)
    assert row.pop("file") == name
    expected = dataclasses.asdict(one)
    assert row == listed(expected)


def test_a_file_is_named_after_what_it_holds(store):
    name = store.write(attempt("0123456789abcdef", "timing", 3))
    (file,) = files(store, "attempts")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.name == name == f"0123456789abcdef.timing.3.{digest}.parquet"


def test_the_schema_and_its_version_are_in_every_file(store):
    store.write(attempt())
    (file,) = files(store, "attempts")
    schema = pq.read_schema(file)
    assert schema.equals(SCHEMA)
    assert schema.metadata[b"stn_bench.schema_version"] == str(SCHEMA_VERSION).encode()
    assert set(SCHEMA.names) == {field.name for field in dataclasses.fields(attempt())}


def test_an_empty_store_is_read_and_not_made(store, tmp_path):
    assert (rows(store), store.read().corrupt, store.marks()) == ([], (), [])
    assert list(store.trials().columns) == [
        "trial_id", "study", "variant", "seed", "status", "attempt", "failure",
    ]  # fmt: skip
    assert store.curves().empty and store.timings().empty
    assert store.compact() == 0
    assert list(tmp_path.iterdir()) == []


def test_some_columns_come_with_the_file(store):
    names = fill(store)
    table = store.read(["seed", "trial_id"]).table
    assert table.column_names == ["seed", "trial_id", "file"]
    assert sorted(table.column("file").to_pylist()) == sorted(names)
    assert store.read([]).table.column_names == ["file"]


def torn(file):
    file.write_bytes(file.read_bytes()[:-100])


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def emptied(file):
    file.write_bytes(b"")


def rehashed(file):
    file.rename(file.with_name(file.name.replace(file.name.split(".")[3], "0" * 64)))


def under_another_trial(file):
    file.rename(file.with_name("f" * 16 + file.name[16:]))


def copied_to_another_number(file):
    """As by hand: its row would count twice."""
    file.with_name(file.name.replace(".accuracy.1.", ".accuracy.2.")).write_bytes(file.read_bytes())


def stranger(file):
    file.with_name("notes.parquet").write_bytes(b"x")


def not_parquet(file):
    name = f"{'e' * 16}.accuracy.1.{hashlib.sha256(b'x').hexdigest()}.parquet"
    file.with_name(name).write_bytes(b"x")


@pytest.mark.parametrize(
    "damage",
    [torn, flipped, emptied, rehashed, under_another_trial, copied_to_another_number, stranger,
     not_parquet],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_is_corrupt_and_the_others_are_not(damage, store):
    first, *others = fill(store)
    before = files(store, "attempts")
    damage(next(file for file in before if file.name == first))
    results = store.read()
    (corrupt,) = results.corrupt
    left = set(results.table.column("file").to_pylist())
    assert left in (set(others), {first, *others})
    assert corrupt.removeprefix("attempts/") not in left
    assert store.compact() == len(left)
    assert len(files(store, "compact")) == 0, "nothing is folded away while something is corrupt"
    store.set_aside(corrupt)
    assert store.read().corrupt == ()
    assert set(store.read().table.column("file").to_pylist()) == left
    (aside,) = files(store, "corrupt")
    assert aside.name.startswith(corrupt.removeprefix("attempts/"))


def test_files_under_way_are_no_rows(store):
    fill(store)
    for name in (".x.parquet.1.tmp", "notes.txt"):
        (files(store, "attempts")[0].parent / name).write_bytes(b"x")
    assert len(rows(store)) == 3
    assert store.read().corrupt == ()


def old(table):
    """A table as version 1 of the schema wrote it."""
    new = {"schema_version", "round", "pictures"}
    rows = [
        {**{k: v for k, v in row.items() if k not in new}, "schema_version": 1}
        for row in table.to_pylist()
    ]
    for row in rows:
        for sample in row["timings"]:
            del sample["flags"]
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("folder", ["attempts", "compact"])
def test_rows_of_version_1_are_upgraded(folder, tmp_path):
    one = attempt(phase="timing", round=None)
    new, store = ResultStore(tmp_path / "new"), ResultStore(tmp_path / "old")
    name = new.write(one)
    table = new.read().table if folder == "compact" else to_table(one)
    digest, content = to_parquet(old(table))
    name = name if folder == "compact" else f"{one.key}.{digest}.parquet"
    file = f"{digest}.parquet" if folder == "compact" else name
    (tmp_path / "old" / folder).mkdir(parents=True)
    (tmp_path / "old" / folder / file).write_bytes(content)
    store.write(attempt("b" * 16, round=None))
    for _ in range(2):
        (row,) = [row for row in rows(store) if row["trial_id"] == "a" * 16]
        assert row == listed(dataclasses.asdict(one) | {"file": name})
        assert store.compact() == 2


def test_a_newer_version_of_the_schema_is_refused(store):
    table = to_table(dataclasses.replace(attempt(), schema_version=SCHEMA_VERSION + 1))
    digest, content = to_parquet(table.drop_columns(["threads"]))
    store.write(attempt("b" * 16))
    name = f"{'a' * 16}.accuracy.1.{digest}.parquet"
    (files(store, "attempts")[0].parent / name).write_bytes(content)
    with pytest.raises(InfrastructureError) as caught:
        store.trials()
    assert str(caught.value) == (
        f"store {store.location}: {name} has schema version {SCHEMA_VERSION + 1}, "
        f"this stn-bench reads up to {SCHEMA_VERSION}; install the one that wrote it"
    )


def test_files_that_go_while_they_are_read(store, monkeypatch):
    fill(store)
    real, calls = module.read_bytes, []

    def flaky(system, path):
        calls.append(path)
        if len(calls) < limit:
            raise FileNotFoundError(path)
        return real(system, path)

    monkeypatch.setattr(module, "read_bytes", flaky)
    limit = 5
    assert len(rows(store)) == 3
    limit, calls[:] = 100, []
    with pytest.raises(InfrastructureError) as caught:
        store.read()
    assert str(caught.value) == (
        f"store {store.location}: its files go while they are read; try again"
    )


def test_checkpoints_and_studies(store):
    assert not store.has_checkpoint("a" * 16)
    with pytest.raises(BenchError) as caught:
        store.read_checkpoint("a" * 16)
    assert str(caught.value) == f"store {store.location}: has no checkpoint of trial {'a' * 16}"
    store.write_checkpoint("a" * 16, b"\x00weights")
    assert store.has_checkpoint("a" * 16)
    assert store.read_checkpoint("a" * 16) == b"\x00weights"
    for known, text in (("none", "{}"), ("one", "é"), ("one, two", "{}")):
        with pytest.raises(BenchError) as caught:
            store.read_study("x")
        assert str(caught.value) == f"store {store.location}: has no study `x`; it has {known}"
        store.write_study("two" if known == "one" else "one", text)
    assert (store.read_study("one"), store.read_study("two")) == ("{}", "é")


def test_a_file_where_the_store_should_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for location in (file, file / "below" / "it"):
        with pytest.raises(InfrastructureError) as caught:
            ResultStore(location)
        assert str(caught.value) == f"store {location}: {file} is not a folder"
    with pytest.raises(InfrastructureError, match="store ~nobody-at-all/store: "):
        ResultStore("~nobody-at-all/store")


def test_a_store_that_cannot_be_written(store, tmp_path):
    """Root may write everywhere, so a file takes the place of each folder."""
    (tmp_path / "store").mkdir()
    for folder, action in {
        "attempts": lambda: store.write(attempt()),
        "checkpoints": lambda: store.write_checkpoint("x", b""),
        "studies": lambda: store.write_study("x", ""),
    }.items():
        (tmp_path / "store" / folder).write_text("")
        with pytest.raises(InfrastructureError) as caught:
            action()
        message = str(caught.value)
        assert message.startswith(f"store: cannot write {tmp_path}/store/{folder}/")
        assert message.count("\n") == 0
        assert (tmp_path / "store" / folder).read_text() == ""


def test_a_disk_that_is_full_leaves_nothing_behind(store, tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfrastructureError, match=r"^store: cannot write [^\n]* No space left on"):
        store.write(attempt())
    assert list((tmp_path / "store" / "attempts").iterdir()) == []


def test_a_store_that_cannot_be_read(store, monkeypatch):
    fill(store)

    def refuse(system, path):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(module, "read_bytes", refuse)
    with pytest.raises(InfrastructureError) as caught:
        store.trials()
    assert str(caught.value) == f"store {store.location}: cannot be read: Permission denied"


def test_a_location_that_is_none():
    with pytest.raises(InfrastructureError, match=r"^store nowhere://x: cannot be opened: [^\n]*$"):
        ResultStore("nowhere://x")


def test_a_store_by_uri_and_below_a_folder_called_compact(tmp_path):
    store = ResultStore(f"file://{tmp_path}/compact/store")
    fill(store)
    assert store.compact() == 3
    same = ResultStore(tmp_path / "compact" / "store")
    assert rows(same) == rows(store)
    assert len(rows(same)) == 3
