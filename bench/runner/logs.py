"""What an attempt prints is kept in the store, also when its process is killed in the midst."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from ..beat import every
from ..jobs import Job, Launch
from ..results import ResultStore

FLUSH_SECONDS = 5.0
LONGEST = 1_000_000


@contextlib.contextmanager
def kept(job: Job, launch: Launch, rank: int = 0) -> Iterator[None]:
    """Send standard output and error of this process, the `rank`-th of an attempt, to its log.

    The descriptors are turned, so that what C++ and child processes print is there too. The log
    is in the store every few seconds; of one that is too long the end is kept.
    """
    store, worker = ResultStore(launch.store), f".worker{rank}" if rank else ""
    name = f"{job.key}.{launch.run_id}{worker}"
    with tempfile.TemporaryFile() as file:
        stored = 0

        def flush() -> None:
            nonlocal stored
            size = os.fstat(file.fileno()).st_size
            if size != stored:
                start = max(0, size - LONGEST)
                content = os.pread(file.fileno(), size - start, start)
                with contextlib.suppress(Exception):
                    store.write_log(name, content)
                    stored = size

        try:
            with every("log", FLUSH_SECONDS, flush), _turned(file.fileno()):
                yield
        finally:
            flush()


@contextlib.contextmanager
def _turned(target: int) -> Iterator[None]:
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    saved = [os.dup(1), os.dup(2)]
    os.dup2(target, 1)
    os.dup2(target, 2)
    with (
        os.fdopen(os.dup(1), "w", 1, errors="replace") as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        try:
            yield
        finally:
            out.flush()
            for number, descriptor in enumerate(saved, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
