"""What is done every few seconds while something else goes on.

One thread a process does all of it: to start one takes an attempt as long as to write its row.
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
def every(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Call `do` every so many seconds while the block runs; no call outlives the block.

    The first comes within that time. What `do` raises is passed over: it is called again.
    """
    tasks, task = _tasks(os.getpid(), seconds), _Task(do)
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)
        with task.lock:
            task.over = True


@lru_cache(maxsize=8)
def _tasks(pid: int, seconds: float) -> set[_Task]:
    """What is to be done at one interval in a process, which is another one after a fork."""
    tasks: set[_Task] = set()
    threading.Thread(target=_beat, args=(seconds, tasks), daemon=True, name="beat").start()
    return tasks


def _beat(seconds: float, tasks: set[_Task]) -> None:
    while True:
        time.sleep(seconds)
        for task in tuple(tasks):
            with task.lock, contextlib.suppress(Exception):
                if not task.over:
                    task.do()
