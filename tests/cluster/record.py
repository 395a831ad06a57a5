"""What a script of this folder found, printed and, where it is asked for, kept as Markdown."""

import shlex
import sys
from pathlib import Path

from command import ROOT

from bench.environment import environment, usable_cpus


def record(title: str, lines: list[str], file: Path | None) -> None:
    """Print lines; write them to a file too, under a title, with the command and the machine."""
    print("\n".join(lines), flush=True)
    if file is None:
        return
    found = environment()
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    words = sys.argv[1:]
    if "--output" in words:
        del words[(at := words.index("--output")) : at + 2]
    command = shlex.join(["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *words])
    file.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{found['cpu']}, {usable_cpus()} CPUs; Python {found['python']}, {packages}"
    commit = f"{(found['commit'] or '?')[:12]}{', with changes' if found['dirty'] else ''}"
    head = [f"# {title}", "", f"`{command}`", "", f"{machine}; commit {commit}.", ""]
    file.write_text("\n".join([*head, *lines, ""]))
