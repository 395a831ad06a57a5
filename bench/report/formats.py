"""The same tables and sentences as Markdown, CSV, LaTeX, and text for a terminal, and as files.

Names come from users: whatever they hold, they stay text, in every format.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InfrastructureError
from .findings import Findings
from .tables import NONE, Table, effects_table, failures_table, flags_table, variants_table
from .words import answer, details, notes, settings_line

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "\N{MINUS SIGN}": "$-$",
}  # fmt: skip
NONE_TEX = "--"

# A picture of more variants than these cannot be read, and takes seconds to draw.
MANY = 60


def write_texts(folder: Path, texts: Mapping[str, str], what: str) -> None:
    """Write texts by the names of their files into a folder, which is made where there is none.

    Raises:
        InfrastructureError: `what` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8", newline="")
    except OSError as error:
        raise InfrastructureError(f"{what} cannot be written: {error}") from error


def markdown(findings: Findings, charts: Mapping[str, str]) -> str:
    """The report as Markdown; `charts` are captions by the name of the SVG file beside it."""
    study = findings.study
    parts = [f"# {plain(study.name)}", _paragraph(study.question)]
    parts += [" ".join(_paragraph(sentence) for sentence in answer(findings))]
    settings = settings_line(findings)
    parts += [f"Run with {plain(settings)}."] if settings else []
    parts += [markdown_table(variants_table(findings)), plain(notes(findings))]
    parts += [f"![{plain(caption)}]({name})" for name, caption in charts.items()]
    if len(findings.rows) > MANY:
        parts += [
            f"Charts of so many variants ({len(findings.rows)}) stand in `report.html` alone."
        ]
    parts += ["\n".join(f"- {_paragraph(sentence)}" for sentence in details(findings))]
    for title, table in (
        ("Main effects", effects_table(findings, interactions=False)),
        ("Interactions", effects_table(findings, interactions=True)),
        ("Flagged blocks of timing", flags_table(findings)),
        ("Failures", failures_table(findings)),
    ):
        parts += [f"## {title}", markdown_table(table)] if table.rows else []
    parts += ["## Environment"] if findings.environments else []
    parts += ["\n".join(f"- {plain(line)}" for line in findings.environments)]
    parts += [f"Made by {_code(findings.command)}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """A table as Markdown; numbers stand to the right."""
    rules = ["---:" if column.number else "---" for column in table.columns]
    lines = [[plain(heading) for heading in table.headers], rules]
    lines += [[plain(cell.text) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_text(table: Table) -> str:
    """A table as CSV (RFC 4180): a column for each number, with a point, and empty where none is.

    Text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([part for column in table.columns for part in column.parts])
    for row in table.rows:
        cells = zip(table.columns, row, strict=True)
        writer.writerow(
            [
                p if c.number and _is_number(p) else _inert(p)
                for c, cell in cells
                for p in cell.plain
            ]
        )
    return text.getvalue()


def latex(table: Table, caption: str) -> str:
    """A table as LaTeX for `booktabs`; compile names in other scripts with LuaLaTeX."""
    columns = "".join("r" if column.number else "l" for column in table.columns)
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{_tex(caption)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [_tex_row(table.headers), r"\midrule"]
    lines += [_tex_row(cell.text for cell in row) for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def text_table(table: Table) -> str:
    """A table for a terminal."""
    rows = [table.headers, *([visible(cell.text) for cell in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if column.number else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def visible(text: str) -> str:
    """Text on one line, in which nothing is hidden and nothing turns the direction of what follows.

    Control characters, and those that override the direction of writing, become U+FFFD; a joiner
    of emoji stays.
    """
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\u200c\u200d"
        else c
        for c in " ".join(text.split())
    )


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", visible(text))


def _paragraph(text: str) -> str:
    """Text that Markdown shows as it is at the beginning of a paragraph, too: no list, no rule."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", plain(text))


def _code(text: str) -> str:
    """Text as code: fenced by more backticks than it has in a row."""
    text = visible(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", text) is not None


def _inert(text: str) -> str:
    text = visible(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _tex(text: str) -> str:
    escaped = "".join(LATEX.get(character, character) for character in visible(text))
    # Two hyphens in a row would be printed as a dash.
    return NONE_TEX if text == NONE else re.sub("-(?=-)", "-{}", escaped)


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(_tex(cell) for cell in cells) + r" \\"
