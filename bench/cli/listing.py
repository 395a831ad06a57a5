"""Verbs that say what a study can be made of."""

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from ..errors import BenchError


def list_components(
    role: Annotated[Optional[str], typer.Argument(help="One role: transform, sampler, …")] = None,  # noqa: UP045
) -> None:
    """List the components that a study can name, with their parameters and defaults."""
    from ..components import ROLES, describe, suggest

    if role is not None and role not in ROLES:
        raise BenchError(f"unknown role `{role}`{suggest(role, ROLES)}")
    for kind in [role] if role else ROLES:
        typer.echo(f"{kind}:")
        for name in ROLES[kind]:
            component = describe(kind, name, Path())
            typer.echo(f"  {name}: {component.summary}")
            for key, parameter in component.parameters.items():
                default = "required" if parameter.required else f"= {json.dumps(parameter.default)}"
                typer.echo(f"    {key}: {parameter.text} {default}")


def schema() -> None:
    """Print the JSON Schema of a study, for editors that complete YAML."""
    from ..study.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))
