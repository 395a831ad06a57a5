"""Which job comes next, and which comes again."""

import pytest

import bench.runner.queue as module
from bench.jobs import Job, Launch, Outcome
from bench.runner.queue import Queue, longest_first
from bench.runner.several import MOMENT_SECONDS
from bench.study.schema import Retries
from bench.study.study import Trial


def job(name="a", attempt=1, expected=None, round=None):
    trial = Trial(name, "study", name, 0, "cpu", {}, ("accuracy",))
    phase = "accuracy" if round is None else "timing"
    return Job(trial, phase, attempt, 1, round, expected)


def launch(tmp_path, **retries):
    return Launch("run", str(tmp_path), tmp_path, None, "code", retries=Retries(**retries))


def failed(job, kind):
    return Outcome(job, "no", kind, 1.0)


def drained(queue):
    return [job.key for job in iter(queue.take, None)]


def test_jobs_come_in_order_and_once(tmp_path):
    queue = Queue([job("a"), job("b")], launch(tmp_path))
    assert len(queue) == 2
    first = queue.take()
    assert first is not None and first.key == "a.accuracy.1"
    event = queue.ended(Outcome(first, None, None, 1.0), "here")
    assert (event.kind, event.again, event.place) == ("ended", None, "here")
    assert drained(queue) == ["b.accuracy.1"]
    assert len(queue) == 0


@pytest.mark.parametrize("kind", list(Retries.model_fields))
def test_a_failure_comes_again_as_often_as_its_kind_lets_it(kind, tmp_path):
    queue = Queue([job()], launch(tmp_path, **{kind: 2}))
    attempts = 0
    while (next_ := queue.take()) is not None:
        attempts += 1
        event = queue.ended(failed(next_, kind), "here")
        assert (event.again is not None) == (attempts <= 2)
        assert next_.attempt == attempts
    assert attempts == 3


def test_what_would_fail_again_is_not_tried_again_unless_it_is_asked_for():
    given = Retries()
    assert (given.exception, given.diverged, given.bad_data, given.timeout) == (0, 0, 0, 0)
    assert min(given.lost, given.node_lost, given.store, given.out_of_host_memory) > 0


def test_kinds_are_counted_apart_and_rounds_too(tmp_path):
    queue = Queue([job(round=0), job(round=1)], launch(tmp_path, lost=1, node_lost=1))
    first, second = queue.take(), queue.take()
    assert queue.ended(failed(first, "lost"), "").again
    assert queue.ended(failed(second, "lost"), "").again
    assert queue.ended(failed(queue.take(), "node_lost"), "").again
    assert not queue.ended(failed(queue.take(), "lost"), "").again


def test_a_round_of_timing_goes_on_where_it_was(tmp_path):
    queue = Queue([job("a", round=0), job("b", round=0)], launch(tmp_path))
    queue.ended(failed(queue.take(), "lost"), "", next_=True)
    assert drained(queue) == ["a.timing.2", "b.timing.1"]


def test_what_another_run_makes_comes_back_after_a_while(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    queue = Queue([job("a"), job("b")], launch(tmp_path))
    first = queue.take()
    assert first is not None
    event = queue.ended(Outcome(first, None, None, 0.0, "running"), "")
    assert event.kind == "stopped"
    assert drained(queue) == ["b.accuracy.1"]
    assert (len(queue), queue.take()) == (1, None)
    now[0] += module.LOOK_AGAIN_SECONDS
    assert drained(queue) == ["a.accuracy.1"], "it bears the number it had"


def test_the_longest_come_first_and_what_is_not_known_before_them():
    jobs = [job("a", expected=1.0), job("b"), job("c", expected=3.0), job("d"), job("e", 1, 1.0)]
    assert [j.trial.trial_id for j in longest_first(jobs)] == ["b", "d", "c", "a", "e"]


def some(queue):
    return [j.trial.variant for j in queue.take_some()]


def test_what_takes_but_a_moment_is_given_several_at_once(tmp_path):
    queue = Queue([job(name) for name in "aaaaaabaa"], launch(tmp_path))
    assert some(queue) == ["a"], "nobody knows yet how long it takes"
    queue.took((job("a"),), MOMENT_SECONDS / 4)
    assert some(queue) == ["a", "a", "a"], "together they take less than a moment"
    assert some(queue) == ["a", "a"], "of b nothing is known"
    assert some(queue) == ["b"]
    queue.took((job("a"), job("a")), 4 * MOMENT_SECONDS)
    assert some(queue) == ["a"], "it has become slow"
    assert (some(queue), some(queue)) == (["a"], [])


def test_what_did_not_begin_comes_next_and_is_no_failure(tmp_path):
    queue = Queue([job("a"), job("b"), job("c")], launch(tmp_path))
    queue.took((job("a"), job("b")), MOMENT_SECONDS / 4)
    taken = queue.take_some()
    assert [j.key for j in taken] == ["a.accuracy.1", "b.accuracy.1"]
    queue.put_back(taken)
    assert drained(queue) == ["a.accuracy.1", "b.accuracy.1", "c.accuracy.1"]
