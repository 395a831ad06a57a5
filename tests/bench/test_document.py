"""YAML 1.2 as studies are written in it: what a scalar means, and where each key stands."""

import math

import pytest
from hypothesis import given, strategies as st

from bench.errors import BenchError, StudyError
from bench.study.document import Document, dotted, parse_document, parse_scalar, read_document


def parse(text):
    return parse_document(text, "study.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-1.5e+2", -150.0),
        ("1.10", 1.1), ("+7", 7), ("-0", 0), ("012", 12), ("0o17", 15), ("0x1F", 31),
        ("true", True), ("True", True), ("FALSE", False),
        ("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None),
        (".inf", math.inf), ("+.INF", math.inf), ("-.Inf", -math.inf),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("y", "y"), ("nO", "nO"), ("tRue", "tRue"),
        ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("0o8", "0o8"), ("-0x1", "-0x1"),
        ("2024-01-02", "2024-01-02"), ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("1.10.1", "1.10.1"), ("e3", "e3"), (".", "."), ("inf", "inf"), ("nan", "nan"),
        ("'1e-3'", "1e-3"), ('"12"', "12"), ('"null"', "null"), ("'true'", "true"), ("''", ""),
        ("!!str 12", "12"), ("!!str null", "null"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_the_core_schema(text, value):
    got = parse(f"key: {text}").value["key"]
    assert (type(got), got) == (type(value), value)


def test_nan_is_a_number():
    assert math.isnan(parse("key: .NaN").value["key"])


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(number):
    assert parse_scalar(repr(number)) == number
    assert type(parse_scalar(repr(number))) is type(number)


def test_block_scalars_are_text():
    assert parse("a: |\n  1\nb: >\n  null\n").value == {"a": "1\n", "b": "null\n"}


def test_every_key_and_item_knows_its_line():
    document = parse("# a comment\na: 1\nb:\n  c:\n\n    d: 2\n  e: [1,\n    2]\n- : 3\n"[:-6])
    places = {dotted(path): place for path, place in document.places.items()}
    assert places == {
        "the study": "study.yaml:2", "a": "study.yaml:2", "b": "study.yaml:3",
        "b.c": "study.yaml:4", "b.c.d": "study.yaml:6", "b.e": "study.yaml:7",
        "b.e[0]": "study.yaml:7", "b.e[1]": "study.yaml:8",
    }  # fmt: skip


def test_a_key_that_the_file_lacks_stands_at_the_nearest_above():
    document = parse("a: 1\nb:\n  c: 2\n")
    assert document.place(("b", "x", "y")) == "study.yaml:2"
    assert document.place(("x",)) == "study.yaml:1"
    assert Document("f", {}, {}).place(("x",)) == "f:1"
    assert document.problem(("b", "x", 0), "is wrong") == "study.yaml:2: b.x[0]: is wrong"


def test_dotted():
    assert dotted(("vary", "train.lr", 0)) == "vary.train.lr[0]"
    assert dotted(("zip", 0, "a", 1)) == "zip[0].a[1]"
    assert dotted(()) == "the study"


def test_an_alias_is_a_copy_of_its_anchor():
    document = parse("a: &x {b: [1, 2]}\nc: *x\nd: [*x, *x]\n")
    assert document.value["c"] == document.value["d"][1] == {"b": [1, 2]}
    assert document.value["c"] is not document.value["a"]
    assert document.place(("c",)) == "study.yaml:2"


def test_keys_are_text():
    assert parse("1: a\nnull: b\ntrue: c\n").value == {"1": "a", "null": "b", "true": "c"}


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: no\r\n")
    document = read_document(file)
    assert document.value == {"a": 1, "b": "no"}
    assert document.place(("b",)) == f"{file}:2"


def test_with_value_sets_a_copy_and_moves_the_place():
    document = parse("a:\n  b: {c: 1, d: 2}\n  e: 3\n")
    changed = document.with_value(("a", "b", "c"), [5], "command line")
    assert changed.value == {"a": {"b": {"c": [5], "d": 2}, "e": 3}}
    assert document.value == {"a": {"b": {"c": 1, "d": 2}, "e": 3}}
    assert changed.place(("a", "b", "c", 0)) == "command line"
    assert changed.place(("a", "b", "d")) == "study.yaml:2"
    assert document.place(("a", "b", "c")) == "study.yaml:2"


def test_with_value_merges_mappings_and_replaces_all_else():
    document = parse("a: {b: 1, c: {d: 2}}\nl: [1, 2]\nn: null\n")
    merged = document.with_value(("a",), {"c": {"e": 3}}, "command line")
    assert merged.value["a"] == {"b": 1, "c": {"d": 2, "e": 3}}
    assert merged.place(("a", "c", "e")) == "command line"
    assert merged.place(("a", "c", "d")) == "study.yaml:1"
    assert document.with_value(("a",), None, "x").value["a"] is None
    assert document.with_value(("l",), [3], "x").value["l"] == [3]
    assert document.with_value(("n", "m"), 1, "x").value["n"] == {"m": 1}


def test_with_value_goes_into_a_component_that_is_written_as_its_name():
    document = parse("base: {dataset: digits}\n")
    changed = document.with_value(("base", "dataset", "distortion"), "affine", "x")
    assert changed.value["base"]["dataset"] == {"name": "digits", "distortion": "affine"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n? [b]\n: 2\n", "study.yaml:2: the study: a key must be plain text"),
        ("a: {{b: 1}: 2}\n", "study.yaml:1: a: a key must be plain text"),
        ("a: *x\n", "study.yaml:1: is not YAML: found undefined alias 'x'"),
        ("a: 1\nb: !!set {x}", "study.yaml:2: b: tag `set` is not allowed; a study is plain data"),
        ("a: !own 1\n", "study.yaml:1: a: tag `!own` is not allowed; a study is plain data"),
        ("a:\n  b: 1\n  b: 2\n", "study.yaml:3: a.b: stands twice (first on line 2)"),
        ("a:\n  - " + "[" * 150 + "]" * 150, "study.yaml:2: is nested too deeply to read"),
        ("a: " + "[" * 600 + "]" * 600, "study.yaml:1: is nested too deeply to read"),
        (
            "a: 1\nb: " + "9" * 5000,
            "study.yaml:2: b: is a number of 5000 digits, too long to read",
        ),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_its_line(text, message):
    with pytest.raises(StudyError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_a_file_that_cannot_be_opened(tmp_path):
    file = tmp_path / ("a" * 300)
    with pytest.raises(BenchError) as caught:
        read_document(file)
    assert str(caught.value) == f"{file}: cannot be read: File name too long"


def test_many_aliases_end_in_a_message():
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 7)]
    with pytest.raises(StudyError, match=r"^study.yaml:\d: aliases make the file too large to"):
        parse("l0: &l0 x\n" + "".join(levels))
