"""Components as their source declares them, against the real classes; and names that are wrong."""

import importlib
import inspect
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen

from bench.components import ROLES, SUPPLIED, Parameter, describe, is_own, source_file, suggest
from bench.errors import BenchError

ALL = [(role, name) for role, names in ROLES.items() for name in names]
HERE = Path(__file__).parent


def own(tmp_path, source, role="transform"):
    (tmp_path / "my_warp.py").write_text(source)
    return describe(role, "my_warp.py:Shear", tmp_path)


@pytest.mark.parametrize(("role", "name"), ALL)
def test_what_is_read_agrees_with_the_class(role, name):
    component = describe(role, name, Path())
    module, _, attribute = component.target.partition(":")
    real = getattr(importlib.import_module(module), attribute)
    signature = inspect.signature(real)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = {
        key: parameter
        for key, parameter in signature.parameters.items()
        if key not in SUPPLIED[role] and parameter.kind not in variadic
    }
    assert list(component.parameters) == list(wanted)
    for key, parameter in component.parameters.items():
        empty = wanted[key].default is inspect.Parameter.empty
        assert (parameter.required, parameter.default) == (
            empty, None if empty else wanted[key].default
        )  # fmt: skip
    assert component.version == getattr(real, "version", 1)
    assert component.summary == (inspect.getdoc(real) or "").partition("\n")[0]
    assert component.summary.endswith(".")


@pytest.mark.parametrize(("role", "name"), ALL)
def test_types_are_those_of_the_annotations(role, name):
    component = describe(role, name, Path())
    module, _, attribute = component.target.partition(":")
    real = getattr(importlib.import_module(module), attribute)
    hints = typing.get_type_hints(real.__init__, include_extras=True)
    for key, parameter in component.parameters.items():
        if parameter.role is None and parameter.type is not Any:
            assert parameter.type == hints[key]


def test_every_role_names_what_the_harness_supplies():
    assert SUPPLIED.keys() == ROLES.keys()


def test_annotations_are_read_with_their_bounds(tmp_path):
    source = '''
class Shear:
    """Shears an image."""

    def __init__(self, a, b: int, /, c: float | None = None, *, d: Annotated[int, Ge(1), Lt(9)] = 2,
                 e: tuple[Annotated[float, Gt(0), Le(1)], ...] = (0.5, 1), f: Literal["x", 2] = "x",
                 g: Annotated[list[int], MinLen(1)] = [-1], h: Sampler | None = None,
                 i: np.ndarray | None = None, j: Annotated[int, Unknown(3)] = 4,
                 k: Annotated[int, Ge(SMALLEST)] = 5, l: Literal[FIRST, 2] = 2,
                 m: "int" = 6, **rest): ...
'''
    component = own(tmp_path, source)
    assert component.summary == "Shears an image."
    assert component.target == "my_warp.py:Shear"
    types = {key: p.type for key, p in component.parameters.items()}
    assert types == {
        "a": Any, "b": int, "c": float | None, "d": Annotated[int, Ge(1), Lt(9)],
        "e": tuple[Annotated[float, Gt(0), Le(1)], ...], "f": Literal["x", 2],
        "g": Annotated[list[int], MinLen(1)], "h": Any | None, "i": Any | None,
        "j": Annotated[int, None], "k": Annotated[int, None], "l": Any, "m": Any,
    }  # fmt: skip
    parameters = component.parameters
    assert [key for key, p in parameters.items() if p.required] == ["a", "b"]
    assert {k: p.default for k, p in parameters.items() if not p.required} == {
        "c": None, "d": 2, "e": (0.5, 1), "f": "x", "g": [-1], "h": None, "i": None, "j": 4,
        "k": 5, "l": 2, "m": 6,
    }  # fmt: skip
    assert [key for key, p in parameters.items() if p.role] == ["h"]
    assert parameters["h"].role == "sampler"
    assert parameters["d"].text == "Annotated[int, Ge(1), Lt(9)]"


def test_a_default_that_only_running_the_code_would_tell_is_left_to_the_class(tmp_path):
    component = own(tmp_path, "class Shear:\n    def __init__(self, x: float = math.pi): ...\n")
    assert component.parameters == {
        "x": Parameter(float, required=False, text="float", computed=True)
    }


def test_a_class_without_constructor_has_no_parameters(tmp_path):
    component = own(tmp_path, "import nothing_of_this_name\nclass Shear: pass\n")
    assert (component.parameters, component.summary, component.version) == ({}, "", 1)


@pytest.mark.parametrize("line", ["version = 3", "version: int = 3"])
def test_the_version_is_read(line, tmp_path):
    assert own(tmp_path, f"class Shear:\n    {line}\n", "dataset").version == 3


def test_a_file_that_has_changed_is_read_again(tmp_path):
    assert own(tmp_path, "class Shear:\n    version = 1\n").version == 1
    (tmp_path / "my_warp.py").unlink()
    import os

    (tmp_path / "my_warp.py").write_text("class Shear:\n    version = 2\n")
    os.utime(tmp_path / "my_warp.py", ns=(1, 1))
    assert describe("transform", "my_warp.py:Shear", tmp_path).version == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n\nclass Shear(:\n", "`my_warp.py:Shear`: {file}:3: invalid syntax"),
        (
            "class Sheer: ...\n",
            "`my_warp.py:Shear`: {file} has no class `Shear` (did you mean `Sheer`?)",
        ),
        ("def f(): ...\n", "`my_warp.py:Shear`: {file} has no class `Shear`"),
        (b"# caf\xe9\nclass Shear: ...\n", "`my_warp.py:Shear`: {file} is not Python in UTF-8"),
        (b"\x00", "`my_warp.py:Shear`: {file} is not Python in UTF-8"),
        (
            "class Shear:\n    version = 1 + one\n",
            "`my_warp.py:Shear`: {file}:2: `version` must be a plain whole number",
        ),
        (
            "class Shear:\n    version = 'a'\n",
            "`my_warp.py:Shear`: {file}:2: `version` must be a plain whole number",
        ),
    ],
    ids=["syntax", "near class", "no class", "latin", "nul", "version computed", "version text"],
)  # fmt: skip
def test_a_file_that_holds_no_such_component(source, message, tmp_path):
    file = tmp_path / "my_warp.py"
    file.write_bytes(source if isinstance(source, bytes) else source.encode())
    with pytest.raises(BenchError) as caught:
        describe("transform", "my_warp.py:Shear", tmp_path)
    assert str(caught.value) == message.replace("{file}", str(file))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("afine", "unknown transform `afine` (did you mean `affine`?)"),
        ("no.py:Shear", f"`no.py:Shear`: there is no file {HERE}/no.py"),
        ("my_warp.py:", "`my_warp.py:` must be `module:Class` or `file.py:Class`"),
        (":Shear", "`:Shear` must be `module:Class` or `file.py:Class`"),
        ("a.py:B.C", "`a.py:B.C` must be `module:Class` or `file.py:Class`"),
        ("no_such_package.warps:Shear", "`no_such_package.warps:Shear`: no module "
         "`no_such_package` is installed"),
        ("bench.no_such:Shear", "`bench.no_such:Shear`: no module `bench.no_such` is installed"),
        ("json.decoder.x:Shear", "`json.decoder.x:Shear`: no module `json.decoder.x` is installed"),
        ("sys:Shear", "`sys:Shear`: the module `sys` is not written in Python"),
        ("_struct:Shear", "`_struct:Shear`: the module `_struct` is not written in Python"),
        ("math:Shear", "`math:Shear`: the module `math` is not written in Python"),
        (".x:Shear", "`.x:Shear`: no module `.x` is installed"),
    ],
)  # fmt: skip
def test_names_that_lead_nowhere(name, message):
    with pytest.raises(BenchError) as caught:
        describe("transform", name, HERE)
    assert str(caught.value) == message


def test_modules_are_found_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "a_package_of_mine"
    (package / "inner").mkdir(parents=True)
    for file in ("__init__.py", "inner/__init__.py", "inner/warps.py"):
        (package / file).write_text("raise RuntimeError('imported')\nclass Shear: version = 7\n")
    (tmp_path / "a_module_of_mine.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {
        "a_package_of_mine:S": package / "__init__.py",
        "a_package_of_mine.inner:S": package / "inner" / "__init__.py",
        "a_package_of_mine.inner.warps:S": package / "inner" / "warps.py",
        "a_module_of_mine:S": tmp_path / "a_module_of_mine.py",
    }
    assert {name: source_file(name, Path()) for name in found} == found
    assert describe("transform", "a_package_of_mine.inner.warps:Shear", Path()).version == 7


def test_suggest():
    assert suggest("bilinaer", ROLES["sampler"]) == " (did you mean `bilinear`?)"
    assert suggest("xyz", ["b", "a"]) == "; there is `a`, `b`"
    assert suggest("xyz", []) == ""
    assert suggest(3, ["1", "2"]) == "; there is `1`, `2`"


def test_own_names_have_a_colon():
    assert is_own("my_warp.py:Shear")
    assert not is_own("affine")
