"""Names in a study, the code they stand for, and what that code takes, read without importing it.

A component is a class; its parameters, their types and defaults are read from its source, so that a
study is checked without torch, and a user's own file is checked like ours. A parameter annotated
with a role (`Transform`, `Distortion`, …) is itself a component.
"""

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types

from .errors import BenchError

ROLES: dict[str, dict[str, str]] = {
    "task": {
        "classify": "bench.tasks.classify:Classify",
        "colocalise": "bench.tasks.colocalise:Colocalise",
        "latency": "bench.tasks.latency:Latency",
    },
    "dataset": {
        "cub": "bench.datasets.cub:CUB",
        "digits": "bench.datasets.digits:Digits",
        "extruded_mnist": "bench.datasets.extruded:ExtrudedMNIST",
        "image_folder": "bench.datasets.files:ImageFolder",
        "mnist": "bench.datasets.mnist:MNIST",
        "mnist_addition": "bench.datasets.several_digits:MNISTAddition",
        "mnist_colocalisation": "bench.datasets.colocalisation:MNISTColocalisation",
        "mnist_sequence": "bench.datasets.several_digits:MNISTSequence",
        "npz": "bench.datasets.npz:Npz",
        "parquet": "bench.datasets.files:Parquet",
        "svhn": "bench.datasets.svhn:SVHN",
        "svhn_layout": "bench.datasets.svhn_layout:SVHNLayout",
    },
    "distortion": {
        "affine": "bench.datasets.distortion:Affine",
        "e": "bench.datasets.bending:E",
        "p": "bench.datasets.bending:P",
        "r": "bench.datasets.distortion:R",
        "rts": "bench.datasets.distortion:RTS",
        "t": "bench.datasets.clutter:T",
        "tc": "bench.datasets.clutter:TC",
    },
    "model": {
        "backbone": "bench.models.backbone:Backbone",
        "cnn": "bench.models.cnn:CNN",
        "fcn": "bench.models.fcn:FCN",
        "rnn": "bench.models.rnn:RNN",
        "svhn_cnn": "bench.models.svhn_cnn:SVHNCNN",
    },
    "localisation": {
        "backbone": "bench.models.backbone:BackboneLocalisation",
        "cnn": "stn_core.localisation:CNN",
        "fcn": "stn_core.localisation:FCN",
    },
    "transform": {
        "affine": "stn_core.transforms.linear:Affine",
        "attention": "stn_core.transforms.linear:Attention",
        "compose": "stn_core.transforms.composed:Compose",
        "constrained_affine": "stn_core.transforms.constrained:ConstrainedAffine",
        "diffeomorphic_flow": "stn_core.transforms.flow:DiffeomorphicFlow",
        "exponential_affine": "stn_core.transforms.constrained:ExponentialAffine",
        "flow": "stn_core.transforms.flow:Flow",
        "inverse": "stn_core.transforms.composed:Inverse",
        "log_polar": "stn_core.transforms.polar:LogPolar",
        "piecewise_affine": "stn_core.transforms.piecewise_affine:PiecewiseAffine",
        "polar": "stn_core.transforms.polar:Polar",
        "projective": "stn_core.transforms.projective:Projective",
        "rigid": "stn_core.transforms.rigid:Rigid",
        "rotation": "stn_core.transforms.rigid:Rotation",
        "scaling": "stn_core.transforms.linear:Scaling",
        "shear": "stn_core.transforms.linear:Shear",
        "similarity": "stn_core.transforms.rigid:Similarity",
        "thin_plate_spline": "stn_core.transforms.thin_plate_spline:ThinPlateSpline",
        "translation": "stn_core.transforms.linear:Translation",
    },
    "workload": {
        "batches": "bench.tasks.workloads.batches:Batches",
        "reference": "bench.tasks.workloads.reference:Reference",
        "training_step": "bench.tasks.workloads.learning:TrainingStep",
        "trial": "bench.tasks.workloads.learning:Trial",
        "warp": "bench.tasks.workloads.warp:Warp",
    },
    "sampler": {
        "antialiased": "stn_core.samplers.antialiased:Antialiased",
        "bicubic": "stn_core.samplers.interpolation:Bicubic",
        "bilinear": "stn_core.samplers.interpolation:Bilinear",
        "gaussian": "stn_core.samplers.gaussian:Gaussian",
        "linearised_multisample": "stn_core.samplers.multisample:LinearisedMultisample",
        "nearest": "stn_core.samplers.interpolation:Nearest",
    },
}

# What the harness hands to a component of a role; the rest of its parameters are the study's.
SUPPLIED: dict[str, frozenset[str]] = {
    "task": frozenset(),
    "dataset": frozenset({"data_dir", "study_dir"}),
    "distortion": frozenset(),
    "model": frozenset({"in_shape", "num_classes"}),
    "localisation": frozenset({"in_shape"}),
    "workload": frozenset(),
    "transform": frozenset({"dims"}),
    "sampler": frozenset(),
}

# An annotation that makes what a path holds a part of a trial's identity.
DATA_FILE = "DataFile"

# Literal attributes of a component's class that are read too, and what they are where it has none.
# `needs` are the keys of a study's `base` that a task or a workload computes from.
FACTS: dict[str, Any] = {
    "version": 1, "needs": (), "phases": ("accuracy", "timing"), "data_parallel": False,
}  # fmt: skip
FACT_WORDS = {int: "whole number", tuple: "tuple", bool: "True or False"}
NEEDS = {"task": ("dataset", "model", "train")}

PLAIN_TYPES = {"int": int, "float": float, "bool": bool, "str": str, "None": None, "Any": Any}
PLAIN_TYPES |= {DATA_FILE: str}
CONTAINERS = {"tuple": tuple, "list": list, "Literal": Literal, "Annotated": Annotated}
BOUNDS = {name: getattr(annotated_types, name) for name in ("Ge", "Gt", "Le", "Lt", "MinLen")}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component; `role` is set where its value is a component.

    The default of a `computed` one is not known without running the code: it is left to the class.
    """

    type: Any
    required: bool
    default: Any = None
    role: str | None = None
    text: str = ""
    computed: bool = False


@dataclass(frozen=True, eq=False)
class Component:
    """A component as its source declares it; read once, so that one source is one object."""

    target: str
    summary: str
    version: int
    needs: tuple[str, ...]
    phases: tuple[Literal["accuracy", "timing"], ...]
    data_parallel: bool
    parameters: Mapping[str, Parameter]


def is_own(name: str) -> bool:
    """Whether `name` points at the user's own code instead of at a name of the tables."""
    return ":" in name


def describe(role: str, name: str, folder: Path) -> Component:
    """Read the component `name` of `role`; a user's `file.py:Class` lies relative to `folder`.

    Raises:
        BenchError: There is no such component, with the nearest name where there is one.
    """
    if not is_own(name) and name not in ROLES[role]:
        raise BenchError(f"unknown {role} `{name}`{suggest(name, ROLES[role])}")
    target = name if is_own(name) else ROLES[role][name]
    file = source_file(target, folder)
    return _read(role, target, file, file.stat().st_mtime_ns)


def suggest(name: object, known: Any) -> str:
    """` (did you mean `x`?)`, or the list of what there is."""
    import difflib

    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if near:
        return f" (did you mean `{near[0]}`?)"
    return f"; there is {', '.join(f'`{k}`' for k in known)}" if known else ""


def source_file(target: str, folder: Path) -> Path:
    """File that holds `module:Class` or `file.py:Class`, found without importing it."""
    module, _, attribute = target.partition(":")
    if not module or not attribute.isidentifier():
        raise BenchError(f"`{target}` must be `module:Class` or `file.py:Class`")
    if module.endswith(".py"):
        file = folder / module
        if not file.is_file():
            raise BenchError(f"`{target}`: there is no file {file}")
        return file
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise BenchError(f"`{target}`: no module `{top or module}` is installed")
    places = [Path(p) for p in spec.submodule_search_locations or ()]
    if not rest and spec.origin and not places:
        if not spec.origin.endswith(".py"):
            raise BenchError(f"`{target}`: the module `{module}` is not written in Python")
        return Path(spec.origin)
    for place in places:
        stem = place.joinpath(*rest)
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    raise BenchError(f"`{target}`: no module `{module}` is installed")


@lru_cache(maxsize=256)
def _read(role: str, target: str, file: Path, changed_ns: int) -> Component:
    try:
        module = ast.parse(file.read_text("utf-8"), str(file))
    except SyntaxError as error:
        if error.lineno is None:  # a null byte
            raise BenchError(f"`{target}`: {file} is not Python in UTF-8") from None
        raise BenchError(f"`{target}`: {file}:{error.lineno}: {error.msg}") from None
    except ValueError:
        raise BenchError(f"`{target}`: {file} is not Python in UTF-8") from None
    attribute = target.partition(":")[2]
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    if attribute not in classes:
        raise BenchError(
            f"`{target}`: {file} has no class `{attribute}`{suggest(attribute, classes)}"
        )
    node = classes[attribute]
    facts = {**FACTS, "needs": NEEDS.get(role, ())}
    parameters: dict[str, Parameter] = {}
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            names = item.targets if isinstance(item, ast.Assign) else [item.target]
            for fact in (n.id for n in names if isinstance(n, ast.Name) and n.id in FACTS):
                facts[fact] = value = _literal(item.value)
                kind = type(FACTS[fact])
                if not isinstance(value, kind):
                    where = f"{file}:{item.lineno}: `{fact}`"
                    raise BenchError(f"`{target}`: {where} must be a plain {FACT_WORDS[kind]}")
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            parameters = _parameters(item.args, SUPPLIED[role])
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    return Component(target, summary, parameters=parameters, **facts)


def _parameters(args: ast.arguments, supplied: frozenset[str]) -> dict[str, Parameter]:
    plain = [*args.posonlyargs, *args.args][1:]
    missing: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    pairs = [
        *zip(plain, [*missing, *args.defaults], strict=True),
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]
    return {arg.arg: _parameter(arg, default) for arg, default in pairs if arg.arg not in supplied}


def _parameter(arg: ast.arg, default: ast.expr | None) -> Parameter:
    text = ast.unparse(arg.annotation) if arg.annotation else "Any"
    role = next((r for r in ROLES if r.capitalize() in text.replace("|", " ").split()), None)
    value = None if default is None else _literal(default)
    if value is _COMPUTED:
        return Parameter(_type(arg.annotation), False, None, role, text, computed=True)
    return Parameter(_type(arg.annotation), default is None, value, role, text)


_COMPUTED = object()


def _literal(node: ast.expr) -> Any:
    """The value that a node writes out; `_COMPUTED` where only running it would tell."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return _COMPUTED


def _type(node: ast.expr | None) -> Any:
    """The type that an annotation names; `Any` where it is none of the plain ones."""
    match node:
        case ast.Name(id=name) if name in PLAIN_TYPES:
            return PLAIN_TYPES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_type(left), _type(right)]  # noqa: UP007
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in CONTAINERS:
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if name == "Literal":
                values = tuple(_literal(i) for i in items)
                return Any if _COMPUTED in values else Literal[values]
            if name == "Annotated":
                kind = _type(items[0])
                return Any if kind is Any else Annotated[(kind, *map(_bound, items[1:]))]
            return CONTAINERS[name][tuple(_type(i) for i in items)]
        case ast.Constant(value=value) if value is Ellipsis:
            return ...
        case _:
            return Any


def _bound(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name), args=[value]) if name in BOUNDS:
            bound = _literal(value)
            return None if bound is _COMPUTED else BOUNDS[name](bound)
        case _:
            return None
