"""The command as a user meets it."""

import json
import re
import subprocess
import sys
import time

import pytest
from attempts import attempt
from command import QUICKSTART, ROOT, stn_bench
from large_store import make

from bench.results import ResultStore
from bench.results.marks import Mark
from bench.study import load_study

HEAVY = ("torch", "ray", "torchvision", "sklearn", "timm")

PROBE = """
import sys
sys.argv = ["stn-bench", *{words!r}]
from bench.cli import main
try:
    main()
except SystemExit as end:
    status = end.code
print("IMPORTED", *sorted(set(sys.modules) & set({names!r})), file=sys.stderr)
sys.exit(status)
"""


def imported(words, names):
    code = PROBE.format(words=[str(w) for w in words], names=tuple(names))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, None), done.stderr
    return done.stderr.rpartition("IMPORTED")[2].split()


@pytest.mark.parametrize(
    "words",
    [["--help"], ["plan", QUICKSTART], ["list"], ["schema"], ["status", QUICKSTART],
     ["report", QUICKSTART]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_reading_verbs_import_neither_torch_nor_ray(words, tmp_path):
    if words[0] in ("status", "report"):
        words = [*words, "--results", tmp_path]
    assert imported(words, HEAVY) == []


def test_the_report_of_a_compacted_store_imports_no_pandas(tmp_path):
    make(tmp_path, points=4, rates=1, arms=1, seeds=2)
    assert imported(["report", "large", "--results", tmp_path], ["pandas", "pyarrow.dataset"]) == []


def test_help_imports_nothing_that_takes_time():
    assert imported(["--help"], ["pandas", "pyarrow", "numpy", "scipy", "pydantic", "jinja2"]) == []


def test_help_names_every_verb():
    out = stn_bench("--help").stdout
    assert all(verb in out for verb in ["plan", "run", "status", "report", "list", "schema"])


def test_plan_lists_every_trial_and_json_is_the_same():
    text = stn_bench("plan", QUICKSTART, "seeds=2", "--device", "cpu").stdout
    rows = json.loads(stn_bench("plan", QUICKSTART, "seeds=2", "--device", "cpu", "--json").stdout)
    assert "2 variants × 2 seeds = 4 trials on cpu" in text
    assert len(rows) == 4
    assert all(row["trial_id"] in text for row in rows)


def test_status_of_an_empty_store(tmp_path):
    out = stn_bench("status", QUICKSTART, "--results", tmp_path, "--json").stdout
    expected = dict(trials=8, done=0, missing=8, failed=0, stale=0, running=0)
    told = {"study": "quickstart", **expected, "failures": {}, "under_way": []}
    assert json.loads(out) == told
    assert list(tmp_path.iterdir()) == []


def test_status_needs_no_more_than_the_store(tmp_path):
    """By the study's name, as on another machine: what works, where, and what has failed."""
    study, store = load_study(QUICKSTART), ResultStore(tmp_path)
    first, second = (trial.trial_id for trial in study.trials("cpu")[:2])
    store.write_study(study.name, study.as_stored())
    store.write(attempt(first, failure="NodeLost: x", failure_kind="node_lost"))
    store.write(attempt(first, number=2))
    store.write(attempt("b" * 16, failure="X: of another study"))
    now = time.time()
    works = Mark(second, "quickstart", "ST-CNN", 0, "accuracy", 3, "run", "far", 7, 0.0, now - 9)
    with store.mark(works):
        words = ["status", "quickstart", "--results", tmp_path, "--device", "cpu"]
        text = stn_bench(*words).stdout
        told = json.loads(stn_bench(*words, "--json").stdout)
    counts, failed, working = text.splitlines()
    assert counts == "quickstart: 8 trials, 0 done, 7 missing, 0 failed, 0 stale, 1 running"
    assert failed == "attempts that failed: 1 node_lost"
    assert re.fullmatch(r"far, process 7: ST-CNN, seed 0, accuracy, attempt 3, \d+ s", working), (
        working
    )
    assert told["failures"] == {"node_lost": 1}
    (seen,) = told["under_way"]
    assert (seen["trial_id"], seen["host"], seen["attempt"]) == (second, "far", 3)


def test_list_shows_parameters_and_defaults():
    out = stn_bench("list", "model").stdout
    assert "cnn: " in out
    assert "filters: " in out and "= [32, 64]" in out
    assert stn_bench("list", "modle", check=2).stderr == (
        "unknown role `modle` (did you mean `model`?)\n"
    )


def test_schema_is_a_json_schema_that_the_quickstart_fits():
    jsonschema = pytest.importorskip("jsonschema")
    from bench.study.document import read_document

    schema = json.loads(stn_bench("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    study = read_document(QUICKSTART).value
    validator.validate(study)
    study["base"]["model"]["transformer"]["transform"] = "afine"
    assert not validator.is_valid(study)


def test_a_mistake_is_one_message_without_traceback(tmp_path):
    done = stn_bench("run", tmp_path / "none.yaml", check=2)
    assert done.stderr == f"{tmp_path}/none.yaml: no such file\n"
    done = stn_bench("run", QUICKSTART, "model.kernel_sizes=[25,5]", "--in-process",
                     "--results", tmp_path, check=2)  # fmt: skip
    assert done.stderr == (
        "quickstart: variant `CNN`: model `cnn`: `kernel_sizes[1]` must be at most 1 for a feature "
        "map of 2×2, got 5.\n"
    )
    assert ResultStore(tmp_path).trials().empty


def test_data_that_is_not_there_is_one_message(tmp_path):
    """No network is simulated by a proxy that nobody serves."""
    study = tmp_path / "digits.yaml"
    study.write_text(QUICKSTART.read_text().replace("name: quickstart", "name: digits"))
    import os

    environment = {k: v for k, v in os.environ.items() if k != "STN_BENCH_DATA"}
    environment |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = stn_bench("run", study, "dataset.name=mnist", "--in-process", "--results", tmp_path,
                     "--data-dir", tmp_path, check=2, env=environment)  # fmt: skip
    assert done.stderr.count("\n") == 1
    assert f"data set `mnist`: {tmp_path}/MNIST/raw/train-images" in done.stderr
    assert "is not there and cannot be downloaded" in done.stderr
    assert "--data-dir" in done.stderr


def test_report_by_name_needs_only_the_store(tmp_path):
    done = stn_bench("report", "quickstart", "--results", tmp_path, check=2)
    assert done.stderr == f"store {tmp_path}: has no study `quickstart`; it has none\n"
