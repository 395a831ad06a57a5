"""The keys of a study file, their types and bounds; and its problems in words."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..components import suggest
from .document import KeyPath, parse_scalar

Positive = Annotated[int, Field(ge=1)]
Assignments = dict[str, Any]
Axes = dict[str, Annotated[list[Any], Field(min_length=1)]]


class Strict(BaseModel):
    """Unknown keys are refused, and text is never taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Seconds = Annotated[float, Field(gt=0)]
Tries = Annotated[int, Field(ge=0, le=1000)]


class Accuracy(Strict):
    """What a training gets.

    Attributes:
        workers: Processes that train one model together, each with its share of every batch.
        cpus: CPUs, and threads of torch, of each.
        gpus: Share of a GPU, on cuda alone: a fraction packs several trainings on one.
        label: Labels of the nodes that may do it.
        timeout: Seconds after which it has failed; None lets it run.
    """

    workers: Positive = 1
    cpus: Positive = 1
    gpus: Annotated[float, Field(gt=0, le=1)] = 1
    label: dict[str, str] = {}
    timeout: Seconds | None = None


class Timing(Strict):
    """What a timing gets: whole devices, with nothing beside it; fields as in `Accuracy`."""

    cpus: Positive = 1
    gpus: Positive = 1
    label: dict[str, str] = {}
    timeout: Seconds | None = None


class Resources(Strict):
    """Resources of each phase of a trial."""

    accuracy: Accuracy = Accuracy()
    timing: Timing = Timing()


class Retries(Strict):
    """How often one run tries again what failed, by the kind of the failure.

    What would fail again is not tried again; what the machines did to a trial is.
    """

    exception: Tries = 0
    bad_data: Tries = 0
    diverged: Tries = 0
    out_of_memory: Tries = 0
    out_of_host_memory: Tries = 1
    timeout: Tries = 0
    lost: Tries = 3
    node_lost: Tries = 10
    store: Tries = 3
    disk_full: Tries = 0


class NamedVariant(Strict):
    """A variant written out: its name and what it sets on `base`."""

    name: Annotated[str, Field(min_length=1)]
    set: Assignments = {}


class Published(Strict):
    """A figure from the literature, shown beside ours."""

    where: Assignments
    metric: Literal["test_error"]
    value: float
    source: str


class Train(Strict):
    """How a model is trained.

    Attributes:
        schedule: Course of the learning rate over the steps; `step` multiplies it by `step_factor`
            every `step_every` steps. Before it the rate rises linearly for `warmup_steps`.
        precision: Of what torch's autocast casts; parameters and `theta` stay float32.
        execution: Who runs a training step: torch as it comes, its compiler, or a CUDA graph.
        localisation_lr: Learning rate of localisation networks, in units of `lr`.
        clip_norm: Longest gradient of all parameters together; None leaves it as it is.
    """

    steps: Positive
    batch_size: Positive
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_every: Positive | None = None
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    localisation_lr: Annotated[float, Field(ge=0)] = 1.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    execution: Literal["eager", "compile", "cuda_graph"] = "eager"


class Transformer(Strict):
    """The fields of `model.transformer` that are not components.

    Attributes:
        placement: `input`; a layer, before which it stands; a list of these, for a transformer at
            each; or a name of Finnveden et al., 2020: `C0`, `C1`, …, `DL1`, …, `SL1`, ….
        output_size: Of the warped image; its own when None.
        pool: Side of the average pooling behind the transformer.
        count: Transformers side by side at each placement.
        network: Whether each of them has a localisation network of its `own`, or one is `shared`,
            or `recurrent`: a GRU that gives one `theta` a step.
        join: Whether their outputs are joined as `channels`; or go through the model one by one,
            which gives `features` that are joined, or the scores of one of the image's `labels`.
        iterations: How often the transformer looks, each time at what the last look gave.
        theta_forward: Whether the model behind it is given `theta` too, as constant channels.
        poses: The `theta` that training starts at; when None the identity, or tiles of the image.
        bounds: The least and the greatest `theta`, a number or one for each parameter; when None
            there are none.
    """

    placement: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    ) = "input"
    output_size: Annotated[list[Positive], Field(min_length=2, max_length=3)] | None = None
    padding: Literal["zeros", "border", "reflection"] | float | list[float] = "zeros"
    align_corners: bool = False
    pool: Positive = 1
    count: Positive = 1
    network: Literal["own", "shared", "recurrent"] = "own"
    join: Literal["channels", "features", "labels"] = "channels"
    iterations: Positive = 1
    theta_forward: bool = False
    poses: Annotated[list[float], Field(min_length=1)] | None = None
    bounds: Annotated[list[float | list[float]], Field(min_length=2, max_length=2)] | None = None


class ThroughputGate(Strict):
    """How much longer a step may take; half of the slowdown that is to be found."""

    margin: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?%$")] = "1.5%"

    @property
    def share(self) -> float:
        """The margin as a share: 0.015 is 1.5 %."""
        return float(self.margin[:-1]) / 100


class TestErrorGate(Strict):
    """How many points the test error may grow."""

    __test__ = False  # pytest takes the name for a test's

    margin: Annotated[float, Field(ge=0)] = 0.3


class NumericsGate(Strict):
    """How much the relative error of a computation, against float64, may grow beyond its double."""

    margin: Annotated[float, Field(ge=0)] = 1e-5


class Gates(Strict):
    """The margins of `check`."""

    throughput: ThroughputGate = ThroughputGate()
    test_error: TestErrorGate = TestErrorGate()
    numerics: NumericsGate = NumericsGate()


class Base(Strict):
    """The settings that every variant starts from."""

    dataset: str | Assignments | None = None
    model: str | Assignments | None = None
    train: Assignments | None = None
    workload: str | Assignments | None = None


class StudyFile(Strict):
    """A study as it is written."""

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=80)]
    question: Annotated[str, Field(min_length=1)]
    task: str
    base: Base
    vary: Axes = {}
    zip: list[Annotated[Axes, Field(min_length=1)]] = []
    ablate: Axes = {}
    add: Axes = {}
    variants: list[NamedVariant] = []
    exclude: list[Assignments] = []
    baseline: Assignments | None = None
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 3
    rounds: Annotated[int, Field(ge=1, le=1000)] = 4
    resources: Resources = Resources()
    retries: Retries = Retries()
    profiles: dict[str, Assignments] = {}
    published: list[Published] = []
    gates: Gates = Gates()


Model = TypeVar("Model", bound=BaseModel)


def check(
    model: type[Model], value: Any, path: KeyPath
) -> tuple[Model | None, list[tuple[KeyPath, str]]]:
    """Validate plain data; the problems are `(key path, what is wrong)`."""
    try:
        return model.model_validate_json(json.dumps(value), strict=True), []
    except ValidationError as error:
        found: dict[KeyPath, list[str]] = {}
        for e in error.errors():
            found.setdefault((*path, *_location(e["loc"], value)), []).append(_explain(e, model))
        return None, [(where, _one_of(messages)) for where, messages in found.items()]


def _one_of(messages: list[str]) -> str:
    """`must be text, got 5` and `must be a mapping, got 5`, of a union, as one message."""
    kinds = [message.partition(", got ")[0].removeprefix("must be ") for message in messages]
    return (
        f"must be {' or '.join(kinds)}, got {messages[0].partition(', got ')[2]}"
        if (len(messages) > 1)
        else messages[0]
    )


def _location(location: tuple[str | int, ...], value: Any) -> KeyPath:
    """Pydantic's location without the branches of a union, which are no keys."""
    path: list[str | int] = []
    for part in location:
        if isinstance(value, dict) and (part in value or part == location[-1]):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _explain(error: Any, model: type[BaseModel]) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        owner = _owner(model, error["loc"][:-1])
        names = [field.alias or name for name, field in owner.model_fields.items()]
        return f"unknown key{suggest(error['loc'][-1], names)}"
    if kind == "missing":
        return "has too few entries" if isinstance(error["loc"][-1], int) else MISSING
    if kind == "literal_error":
        choices = [
            c.strip().strip("'") for c in context["expected"].replace(" or ", ", ").split(",")
        ]
        return f"must be one of {', '.join(f'`{c}`' for c in choices)}, got {show(given)}" + (
            near if "did you mean" in (near := suggest(given, choices)) else ""
        )
    if kind == "finite_number":
        return f"must be finite, got {show(given)}"
    if kind in ("too_short", "string_too_short") and context["min_length"] == 1:
        return "must not be empty"
    for length, words in LENGTH_WORDS.items():
        if length in context:
            what = "characters" if kind.startswith("string") else "entries"
            return f"must have at {words} {context[length]} {what}, got {show(given)}"
    if kind == "string_pattern_mismatch" and "%" in context["pattern"]:
        return f"must be a percentage such as `1.5%`, got {show(given)}"
    if kind == "string_pattern_mismatch":
        return f"must be letters, digits, `_` and `-`, got {show(given)}"
    for bound, words in BOUND_WORDS.items():
        if bound in context:
            several = "; a training on several GPUs has as many `workers`"
            hint = several if error["loc"][-1] == "gpus" and bound == "le" else ""
            return f"must be {words} {context[bound]:g}, got {show(given)}{hint}"
    for type_name, words in TYPE_WORDS.items():
        if kind.startswith(f"{type_name}_"):
            return f"must be {words}, got {show(given)}{_unquote(type_name, given)}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {show(given)}"


MISSING = "required key is missing"
BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
LENGTH_WORDS = {"min_length": "least", "max_length": "most"}
TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


def show(value: Any) -> str:
    """A value as a message quotes it."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"the text {text}" if isinstance(value, str) else text


def _unquote(type_name: str, given: Any) -> str:
    if type_name not in ("int", "float") or not isinstance(given, str):
        return ""
    return "; take away the quotes" if isinstance(parse_scalar(given), int | float) else ""


def _owner(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """The model whose field an unknown key would have been."""
    for part in location:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        kinds = _models(field.annotation) if field else []
        model = kinds[0] if kinds else model
    return model


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]
