"""Reports of studies that ran, that did not, and that try to break the page."""

import datetime
from html.parser import HTMLParser

from command import QUICKSTART

from bench.report import write_report
from bench.results import Attempt, CurvePoint, Metric, ResultStore, TimingSample
from bench.results.schema import PROTOCOL
from bench.study import load_study
from bench.study.study import canonical_json

HOSTILE = "<script>alert(1)</script> \"'|`*_ \u202eevil \N{PILE OF POO} " + "x" * 500


def quickstart(**update):
    return load_study(QUICKSTART, ["seeds=3", "rounds=2"]).model_copy(update=update)


def attempt(trial, phase="accuracy", **fields):
    base = dict(
        trial_id=trial.trial_id, study=trial.study, variant=trial.variant, seed=trial.seed,
        phase=phase, attempt=1, status="done", phases=trial.phases,
        settings=canonical_json(trial.settings), device="cpu", device_name="a CPU", threads=1,
        deterministic=True, run_id="run", host="host",
        started_at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), seconds=2.0, code_hash="0",
        environment='{"commit":"c0ffee","dirty":null,"python":"3.11","packages":{"torch":"2"},'
        '"platform":"Linux","cpu":"a CPU","cpus":2}',
        protocol=PROTOCOL if phase == "timing" else None, round=0 if phase == "timing" else None,
    )  # fmt: skip
    return Attempt(**{**base, **fields})


def fill(store, study, errors):
    """Accuracy rows with the errors given, and rounds of 20 and 30, then 40 and 60 ms a step."""
    for trial in study.trials("cpu"):
        if trial.seed >= len(errors[trial.variant]):
            continue
        error = errors[trial.variant][trial.seed]
        metrics = (Metric("test_error", error, "percent", False),
                   Metric("parameters", 1234, "count", False))  # fmt: skip
        curves = (CurvePoint("test_error", 10, error + 5), CurvePoint("test_error", 20, error))
        store.write(attempt(trial, metrics=metrics, curves=curves))
        if "timing" in trial.phases:
            step = 0.02 if trial.variant == study.variants[0].name else 0.03
            for i, drift in enumerate((1, 2)):
                samples = (TimingSample("train_step", 0, 9.0, 1, True),
                           TimingSample("train_step", 1, drift * step * 4, 4, False),
                           TimingSample("forward", 1, step, 4, False))  # fmt: skip
                fields = {"attempt": i + 1, "round": i, "timings": samples}
                store.write(attempt(trial, "timing", **fields))


def report(tmp_path, study, errors):
    store = ResultStore(tmp_path)
    fill(store, study, errors)
    made = write_report(study, tmp_path)
    return made.markdown.read_text(), made.html.read_text(), made


class Cells(HTMLParser):
    """Text of the cells of tables but that of the trials, and whatever would load something."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.active, self._in, self._table = [], [], False, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self._table = dict(attrs)["id"]
        if tag in ("td", "th") and self._table != "trials-table":
            self._in = True
            self.cells.append("")
        if tag in ("iframe", "object", "link", "img"):
            self.active.append(tag)
        self.active += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in = False

    def handle_data(self, data):
        if self._in:
            self.cells[-1] += data


GOOD = {"CNN": [20.0, 22.0, 24.0], "ST-CNN": [4.0, 5.0, 6.0]}


def test_the_answer_has_the_numbers_that_the_rows_give(tmp_path):
    markdown, html, made = report(tmp_path, quickstart(), GOOD)
    # Differences −16, −17, −18: mean −17, t(2) 4.303 × 1/√3.
    sentence = (
        "ST-CNN lowers the test error by 17.00 points [14.52, 19.48] (3 seeds) against CNN and "
        "costs 33.3 % [33.3, 33.3] of training throughput (2 rounds)."
    )
    assert sentence in html
    assert sentence in made.summary
    assert sentence in markdown.replace("\\", "")
    # Rounds of 30 and 60 ms: geometric mean 42.43, t(1) 12.706 × log(2) / 2.
    cells = (
        "| ST-CNN | 3 | 5.00 [2.52, 7.48] | −17.00 [−19.48, −14.52] | 42.43 [0.52, 3,468.25] | "
        "1,508 | 1.50 [1.50, 1.50] |"
    )
    assert cells in markdown.replace("\\", "")


def test_html_and_markdown_have_the_same_cells(tmp_path):
    markdown, html, _ = report(tmp_path, quickstart(), GOOD)
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and "---" not in line]
    plain = [c.strip().replace("\\", "") for line in lines for c in line.strip("|").split(" | ")]
    assert plain == [cell.strip() for cell in Cells(html).cells]


def test_an_interval_that_includes_zero_is_said_to_tell_nothing(tmp_path):
    errors = {"CNN": [20.0, 4.0, 24.0], "ST-CNN": [4.0, 20.0, 22.0]}
    _, html, _ = report(tmp_path, quickstart(), errors)
    assert "Whether ST-CNN changes the test error of CNN cannot be told" in html
    assert "the interval includes 0" in html
    assert "lowers" not in html


def test_one_seed_concludes_nothing(tmp_path):
    study = load_study(QUICKSTART, ["seeds=1"])
    _, html, _ = report(tmp_path, study, {"CNN": [20.0], "ST-CNN": [4.0]})
    assert "on one seed, which gives no interval, so nothing can be concluded" in html


def test_an_empty_store_says_so(tmp_path):
    made = write_report(quickstart(), tmp_path)
    assert "No trial of this study has a result yet, so there is no answer." in made.summary
    assert "Of 6 trials 0 are done, 0 failed, 6 are missing and 0 are running." in made.summary


def test_half_of_the_trials_missing_and_one_failed(tmp_path):
    study = quickstart()
    store = ResultStore(tmp_path)
    fill(store, study, {"CNN": [20.0, 22.0], "ST-CNN": [4.0]})
    trial = next(t for t in study.trials("cpu") if (t.variant, t.seed) == ("ST-CNN", 1))
    failure = "ValueError: it broke"
    store.write(attempt(trial, status="failed", failure=failure, failure_kind="exception"))
    made = write_report(study, tmp_path)
    text = made.markdown.read_text()
    told = "Of 6 trials 3 are done, 1 failed (1 exception), 2 are missing and 0 are running."
    assert told in text
    assert "| ST-CNN | 1 | 1 | exception | ValueError: it broke |" in text
    assert made.undone == 3


def test_no_baseline_compares_nothing(tmp_path):
    study = quickstart()
    bare = tuple(v.model_copy(update={"baseline": None}) for v in study.variants)
    _, html, _ = report(tmp_path, study.model_copy(update={"variants": bare}), GOOD)
    assert "The study names no baseline, so nothing is compared." in html


def test_hostile_names_are_inert(tmp_path):
    study = quickstart()
    renamed = (study.variants[0], study.variants[1].model_copy(update={"name": HOSTILE}))
    study = study.model_copy(update={"variants": renamed, "question": HOSTILE})
    markdown, html, _ = report(tmp_path, study, {"CNN": GOOD["CNN"], HOSTILE: GOOD["ST-CNN"]})
    assert Cells(html).active == []
    assert "<script>alert" not in html
    assert "<script" not in markdown.replace("\\<script", "")
    for svg in (tmp_path / "reports" / "quickstart").glob("*.svg"):
        assert "<script" not in svg.read_text()


def test_a_report_is_the_same_made_twice(tmp_path):
    first, _, _ = report(tmp_path, quickstart(), GOOD)
    made = write_report(quickstart(), tmp_path)
    assert made.markdown.read_text() == first
