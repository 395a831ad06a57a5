"""YAML 1.2 with a line number for every key, and nothing that runs code."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from ..errors import BenchError, StudyError

NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")

MAX_NODES = 100_000
MAX_DEPTH = 100
CORE = "tag:yaml.org,2002:"
PLAIN_TAGS = {"null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value"}

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Plain data and, for each key path in it, the place (`file:line`) where it stands."""

    file: str
    value: dict[str, Any]
    places: dict[KeyPath, str]

    def place(self, path: KeyPath) -> str:
        """Place of `path`, or of the nearest key above it that the file has."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, f"{self.file}:1")

    def problem(self, path: KeyPath, message: str) -> str:
        """One line of a `StudyError`."""
        return f"{self.place(path)}: {dotted(path)}: {message}"

    def with_value(self, path: KeyPath, value: Any, place: str) -> "Document":
        """A copy with `value` laid on `path`, set at `place` (a line, or the command line)."""
        tree = copy.deepcopy(self.value)
        lay(tree, path, value)
        gone = {p for p, v in _inner(path, value) if not isinstance(v, dict)}
        places = {
            known: line
            for known, line in self.places.items()
            if not any(known[:n] in gone for n in range(len(known) + 1))
        }
        return Document(self.file, tree, {**places, **{p: place for p, _ in _inner(path, value)}})


def lay(tree: dict[Any, Any], path: KeyPath, value: Any) -> None:
    """Lay `value` on what stands at `path`; a component written as its name becomes a mapping."""
    node = tree
    for key in path[:-1]:
        if not isinstance(node.get(key), dict):
            node[key] = {"name": node[key]} if isinstance(node.get(key), str) else {}
        node = node[key]
    node[path[-1]] = merge(node.get(path[-1]), value)


def merge(below: Any, above: Any) -> Any:
    """`above` laid on `below`: mappings merge, null, lists and plain values replace."""
    if isinstance(below, str) and isinstance(above, dict):
        below = {"name": below}
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{k: merge(below.get(k), v) for k, v in above.items()}}
    return copy.deepcopy(above)


def _inner(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _inner((*path, key), item)


def read_document(file: FilePath) -> Document:
    """Read a YAML file into a `Document`.

    Raises:
        BenchError: The file cannot be read as text.
        StudyError: It is not YAML, or not one mapping; a file that is no YAML stops at its first
            problem, keys that stand twice are all named.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BenchError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise BenchError(f"{file}: is a folder, not a study; name a YAML file in it") from None
    except UnicodeDecodeError as error:
        raise BenchError(f"{file}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise BenchError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_document(text, str(file))


def parse_document(text: str, file: str) -> Document:
    """Parse YAML text; `file` is the name that messages bear."""
    try:
        nodes = list(YAML(typ="safe", pure=True).compose_all(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = str(error.problem)
        if "'\\t'" in reason:
            reason = "a tab cannot indent in YAML; use spaces"
        raise StudyError([f"{file}:{line}: is not YAML: {reason}"]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StudyError(
            [f"{file}:{line}: is not YAML: character #x{error.character:04x}"]
        ) from None
    except RecursionError:
        raise StudyError([f"{file}:1: is nested too deeply to read"]) from None
    if len(nodes) != 1:
        raise StudyError([f"{file}:1: must hold one YAML document, holds {len(nodes)}"])
    if not isinstance(nodes[0], MappingNode):
        raise StudyError(
            [f"{file}:1: must be a mapping of keys to values, such as `name: my_study`"]
        )
    builder = _Builder(file, text)
    value = builder.build(nodes[0], ())
    if builder.problems:
        raise StudyError(builder.problems)
    return Document(file, value, {path: f"{file}:{line}" for path, line in builder.lines.items()})


def parse_scalar(text: str) -> Any:
    """Value of a plain scalar by the YAML 1.2 core schema: `1e-3` is a number, `no` is text."""
    if NULL.match(text):
        return None
    if BOOL.match(text):
        return text.lower() == "true"
    if INT.match(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.match(text):
        return float(text)
    if INFINITY.match(text):
        return float(text.replace(".", ""))
    return text


class _Builder:
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[str] = []
        self.nodes = 0
        self.above: list[Node] = []

    def build(self, node: Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.nodes += 1
        if self.nodes > MAX_NODES or node in self.above:
            raise StudyError([f"{self.file}:{line}: aliases make the file too large to read"])
        if len(self.above) > MAX_DEPTH:
            raise StudyError([f"{self.file}:{line}: is nested too deeply to read"])
        tag = str(node.ctag).removeprefix(CORE)
        if tag not in PLAIN_TAGS:
            self.note(line, path, f"tag `{tag}` is not allowed; a study is plain data")
            return None
        if isinstance(node, ScalarNode):
            # Of a plain scalar only the text tells whether `!!str` stands before it.
            written = self.text[node.start_mark.index : node.end_mark.index]
            if node.style is not None or (tag == "str" and "!" in written):
                return node.value
            try:
                return parse_scalar(node.value)
            except ValueError:
                digits = len(node.value)
                self.note(line, path, f"is a number of {digits} digits, too long to read")
                return None
        self.above.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            return self.mapping(node, path)
        finally:
            self.above.pop()

    def mapping(self, node: Node, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self.note(line, path, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key in result:
                first = self.lines[(*path, key)]
                self.note(line, (*path, key), f"stands twice (first on line {first})")
                continue
            self.lines[(*path, key)] = line
            result[key] = self.build(value_node, (*path, key))
        return result

    def note(self, line: int, path: KeyPath, message: str) -> None:
        self.problems.append(f"{self.file}:{line}: {dotted(path)}: {message}")


def dotted(path: KeyPath) -> str:
    """`("vary", "train.lr", 0)` as `vary.train.lr[0]`, the way messages name a key."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the study"
