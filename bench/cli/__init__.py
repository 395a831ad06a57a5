"""The command `stn-bench`, a function a verb. Heavy imports wait for the verb that needs them."""

import sys
from typing import Annotated

import typer

from ..errors import BenchError
from .gate import calibrate, check
from .listing import list_components, schema
from .reading import compare, export, history, report
from .running import logs, plan, run, status

app = typer.Typer(
    name="stn-bench",
    help="Run studies of spatial transformers: one YAML file becomes results and a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("stn-bench"))
        raise typer.Exit


for _verb in (plan, run, status, logs, report, export, check, calibrate, history, compare):
    app.command()(_verb)
app.command("list")(list_components)
app.command()(schema)


def main() -> None:
    """Run the command; a `BenchError` is printed without a traceback."""
    try:
        app()
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
