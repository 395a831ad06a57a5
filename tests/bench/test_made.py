"""A run that finds nothing to do gives the report that is there, unless anything differs."""

import dataclasses

import pytest
from attempts import attempt
from large_store import ENVIRONMENT

from bench.cli.made import NAME, keep, kept, source
from bench.report import write_report
from bench.results import ResultStore
from bench.results.marks import of_run
from bench.study import load_study

STUDY = """
schema: 1
name: one
question: What?
task: classify
base:
  dataset: {name: digits}
  model: {name: cnn}
  train: {steps: 1, batch_size: 32, lr: 1}
seeds: 2
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "one.yaml").write_text(STUDY)
    return load_study(tmp_path / "one.yaml")


@pytest.fixture
def store(tmp_path, study):
    store = ResultStore(tmp_path / "store")
    add(store, study, 0)
    return store


def add(store, study, seed):
    trial = study.trials("cpu")[seed]
    words = {"study": "one", "variant": trial.variant, "seed": seed, "environment": ENVIRONMENT}
    store.write(attempt(trial.trial_id, **words))


@pytest.fixture
def report(study, store):
    of = source(study, store.location, "cpu")
    made = write_report(study, store.location, "cpu")
    keep(made, of)
    return made


def again(study, store, device="cpu"):
    return kept(study, store.location, source(study, store.location, device))


def test_where_nothing_changed_it_is_the_same(report, study, store):
    made = again(study, store)
    assert made is not None
    assert dataclasses.asdict(made) == {
        name: getattr(report, name) for name in ("summary", "html", "undone")
    }


def gone(report, study, store):
    report.html.unlink()


def edited(report, study, store):
    report.markdown.write_text("mine")


def torn(report, study, store):
    (report.html.parent / NAME).write_text('{"source":')


def another_row(report, study, store):
    add(store, study, 1)


def compacted(report, study, store):
    """What is new is in one file with what was there."""
    add(store, study, 1)
    store.compact()


@pytest.mark.parametrize("change", [gone, edited, torn, another_row, compacted])
def test_it_is_made_again_where_anything_differs(change, report, study, store):
    change(report, study, store)
    assert again(study, store) is None


def test_it_is_made_again_for_another_study_or_device_and_while_a_run_lasts(report, study, store):
    assert again(study.model_copy(update={"question": "Why?"}), store) is None
    assert again(study, store, "auto") is None
    with store.mark(of_run("one", "run")):
        of = source(study, store.location, "cpu")
        assert of is None and again(study, store) is None
        keep(report, of)
    assert again(study, store) is None, "kept while a run lasted"


def test_it_is_made_again_by_other_code(report, study, store, tmp_path, monkeypatch):
    import bench.cli.made as module

    (tmp_path / "bench" / "cli").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "bench" / "cli" / "made.py"))
    assert again(study, store) is None
