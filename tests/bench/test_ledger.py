"""The account of a study against a store: what is done, and what a run has to make."""

import time
from typing import Any

import pytest
from attempts import START, attempt

from bench.jobs import Launch
from bench.ledger import account, asked_for, made_twice, study_account, used_device
from bench.results import ResultStore
from bench.results.marks import SILENT_SECONDS, Mark, this_process
from bench.study import load_study

STUDY = """\
schema: 1
name: study
question: Does it help?
task: classify
base: {dataset: digits, model: cnn, train: {steps: 10, batch_size: 32, lr: 1}}
seeds: 2
rounds: 1
"""
FAILED: dict[str, Any] = {"failure": "ValueError: no"}
INTERRUPTED: dict[str, Any] = {"failure": "Interrupted: gone", "failure_kind": "interrupted"}


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "store")


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    return load_study(tmp_path / "study.yaml")


@pytest.fixture
def ids(study):
    return [trial.trial_id for trial in study.trials("cpu")]


def take(study, store, **options):
    return account(study, "cpu", store.read().table, "code", **options)


def jobs(state):
    return [(job.trial.seed, job.phase, job.attempt) for job in state.jobs]


def mark(trial_id, phase="accuracy", **changes):
    host, pid, started = this_process()
    fields: dict[str, Any] = {
        "study": "study", "variant": "base", "seed": 0, "phase": phase, "attempt": 1,
        "run_id": "run",
        "host": host, "pid": pid, "process_started": started, "started": 0.0,
    }  # fmt: skip
    return Mark(trial_id=trial_id, **(fields | changes))


def test_an_empty_store_misses_everything(study, store, ids):
    state = take(study, store)
    assert state.missing == tuple(ids)
    assert (state.done, state.failed, state.running, state.stale) == ((), (), (), ())
    assert jobs(state) == [(0, "accuracy", 1), (1, "accuracy", 1), (0, "timing", 1)]
    assert state.counts == {
        "trials": 2, "done": 0, "missing": 2, "failed": 0, "stale": 0, "running": 0,
    }  # fmt: skip


def test_a_trial_is_done_when_each_of_its_phases_is(study, store, ids):
    store.write(attempt(ids[0]))
    store.write(attempt(ids[1], seed=1))
    state = take(study, store)
    assert (state.done, state.missing) == ((ids[1],), (ids[0],))
    assert jobs(state) == [(0, "timing", 1)]
    store.write(attempt(ids[0], "timing"))
    state = take(study, store)
    assert (state.done, state.jobs) == (tuple(ids), ())
    assert state.counts["done"] == 2


def test_rows_of_other_trials_and_devices_count_for_nothing(study, store):
    other = study.trials("cuda")[0].trial_id
    for one in (attempt(other), attempt("b" * 16)):
        store.write(one)
    assert take(study, store).done == ()


def test_a_failure_is_made_again_with_the_next_number(study, store, ids):
    store.write(attempt(ids[0], **FAILED))
    store.write(attempt(ids[0], number=2, **FAILED))
    state = take(study, store)
    assert (state.failed, state.missing) == ((ids[0],), (ids[1],))
    assert jobs(state)[0] == (0, "accuracy", 3)
    store.write(attempt(ids[0], number=3))
    store.write(attempt(ids[0], "timing", **FAILED))
    state = take(study, store)
    assert state.failed == (ids[0],)
    assert jobs(state) == [(1, "accuracy", 1), (0, "timing", 2)]


def test_an_interrupted_attempt_keeps_its_number(study, store, ids):
    store.write(attempt(ids[0], number=1, **FAILED))
    store.write(attempt(ids[0], number=2, **INTERRUPTED))
    store.write(attempt(ids[1], number=1, **INTERRUPTED))
    state = take(study, store)
    assert (state.failed, state.missing) == ((ids[0],), (ids[1],))
    assert jobs(state) == [(0, "accuracy", 2), (1, "accuracy", 1), (0, "timing", 1)]


@pytest.mark.parametrize("compacted", [False, True])
def test_numbers_are_compared_as_numbers(compacted, study, store, ids):
    """By name attempt 10 comes before attempt 9."""
    store.write(attempt(ids[0]))
    store.write(attempt(ids[0], "timing", 9, **FAILED))
    store.write(attempt(ids[0], "timing", 10, threads=7))
    if compacted:
        store.compact()
    state = take(study, store)
    assert jobs(state)[-1] == (0, "timing", 11)
    assert (state.failed, state.missing) == ((), tuple(ids)), "it is missing for these threads"


@pytest.mark.parametrize(
    "change", [{"protocol": "0"}, {"threads": 7}, {"round": 1}, {"round": None}]
)
def test_a_timing_that_is_not_as_asked_is_none(change, study, store, ids):
    store.write(attempt(ids[0], threads=7))
    store.write(attempt(ids[0], "timing", **change))
    state = take(study, store)
    assert state.missing == tuple(ids)
    assert jobs(state) == [(1, "accuracy", 1), (0, "timing", 2)]


def test_more_threads_for_timing_make_it_missing(study, store, ids, tmp_path):
    for phase in ("accuracy", "timing"):
        store.write(attempt(ids[0], phase))
    more = load_study(tmp_path / "study.yaml", ["resources.timing.cpus=2", "seeds=1"])
    (job,) = account(more, "cpu", store.read().table, "code").jobs
    assert (job.phase, job.attempt, job.threads) == ("timing", 2, 2)
    more = load_study(tmp_path / "study.yaml", ["resources.accuracy.cpus=2", "seeds=1"])
    assert account(more, "cpu", store.read().table, "code").jobs == ()


def test_stale_is_done_by_other_code(study, store, ids):
    store.write(attempt(ids[0], code_hash="old"))
    store.write(attempt(ids[0], "timing"))
    store.write(attempt(ids[1], seed=1))
    state = take(study, store)
    assert (state.stale, state.done, state.jobs) == ((ids[0],), tuple(ids), ())
    assert jobs(take(study, store, rerun="stale")) == [(0, "accuracy", 2)]
    assert jobs(take(study, store, rerun="all")) == [
        (0, "accuracy", 2), (1, "accuracy", 2), (0, "timing", 2),
    ]  # fmt: skip
    store.write(attempt(ids[0], number=2))
    state = take(study, store, rerun="stale")
    assert (state.stale, state.jobs) == ((), ())


def test_what_is_not_done_is_not_stale(study, store, ids):
    store.write(attempt(ids[0], code_hash="old"))
    state = take(study, store)
    assert (state.stale, state.missing) == ((), tuple(ids))


def test_what_is_under_way_is_running(study, store, ids):
    dead = mark(ids[1], host="elsewhere", beat=time.time() - SILENT_SECONDS - 1)
    state = take(study, store, marks=[mark(ids[0], "timing"), dead])
    assert (state.running, state.missing) == ((ids[0],), (ids[1],))
    store.write(attempt(ids[0], **FAILED))
    assert take(study, store, marks=[mark(ids[0])]).running == (ids[0],)
    store.write(attempt(ids[0], number=2))
    store.write(attempt(ids[0], "timing"))
    assert take(study, store, marks=[mark(ids[0])]).done == (ids[0],)


def test_the_store_says_which_device_was_used(study, store, monkeypatch):
    monkeypatch.setattr("bench.ledger.local_device", lambda: "neither")
    assert used_device(study, store.read().table) == "neither"
    cpu, cuda = (study.trials(device)[0].trial_id for device in ("cpu", "cuda"))
    store.write(attempt(cuda, device="cuda", minutes=1))
    store.write(attempt(cpu, device="cpu"))
    store.write(attempt("b" * 16, device="cpu", minutes=9))
    assert used_device(study, store.read().table) == "cuda"
    assert study_account(study, store.read().table, store.marks(), "auto").missing[0] == cuda
    assert study_account(study, store.read().table, store.marks(), "cpu").missing[0] == cpu


def test_the_account_of_a_study_hashes_the_code_and_reads_the_marks(study, store, ids):
    for phase in ("accuracy", "timing"):
        store.write(attempt(ids[0], phase, code_hash="old"))
    with store.mark(mark(ids[1])):
        deadline = time.time() + 10
        while not store.marks() and time.time() < deadline:
            time.sleep(0.01)
        state = study_account(study, store.read().table, store.marks(), "cpu")
    assert (state.stale, state.running) == ((ids[0],), (ids[1],))


@pytest.fixture
def two(tmp_path):
    """Two variants, A and B, of one seed, in three rounds; their trials are trained."""
    text = STUDY.replace("seeds: 2\nrounds: 1", "seeds: 1\nrounds: 3\nvary: {train.lr: [1, 2]}")
    (tmp_path / "study.yaml").write_text(text)
    return load_study(tmp_path / "study.yaml")


def timed(store, study, rounds, names="AB", run="run", number=1, **changes):
    for i, one in enumerate(rounds):
        for trial, name in zip(study.trials("cpu"), "AB", strict=True):
            if name in names:
                store.write(attempt(trial.trial_id, "timing", number + i, round=one, run_id=run,
                                    **changes))  # fmt: skip


def rounds(state):
    """Timing jobs as `B1`: variant B in round 1."""
    return " ".join(
        f"{'A' if job.trial.variant == 'base' else 'B'}{job.round}"
        for job in state.jobs
        if job.phase == "timing"
    )


@pytest.fixture
def trained(two, store):
    for trial in two.trials("cpu"):
        store.write(attempt(trial.trial_id))
    return two


def test_rounds_go_there_and_back(trained, store):
    state = take(trained, store)
    assert rounds(state) == "A0 B0 B1 A1 A2 B2"
    assert [job.attempt for job in state.jobs] == [1, 1, 2, 2, 3, 3]
    timed(store, trained, [0, 1, 2])
    assert take(trained, store).jobs == ()
    assert len(take(trained, store).done) == 2


def test_a_round_that_was_cut_short_is_made_again_whole(trained, store):
    timed(store, trained, [0, 1], "A")
    timed(store, trained, [0], "B")
    timed(store, trained, [2], "AB", number=3)
    state = take(trained, store)
    assert rounds(state) == "B1 A1"
    a, b = (trial.trial_id for trial in trained.trials("cpu"))
    assert (state.done, state.missing) == ((a,), (b,))
    timed(store, trained, [1], "B", run="another", number=9)
    assert rounds(take(trained, store)) == "B1 A1", "a run's half and another's are no round"
    timed(store, trained, [1], "A", run="another", number=9)
    assert take(trained, store).jobs == ()


def test_a_round_with_a_failure_is_made_again_and_its_trial_failed(trained, store):
    timed(store, trained, [0, 1, 2], "B")
    timed(store, trained, [0], "A", failure="OutOfMemoryError: no")
    timed(store, trained, [1, 2], "A", number=2)
    state = take(trained, store)
    a, b = (trial.trial_id for trial in trained.trials("cpu"))
    assert (state.failed, state.done) == ((a,), (b,))
    assert rounds(state) == "A0 B0"
    assert rounds(take(trained, store, without={a})) == ""


def test_no_round_waits_for_a_trial_that_cannot_be_timed(trained, store):
    a, b = (trial.trial_id for trial in trained.trials("cpu"))
    assert rounds(take(trained, store, without={a})) == "B0 B1 B2"
    timed(store, trained, [0, 1, 2], "B")
    assert rounds(take(trained, store)) == "A0 B0 B1 A1 A2 B2"
    assert rounds(take(trained, store, without={a})) == ""
    assert rounds(take(trained, store, without={a, b})) == ""


def test_more_rounds_make_only_what_is_new(trained, store, tmp_path):
    timed(store, trained, [0, 1, 2])
    more = load_study(tmp_path / "study.yaml", ["rounds=5"])
    assert rounds(take(more, store)) == "B3 A3 A4 B4"
    fewer = load_study(tmp_path / "study.yaml", ["rounds=2"])
    assert take(fewer, store).jobs == ()
    table = asked_for(fewer, store.read().table)
    assert set(table.column("round").to_pylist()) == {None, 0, 1}


def test_stale_rounds_are_made_again(trained, store):
    timed(store, trained, [0, 1, 2], code_hash="old")
    timed(store, trained, [1], run="new", number=9)
    assert len(take(trained, store).stale) == 2
    assert take(trained, store).jobs == ()
    assert rounds(take(trained, store, rerun="stale")) == "A0 B0 A2 B2"
    assert rounds(take(trained, store, rerun="all")) == "A0 B0 B1 A1 A2 B2"


DIVERGED: dict[str, Any] = {"failure": "Diverged: inf", "failure_kind": "diverged"}


def test_what_diverged_by_this_code_would_again_and_is_made_when_asked_for(study, store, ids):
    store.write(attempt(ids[0], **DIVERGED))
    state = take(study, store)
    assert state.failed == (ids[0],)
    assert {job.trial.trial_id for job in state.jobs} == {ids[1]}, "nor is it timed"
    again = [(job.phase, job.attempt) for job in take(study, store, rerun="failed").jobs]
    assert ("accuracy", 2) in again
    store.write(attempt(ids[0], number=2, code_hash="old", **DIVERGED))
    assert (0, "accuracy", 3) in jobs(take(study, store)), "other code may do better"


def test_seconds_of_a_variant_are_expected_of_its_other_seeds(study, store, ids):
    assert {job.expected for job in take(study, store).jobs} == {None}
    store.write(attempt(ids[0], seconds=7.0))
    (job,) = [job for job in take(study, store).jobs if job.phase == "accuracy"]
    assert (job.trial.seed, job.expected) == (1, 7.0)


def test_what_two_runs_made_at_once_is_told(study, store, ids, tmp_path):
    began = START.timestamp() + 60 * 9
    mine = Launch("mine", store.location, tmp_path, None, "code", began=began)

    def twice():
        return made_twice(study, store.read().table, mine)

    store.write(attempt(ids[0], run_id="mine", minutes=10))
    store.write(attempt(ids[0], run_id="earlier", minutes=1))
    store.write(attempt(ids[1], run_id="other", minutes=11))
    store.write(attempt(ids[1], run_id="mine", minutes=12, failure="X: no"))
    assert twice() == set()
    store.write(attempt(ids[0], run_id="other", minutes=11))
    assert twice() == {"base, seed 0"}
    store.write(attempt(ids[1], run_id="mine", number=2, minutes=13))
    assert twice() == {"base, seed 0", "base, seed 1"}


def test_what_another_run_began_before_this_one_is_told_too(study, store, ids, tmp_path):
    """It was in the midst of it when this run began."""
    began = START.timestamp() + 60 * 9
    mine = Launch("mine", store.location, tmp_path, None, "code", began=began)
    store.write(attempt(ids[0], run_id="mine", minutes=10))
    store.write(attempt(ids[0], run_id="other", minutes=8, seconds=150.0))
    assert made_twice(study, store.read().table, mine) == {"base, seed 0"}
