"""What is shown while a study runs."""

import io
import json

import pytest
from rich.console import Console

import bench.progress as module
from bench.jobs import Event, Job, Outcome
from bench.progress import Tally, follow, follow_json
from bench.study.study import PhaseName, Trial


def job(variant="A", seed=0, phase: PhaseName = "accuracy", round=None, expected=None):
    trial = Trial(f"{variant}{seed}", "study", variant, seed, "cpu", {}, ("accuracy", "timing"))
    return Job(trial, phase, 1, 1, round, expected)


def ended(job, seconds=2.0, failure=None, **changes):
    kind = "exception" if failure else None
    outcome = Outcome(job, failure, kind, seconds, changes.pop("elsewhere", None))
    return Event("ended", job=job, outcome=outcome, **changes)


JOBS = (job("A"), job("B"), job("A", 1), job("A", phase="timing", round=0))
EVENTS = (
    Event("stage", text="start"),
    Event("planned", jobs=JOBS),
    Event("stage", text="accuracy"),
    Event("started", job=JOBS[0], place="host, GPU 0"),
    Event("started", job=JOBS[1], place="host, GPU 1"),
    ended(JOBS[0]),
    ended(JOBS[1], failure="ValueError: no", again=JOBS[1].again()),
    ended(JOBS[1].again(), failure="ValueError: no"),
)


def taken(events):
    tally = Tally()
    for event in events:
        tally.take(event)
    return tally


def test_plain_lines_say_what_happened():
    out = io.StringIO()
    tally = follow(EVENTS, Console(file=out, width=200))
    assert out.getvalue().split("\n")[:5] == [
        "starting",
        "training and testing",
        "A, seed 0, accuracy: done (2.0 s)",
        "B, seed 0, accuracy: FAILED: ValueError: no (2.0 s); it is tried again",
        "B, seed 0, accuracy: FAILED: ValueError: no (2.0 s)",
    ]
    assert (tally.done, tally.failed, set(tally.stages)) == (1, 1, {"start", "accuracy"})


def test_every_event_is_a_line_of_json():
    lines: list[str] = []
    follow_json(EVENTS, lines.append)
    found = [json.loads(line) for line in lines]
    assert [line["event"] for line in found] == [event.kind for event in EVENTS]
    assert found[1]["count"] == 4
    assert found[3]["place"] == "host, GPU 0"
    assert found[5] | {"time": 0} == {
        "event": "ended", "time": 0, "trial_id": "A0", "variant": "A", "seed": 0,
        "phase": "accuracy", "round": None, "attempt": 1, "place": "", "seconds": 2.0,
        "failure": None, "failure_kind": None, "elsewhere": False, "again": False,
    }  # fmt: skip
    assert [line.get("again") for line in found[-2:]] == [True, False]


def test_the_live_table_has_a_row_for_what_runs():
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(module._view(taken(EVENTS[:6])))
    text = out.getvalue()
    assert "host, GPU 1  B, seed 0, accuracy" in text
    assert "GPU 0" not in text, "it has ended"
    assert "training and testing · 1 of 4, 0 failed · " in text
    assert "a minute · about " in text


def test_time_left_is_by_what_was_measured():
    """Two at once: A took 2 s; of B nothing is known, so it is taken for A; no timing yet."""
    assert taken(EVENTS[:5]).seconds_left is None
    assert taken(EVENTS[:6]).seconds_left == pytest.approx((2 + 2) / 2)
    jobs = (job("A", expected=10.0), job("B", expected=1.0))
    assert taken([Event("planned", jobs=jobs)]).seconds_left == pytest.approx(11)


def test_what_is_left_to_another_run_is_not_ended():
    tally = taken([*EVENTS[:4], Event("stopped", job=JOBS[0])])
    assert (tally.running, tally.done) == ({}, 0)
    tally.take(ended(JOBS[0], elsewhere="done"))
    assert (tally.done, tally.seconds_left) == (1, None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations(seconds, words):
    assert module._duration(seconds) == words
