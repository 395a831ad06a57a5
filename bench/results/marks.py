"""Marks of attempts under way: a file that beats while its worker lives."""

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import psutil
import pyarrow.fs as fs

from .files import list_files, read_bytes, write_whole

HEARTBEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class Mark:
    """An attempt that has begun: whose, where, since when; `beat` is the last sign of life."""

    trial_id: str
    study: str
    variant: str
    seed: int
    phase: Literal["accuracy", "timing"]
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
        """Whether its worker lives: by its process on this host, by its heartbeat on another."""
        if self.host == os.uname().nodename:
            try:
                process = psutil.Process(self.pid)
                same = abs(process.create_time() - self.process_started) < 1
                return same and process.status() != psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return False
        return time.time() - self.beat < SILENT_SECONDS


@contextlib.contextmanager
def marked(system: fs.FileSystem, folder: str, mark: Mark) -> Iterator[None]:
    """Keep a mark in `folder`, its heart beating, while the block runs."""
    path = f"{folder}/{mark.trial_id}.{mark.phase}.{mark.attempt}.{uuid.uuid4().hex[:8]}.json"
    stop = threading.Event()

    def beat() -> None:
        while True:
            content = {**asdict(mark), "beat": time.time()}
            with contextlib.suppress(Exception):
                write_whole(system, path, json.dumps(content).encode())
            if stop.wait(HEARTBEAT_SECONDS):
                return

    heart = threading.Thread(target=beat, daemon=True, name="heartbeat")
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        with contextlib.suppress(OSError):
            system.delete_file(path)


def read_marks(system: fs.FileSystem, folder: str) -> list[Mark]:
    """All marks there are; one that goes while it is read is no mark any more."""
    marks = []
    for info in list_files(system, folder):
        with contextlib.suppress(OSError, ValueError, TypeError):
            marks.append(Mark(**{**json.loads(read_bytes(system, info.path)), "path": info.path}))
    return marks


def this_process() -> tuple[str, int, float]:
    """Host, process number, and when the process began, as a mark names its worker."""
    process = psutil.Process()
    return os.uname().nodename, process.pid, process.create_time()
