"""What is done every few seconds while something else goes on.

One thread a process does all of a kind: to start one takes an attempt as long as to write its row.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(eq=False)
class _Task:
    do: Callable[[], object]
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def every(kind: str, seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Call `do` every so many seconds while the block runs; no call outlives the block.

    The first comes within that time. What `do` raises is passed over: it is called again. While it
    hangs, all that is of its `kind` waits.
    """
    tasks, task = _tasks(os.getpid(), kind, seconds), _Task(do)
    tasks.add(task)
    try:
        yield
    finally:
        task.over = True
        tasks.discard(task)
        with task.lock:  # a call that is under way
            pass


@lru_cache(maxsize=8)
def _tasks(pid: int, kind: str, seconds: float) -> set[_Task]:
    """What is to be done of a kind in a process, which is another one after a fork."""
    tasks: set[_Task] = set()
    threading.Thread(target=_beat, args=(seconds, tasks), daemon=True, name=kind).start()
    return tasks


def _beat(seconds: float, tasks: set[_Task]) -> None:
    while True:
        time.sleep(seconds)
        with contextlib.suppress(RuntimeError):  # one came while they were counted
            for task in tuple(tasks):
                with task.lock, contextlib.suppress(Exception):
                    if not task.over:
                        task.do()
