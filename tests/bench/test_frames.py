"""Which attempts speak for a trial, and the frames that are made of them."""

import dataclasses
from typing import Any

import pytest
from attempts import attempt

from bench.results import Metric, ResultStore, TimingSample
from bench.study import Trial

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
        ([attempt(number=1, **FAILED), attempt(number=2)], "unfinished", 2, None, 6.0),
        ([attempt(number=2), attempt(number=3, **FAILED)], "unfinished", 2, None, 6.0),
        ([attempt(number=1, **INTERRUPTED), attempt(number=1, minutes=1)],
         "unfinished", 1, None, 5.0),
        ([attempt(number=9), attempt(number=10)], "unfinished", 10, None, 14.0),
        ([attempt(number=1, minutes=5), attempt(number=2)], "unfinished", 2, None, 6.0),
        (
            [attempt(number=1, minutes=1), attempt(number=1, minutes=2, metrics=())],
            "unfinished", 1, None, None,
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
        *identity, "round", "run_id", "mode", "sample", "seconds", "iterations", "warmup", "flags",
    ]  # fmt: skip
    assert len(timings) == 3 + 4
    assert list(timings[timings.warmup].seconds) == [9, 9]


def test_empty_frames_have_their_columns(tmp_path):
    store = ResultStore(tmp_path)
    identity = ["trial_id", "study", "variant", "seed"]
    assert list(store.curves().columns) == [*identity, "name", "step", "value"]
    assert list(store.timings().columns) == [
        *identity, "round", "run_id", "mode", "sample", "seconds", "iterations", "warmup", "flags",
    ]  # fmt: skip


def test_a_timing_without_a_sample_after_warm_up_has_no_summary(trials):
    timing = attempt(phase="timing")
    (row,) = trials(attempt(phase="timing", timings=[s for s in timing.timings if s.warmup]))
    assert "train_step_ms" not in row
    assert row["timing_seconds"] == 1.5


def timing(number, steps, **changes):
    samples = [TimingSample("train_step", i, 2 * t, 2, i == 0) for i, t in enumerate((9, *steps))]
    return attempt(phase="timing", number=number, timings=tuple(samples), **changes)


def test_a_trial_shows_the_median_over_rounds_of_the_median_block(trials):
    """Not the median over all blocks: one process with many blocks would outvote the others."""
    (row,) = trials(
        attempt(),
        timing(1, [1.0] * 9, round=0, metrics=(Metric("host_peak", 5.0, "bytes", False),)),
        timing(2, [2.0, 2.0, 8.0], round=1, metrics=(Metric("host_peak", 9.0, "bytes", False),)),
        timing(3, [3.0], round=2, metrics=(Metric("host_peak", 7.0, "bytes", False),)),
    )
    assert row["train_step_ms"] == pytest.approx(2000)
    assert row["train_images_per_s"] == pytest.approx(16)
    assert row["host_peak"] == 7.0
    assert row["timing_seconds"] == 4.5
    assert (row["status"], row["attempt"], row["test_error"]) == ("done", 3, 5.0)


def test_a_failed_round_is_a_failed_trial_and_the_others_count(trials):
    (row,) = trials(timing(1, [1.0], round=0), attempt(phase="timing", number=2, round=1, **FAILED))
    assert (row["status"], row["failure"]) == ("failed", "ValueError: no")
    assert row["train_step_ms"] == pytest.approx(1000)


def test_rounds_give_a_row_a_mode_with_percentiles(tmp_path):
    store = ResultStore(tmp_path)
    first = timing(1, [1.0, 2.0, 3.0, 4.0, 5.0], round=0, run_id="one")
    flagged = TimingSample("train_step", 9, 200.0, 2, False, ("steal",))
    again = timing(2, [7.0], round=0, run_id="two", minutes=1)
    for one in (first, again, timing(1, [1.0, 2.0, 3.0], round=1, run_id="one")):
        store.write(dataclasses.replace(one, timings=(*one.timings, flagged)))
    rows = store.rounds()
    assert list(rows["round"]) == [0, 1]
    assert list(rows.run_id) == ["two", "one"], "the newer of two attempts at a round"
    assert list(rows.p50) == [53.5, 2.5]
    assert (rows.p10.iloc[1], rows.p90.iloc[1]) == pytest.approx((1.3, 70.9))
    assert (list(rows.samples), list(rows.flagged), set(rows["mode"])) == (
        [2, 4], [1, 1], {"train_step"},
    )  # fmt: skip
    assert ResultStore(tmp_path / "none").rounds().empty


def test_a_study_names_trials_that_another_ran_first(tmp_path):
    store = ResultStore(tmp_path)
    for trial in ("a" * 16, "b" * 16):
        store.write(attempt(trial, study="first", variant="theirs"))
    ours = Trial("b" * 16, "second", "ours", 3, "cpu", {}, ("accuracy",))
    (row,) = store.trials([ours]).to_dict("records")
    assert (row["study"], row["variant"], row["seed"]) == ("second", "ours", 3)
    assert set(store.trials()["study"]) == {"first"}
