"""Which attempts speak for a trial, and the frames that are made of them."""

from typing import Any

import pytest
from attempts import attempt

from bench.results import ResultStore

INTERRUPTED: dict[str, Any] = {"failure": "Interrupted: gone", "failure_kind": "interrupted"}
FAILED: dict[str, Any] = {"failure": "ValueError: no"}


@pytest.fixture
def trials(tmp_path):
    def write(*attempts):
        store = ResultStore(tmp_path)
        for one in attempts:
            store.write(one)
        return store.trials().to_dict("records")

    return write


def test_a_trial_is_one_row_with_metrics_and_timings(trials):
    (row,) = trials(attempt(), attempt(phase="timing", number=2))
    assert row == {
        "trial_id": "a" * 16, "study": "study", "variant": "base", "seed": 0, "status": "done",
        "attempt": 2, "failure": None, "device": "cpu", "test_error": 5.0,
        "accuracy_seconds": 1.5, "timing_seconds": 1.5,
        "forward_ms": pytest.approx(2.0), "train_step_ms": pytest.approx(20.0),
        "train_images_per_s": pytest.approx(32 / 0.02),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("attempts", "status", "number", "failure", "error"),
    [
        ([attempt(number=1, **FAILED), attempt(number=2)], "done", 2, None, 6.0),
        ([attempt(number=2), attempt(number=3, **FAILED)], "done", 2, None, 6.0),
        ([attempt(number=1, **INTERRUPTED), attempt(number=1, minutes=1)], "done", 1, None, 5.0),
        ([attempt(number=9), attempt(number=10)], "done", 10, None, 14.0),
        ([attempt(number=1, minutes=5), attempt(number=2)], "done", 2, None, 6.0),
        (
            [attempt(number=1, minutes=1), attempt(number=1, minutes=2, metrics=())],
            "done", 1, None, None,
        ),
        (
            [attempt(number=1, failure="E: old"), attempt(number=2, failure="E: new")],
            "failed", 2, "E: new", None,
        ),
        ([attempt(number=1, **FAILED), attempt(number=2, **INTERRUPTED)],
         "failed", 1, "ValueError: no", None),
        ([attempt(), attempt(phase="timing", **FAILED)], "failed", 1, "ValueError: no", 5.0),
        (
            [attempt(failure="E: accuracy"), attempt(phase="timing")],
            "failed", 1, "E: accuracy", None,
        ),
    ],
    ids=["failed then done", "done then failed", "interrupted then done", "two good, 9 and 10",
         "the later number, begun earlier", "one number twice", "two failures",
         "interrupted says nothing", "timing failed", "accuracy failed"],
)  # fmt: skip
@pytest.mark.parametrize("order", [1, -1])
def test_the_best_attempt_speaks(order, attempts, status, number, failure, error, trials):
    (row,) = trials(*attempts[::order])
    assert (row["status"], row["attempt"], row["failure"]) == (status, number, failure)
    assert row.get("test_error") == error


def test_an_attempt_cut_short_says_nothing_of_its_trial(trials):
    assert trials(attempt(number=1, **INTERRUPTED)) == []


def test_rows_stand_in_the_order_of_study_variant_and_seed(trials):
    wanted = [("a", "x", 0), ("a", "x", 2), ("a", "x", 10), ("a", "y", 0), ("b", "a", 0)]
    attempts = [
        attempt(f"{i:016x}", study=s, variant=v, seed=n) for i, (s, v, n) in enumerate(wanted)
    ]
    got = trials(*attempts[::-1])
    assert [(row["study"], row["variant"], row["seed"]) for row in got] == wanted


def test_curves_and_timings_are_those_of_the_best_attempts(tmp_path):
    store = ResultStore(tmp_path)
    for one in (attempt(number=1, curves=()), attempt(number=2), attempt("b" * 16, **FAILED),
                attempt(phase="timing")):  # fmt: skip
        store.write(one)
    identity = {"trial_id": "a" * 16, "study": "study", "variant": "base", "seed": 0}
    assert store.curves().to_dict("records") == [
        {**identity, "name": "test_error", "step": 10, "value": 5.0},
        {**identity, "name": "test_error", "step": 20, "value": 10.0},
    ]
    timings = store.timings()
    assert list(timings.columns) == [
        *identity, "mode", "sample", "seconds", "iterations", "warmup", "flags",
    ]  # fmt: skip
    assert len(timings) == 3 + 4
    assert list(timings[timings.warmup].seconds) == [9, 9]


def test_empty_frames_have_their_columns(tmp_path):
    store = ResultStore(tmp_path)
    identity = ["trial_id", "study", "variant", "seed"]
    assert list(store.curves().columns) == [*identity, "name", "step", "value"]
    assert list(store.timings().columns) == [
        *identity, "mode", "sample", "seconds", "iterations", "warmup", "flags",
    ]  # fmt: skip


def test_a_timing_without_a_sample_after_warm_up_has_no_summary(trials):
    timing = attempt(phase="timing")
    (row,) = trials(attempt(phase="timing", timings=[s for s in timing.timings if s.warmup]))
    assert "train_step_ms" not in row
    assert row["timing_seconds"] == 1.5
