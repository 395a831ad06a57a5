"""docs/store.md is true: its columns are the schema's, and its three-line programs run."""

import contextlib
import io
import re

import pyarrow as pa
import pytest
from command import ROOT
from found import make_study, trained

from bench.results import ResultStore
from bench.results.schema import READ_SCHEMA

PAGE = (ROOT / "docs" / "store.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def columns(schema):
    """Dotted name and type of every column, nested ones after their list."""
    for field in schema:
        kind = field.type
        structs = pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)
        if structs:
            yield field.name, "list<struct>"
            yield from ((f"{field.name}.{n}", k) for n, k in columns(kind.value_type))
        elif pa.types.is_list(kind):
            yield field.name, f"list<{kind.value_type}>"
        else:
            yield field.name, str(kind)


def test_the_table_of_columns_is_the_schema():
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \| \S", PAGE, re.MULTILINE)
    assert rows == list(columns(READ_SCHEMA))


@pytest.mark.parametrize("program", PROGRAMS, ids=["pandas", "duckdb", "polars"])
def test_three_lines_read_the_store(program, tmp_path, monkeypatch):
    pytest.importorskip(program.split()[1])
    assert len([line for line in program.splitlines() if line]) == 3
    study = make_study(tmp_path)
    store = ResultStore(tmp_path / "results")
    ms = {"CNN": [10.0, 10.0], "ST": [12.0, 12.0]}
    for row in trained(study, {"CNN": [20.0, 22.0, 24.0], "ST": [4.0, 5.0, 6.5]}, ms):
        store.write(row)
    store.compact()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLARS_FMT_MAX_ROWS", "-1")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    text = printed.getvalue()
    assert "ST" in text and "CNN" in text
    assert "6.5" in text if "duckdb" not in program else "5.1666" in text
