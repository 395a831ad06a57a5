"""JSON Schema of a study, with the names of components, for editors that complete YAML."""

from pathlib import Path
from typing import Any

from ..components import ROLES, Component, describe
from .schema import StudyFile, Train, Transformer
from .settings import TRANSFORMER_ROLES


def json_schema() -> dict[str, Any]:
    """The schema of a study; a component is a name, or a mapping with `name` and parameters."""
    result = StudyFile.model_json_schema(by_alias=True)
    roles = {role: _role(role) for role in ROLES}
    transformer = Transformer.model_json_schema()
    transformer["properties"] |= {role: _ref(role) for role in TRANSFORMER_ROLES}
    transformer["required"] = ["transform"]
    for choice in roles["model"]["anyOf"]:
        if "properties" in choice:
            choice["properties"]["transformer"] = {"anyOf": [transformer, {"type": "null"}]}
    base = result["$defs"]["Base"]["properties"]
    base |= {"dataset": _ref("dataset"), "model": _ref("model"), "workload": _ref("workload")}
    train = Train.model_json_schema()
    train.pop("required", None)
    base["train"] = train
    result["properties"]["task"] = _ref("task")
    result["$defs"] |= roles
    result["title"] = "A study of stn-bench"
    return result


def _ref(role: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{role}"}


def _role(role: str) -> dict[str, Any]:
    own = {"type": "string", "pattern": "^[^:]+:[A-Za-z_][A-Za-z0-9_]*$"}
    choices: list[dict[str, Any]] = [{"enum": list(ROLES[role])}, own]
    for name in ROLES[role]:
        choices.append(_component(name, describe(role, name, Path())))
    return {"anyOf": choices}


def _component(name: str, component: Component) -> dict[str, Any]:
    properties: dict[str, Any] = {"name": {"const": name, "description": component.summary}}
    for key, parameter in component.parameters.items():
        if parameter.role:
            properties[key] = {"anyOf": [_ref(parameter.role), {"type": "null"}]}
        else:
            properties[key] = {"description": parameter.text, "default": parameter.default}
    return {"type": "object", "properties": properties, "required": ["name"]}
