"""HTML, Markdown, CSV, LaTeX: the same numbers in all, and no name that does harm in any."""

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser

import pytest
from found import find, make_study, row, trained

from bench.report.formats import csv_text, latex, markdown, text_table, visible
from bench.report.tables import effects_table, failures_table, variants_table

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


class Tables(HTMLParser):
    """Text of the cells of each table, row by row."""

    def __init__(self, text):
        super().__init__()
        self.tables, self._in = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in = True

    def handle_endtag(self, tag):
        self._in = self._in and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in:
            self.tables[-1][-1][-1] += data


def markdown_rows(text):
    """Cells of the rows of the first table, as a reader of Markdown shows them."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines]
    return [[re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", c) for c in row] for row in rows]


def latex_rows(text):
    """Cells of the rows between the rules, as TeX prints them."""
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r" \\")]
    back = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
        r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"',
        "$-$": "\N{MINUS SIGN}", r"\textasciigrave{}": "`", r"\textquotesingle{}": "'", "-{}": "-",
    }  # fmt: skip
    pattern = re.compile("|".join(re.escape(k) for k in back) + r"|\\([&%$#_{}])|--")

    def plain(cell):
        return pattern.sub(lambda m: back.get(m[0]) or m[1] or "–", cell)

    return [[plain(cell) for cell in row.split(" & ")] for row in rows]


def numbers(cell):
    return [float(n.replace(",", "")) for n in NUMBER.findall(cell.replace("\N{MINUS SIGN}", "-"))]


@pytest.fixture
def found(tmp_path):
    study = make_study(tmp_path, VARIED)
    errors, ms = {}, {}
    for i, v in enumerate(study.variants):
        errors[v.name] = [10.0 - 1.3 * i + 0.17 * s * (1 + i % 2) for s in range(3)]
        ms[v.name] = [12.345 * (i + 1), 13.456 * (i + 1)]
    return find(study, trained(study, errors, ms))


def test_every_format_has_the_same_cells(found):
    table = variants_table(found)
    want = [list(table.headers), *([cell.text for cell in row] for row in table.rows)]
    shown = markdown_rows(markdown(found, {}))
    assert [shown[0], *shown[2 : 2 + len(table.rows)]] == want
    assert latex_rows(latex(table, "x")) == want
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


def test_effects_stand_in_the_markdown(found):
    text = markdown(found, {})
    for interactions in (False, True):
        table = effects_table(found, interactions)
        assert table.rows
        for cells in table.rows:
            assert [cell.text for cell in cells] in markdown_rows(text)


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
