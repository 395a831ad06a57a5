"""HTML, Markdown, CSV, LaTeX: the same numbers in all, and no name that does harm in any."""

import csv
import dataclasses
import io
import json
import math
import re

import pytest
from found import find, make_study, row, rows_of, trained
from reading import Page, data_of, html_tables, latex_rows, markdown_rows

from bench.report.charts import charts
from bench.report.formats import csv_text, latex, markdown, text_table, visible
from bench.report.page import html, report_page
from bench.report.tables import effects_table, failures_table, trials_table, variants_table

VARIED = """\
vary: {train.lr: [1e-3, 1e-2]}
ablate: {model.transformer: [null, {placement: conv2}]}
baseline: {model.transformer: null}
published:
- {where: {model.transformer: null}, metric: test_error, value: 1.2, source: "A & B, Table 1"}
"""
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'`|*_~#[x](javascript:alert(1))![y](z)",
    "x" * 500,
    "\u202edesrever \u2066isolated \u05d0\u05d1\u05d2",
    "\N{PILE OF POO} \N{FAMILY}",
    "&amp; %$#_{}~^\\ \\input{/etc/passwd} $x^2$",
    "two\nlines\r\n\ttabs",
    '=HYPERLINK("http://x")',
    "@SUM(1)",
    "-1+1|cmd",
    'a, b; "c"',
    "--- | --- |",
    "1. - + = <!-- x -->",
]
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def numbers(cell):
    return [float(n.replace(",", "")) for n in NUMBER.findall(cell.replace("\N{MINUS SIGN}", "-"))]


def page_of(study, attempts, drawn=None):
    """A page without charts unless they are given: their scripts take seconds to bundle."""
    return html(report_page(find(study, attempts), drawn or {}, rows_of(attempts)))


@pytest.fixture
def varied(tmp_path):
    study = make_study(tmp_path, VARIED)
    errors, ms = {}, {}
    for i, v in enumerate(study.variants):
        errors[v.name] = [10.0 - 1.3 * i + 0.17 * s * (1 + i % 2) for s in range(3)]
        ms[v.name] = [12.345 * (i + 1), 13.456 * (i + 1)]
    return study, trained(study, errors, ms)


@pytest.fixture
def found(varied):
    return find(*varied)


def test_every_format_has_the_same_cells(found, varied):
    table = variants_table(found)
    want = [list(table.headers), *([cell.text for cell in row] for row in table.rows)]
    shown = markdown_rows(markdown(found, {}))
    assert [shown[0], *shown[2 : 2 + len(table.rows)]] == want
    assert latex_rows(latex(table, "x")) == want
    page = Page(page_of(*varied))
    assert page.tables["variants-table"] == want
    values = [[v and float(v) for v in line] for line in page.values["variants-table"][1:]]
    assert values == [
        [
            cell.value if column.number else None
            for column, cell in zip(table.columns, cells, strict=True)
        ]
        for cells in table.rows
    ]  # what a page sorts by
    assert len(want) == 7 and len(want[0]) >= 9


def test_csv_has_each_number_of_the_table_in_a_column_of_its_own(found):
    table = variants_table(found)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    for line, cells in zip(rows, table.rows, strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            if column.number and column.parts[0] != "published":
                plain = [float(line[part]) for part in column.parts if line[part]]
                assert plain == numbers(cell.text), column.heading
    baseline = next(r for r in rows if r["variant"].startswith("transformer=null"))
    assert (baseline["published"], baseline["published_source"]) == ("1.2", "A & B, Table 1")
    assert baseline["difference"] == baseline["p_holm"] == ""


def plotted(chart):
    """All data of a chart."""
    return [v for layer in chart.spec["layer"] for v in layer["data"]["values"]]


def column(table, heading):
    """Cells of a column by what stands first in their row."""
    (place,) = [i for i, c in enumerate(table.columns) if c.heading.startswith(heading)]
    return {cells[0].text: cells[place] for cells in table.rows}


CHARTS = {
    "scores": (variants_table, "test error"),
    "differences": (variants_table, "difference to baseline"),
    "time_ratios": (variants_table, "training step, times"),
    "main_effects": (lambda found: effects_table(found, interactions=False), "change"),
    "interactions": (lambda found: effects_table(found, interactions=True), "change"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_has_the_numbers_of_its_table(found, name):
    """What is drawn, rounded, and what the mouse tells are the cells."""
    make_table, heading = CHARTS[name]
    cells = column(make_table(found), heading)
    want = {k: cell for k, cell in cells.items() if cell.value is not None}
    drawn = [each for each in plotted(charts(found)[name]) if "of" in each]
    assert want and {each["of"] for each in drawn} == set(want)
    for each in drawn:
        cell = want[each["of"]]
        assert each["estimate"] == cell.text
        assert cell.plain == tuple(f"{each[k]:.2f}" for k in ("value", "low", "high"))


def test_single_values_and_times_of_charts_are_those_of_tables(found):
    drawn = charts(found)
    trials = {k: cell.text for k, cell in column(trials_table(found), "test error").items()}
    seeds = {each["trial"]: each["value "] for each in plotted(drawn["scores"]) if "trial" in each}
    assert seeds == trials
    table = variants_table(found)
    for chart_key, heading, unit in (
        ("score ", "test error", ""),
        ("time ", "training step, ms", " ms"),
    ):
        cells = {k: f"{cell.text}{unit}" for k, cell in column(table, heading).items()}
        places = plotted(drawn["accuracy_speed"])
        assert {each["variant"]: each[chart_key] for each in places} == cells
    spent = {k: float(cell.plain[0]) for k, cell in column(trials_table(found), "seconds").items()}
    for each in plotted(drawn["time_line"]):
        if "trial" in each:
            spent[each["trial"]] -= float(each["took"].removesuffix(" s"))
    assert spent == dict.fromkeys(spent, 0.0)


def test_effects_stand_in_the_markdown(found, varied):
    text, page = markdown(found, {}), html_tables(page_of(*varied))
    for interactions in (False, True):
        table = effects_table(found, interactions)
        assert table.rows
        for cells in table.rows:
            assert [cell.text for cell in cells] in markdown_rows(text)
            assert [cell.text for cell in cells] in page[f"{table.name}-table"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text_in_every_format(name, tmp_path):
    study = make_study(tmp_path)
    renamed = study.variants[1].model_copy(update={"name": name, "arm": name})
    study = study.model_copy(
        update={"variants": (study.variants[0], renamed), "question": name, "name": name}
    )
    rows = trained(study, {"CNN": [20.0, 22.0], name: [4.0, 5.0, 6.0]})
    failing = next(t for t in study.trials("cpu") if (t.variant, t.seed) == ("CNN", 2))
    found = find(study, [*rows, row(failing, failure=f"ValueError: {name}")])
    table, shown = variants_table(found), visible(name)
    text = markdown(found, {})
    cells = markdown_rows(text)
    assert cells[3][0] == shown
    assert len(cells[3]) == len(cells[0]) == len(table.columns)
    (failure,) = [line for line in cells if line[0] == "CNN" and line[3] == "exception"]
    assert failure[4] == f"ValueError: {shown}".strip()
    bare = re.sub(r"\\.", "", text)
    assert not re.search(r"<script|!\[|\]\(|<!--", bare)
    tex = latex(table, study.question)
    assert latex_rows(tex)[2][0] == shown
    assert r"\input{" not in tex
    assert _depth(tex) == 0
    given = list(csv.reader(io.StringIO(csv_text(table))))
    assert given[2][0] == (f"'{shown}" if shown[0] in "=+-@" else shown)
    assert {len(line) for line in given} == {sum(len(c.parts) for c in table.columns)}
    assert len(text_table(table).splitlines()) == 3
    assert failures_table(found).rows


def _depth(tex):
    """How many braces stay open."""
    plain = re.sub(r"\\[{}\\]", "", tex)
    return plain.count("{") - plain.count("}")


def test_nothing_hidden_and_nothing_that_turns_the_writing_is_left():
    assert visible("a\u202eb\x00c\u200bd\n e\u2066") == "a�b�c�d e�"
    assert (
        visible("\N{MAN}\u200d\N{PERSONAL COMPUTER}\ufe0f")
        == "\N{MAN}\u200d\N{PERSONAL COMPUTER}\ufe0f"
    )


def test_the_same_findings_give_the_same_text(found):
    assert markdown(found, {}) == markdown(dataclasses.replace(found), {})


def test_hostile_words_are_inert_in_a_page(tmp_path):
    evil = " ".join(HOSTILE)
    study = make_study(tmp_path)
    renamed = study.variants[1].model_copy(update={"name": evil, "arm": evil})
    study = study.model_copy(update={"variants": (study.variants[0], renamed), "question": evil})
    rows = trained(study, {"CNN": [20.0, 22.0], evil: [4.0, 5.0, 6.0]})
    failing = next(t for t in study.trials("cpu") if (t.variant, t.seed) == ("CNN", 2))
    rows.append(row(failing, failure=evil, traceback=evil, host=evil, run_id=evil))
    text = page_of(study, rows)
    page = Page(text)
    assert page.active == [] and "<script>alert" not in text
    assert page.tables["variants-table"][2][0] == evil
    assert page.tables["failures-table"][1][4] == evil
    assert set(data_of(text)) == {"charts", "themes", "pictures"}


ONE = "variants: [{name: ST}]\n"
STATES = {
    "no trial": (None, {}, "No trial of this study has a result yet, so there is no answer."),
    "one trial": (ONE, {"ST": [4.0]}, "The test error of ST is 4.00 % (one seed: no interval)."),
    "one seed": (None, {"CNN": [20.0], "ST": [4.0]}, "on one seed, which gives no interval"),
    "half failed": (None, {"CNN": [20.0, 22.0], "ST": [4.0]},
                    "Of 6 trials 3 are done, 3 failed (3 exception), 0 are missing"),
    "all failed": (None, {"CNN": [], "ST": []}, 
        "All 6 trials failed, so there is no answer: broke"),
    "not finite": (None, {"CNN": [math.nan] * 3, "ST": [4.0, math.inf, 6.0]},
                   "The test error of 4 trials is no finite number and is left out."),
    "no baseline": ("variants: [{name: CNN, set: {model.transformer: null}}, {name: ST}]\n",
                    {"CNN": [20.0, 22.0, 21.0], "ST": [4.0, 5.0, 6.0]},
                    "The study names no baseline, so nothing is compared."),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_page_says_plainly_what_can_be_said(state, tmp_path):
    design, errors, sentence = STATES[state]
    seeds = 1 if state in ("one trial", "one seed") else 3
    study = make_study(tmp_path, *([design] if design else []), seeds=seeds, rounds=1)
    times = {} if state == "all failed" else {variant: [10.0] for variant in errors}
    rows = trained(study, errors, times) if errors else []
    if "failed" in state:
        done = {attempt.trial_id for attempt in rows if attempt.phase == "accuracy"}
        rows += [row(t, failure="broke") for t in study.trials("cpu") if t.trial_id not in done]
    found = find(study, rows)
    text = page_of(study, rows)
    assert sentence in text
    for cells in Page(text).tables["variants-table"]:
        assert not {"nan", "inf"} & {cell.lower() for cell in cells}
    # A browser's JSON knows no NaN.
    specs = json.dumps({name: chart.spec for name, chart in charts(found).items()}, allow_nan=False)
    assert len(specs) >= 2
