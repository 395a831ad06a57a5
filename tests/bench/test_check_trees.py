"""Trees: a commit beside the working tree, in an environment of its own where it needs one."""

import pytest
from toy import repository, run

from bench.check import gate, trees
from bench.errors import BenchError, InfrastructureError
from bench.results.schema import PROTOCOL

SAME = {"warp": {"modes": {"forward": 0.001}}}


def project(tree, dependencies):
    (tree.folder / "pyproject.toml").write_text(
        f'[project]\nname = "toy"\nversion = "1"\ndependencies = {dependencies!r}\n'
    )


@pytest.fixture
def tree(tmp_path):
    made = repository(tmp_path, SAME, SAME, PROTOCOL)
    project(made, ["numpy"])
    run(made.folder, "add", ".")
    run(made.folder, "commit", "-q", "-m", "project")
    return trees.Tree(made.folder, made.python, run(made.folder, "rev-parse", "HEAD"), "head")


def test_uncommitted_changes_are_head_alone(tree):
    (tree.folder / "speeds.json").write_text("changed")
    with trees.checkout(tree, tree.commit) as base:
        assert (base.folder / "speeds.json").read_text() != "changed"
        assert base.folder.parent.parent == tree.folder.parent, "it lies beside the working tree"
        assert (base.name, base.commit, base.python) == ("base", tree.commit, tree.python)
    assert not base.folder.exists()


def test_the_same_dependencies_need_no_environment(tree):
    (tree.folder / "pyproject.toml").write_text(
        '[project]\nname = "other"\nversion = "2"\ndependencies = ["numpy"]\n[tool.ruff]\n'
    )
    with trees.checkout(tree, tree.commit) as base:
        assert base.python == tree.python


@pytest.mark.parametrize("where", ["pyproject.toml", "uv.lock", "requirements.txt"])
def test_other_dependencies_get_one(tree, monkeypatch, where):
    made = []
    monkeypatch.setattr(trees, "_environment", lambda venv, folder: made.append(venv) or "python")
    if where == "pyproject.toml":
        project(tree, ["numpy>2"])
    else:
        (tree.folder / where).write_text("numpy==2.0")
    with trees.checkout(tree, tree.commit) as base:
        assert base.python == "python" and made[0].parent == base.folder.parent


def test_an_environment_that_cannot_be_made_is_missing(tree, tmp_path, monkeypatch):
    from test_check_gate import study

    def fail(venv, folder):
        raise trees.NoEnvironment("its dependencies differ and cannot be installed: no network")

    project(tree, ["numpy>2"])
    monkeypatch.setattr(trees, "_environment", fail)
    monkeypatch.setattr(gate, "working_tree", lambda: tree)
    options = gate.Options(str(tmp_path / "store"), "cpu", None)
    found = gate.check(study("warp"), "HEAD", options, print)
    assert found.verdict == "MISSING" and "no network" in found.cells[0].reason
    assert list(tmp_path.glob(".stn*")) == []


def test_pip_is_asked(tree, tmp_path, monkeypatch):
    """The environment is made by venv and pip; where pip fails, its last line is the reason."""
    asked = []

    class Done:
        returncode, stdout, stderr = 0, "", "error: a\nerror: no such package"

    def ask(words, **options):
        asked.append(words)
        Done.returncode = int("pip" in words and len(asked) > 2)
        return Done

    monkeypatch.setattr(trees.subprocess, "run", ask)
    python = trees._environment(tmp_path / "venv", tree.folder)
    assert python == str(tmp_path / "venv" / "bin" / "python")
    assert asked[0][1:3] == ["-m", "venv"] and asked[1][:3] == [python, "-m", "pip"]
    assert asked[1][-1] == str(tree.folder)
    with pytest.raises(trees.NoEnvironment, match="cannot be installed: error: no such package"):
        trees._environment(tmp_path / "venv", tree.folder)


def test_a_tree_that_is_no_checkout_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(trees, "__file__", str(tmp_path / "bench" / "check" / "trees.py"))
    with pytest.raises(BenchError, match="is no git checkout; run stn-bench from one"):
        trees.working_tree()


def test_commits_have_many_names(tree):
    assert trees.commit_of(tree, "main") == trees.commit_of(tree, "HEAD") == tree.commit
    assert trees.commit_of(tree, "HEAD~1") != tree.commit
    with pytest.raises(BenchError, match="neither a commit nor a store"):
        trees.commit_of(tree, "--all")


def test_git_says_why(tree):
    with pytest.raises(InfrastructureError, match="git worktree: "):
        trees.git(tree.folder, "worktree", "add", "/proc/nowhere/x", "HEAD")
