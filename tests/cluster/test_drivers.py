"""Two drivers on one store at once."""

import json
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

from command import COMMAND, ROOT
from idle_study import write_study

from bench.results import ResultStore

TRIALS = 100


def start(study: Path, store: Path) -> subprocess.Popen[str]:
    command = ["run", str(study), "--results", str(store), "--device", "cpu", "--json"]
    return subprocess.Popen(
        [*COMMAND, *command, "--in-process"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def first_attempts(store: ResultStore) -> dict[str, str]:
    """By run the file of the mark of what it makes now."""
    return {mark.run_id: mark.path for mark in store.marks() if mark.phase != "run"}


def test_two_drivers_make_every_trial_and_say_what_ran_twice(tmp_path):
    """One trial is made by both: the second driver was kept from seeing that it is under way."""
    study, store = write_study(tmp_path, TRIALS, rest=0.02), ResultStore(tmp_path / "store")
    hold = tmp_path / "hold"
    hold.touch()
    drivers, deadline = [start(study, tmp_path / "store")], time.time() + 120
    while not (hidden := first_attempts(store)):
        assert time.time() < deadline
        time.sleep(0.05)
    drivers.append(start(study, tmp_path / "store"))
    while len(first_attempts(store).keys() - hidden.keys()) == 0:
        assert time.time() < deadline
        for path in hidden.values():  # its heart beats, and brings it back
            Path(path).unlink(missing_ok=True)
        time.sleep(0.001)
    hold.unlink()
    said = set[str]()
    for driver in drivers:
        out, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, out
        for event in map(json.loads, out.splitlines()):
            _, told, names = event.get("text", "").partition("made twice, here and by another run:")
            said |= set(re.findall(r" (\S.*?, seed \d+)(?=,|$)", names)) if told else set()

    rows = store.read().table.to_pylist()
    assert {row["status"] for row in rows} == {"done"}
    made = Counter((row["variant"], row["seed"]) for row in rows)
    assert len(made) == TRIALS, "a trial is lost"
    assert len({row["run_id"] for row in rows}) == 2, "one driver did all"
    twice = {f"{variant}, seed {seed}" for (variant, seed), n in made.items() if n > 1}
    assert twice, "the one that was hidden ran once"
    assert max(made.values()) == 2
    assert said == twice
    assert store.marks() == []
    out, _ = start(study, tmp_path / "store").communicate(timeout=300)
    assert '"planned"' not in out, "something is left to do"
