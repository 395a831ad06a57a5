"""What a check writes: a summary, JUnit XML and JSON; names from users stay text."""

import json
import xml.etree.ElementTree as ET

from bench.check import output
from bench.check.judge import CellFinding, Findings, Noise
from bench.check.rows import Machine
from bench.margin import Robust
from bench.statistics import Estimate

SLOW = Estimate(1.05, 1.04, 1.06, 6)
CELLS = (
    CellFinding("warp <b>|*x* [forward]", "REGRESSION", "", SLOW, 0.02, Robust(1.0, False), True),
    CellFinding("same [forward]", "PASS", "", Estimate(1.0, 0.99, 1.01, 6), 0.02, None, True, 0.5),
    CellFinding("noisy [forward]", "INCONCLUSIVE", "cannot be gated here", SLOW, 0.2, None, False),
    CellFinding("gone", "MISSING", "base, round 1: Error: \x1b[31m]]>&"),
)
MACHINE = Machine("cpu", "a processor", "a processor", 1, "2")
FOUND = Findings(
    "gate", "HEAD~1 (abc)", "def", MACHINE, 0.015, CELLS, "REGRESSION", SLOW, ("A note.",)
)


def test_the_text_says_all():
    text = output.text(FOUND)
    assert (
        "REGRESSION (1 REGRESSION, 1 MISSING, 1 INCONCLUSIVE, 1 PASS; time over all cells " in text
    )
    assert "+5.0 % [+4.0, +6.0]" in text
    assert "def against HEAD~1 (abc), margin 1.5 %, 6 rounds" in text
    assert "Measured on a processor, 1 threads, protocol 2." in text and "A note." in text
    assert "the robust estimate (+0.0 %) does not bear the verdict out" in text
    assert "noisy [forward]: cannot be gated here." in text
    assert "\x1b" not in text.split("gone: ")[0]


def test_markdown_is_for_a_pull_request():
    text = output.markdown(FOUND)
    assert text.startswith("### ❌ Throughput of gate: REGRESSION")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 and all(line.count(" | ") == 5 for line in rows)
    assert "warp \\<b\\>\\|\\*x\\* \\[forward\\]" in text


def test_junit_counts_and_is_xml():
    suite = ET.fromstring(output.junit(FOUND))
    counts = [suite.get(key) for key in ("tests", "failures", "errors", "skipped")]
    assert counts == ["4", "1", "1", "1"]
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert list(kinds.values()) == [["failure"], [], ["skipped"], ["error"]]
    (failure,) = suite[0]
    assert failure.get("message") == "REGRESSION: +5.0 % [+4.0, +6.0]"


def test_files_are_written(tmp_path):
    output.write(FOUND, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "check.json", "junit.xml", "summary.md",
    ]  # fmt: skip
    told = json.loads((tmp_path / "out" / "check.json").read_text())
    assert told["verdict"] == "REGRESSION" and told["cells"][0]["ratio"]["mean"] == 1.05
    assert told["machine"]["threads"] == 1


def test_statuses_are_those_of_the_design():
    assert output.STATUS == {"PASS": 0, "REGRESSION": 1, "INCONCLUSIVE": 3, "MISSING": 4}


def test_noise_is_a_table():
    table = output.noise_table([Noise("a", 0.01, 16, 10, 0.022), Noise("b", 0.05, 16, None, 0.05)])
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows == [
        ["a", "1.00 %", "16", "10", "+2.2 %"],
        ["b", "5.00 %", "16", "cannot be gated here", "+5.0 %"],
    ]
