"""Whole runs with the real Ray: killed and run again, against one that nothing disturbed."""

import os
import signal
import subprocess
import time

import pandas as pd
import psutil
import pytest
from command import COMMAND, QUICKSTART, ROOT, stn_bench

from bench.results import ResultStore

MEASURED = ("_seconds", "_ms", "_per_s", "_memory")
OVERRIDES = ["train.steps=40", "seeds=2"]


def without_measured(frame):
    return frame.drop(columns=[c for c in frame.columns if c.endswith(MEASURED)])


def start(store, *words):
    arguments = [*COMMAND, "run", str(QUICKSTART), *OVERRIDES, "--results", str(store), *words]
    return subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A test run started in the background ignores SIGINT, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(condition, seconds=240):
    deadline = time.time() + seconds
    while not (found := condition()):
        assert time.time() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    stn_bench("run", QUICKSTART, *OVERRIDES, "--results", store, "--in-process")
    return ResultStore(store)


@pytest.mark.ray
def test_a_run_killed_half_way_and_run_again_equals_one_that_was_not(undisturbed, tmp_path):
    """The one on Ray and killed, the other in one process: the same to the bit."""
    store = ResultStore(tmp_path)
    driver = start(tmp_path)
    family = psutil.Process(driver.pid)
    wait_for(lambda: len(store.trials()) >= 1 and len(store.marks()) >= 1)
    children = family.children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    finished = set(store.read().table.column("file").to_pylist())
    assert finished
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, f"left behind by the killed run: {alive}"

    out, _ = start(tmp_path).communicate(timeout=300)
    assert "report:" in out, out
    rows = store.read().table.to_pandas()
    good = rows[rows.status == "done"]
    assert not good.duplicated(["trial_id", "phase", "round"]).any(), "a finished trial ran twice"
    assert finished <= set(rows.file), "a finished attempt is lost"
    assert len(good) == 4 + 2 * 4, "a round is an attempt of its own"
    assert set(rows[rows.status == "failed"].failure_kind) <= {"interrupted"}

    expected, got = undisturbed.trials(), store.trials()
    assert {"train_step_ms", "forward_ms", "test_error"} <= set(got.columns)
    pd.testing.assert_frame_equal(
        without_measured(got), without_measured(expected), check_exact=True
    )
    pd.testing.assert_frame_equal(store.curves(), undisturbed.curves(), check_exact=True)


@pytest.mark.ray
def test_a_killed_worker_is_a_row_and_its_trial_runs_again(undisturbed, tmp_path):
    store = ResultStore(tmp_path)
    driver = start(tmp_path)
    mark = wait_for(lambda: next((m for m in store.marks() if m.phase == "accuracy"), None))
    os.kill(mark.pid, signal.SIGKILL)
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, out
    rows = store.read().table.to_pandas()
    lost = rows[rows.status == "failed"]
    assert list(lost.failure_kind) == ["lost"]
    assert lost.failure.iloc[0].startswith("WorkerLost: ")
    assert (lost.trial_id.iloc[0], lost.attempt.iloc[0]) == (mark.trial_id, 1)
    good = rows[(rows.status == "done") & (rows.phase == "accuracy")].set_index("trial_id")
    assert good.attempt.to_dict() == {i: 1 + (i == mark.trial_id) for i in good.index}
    trials = store.trials().set_index("trial_id")
    assert set(trials.status) == {"done"}
    errors = undisturbed.trials().set_index("trial_id").test_error
    pd.testing.assert_series_equal(trials.test_error, errors, check_exact=True, check_like=True)


def test_a_finished_run_does_nothing_again(undisturbed):
    before = undisturbed.read().table
    done = stn_bench("run", QUICKSTART, *OVERRIDES, "--results", undisturbed.location)
    assert "training and testing" not in done.stdout
    assert "report:" in done.stdout
    assert undisturbed.read().table.equals(before)


def test_a_step_counts_the_products_of_forward_and_of_both_gradients(undisturbed):
    timed = undisturbed.trials().dropna(subset=["train_step_ms"])
    ratio = timed.train_step_flops / timed.forward_flops
    # The gradients cost a forward each, but that by the images is left out where nothing needs it.
    assert len(ratio) and ((ratio > 2) & (ratio <= 3)).all()


def test_more_seeds_run_only_what_is_new(undisturbed, tmp_path):
    words = ["run", QUICKSTART, "train.steps=2", "--in-process", "--results", tmp_path]
    stn_bench(*words, "seeds=1")
    done = stn_bench(*words, "seeds=2")
    assert "CNN, seed 1, accuracy" in done.stdout
    assert "seed 0" not in done.stdout


def test_a_trial_that_fails_is_a_row_and_the_others_run(tmp_path):
    words = ["train.steps=5", "seeds=1", "train.optimizer=sgd", "train.lr=1e30"]
    done = stn_bench("run", QUICKSTART, *words, "--results", tmp_path, "--in-process", check=1)
    assert "CNN, seed 0, accuracy: FAILED: Diverged: the " in done.stdout
    trials = ResultStore(tmp_path).trials()
    assert set(trials.status) == {"failed"}
    assert trials.failure.str.startswith("Diverged: the ").all()
    rows = ResultStore(tmp_path).read().table.to_pylist()
    assert {row["failure_kind"] for row in rows} == {"diverged"}
    assert all("Traceback" in row["traceback"] for row in rows)


@pytest.mark.ray
def test_resources_that_no_node_has_are_refused_before_the_start(tmp_path):
    words = ["resources.accuracy.cpus=4096", "--results", tmp_path]
    done = stn_bench("run", QUICKSTART, *words, check=2)
    assert done.stderr.startswith("resources.accuracy asks for 4096 CPUs and 0 GPUs at once; ")
    assert ResultStore(tmp_path).trials().empty


def test_interrupt_ends_with_130_and_keeps_what_finished(tmp_path):
    store = ResultStore(tmp_path)
    driver = start(tmp_path, "--in-process")
    wait_for(lambda: len(store.trials()) >= 1)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, out
    assert "interrupted: what finished is in the store" in out
    assert len(store.trials()) >= 1


def test_a_trained_model_is_loaded_and_errs_as_its_row_says(undisturbed):
    import bench
    from bench.datasets.dataset import Resident
    from bench.datasets.digits import Digits
    from bench.datasets.distortion import Affine
    from bench.errors import BenchError
    from bench.training import evaluate

    trial = undisturbed.trials().query("variant == 'ST-CNN' and seed == 1").iloc[0]
    model = bench.load_model(undisturbed.location, trial.trial_id)
    distortion = Affine(rotation=90, scale=(0.7, 1.2), translation=4)
    digits = Digits(None, distortion=distortion)
    data = Resident(digits, digits.load(), seed=0)
    assert evaluate(model, data.test(256)).error == trial.test_error
    with pytest.raises(BenchError, match="has no trial 0123"):
        bench.load_model(undisturbed.location, "0123")


def test_mnist_runs_from_its_official_files(tmp_path):
    if "STN_BENCH_DATA" not in os.environ:
        pytest.skip("STN_BENCH_DATA names no folder with MNIST/raw")
    words = ["dataset.name=mnist", "train.steps=3", "seeds=1", "--only", "ST-CNN"]
    stn_bench("run", QUICKSTART, *words, "--in-process", "--results", tmp_path)
    (trial,) = ResultStore(tmp_path).trials().to_dict("records")
    assert trial["status"] == "done"
    assert 0 < trial["test_error"] < 100
