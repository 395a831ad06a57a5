"""ResultStore: where attempts lie. The only state on disk that the harness has."""

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as fs

from ..errors import BenchError, InfrastructureError, StoreError
from .files import (
    Corrupt,
    from_parquet,
    list_files,
    open_location,
    read_bytes,
    to_parquet,
    write_whole,
)
from .marks import Mark, check_seen, marked, read_marks
from .schema import READ_SCHEMA, SCHEMA_VERSION, Attempt, to_table, upgraded

if TYPE_CHECKING:
    import pandas as pd


# What the name of an attempt's file is made of.
NAMED = ["trial_id", "phase", "attempt"]
# A table of one row takes ten times the memory of its row, so they are put together by so many.
TOGETHER = 250
# So many files are read at once. From a bucket each takes as long as an answer from there; from a
# folder more are in each other's way, for half of reading is Python's.
THREADS_AWAY, THREADS_HERE = 8, 2


@dataclass(frozen=True)
class Results:
    """All rows of a store, each attempt once, and the files that are not what their names say."""

    table: pa.Table
    corrupt: tuple[str, ...]


class ResultStore:
    """A folder, or `s3://…` or `gs://…`, with one immutable Parquet file an attempt.

    `attempts/<trial>.<phase>.<n>.<sha256>.parquet` are the attempts, `compact/<sha256>.parquet`
    holds the rows of many, `checkpoints/` the trained weights, `partial/` trainings in their midst,
    `studies/` the studies as they were run, `running/` marks of attempts under way, `corrupt/`
    files set aside.

    Example:
        >>> import tempfile
        >>> ResultStore(tempfile.mkdtemp()).trials().empty
        True
    """

    def __init__(self, location: str | Path) -> None:
        self._system, self._root = open_location(location)
        self.location = str(location) if "://" in str(location) else self._root

    def write(self, attempt: Attempt) -> str:
        """Write an attempt, whole or not at all; gives the name of its file."""
        digest, content = to_parquet(to_table(attempt))
        name = f"{attempt.key}.{digest}.parquet"
        write_whole(self._system, f"{self._root}/attempts/{name}", content)
        return name

    def read(self, columns: list[str] | None = None) -> Results:
        """Read all rows, or only some of their columns; `file` is always among them.

        Raises:
            InfrastructureError: The store cannot be read, or keeps changing under the reader.
        """
        for i in range(5):
            try:
                return self._read(columns)
            except FileNotFoundError:
                time.sleep(0.05 * i)
            except (OSError, pa.ArrowException) as error:
                raise StoreError(f"store {self.location}: cannot be read: {error}") from error
        raise InfrastructureError(
            f"store {self.location}: its files go while they are read; try again"
        )

    def names(self) -> list[str]:
        """The files that hold rows; each bears the hash of its content in its name."""
        return [i.base_name for folder in ("compact", "attempts") for i in self._list(folder)]

    def report_folder(self, study: str) -> Path:
        """Where the report of a study lies: in the store, or here where that is no folder."""
        home = Path() if "://" in self.location else Path(self.location)
        return home / "reports" / study

    def trials(self, of: Iterable[Any] | None = None) -> "pd.DataFrame":
        """One row a trial: identity, `status`, `attempt`, `failure`, metrics and timings.

        A trial with several attempts shows its newest good one, or its newest failure where there
        is none; `status` is `done`, `failed`, or `unfinished` while a phase of it is missing.
        Timings are medians over the rounds of the median block after warm-up.

        Args:
            of: What `Study.trials` gives: those trials alone, named as that study names them. By
                default all, a trial that several studies share under the name that it ran under.
        """
        from . import frames  # pandas takes a second that a worker need not pay

        return frames.trials(self.read().table, of)

    def curves(self) -> "pd.DataFrame":
        """One row a point: `trial_id, study, variant, seed, name, step, value`."""
        from . import frames

        return frames.long(self.read().table, "curves")

    def timings(self) -> "pd.DataFrame":
        """One row a block: `…, round, run_id, mode, sample, seconds, iterations, warmup, flags`."""
        from . import frames

        return frames.long(self.read().table, "timings")

    def rounds(self) -> "pd.DataFrame":
        """One row a mode of a round of timing: seconds of a step, as percentiles over its blocks.

        `…, round, run_id, mode, p5, p10, p25, p50, p75, p90, p95, samples, flagged`; warm-up is
        left out, and `flagged` counts the blocks that something disturbed.
        """
        from . import frames

        return frames.rounds(self.read().table)

    def mark(self, mark: Mark) -> contextlib.AbstractContextManager[None]:
        """Say that an attempt is under way, while the block runs."""
        return marked(self._system, f"{self._root}/running", mark)

    def marks(self, but_of: str = "") -> list[Mark]:
        """Attempts and runs that have begun and not ended, but those of the run `but_of`.

        A dead one's process is gone.
        """
        return read_marks(self._system, f"{self._root}/running", but_of)

    def check_seen(self, run_id: str) -> None:
        """Raise `StoreError` where this store is not the one that the driver of a run sees."""
        check_seen(self._system, f"{self._root}/running", run_id, self.location)

    def remove_mark(self, mark: Mark) -> None:
        """Take away the mark of an attempt whose worker is gone."""
        with contextlib.suppress(OSError):
            self._system.delete_file(mark.path)

    def rows_of(self, trial_id: str, phase: str) -> list[dict[str, Any]]:
        """The rows at one phase of a trial that no run has put into a compact file yet."""
        rows: list[dict[str, Any]] = []
        for info in self._list("attempts"):
            if info.base_name.startswith(f"{trial_id}.{phase}."):
                with contextlib.suppress(Corrupt, FileNotFoundError):
                    content = read_bytes(self._system, info.path)
                    rows += from_parquet(content, info.base_name.split(".")[-2]).to_pylist()
        return rows

    def write_log(self, name: str, content: bytes) -> None:
        """Keep what an attempt has printed, in `logs/`; a longer log takes the place of it."""
        write_whole(self._system, f"{self._root}/logs/{name}.txt", content, durable=False)

    def logs(self, trial_id: str) -> dict[str, str]:
        """What the attempts at a trial have printed, by `<trial>.<phase>.<n>.<run>`."""
        found = {}
        for info in list_files(self._system, f"{self._root}/logs"):
            if info.base_name.startswith(trial_id):
                text = read_bytes(self._system, info.path).decode(errors="replace")
                found[info.base_name.removesuffix(".txt")] = text
        return found

    def write_checkpoint(self, trial_id: str, content: bytes) -> None:
        """Keep the trained weights of a trial (safetensors), with their hash in the name."""
        self._keep("checkpoints", trial_id, content)

    def read_checkpoint(self, trial_id: str) -> bytes:
        """The trained weights of a trial.

        Raises:
            BenchError: The store has none that are whole.
        """
        content = self._kept("checkpoints", trial_id)
        if content is None:
            raise BenchError(f"store {self.location}: has no checkpoint of trial {trial_id}")
        return content

    def has_checkpoint(self, trial_id: str) -> bool:
        """Whether the trained weights of a trial are there, and whole."""
        return self._kept("checkpoints", trial_id) is not None

    def write_partial(self, trial_id: str, content: bytes) -> None:
        """Keep the state of a training in its midst, instead of the one before."""
        kept = self._keep("partial", trial_id, content)
        self.remove_partial(trial_id, but=kept)

    def read_partial(self, trial_id: str) -> bytes | None:
        """The state of a training in its midst; None where there is none that is whole."""
        return self._kept("partial", trial_id)

    def remove_partial(self, trial_id: str, but: str = "") -> None:
        """Take away the states of a training, all or all but one path."""
        for info in self._files_of("partial", trial_id):
            if info.path != but:
                with contextlib.suppress(FileNotFoundError):
                    self._system.delete_file(info.path)

    def write_study(self, name: str, text: str) -> None:
        """Keep a study as it was run, so that a report needs nothing but the store."""
        write_whole(self._system, f"{self._root}/studies/{name}.json", text.encode())

    def read_study(self, name: str) -> str:
        """A study as it was last run.

        Raises:
            BenchError: The store has none of this name.
        """
        try:
            return read_bytes(self._system, f"{self._root}/studies/{name}.json").decode()
        except FileNotFoundError:
            there = [i.base_name[:-5] for i in list_files(self._system, f"{self._root}/studies")]
            known = ", ".join(there) or "none"
            raise BenchError(
                f"store {self.location}: has no study `{name}`; it has {known}"
            ) from None

    def set_aside(self, file: str) -> None:
        """Move a corrupt file out of the way, into `corrupt/`; its trial can run again."""
        self._system.create_dir(f"{self._root}/corrupt")
        target = f"{self._root}/corrupt/{file.rpartition('/')[2]}.{uuid.uuid4().hex[:8]}"
        self._system.move(f"{self._root}/{file}", target)

    def compact(self) -> int:
        """Put all rows into one file; what it holds goes only when it has been read back.

        Two at once lose nothing: each removes only files whose rows its own file holds. Gives the
        number of rows.
        """
        folded = [i.path for folder in ("attempts", "compact") for i in self._list(folder)]
        results = self.read()
        if results.corrupt or len(folded) < 2:
            return results.table.num_rows
        table = results.table.sort_by([("trial_id", "ascending"), ("file", "ascending")])
        digest, content = to_parquet(table)
        path = f"{self._root}/compact/{digest}.parquet"
        write_whole(self._system, path, content)
        back = from_parquet(read_bytes(self._system, path), digest)
        if not back.equals(table):
            raise InfrastructureError(f"store: {path} does not read back as it was written")
        held = set(table.column("file").to_pylist())
        for old in folded:
            name = old.rpartition("/")[2]
            if old != path and (name in held or "/compact/" in old):
                with contextlib.suppress(FileNotFoundError):
                    self._system.delete_file(old)
        return table.num_rows

    def _keep(self, folder: str, trial_id: str, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = f"{self._root}/{folder}/{trial_id}.{digest}.safetensors"
        write_whole(self._system, path, content)
        return path

    def _kept(self, folder: str, trial_id: str) -> bytes | None:
        for info in self._files_of(folder, trial_id):
            content = read_bytes(self._system, info.path)
            if hashlib.sha256(content).hexdigest() == info.base_name.split(".")[1]:
                return content
        return None

    def _files_of(self, folder: str, trial_id: str) -> list:
        files = list_files(self._system, f"{self._root}/{folder}")
        return [info for info in files if info.base_name.startswith(f"{trial_id}.")]

    def _list(self, folder: str) -> list:
        files = list_files(self._system, f"{self._root}/{folder}")
        return [info for info in files if info.extension == "parquet"]

    def _read(self, columns: list[str] | None) -> Results:
        fields = (
            READ_SCHEMA
            if columns is None
            else pa.schema([READ_SCHEMA.field(c) for c in dict.fromkeys([*columns, "file"])])
        )
        needed = columns
        if columns is not None:
            needed = list(dict.fromkeys([*fields.names, "schema_version", *NAMED]))
        # What has left `attempts` is in a compact file, which was there before: so these come last.
        attempts, gone, torn = self._tables("attempts", needed, fields)
        compact, lost, corrupt = self._tables("compact", needed, fields)
        tables = [*compact, *attempts]
        table = pa.concat_tables(tables) if tables else fields.empty_table()
        if missing := lost | gone.difference(table.column("file").to_pylist()):
            raise FileNotFoundError(min(missing))
        return Results(_each_once(table), (*corrupt, *torn))

    def _tables(
        self, folder: str, needed: list[str] | None, fields: pa.Schema
    ) -> tuple[list[pa.Table], set[str], list[str]]:
        """Rows of a folder's files; names of files that went meanwhile; those that are corrupt."""
        tables: list[pa.Table] = []
        gone: set[str] = set()
        corrupt: list[str] = []

        def read(info: Any) -> pa.Table | None:
            try:
                table = self._table(folder, info, needed)
                same = table.schema.equals(fields)
                return table if same else table.select(fields.names).cast(fields)
            except FileNotFoundError:
                gone.add(info.base_name)
            except Corrupt:
                corrupt.append(f"{folder}/{info.base_name}")
            return None

        infos = self._list(folder)
        here = isinstance(self._system, fs.LocalFileSystem)
        with ThreadPoolExecutor(THREADS_HERE if here else THREADS_AWAY) as pool:
            for i in range(0, len(infos), TOGETHER):
                some = infos[i : i + TOGETHER]
                found = [table for table in pool.map(read, some) if table is not None]
                tables += [pa.concat_tables(found).combine_chunks()] if found else []
        return tables, gone, sorted(corrupt)

    def _table(self, folder: str, info: Any, needed: list[str] | None) -> pa.Table:
        name, digest = info.base_name, info.base_name.split(".")[-2]
        table = from_parquet(read_bytes(self._system, info.path), digest, needed)
        table = self._known(table, name)
        if folder == "attempts":
            _check_name(table, name, digest)
            table = table.append_column(READ_SCHEMA.field("file"), [[name]])
        return table

    def _known(self, table: pa.Table, name: str) -> pa.Table:
        newest = max(table.column("schema_version").to_pylist(), default=SCHEMA_VERSION)
        if newest > SCHEMA_VERSION:
            raise InfrastructureError(
                f"store {self.location}: {name} has schema version {newest}, "
                f"this stn-bench reads up to {SCHEMA_VERSION}; install the one that wrote it"
            )
        return table if newest == SCHEMA_VERSION else upgraded(table)


def _check_name(table: pa.Table, name: str, digest: str) -> None:
    """A copy under another name would count its row twice."""
    rows = table.select(NAMED).to_pylist()
    if [f"{'.'.join(map(str, row.values()))}.{digest}.parquet" for row in rows] != [name]:
        raise Corrupt("its name is not that of the attempt that it holds")


def _each_once(table: pa.Table) -> pa.Table:
    """Drop rows that stand in a compact file and in their own as well."""
    files = table.column("file").to_pylist()
    first = {name: i for i, name in reversed(list(enumerate(files)))}
    return table if len(first) == len(files) else table.take(sorted(first.values()))
