"""What is exported is read back with the trackers' own readers."""

import json
import subprocess
import sys

import pytest
from command import ROOT, stn_bench
from found import make_study, trained

from bench.errors import BenchError
from bench.export import export, runs
from bench.results import ResultStore

ERRORS = {"CNN": [20.0, 22.0], "ST <&>/..": [4.0, 5.0]}
DESIGN = """\
variants: [{name: CNN, set: {model.transformer: null}}, {name: "ST <&>/.."}]
baseline: {model.transformer: null}
"""
EXPORT_TWICE = """
import sys
from pathlib import Path
from bench.export import export
from bench.ledger import stored_study
from bench.results import ResultStore
study = stored_study(ResultStore(sys.argv[2]), "study")
for _ in range(2):
    assert export(study, sys.argv[2], "mlflow", Path(sys.argv[1])) == 4
"""
READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(f"sqlite:///{sys.argv[1]}/mlflow.db")
experiment = client.get_experiment_by_name("study")
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([
    [r.info.run_name, r.data.metrics, r.data.params, r.data.tags, [
        (m.step, m.value) for m in client.get_metric_history(r.info.run_id, "curves/test_error")]]
    for r in runs
]))
"""


@pytest.fixture
def stored(tmp_path):
    study = make_study(tmp_path, DESIGN, seeds=2)
    store = ResultStore(tmp_path / "store")
    for row in trained(study, ERRORS, {name: [10.0, 10.0] for name in ERRORS}):
        store.write(row)
    store.write_study(study.name, study.as_stored())
    return study, tmp_path / "store"


def test_runs_have_settings_metrics_curves_and_where_they_are_from(stored):
    study, store = stored
    found = {run.name: run for run in runs(study, store)}
    assert len(found) == 4
    run = found["ST <&>/.., seed 0"]
    assert run.metrics == {"test_error": 4.0, "train_step_ms": pytest.approx(10)}
    assert run.curves == (("test_error", 10, 9.0), ("test_error", 20, 4.0))
    assert run.settings["model.transformer.transform.name"] == "affine"
    assert run.settings["train.lr"] == 0.001
    assert run.tags["commit"] == "c0ffee"


def test_tensorboard_reads_what_was_exported_for_it(stored, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    hparams = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    study, store = stored
    for _ in range(2):  # again changes nothing
        assert export(study, store, "tensorboard", tmp_path / "tb") == 4
    folders = sorted((tmp_path / "tb").iterdir())
    assert len(folders) == 4
    read = {}
    for folder in folders:
        events = accumulator.EventAccumulator(str(folder))
        events.Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        settings = hparams.parse_session_start_info_plugin_data(content).hparams
        curve = [(e.step, e.value) for e in events.Scalars("curves/test_error")]
        read[folder.name.rpartition(".")[0]] = (
            curve, events.Scalars("metrics/test_error")[0].value, settings["seed"].number_value
        )  # fmt: skip
    assert read["ST_..,_seed_1"] == ([(10, 10.0), (20, 5.0)], 5.0, 1.0)


def test_mlflow_reads_what_was_exported_for_it(stored, tmp_path):
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    pytest.importorskip("sqlalchemy", reason="MLflow's store needs SQLAlchemy")
    study, store = stored
    done = subprocess.run(
        [sys.executable, "-c", EXPORT_TWICE + READ_MLFLOW, tmp_path / "ml", store],
        capture_output=True, text=True, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = {name: rest for name, *rest in json.loads(done.stdout.splitlines()[-1])}
    assert len(read) == 4
    metrics, params, tags, curve = read["ST <&>/.., seed 1"]
    assert metrics["test_error"] == 5.0
    assert params["train.batch_size"] == "30"
    assert tags["variant"] == "ST <&>/.."
    assert curve == [[10, 10.0], [20, 5.0]]


def test_the_verb_says_how_many_and_refuses_what_is_not_there(stored, tmp_path):
    study, store = stored
    out = stn_bench(
        "export", "study", tmp_path / "tb", "--to", "tensorboard", "--results", store
    ).stdout
    assert "4 trials for tensorboard" in out
    with pytest.raises(BenchError, match="no trial has a result yet"):
        export(study, tmp_path / "empty", "tensorboard", tmp_path / "tb")


@pytest.mark.parametrize("to", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_one_message(stored, tmp_path, monkeypatch, to):
    study, store = stored
    monkeypatch.setitem(sys.modules, to, None)
    for name in [name for name in sys.modules if name.startswith(f"{to}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BenchError, match=rf"pip install 'stn-bench\[{to}\]'"):
        export(study, store, to, tmp_path / "out")
