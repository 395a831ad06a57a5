"""Trials that take but a moment go to a worker several at once; when it dies nothing is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from command import ROOT

from bench.results import ResultStore

TRIALS = 300


def waited(condition, driver, what):
    deadline = time.time() + 240
    while not condition():
        assert driver.poll() is None and time.time() < deadline, what
        time.sleep(0.05)


def test_workers_killed_in_the_midst_of_several_trials_cost_one_attempt_each(tmp_path):
    store, attempts = ResultStore(tmp_path / "store"), tmp_path / "store" / "attempts"
    script = Path(__file__).with_name("driver_overhead.py")
    driver = subprocess.Popen(
        [sys.executable, str(script), "ours", str(tmp_path), str(TRIALS)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip

    def there():
        return len(list(attempts.glob("*.parquet"))) if attempts.exists() else 0

    def working():
        return [mark for mark in store.marks() if mark.phase == "accuracy"]

    try:
        waited(lambda: there() >= TRIALS // 4, driver, "no trials end")
        (tmp_path / "hold").touch()
        time.sleep(1.0)
        held = working()
        assert held, "all had ended before they could be held"
        for mark in held:
            os.kill(mark.pid, signal.SIGKILL)
        (tmp_path / "hold").unlink()
        driver.communicate(timeout=240)
        assert driver.returncode == 0
    finally:
        with contextlib.suppress(OSError):
            driver.kill()
        driver.communicate()
    rows = store.read(["trial_id", "status", "failure_kind", "attempt"]).table.to_pylist()
    good = Counter(row["trial_id"] for row in rows if row["status"] == "done")
    assert (len(good), set(good.values())) == (TRIALS, {1})
    lost = [row["failure_kind"] for row in rows if row["status"] != "done"]
    assert lost == ["lost"] * len(held), "what waited for a worker that died did not begin"
    failed = {row["trial_id"] for row in rows if row["status"] != "done"}
    waited_for = [r for r in rows if r["attempt"] > 1 and r["trial_id"] not in failed]
    assert waited_for, "no worker had been given several"
    assert store.marks() == []
