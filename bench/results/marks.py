"""Marks of runs, and of their attempts under way: a file that beats while its process lives."""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import psutil
import pyarrow.fs as fs

from ..beat import every
from ..errors import StoreError
from .files import list_files, read_bytes, write_whole

HEARTBEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class Mark:
    """An attempt that has begun: whose, where, since when; `beat` is the last sign of life.

    One of phase `run` stands for the run itself: its process is the driver.
    """

    trial_id: str
    study: str
    variant: str
    seed: int
    phase: Literal["accuracy", "timing", "run"]
    attempt: int
    run_id: str
    host: str
    pid: int
    process_started: float
    started: float
    beat: float = 0.0
    path: str = ""

    @property
    def alive(self) -> bool:
        """Whether its process lives: by its number on this host, by its heartbeat on another."""
        if self.host == os.uname().nodename:
            try:
                process = psutil.Process(self.pid)
                same = abs(process.create_time() - self.process_started) < 1
                return same and process.status() != psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return False
        return time.time() - self.beat < SILENT_SECONDS

    @property
    def order(self) -> tuple[float, str]:
        """Of two marks of the same attempt, the one that comes first has it."""
        return self.started, self.run_id

    @property
    def name(self) -> str:
        """What the name of its file begins with."""
        return f"{self.trial_id}.{self.phase}.{self.attempt}.{self.run_id}."


def of_run(study: str, run_id: str) -> Mark:
    """The mark of a run whose driver is this process."""
    return Mark("run", study, "", 0, "run", 0, run_id, *this_process(), time.time())


@contextlib.contextmanager
def marked(system: fs.FileSystem, folder: str, mark: Mark) -> Iterator[None]:
    """Keep a mark in `folder`, its heart beating, while the block runs; it stands at once.

    While the folder is away, as behind a mount that is lost, no other is made in its place: what is
    marked there would be taken for the store.
    """
    path = f"{folder}/{mark.name}{uuid.uuid4().hex[:8]}.json"

    def write(first: bool = False) -> None:
        content = {**vars(mark), "beat": time.time()}
        with contextlib.suppress(Exception):
            if first or system.get_file_info(folder).type != fs.FileType.NotFound:
                write_whole(system, path, json.dumps(content).encode(), durable=False)

    write(first=True)
    try:
        with every("heart", HEARTBEAT_SECONDS, write):
            yield
    finally:
        with contextlib.suppress(OSError):
            system.delete_file(path)


def read_marks(system: fs.FileSystem, folder: str, but_of: str = "") -> list[Mark]:
    """All marks there are, but those of the run `but_of`.

    One that goes while it is read is no mark any more.
    """
    marks = []
    for info in list_files(system, folder):
        if but_of and info.base_name.split(".")[3:4] == [but_of]:
            continue
        with contextlib.suppress(OSError, StoreError, ValueError, TypeError):
            marks.append(Mark(**{**json.loads(read_bytes(system, info.path)), "path": info.path}))
    return marks


def check_seen(system: fs.FileSystem, folder: str, run_id: str, location: str) -> None:
    """Raise `StoreError` where the mark of a run is not to be seen: this is not its store."""
    names = [info.base_name for info in list_files(system, folder)]
    if not any(name.startswith(f"run.run.0.{run_id}.") for name in names):
        raise StoreError(
            f"store {location}: {os.uname().nodename} does not see there what the driver wrote; "
            "use a folder that all nodes mount, or s3://…"
        )


def this_process() -> tuple[str, int, float]:
    """Host, process number, and when the process began, as a mark names its worker."""
    process = psutil.Process()
    return os.uname().nodename, process.pid, process.create_time()
