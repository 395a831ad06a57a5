"""What a reader of a page, of Markdown and of LaTeX has before him, parsed back."""

import json
import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Text of the cells of each table by its id, row by row, and whatever is active in the page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.active, self.values, self._rows, self._in = {}, [], {}, None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "table":
            self._rows = self.tables.setdefault(given["id"], [])
            self._values = self.values.setdefault(given["id"], [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
            self._values.append([])
        elif tag in ("td", "th"):
            assert self._rows is not None
            self._rows[-1].append("")
            self._values[-1].append(given.get("data-value"))
            self._in = True
        self.active += [tag] if tag in ("iframe", "object", "link", "img", "embed", "base") else []
        self.active += [name for name in given if name.startswith("on")]

    def handle_endtag(self, tag):
        self._in = self._in and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in:
            assert self._rows is not None
            self._rows[-1][-1] += data


def html_tables(text):
    """The cells of every table of a page, by the table's id."""
    return Page(text).tables


def data_of(page):
    """The data that a page draws its charts and pictures from."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found)


def chart_of(page, name):
    """Estimates of a chart of dots by label, as the mouse shows them."""
    layers = data_of(page)["charts"][name]["layer"]
    values = [value for layer in layers for value in layer["data"]["values"]]
    return {value["of"]: value["estimate"] for value in values if "of" in value}


def markdown_rows(text):
    """Cells of the rows of all tables, as a reader of Markdown shows them."""
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
