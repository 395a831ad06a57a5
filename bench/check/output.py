"""Findings of a check as text, as Markdown for a pull request, as JUnit XML and as JSON."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from ..margin import LOOKS
from ..report.formats import markdown_table, plain, text_table, visible, write_texts
from ..report.tables import NONE, Table, number_column, text_cell, text_column
from ..statistics import Estimate
from .judge import CellFinding, Findings, Noise

SIGNS = {"PASS": "✅", "REGRESSION": "❌", "INCONCLUSIVE": "❔", "MISSING": "⚠️"}
STATUS = {"PASS": 0, "REGRESSION": 1, "INCONCLUSIVE": 3, "MISSING": 4}


def text(findings: Findings) -> str:
    """The findings for a terminal."""
    lines = [text_table(cells_table(findings)), "", headline(findings), *notes(findings)]
    return "\n".join(lines)


def markdown(findings: Findings) -> str:
    """The findings for a pull request."""
    sign = SIGNS[findings.verdict]
    return "\n\n".join(
        [
            f"### {sign} Throughput of {plain(findings.study)}: {headline(findings)}",
            markdown_table(cells_table(findings)),
            "\n".join(f"- {plain(note)}" for note in notes(findings)),
        ]
    ) + "\n"  # fmt: skip


def headline(findings: Findings) -> str:
    """The verdict in all, in one sentence."""
    counts = [
        f"{n} {verdict}"
        for verdict in ("REGRESSION", "MISSING", "INCONCLUSIVE", "PASS")
        if (n := sum(cell.verdict == verdict for cell in findings.cells))
    ]
    mean = findings.mean
    time = f"; time over all cells {change(mean)}" if mean else ""
    return f"{findings.verdict} ({', '.join(counts) or 'no cells'}{time})"


def notes(findings: Findings) -> list[str]:
    """How it was compared, and what a reader has to know of single cells."""
    rounds = max((cell.rounds for cell in findings.cells), default=0)
    lines = [
        f"{findings.head} against {findings.base}, margin {share(findings.margin)}, "
        f"{rounds} rounds of fresh processes side by side; intervals are 95 % each by itself, "
        "verdicts hold over all looks and cells together."
    ]
    lines += [f"Measured on {findings.machine}."] if findings.machine else []
    lines += findings.notes
    for cell in findings.cells:
        if cell.reason:
            lines.append(f"{cell.cell}: {cell.reason}.")
        if cell.robust and not cell.robust.agrees:
            by = f"{100 * (cell.robust.ratio - 1):+.1f} %"
            lines.append(
                f"{cell.cell}: the robust estimate ({by}) does not bear the verdict out; look at "
                "its rounds."
            )
    return lines


def cells_table(findings: Findings) -> Table:
    """A row a cell."""
    columns = (
        text_column("cell"),
        text_column("verdict"),
        number_column("time, head to base [95 %]", "change"),
        number_column("could have been seen", "detectable"),
        number_column("rounds", "rounds"),
        number_column("disturbed blocks", "flagged"),
    )
    rows = tuple(
        (
            text_cell(cell.cell),
            text_cell(cell.verdict),
            text_cell(change(cell.ratio)),
            text_cell(NONE if cell.detectable is None else f"{100 * cell.detectable:+.1f} %"),
            text_cell(str(cell.rounds)),
            text_cell(NONE if cell.verdict == "MISSING" else f"{100 * cell.flagged:.0f} %"),
        )
        for cell in findings.cells
    )
    return Table("cells", columns, rows)


def noise_table(floor: Sequence[Noise]) -> Table:
    """What calibration found: a row a cell."""
    columns = (
        text_column("cell"),
        number_column("noise of a round", "deviation"),
        number_column("rounds", "rounds"),
        number_column("rounds needed", "needed"),
        number_column(f"seen in {LOOKS[-1]} rounds", "detectable"),
    )
    rows = tuple(
        (
            text_cell(cell.cell),
            text_cell(f"{100 * cell.deviation:.2f} %"),
            text_cell(str(cell.rounds)),
            text_cell("cannot be gated here" if cell.needed is None else str(cell.needed)),
            text_cell(f"{100 * cell.detectable:+.1f} %"),
        )
        for cell in floor
    )
    return Table("noise", columns, rows)


def change(ratio: Estimate | None) -> str:
    """A ratio of times as a change in percent with its interval."""
    if ratio is None:
        return NONE
    mean = f"{100 * (ratio.mean - 1):+.1f} %"
    if ratio.low is None or ratio.high is None:
        return mean
    return f"{mean} [{100 * (ratio.low - 1):+.1f}, {100 * (ratio.high - 1):+.1f}]"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:g} %"


def junit(findings: Findings) -> str:
    """JUnit XML: REGRESSION is a failure, MISSING an error, INCONCLUSIVE skipped."""
    kinds = {"REGRESSION": "failure", "MISSING": "error", "INCONCLUSIVE": "skipped"}
    verdicts = [str(cell.verdict) for cell in findings.cells]
    attributes = {"name": findings.study, "tests": str(len(verdicts))}
    for count, verdict in (("failures", "REGRESSION"), ("errors", "MISSING")):
        attributes[count] = str(verdicts.count(verdict))
    attributes["skipped"] = str(verdicts.count("INCONCLUSIVE"))
    suite = ET.Element("testsuite", attributes)
    for cell in findings.cells:
        case = ET.SubElement(suite, "testcase", classname=findings.study, name=cell.cell)
        if cell.verdict in kinds:
            ET.SubElement(case, kinds[cell.verdict], message=_message(cell))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_json(findings: Findings) -> str:
    """All of the findings as JSON."""
    return json.dumps(dataclasses.asdict(findings), indent=1, ensure_ascii=False) + "\n"


def write(findings: Findings, folder: Path) -> None:
    """Write `summary.md`, `junit.xml` and `check.json`.

    Raises:
        InfrastructureError: They cannot be written.
    """
    files = {
        "summary.md": markdown(findings),
        "junit.xml": junit(findings),
        "check.json": as_json(findings),
    }
    write_texts(folder, files, "the check's files")


def _message(cell: CellFinding) -> str:
    # XML knows no control characters, which a failure's text may hold.
    return visible(
        f"{cell.verdict}: {change(cell.ratio)}{'; ' + cell.reason if cell.reason else ''}"
    )
