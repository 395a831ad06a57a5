"""Store against store: paired seeds, rounds, and what is only in one."""

import json
import math
from typing import Any

import pytest
from attempts import attempt
from command import stn_bench
from gate_rows import row
from scipy import stats

from bench import compare
from bench.errors import BenchError
from bench.results import Metric, ResultStore

c: Any = compare

OURS, THEIRS = [4.0, 5.0, 6.5, 5.5], [3.0, 4.5, 5.0, 5.2]


def store(folder, errors, commit="c0", variant="base", **changes):
    made = ResultStore(folder)
    for seed, error in enumerate(errors):
        made.write(
            attempt(
                f"{seed:016x}", seed=seed, variant=variant,
                metrics=(Metric("test_error", error, "percent", False),),
                environment=json.dumps({"commit": commit}), **changes,
            )
        )  # fmt: skip
    return str(folder)


def test_accuracy_is_paired_by_seed(tmp_path):
    ours, theirs = store(tmp_path / "a", OURS), store(tmp_path / "b", [*THEIRS, 9.0])
    found = c.compare(c.side(ours), c.side(theirs))
    (row,) = found.compared
    expected = stats.ttest_rel(THEIRS, OURS).confidence_interval(0.95)
    assert row.what == "test_error" and row.paired and row.change.n == 4
    assert math.isclose(row.change.low, expected.low) and math.isclose(
        row.change.high, expected.high
    )
    assert found.only_base == found.only_head == ()


def test_a_damaged_file_is_left_out_and_named(tmp_path):
    ours, theirs = store(tmp_path / "a@home", OURS), store(tmp_path / "b", THEIRS)
    file = sorted(tmp_path.glob("b/attempts/*"))[0]
    file.write_bytes(file.read_bytes()[:-1])
    found = c.compare(c.side(ours), c.side(theirs))
    assert found.compared[0].change.n == 3
    (note,) = found.notes
    assert file.name in note and theirs in note
    done = stn_bench("history", "study", "--results", theirs, check=2)
    assert file.name in done.stderr


def test_what_is_only_in_one_is_named(tmp_path):
    ours = store(tmp_path / "a", OURS)
    store(tmp_path / "a", OURS, variant="gone")
    theirs = store(tmp_path / "b", THEIRS)
    store(tmp_path / "b", THEIRS, variant="new")
    found = c.compare(c.side(ours), c.side(theirs))
    assert (found.only_base, found.only_head) == (("study: gone",), ("study: new",))
    assert f"only in {ours}: study: gone" in c.text(found)
    other = store(tmp_path / "c", THEIRS, settings='{"train": {"batch_size": 64}}')
    assert c.compare(c.side(ours), c.side(other)).compared == (), "other settings, other trial"


def timings(folder, speed, run, commit, noise=(0.0, 0.01, -0.01, 0.004), **changes):
    made = ResultStore(folder)
    for number, wobble in enumerate(noise):
        seconds = 0.01 * speed * (1 + number) * (1 + wobble * (commit == "c1"))
        made.write(row("warp", seconds, number, run=run, commit=commit, **changes))
    return str(folder)


def test_speed_of_two_commits_is_paired_by_round(tmp_path):
    place = timings(tmp_path / "a", 1.0, "run", "c0", arm="base")
    timings(tmp_path / "a", 1.1, "run", "c1")
    (row,) = c.compare(c.side(f"{place}@c0"), c.side(f"{place}@c1")).compared
    assert row.paired and row.change.n == 4 and row.change.low < 1.1 < row.change.high
    assert row.change.high - row.change.low < 0.05, "the rounds' own levels cancel"


def test_speed_that_was_not_side_by_side_has_welchs_interval_and_a_note(tmp_path):
    ours = timings(tmp_path / "a", 1.0, "one", "c0")
    theirs = timings(tmp_path / "b", 1.1, "two", "c1")
    found = c.compare(c.side(ours), c.side(theirs))
    (row,) = found.compared
    assert not row.paired and row.change.low < 1.1 < row.change.high
    assert "not timed side by side" in found.notes[0]


def test_speed_on_another_machine_is_not_compared(tmp_path):
    ours = timings(tmp_path / "a", 1.0, "one", "c0")
    theirs = timings(tmp_path / "b", 1.1, "two", "c1", device_name="another")
    found = c.compare(c.side(ours), c.side(theirs))
    assert found.compared == () and "different machines" in found.notes[0]


def test_mistakes_are_told(tmp_path):
    with pytest.raises(BenchError, match="has no good attempt"):
        c.side(str(tmp_path / "empty"))
    ours = store(tmp_path / "a", OURS, commit="abcdef")
    with pytest.raises(BenchError, match="has no commit `123`; it has abcdef"):
        c.side(f"{ours}@123")
    assert c.side(f"{ours}@abc")[0].commit == "abc"


def test_the_verb_prints_every_format(tmp_path):
    ours, theirs = store(tmp_path / "a", OURS), store(tmp_path / "b", THEIRS)
    assert "−0.82 [" in stn_bench("compare", ours, theirs).stdout
    assert "| study: base |" in stn_bench("compare", ours, theirs, "--format", "markdown").stdout
    told = json.loads(stn_bench("compare", ours, theirs, "--format", "json").stdout)
    assert told["compared"][0]["change"]["n"] == 4
    assert "has no good attempt" in stn_bench("compare", ours, tmp_path / "x", check=2).stderr
