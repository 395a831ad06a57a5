"""Ends what a run's own Ray leaves behind: Ray's agents outlive a driver that was killed.

Runs as a process of its own, `python reaper.py RUN`. Its standard input is a pipe from the driver,
which closes when the driver ends, however it ends. Killed are then the processes that the driver
named on the pipe, and all that bear the run's mark in their environment (Ray's agents lose theirs).
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid

import psutil

MARK = "STN_BENCH_RUN"


Name = tuple[int, float]


def start() -> subprocess.Popen[str]:
    """Start a reaper, and mark the processes that this one starts from here on."""
    run = uuid.uuid4().hex
    command = [sys.executable, __file__, run]
    reaper = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
    os.environ[MARK] = run
    return reaper


def name_children(reaper: subprocess.Popen[str]) -> None:
    """Name all descendants of this process on the pipe, one a line: process and when it began."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            print(json.dumps([child.pid, child.create_time()]), file=reaper.stdin, flush=True)


def stop(reaper: subprocess.Popen[str]) -> None:
    """Let the reaper do its work, and wait for it."""
    os.environ.pop(MARK)
    reaper.communicate()


def reap(run: str, known: set[Name]) -> int:
    """Kill every process that was named or bears the mark of `run`; gives how many there were."""
    found = 0
    for process in psutil.process_iter():
        try:
            mine = (process.pid, process.create_time()) in known
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if mine or process.environ().get(MARK) == run:
                process.kill()
                found += 1
        except psutil.Error:
            continue
    return found


if __name__ == "__main__":
    told: set[Name] = set()
    for line in sys.stdin:
        with contextlib.suppress(ValueError):  # a driver can die in the middle of a line
            pid, began = json.loads(line)
            told.add((pid, began))
    while reap(sys.argv[1], told):
        time.sleep(0.1)
