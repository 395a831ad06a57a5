"""Several jobs at once: where a worker stops, who has ended, who failed, who is still to run."""

import dataclasses
import time

import pytest

import bench.runner.several as module
from bench.errors import StoreError
from bench.jobs import Job, Launch, Outcome
from bench.results import ResultStore
from bench.results.marks import Mark, of_run, this_process
from bench.runner.queue import Queue
from bench.runner.runner import gone
from bench.runner.several import Reply, cut_short, in_turn
from bench.study.schema import Accuracy, Resources, Timing
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
    "odd",
    [Outcome(JOBS[1], "X: no", "exception", 0.1), Outcome(JOBS[1], None, None, 0.1, "done"),
     Outcome(JOBS[1], None, None, 0.1, "running")],
)  # fmt: skip
def test_none_begins_after_one_that_failed_or_is_elsewhere(odd):
    reply = in_turn(JOBS, lambda job: odd if job == odd.job else Outcome(job, None, None, 0.1))
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


def test_the_first_without_a_row_was_under_way_and_the_rest_is_made_as_another_attempt(store):
    ended(store, JOBS[0])
    # It may have been killed between its row and the end of its mark.
    with store.mark(mark(JOBS[0])), store.mark(mark(JOBS[1])):
        assert stopped(store) == ({"a": None, "b": "lost"}, ["c.accuracy.2", "d.accuracy.2"])
        assert [m.phase for m in store.marks()] == ["run"], "what marks them stays"


def test_what_ends_its_process_without_a_mark_that_stays_has_failed(store):
    """`sys.exit` in a trial, or SIGTERM, unwinds its block; it would be tried for ever."""
    assert stopped(store) == ({"a": "lost"}, [f"{n}.accuracy.2" for n in "bcd"])
    assert stopped(store, JOBS[1:2]) == ({"b": "lost"}, [])


def test_where_all_have_rows_nothing_has_failed(store):
    for job in JOBS:
        ended(store, job)
    assert stopped(store) == (dict.fromkeys("abcd"), [])


def test_rows_of_other_runs_say_nothing(store):
    ended(store, JOBS[0], run="other")
    assert stopped(store)[0] == {"a": "lost"}


@pytest.mark.parametrize(
    "odd",
    [Outcome(JOBS[0], "X: no", "exception", 0.0), Outcome(JOBS[0], None, None, 0.0, "done")],
)
def test_of_what_did_not_go_well_no_pace_is_learnt(odd, store):
    from bench.runner.on_ray import OnRay, _Slot

    there = launch(store)
    queue = Queue([*JOBS, *JOBS], there)
    slot = _Slot(None)
    for variant in "abcd":  # all are known to be quick
        queue.took([job for job in JOBS if job.trial.variant == variant], 1e-4)
    known = dict(queue._paces)
    reply = Reply((odd,), 1e-6)
    outcomes, left = OnRay(None)._replied(reply, tuple(JOBS), slot, queue, there)
    assert (list(outcomes), list(left)) == ([odd], JOBS[1:])
    assert queue._paces == known


def test_a_store_that_was_away_at_the_time_limit_is_what_they_waited_for(store, monkeypatch):
    """That it is back when their rows are written does not make the job slow."""
    from bench.runner import on_ray

    away, seen = [StoreError("store: away")], ResultStore.check_seen

    def check_seen(self, run_id):
        if away:
            raise away.pop()
        seen(self, run_id)

    def unready(reference, timeout):
        raise on_ray.GetTimeoutError

    monkeypatch.setattr(ResultStore, "check_seen", check_seen)
    monkeypatch.setattr(on_ray.ray, "get", unready)
    monkeypatch.setattr(on_ray.ray, "kill", lambda actor: None)
    slot = on_ray._Slot(None, jobs=tuple(JOBS[:2]), started=time.time())
    there = dataclasses.replace(
        launch(store), resources=Resources(accuracy=Accuracy(timeout=1), timing=Timing())
    )
    outcomes, left = on_ray.OnRay(None)._ended(None, slot, Queue([], there), there)
    assert [o.failure_kind for o in outcomes] == ["store"]
    assert [job.key for job in left] == ["b.accuracy.2"]
