"""Several jobs at once: where a worker stops, who has ended, who failed, who is still to run."""

import dataclasses
import time

import pytest

import bench.runner.several as module
from bench.errors import StoreError
from bench.jobs import Job, Launch, Outcome
from bench.results import ResultStore
from bench.results.marks import Mark, of_run, this_process
from bench.runner.runner import gone
from bench.runner.several import cut_short, in_turn
from bench.study.study import Trial

JOBS = [
    Job(Trial(name, "study", name, 0, "cpu", {}, ("accuracy",)), "accuracy", 1, 1)
    for name in "abcd"
]


@pytest.fixture
def store(tmp_path):
    """A store that a run has marked, so that its workers see it."""
    store = ResultStore(tmp_path)
    with store.mark(of_run("study", "run")):
        yield store


def launch(store):
    return Launch("run", store.location, store.location, None, "code")


def ended(store, job, run="run"):
    """A worker has written the row of a job."""
    row = job.cut_short(launch(store), "exception", "X: no", time.time())
    store.write(
        dataclasses.replace(row, status="done", failure=None, failure_kind=None, run_id=run)
    )


def mark(job, run="run"):
    host = this_process()
    return Mark(
        job.trial.trial_id, "study", "", 0, "accuracy", job.attempt, run, *host, time.time()
    )


def stopped(store, jobs=JOBS):
    there = launch(store)
    outcomes, left = cut_short(jobs, there, lambda j: gone(j, there, "lost", "gone", time.time()))
    return {o.job.trial.trial_id: o.failure_kind for o in outcomes}, [j.key for j in left]


def test_all_run_in_their_order_while_all_goes_well():
    reply = in_turn(JOBS, lambda job: Outcome(job, None, None, 0.1))
    assert [o.job for o in reply.outcomes] == JOBS
    assert reply.went_well and 0 <= reply.seconds < 10


@pytest.mark.parametrize(
    "odd", [("X: no", "exception", 0.1), (None, None, 0.1, "done"), (None, None, 0.1, "running")]
)
def test_none_begins_after_one_that_failed_or_is_elsewhere(odd):
    reply = in_turn(JOBS, lambda job: Outcome(job, *(odd if job == JOBS[1] else (None, None, 1))))
    assert [o.job for o in reply.outcomes] == JOBS[:2]
    assert not reply.went_well, "how long it took says nothing of the others"


def test_none_begins_when_they_take_longer_than_was_thought(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.01)

    def slow(job):
        time.sleep(0.02)
        return Outcome(job, None, None, 0.02)

    assert len(in_turn(JOBS, slow).outcomes) == 1


def test_what_is_raised_is_that_of_the_job_that_raised_it():
    def run(job):
        if job == JOBS[2]:
            raise StoreError("away")
        return Outcome(job, None, None, 0.1)

    reply = in_turn(JOBS, run)
    assert ([o.job for o in reply.outcomes], str(reply.error)) == (JOBS[:2], "away")
    assert not reply.went_well


def test_the_one_with_a_mark_was_under_way_and_the_rest_is_made_as_another_attempt(store):
    ended(store, JOBS[0])
    with store.mark(mark(JOBS[1])):
        assert stopped(store) == ({"a": None, "b": "lost"}, ["c.accuracy.2", "d.accuracy.2"])
        assert [m.phase for m in store.marks()] == ["run"]


def test_one_without_a_row_before_others_that_have_one_is_not_taken_for_it(store):
    for job in JOBS[1:3]:
        ended(store, job)
    with store.mark(mark(JOBS[3])):
        assert stopped(store) == ({"b": None, "c": None, "d": "lost"}, ["a.accuracy.2"])


def test_between_two_jobs_nothing_was_under_way(store):
    ended(store, JOBS[0])
    with store.mark(mark(JOBS[0])):
        assert stopped(store) == ({"a": None}, [f"{n}.accuracy.2" for n in "bcd"])
        assert [m.phase for m in store.marks()] == ["run"], "the mark of what has ended stays"


def test_where_nothing_was_begun_the_first_has_failed_so_that_it_is_not_tried_for_ever(store):
    assert stopped(store) == ({"a": "lost"}, [f"{n}.accuracy.2" for n in "bcd"])
    assert stopped(store, JOBS[:1]) == ({"a": "lost"}, [])


def test_rows_and_marks_of_other_runs_say_nothing(store):
    ended(store, JOBS[0], run="other")
    with store.mark(mark(JOBS[1], run="other")):
        assert stopped(store)[0] == {"a": "lost"}
