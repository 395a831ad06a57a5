"""Store against store: paired seeds, rounds, and what is only in one."""

import json
import math
from typing import Any

import pytest
<<<<<<< HEAD
from attempts import attempt
from command import stn_bench
from gate_rows import row
from scipy import stats
=======
from found import TWO, accuracy, make_study, timing
from reading import Page, chart_of, html_tables, markdown_rows
>>>>>>> 7dd2c51 (The verbs by groups in bench/cli; settings of a study are put in canonical form once a variant; a report reads times without pandas; --json of run prints the report's place)

from bench import compare
from bench.errors import BenchError
from bench.results import Metric, ResultStore

c: Any = compare

OURS, THEIRS = [4.0, 5.0, 6.5, 5.5], [3.0, 4.5, 5.0, 5.2]


def store(folder, errors, commit="c0", variant="base", **changes):
    made = ResultStore(folder)
    for seed, error in enumerate(errors):
        made.write(
            attempt(
                f"{seed:016x}", seed=seed, variant=variant,
                metrics=(Metric("test_error", error, "percent", False),),
                environment=json.dumps({"commit": commit}), **changes,
            )
        )  # fmt: skip
    return str(folder)


def test_accuracy_is_paired_by_seed(tmp_path):
    ours, theirs = store(tmp_path / "a", OURS), store(tmp_path / "b", [*THEIRS, 9.0])
    found = c.compare(c.side(ours), c.side(theirs))
    (row,) = found.compared
    expected = stats.ttest_rel(THEIRS, OURS).confidence_interval(0.95)
    assert row.what == "test_error" and row.paired and row.change.n == 4
    assert math.isclose(row.change.low, expected.low) and math.isclose(
        row.change.high, expected.high
    )
    assert found.only_base == found.only_head == ()


def test_what_is_only_in_one_is_named(tmp_path):
    ours = store(tmp_path / "a", OURS)
    store(tmp_path / "a", OURS, variant="gone")
    theirs = store(tmp_path / "b", THEIRS)
    store(tmp_path / "b", THEIRS, variant="new")
    found = c.compare(c.side(ours), c.side(theirs))
    assert (found.only_base, found.only_head) == (("study: gone",), ("study: new",))
    assert f"only in {ours}: study: gone" in c.text(found)
    other = store(tmp_path / "c", THEIRS, settings='{"train": {"batch_size": 64}}')
    assert c.compare(c.side(ours), c.side(other)).compared == (), "other settings, other trial"


def timings(folder, speed, run, commit, noise=(0.0, 0.01, -0.01, 0.004), **changes):
    made = ResultStore(folder)
    for number, wobble in enumerate(noise):
        seconds = 0.01 * speed * (1 + number) * (1 + wobble * (commit == "c1"))
        made.write(row("warp", seconds, number, run=run, commit=commit, **changes))
    return str(folder)


def test_speed_of_two_commits_is_paired_by_round(tmp_path):
    place = timings(tmp_path / "a", 1.0, "run", "c0", arm="base")
    timings(tmp_path / "a", 1.1, "run", "c1")
    (row,) = c.compare(c.side(f"{place}@c0"), c.side(f"{place}@c1")).compared
    assert row.paired and row.change.n == 4 and row.change.low < 1.1 < row.change.high
    assert row.change.high - row.change.low < 0.05, "the rounds' own levels cancel"


def test_speed_that_was_not_side_by_side_has_welchs_interval_and_a_note(tmp_path):
    ours = timings(tmp_path / "a", 1.0, "one", "c0")
    theirs = timings(tmp_path / "b", 1.1, "two", "c1")
    found = c.compare(c.side(ours), c.side(theirs))
    (row,) = found.compared
    assert not row.paired and row.change.low < 1.1 < row.change.high
    assert "not timed side by side" in found.notes[0]


def test_speed_on_another_machine_is_not_compared(tmp_path):
    ours = timings(tmp_path / "a", 1.0, "one", "c0")
    theirs = timings(tmp_path / "b", 1.1, "two", "c1", device_name="another")
    found = c.compare(c.side(ours), c.side(theirs))
    assert found.compared == () and "different machines" in found.notes[0]


def test_mistakes_are_told(tmp_path):
    with pytest.raises(BenchError, match="has no good attempt"):
        c.side(str(tmp_path / "empty"))
    ours = store(tmp_path / "a", OURS, commit="abcdef")
    with pytest.raises(BenchError, match="has no commit `123`; it has abcdef"):
        c.side(f"{ours}@123")
    assert c.side(f"{ours}@abc")[0].commit == "abc"


<<<<<<< HEAD
def test_the_verb_prints_every_format(tmp_path):
    ours, theirs = store(tmp_path / "a", OURS), store(tmp_path / "b", THEIRS)
    assert "−0.82 [" in stn_bench("compare", ours, theirs).stdout
    assert "| study: base |" in stn_bench("compare", ours, theirs, "--format", "markdown").stdout
    told = json.loads(stn_bench("compare", ours, theirs, "--format", "json").stdout)
    assert told["compared"][0]["change"]["n"] == 4
    assert "has no good attempt" in stn_bench("compare", ours, tmp_path / "x", check=2).stderr
=======
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


def test_a_store_without_such_a_commit_is_a_message(two, tmp_path):
    with pytest.raises(BenchError, match=r"has no commit `beef`; it has c0ffee$"):
        side(f"{tmp_path}/a@beef")
    assert str(side(f"{tmp_path}/a@c0f")[0]) == f"{tmp_path}/a@c0f"
>>>>>>> 7dd2c51 (The verbs by groups in bench/cli; settings of a study are put in canonical form once a variant; a report reads times without pandas; --json of run prints the report's place)
