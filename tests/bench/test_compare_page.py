"""Store against store as a page: the same numbers in every format, and honest words."""

import json
import math

import pytest
from found import TWO, accuracy, make_study, timing
from reading import Page, chart_of, html_tables, markdown_rows

from bench.compare import compare, markdown, side, text, write
from bench.compare.output import tables_of
from bench.results import ResultStore

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'|`*_ \u202eevil " + "x" * 300
BASE = {"CNN": [20.0, 22.0, 24.0], "ST": [4.0, 5.0, 6.0]}
HEAD = {"CNN": [20.0, 22.3, 23.8], "ST": [6.0, 7.1, 7.9]}


def store(folder, study, errors, ms=None, run="run"):
    """A store with an error by variant and seed, and milliseconds by variant and round."""
    made = ResultStore(folder)
    for trial in study.trials("cpu"):
        for value in errors.get(trial.variant, [])[trial.seed : trial.seed + 1]:
            made.write(accuracy(trial, value))
        if ms and "timing" in trial.phases:
            for i, value in enumerate(ms[trial.variant]):
                one = timing(trial, i, train_step=value)
                made.write(type(one)(**{**vars(one), "run_id": run}))
    return str(folder)


def told(base, head):
    return compare(side(base), side(head))


@pytest.fixture
def two(tmp_path):
    """ST has 2 points more error in the second store, and takes a tenth longer."""
    study = make_study(tmp_path)
    ms = {"CNN": [10.0, 12.0, 11.0], "ST": [20.0, 21.0, 22.0]}
    slower = {"CNN": [10.01, 11.99, 11.02], "ST": [22.0, 23.1, 24.21]}
    base = store(tmp_path / "a", study, BASE, ms)
    return told(base, store(tmp_path / "b", study, HEAD, slower))


def test_what_changed_has_the_numbers_that_the_rows_give(two):
    rows = {(row.variant, row.what): row for row in two.compared}
    change = rows["ST", "test_error"].change
    # Differences 2.0, 2.1, 1.9: mean 2, t(2) 4.3027 × 0.1 / √3.
    assert (change.mean, change.low) == pytest.approx((2.0, 2 - 4.3027 * 0.1 / math.sqrt(3)), 1e-4)
    ratio = rows["ST", "train_step"].change
    logs = [math.log(r) for r in (1.1, 1.1, 24.21 / 22)]
    assert ratio.mean == pytest.approx(math.exp(sum(logs) / 3))
    assert {key for key, row in rows.items() if row.tells} == {
        ("ST", "test_error"), ("ST", "train_step"),
    }  # fmt: skip
    said = text(two)
    assert "study: ST: test error rose: 2.00 [1.75, 2.25] points of test error (3 seeds)." in said
    assert "study: ST: train step takes longer: 1.100 [1.0" in said
    assert "Whether the other 2 numbers changed cannot be told" in said


def test_the_correction_is_over_everything_compared(two):
    given = sorted((row.p, row.p_holm) for row in two.compared)
    assert given[0][1] == pytest.approx(4 * given[0][0])
    assert given[1][1] == pytest.approx(max(3 * given[1][0], given[0][1]))


def test_every_format_and_chart_has_the_same_numbers(two, tmp_path):
    made = write(two, tmp_path / "out")
    tables = tables_of(two)
    want = [[list(t.headers), *([c.text for c in row] for row in t.rows)] for t in tables]
    page = made.read_text()
    shown = html_tables(page)
    assert [shown["accuracy-table"], shown["time-table"]] == want
    lines = markdown_rows((tmp_path / "out" / "comparison.md").read_text())
    assert [line for line in lines if set(line) - {"---", "---:"}] == want[0] + want[1]
    for chart, table in (("differences", want[0]), ("time_ratios", want[1])):
        dots = chart_of(page, chart)
        assert {f"{row[0]} · {row[1]}": row[4] for row in table[1:]} == dots


def test_one_seed_or_one_round_concludes_nothing(tmp_path):
    study = make_study(tmp_path, seeds=1)
    once = {"CNN": [10.0], "ST": [20.0]}
    base = store(tmp_path / "a", study, {"CNN": [9.0], "ST": [8.0]}, once)
    found = told(base, store(tmp_path / "b", study, {"CNN": [1.0], "ST": [2.0]}, once))
    assert not any(row.tells for row in found.compared)
    assert "4 numbers rest on one seed or round" in text(found)


def test_what_one_side_lacks_is_named_and_nan_is_left_out(tmp_path):
    study = make_study(tmp_path)
    base = store(tmp_path / "a", study, {**BASE, "CNN": [20.0, math.nan, 24.0]})
    other = make_study(tmp_path, TWO.replace("ST}", "STN}"))
    errors = {"CNN": BASE["CNN"], "STN": BASE["ST"]}
    found = told(base, store(tmp_path / "b", other, errors))
    assert (found.only_base, found.only_head) == (("study: ST",), ("study: STN",))
    assert [(row.variant, row.change.n) for row in found.compared] == [("CNN", 2)]
    nothing = told(base, store(tmp_path / "c", other, {"STN": BASE["ST"]}))
    made = write(nothing, tmp_path / "out").read_text()
    assert "The two have no result of the same variant, so nothing is compared." in made
    assert f"only in {tmp_path}/c: study: STN" in made


def test_hostile_names_are_inert(tmp_path):
    study = make_study(tmp_path)
    evil = study.variants[1].model_copy(update={"name": HOSTILE})
    study = study.model_copy(update={"variants": (study.variants[0], evil)})
    errors = [{"CNN": side["CNN"], HOSTILE: side["ST"]} for side in (BASE, HEAD)]
    folders = [tmp_path / name for name in ("a", "b<img src=x onerror=alert(3)>")]
    found = told(*(store(f, study, e) for f, e in zip(folders, errors, strict=True)))
    page = write(found, tmp_path / "out").read_text()
    assert f"study: {HOSTILE}" in [row[0] for row in html_tables(page)["accuracy-table"]]
    assert Page(page).active == [] and "<script>alert" not in page
    assert "<script" not in markdown(found).replace("\\<script", "")


def test_the_command_writes_what_it_prints(two, tmp_path, capsys, monkeypatch):
    from bench.cli import main

    words = ["stn-bench", "compare", str(tmp_path / "a"), str(tmp_path / "b")]
    monkeypatch.setattr("sys.argv", [*words, "--format", "json", "--output", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["compared"]) == 4
    assert shown.err == f"comparison: {tmp_path}/o/comparison.html\n"
    page = (tmp_path / "o" / "comparison.html").read_text()
    assert f"stn-bench compare {tmp_path}/a {tmp_path}/b" in page
    monkeypatch.setattr("sys.argv", [*words, "--open"])
    with pytest.raises(SystemExit):
        main()
    assert "--open needs --output" in capsys.readouterr().err
