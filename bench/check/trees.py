"""States of the code to be measured: the working tree, and a commit in a tree beside it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import BenchError, InfrastructureError

PREFIX = ".stn-bench-"
LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "requirements.txt")


@dataclass(frozen=True)
class Tree:
    """A state of the code: where it lies, which Python runs it, its commit and its name."""

    folder: Path
    python: str
    commit: str
    name: str


class NoEnvironment(BenchError):
    """The packages that a commit asks for cannot be installed."""


def working_tree() -> Tree:
    """The tree that this stn-bench runs from, uncommitted changes included.

    Raises:
        BenchError: It is no git checkout.
    """
    folder = Path(__file__).resolve().parents[2]
    top = git(folder, "rev-parse", "--show-toplevel", ok=True)
    if not top or Path(top).resolve() != folder:
        raise BenchError(
            f"check: {folder} is no git checkout; run stn-bench from one, or give --against a store"
        )
    return Tree(folder, sys.executable, git(folder, "rev-parse", "HEAD"), "head")


def commit_of(tree: Tree, ref: str) -> str:
    """The commit that a name stands for.

    Raises:
        BenchError: There is none.
    """
    commit = git(tree.folder, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", ok=True)
    if commit:
        return commit
    shallow = git(tree.folder, "rev-parse", "--is-shallow-repository", ok=True) == "true"
    hint = "; the clone is shallow, fetch more of its history" if shallow else ""
    raise BenchError(f"--against {ref}: neither a commit nor a store{hint}")


@contextlib.contextmanager
def checkout(tree: Tree, commit: str) -> Iterator[Tree]:
    """A commit in a temporary worktree beside `tree`; gone at the end, however that comes.

    It runs in the same environment, but where its dependencies are others: then it gets one of its
    own, from pip.

    Raises:
        NoEnvironment: pip cannot make it.
        InfrastructureError: git cannot make the worktree.
    """
    _sweep(tree.folder)
    beside = tree.folder.parent
    beside = beside if os.access(beside, os.W_OK) else Path(tempfile.gettempdir())
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=beside))
    with _terminated_as_interrupted():
        try:
            folder = home / "tree"
            git(tree.folder, "worktree", "add", "--quiet", "--detach", str(folder), commit)
            python = tree.python
            if dependencies(folder) != dependencies(tree.folder):
                python = _environment(home / "venv", folder)
            yield Tree(folder, python, commit, "base")
        finally:
            shutil.rmtree(home, ignore_errors=True)
            git(tree.folder, "worktree", "prune", ok=True)


def dependencies(folder: Path) -> dict[str, object]:
    """What decides the packages of a tree: its project's dependencies and its lock files."""
    found: dict[str, object] = {}
    project = folder / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text("utf-8")).get("project", {})
        found = {key: table.get(key) for key in ("dependencies", "requires-python")}
    locks = (folder / name for name in LOCKS)
    return found | {lock.name: lock.read_bytes() for lock in locks if lock.is_file()}


def git(folder: Path, *words: str, ok: bool = False) -> str:
    """What a git command says; nothing where it fails and that is `ok`."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=not ok
        )
    except FileNotFoundError:
        raise InfrastructureError("check: git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise InfrastructureError(f"git {words[0]}: {error.stderr.strip()}") from None
    return done.stdout.strip() if done.returncode == 0 else ""


def _environment(venv: Path, folder: Path) -> str:
    """Python of a new environment with the packages that `folder` asks for."""
    python = str(venv / "bin" / "python")
    for words in (
        [sys.executable, "-m", "venv", str(venv)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(folder)],
    ):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            why = " ".join(last)
            raise NoEnvironment(f"its dependencies differ and cannot be installed: {why}")
    return python


def _sweep(folder: Path) -> None:
    """Remove what a check that was killed outright has left."""
    for place in {folder.parent, Path(tempfile.gettempdir())}:
        for left in place.glob(f"{PREFIX}*-*"):
            pid = left.name.removeprefix(PREFIX).partition("-")[0]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, as a CI sends it, ends the block like Ctrl-C, so that it is tidied up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
