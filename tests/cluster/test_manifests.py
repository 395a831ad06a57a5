"""What docs/cluster.md hands out: the manifest has RayJob's fields, the script parses.

The names and types of the fields are those of the Go types of KubeRay (`rayjob_types.go`,
`raycluster_types.go`, v1.6.2's reference), as far as a study needs them: a field that is not here
is taken for a slip.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

DOCS = Path(__file__).parents[2] / "docs"
TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def exactly(required: str = "", /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "additionalProperties": False,
        "required": required.split(),
    }  # fmt: skip


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^\d+(m|Ki|Mi|Gi|Ti)?$"},
}
NAMED = exactly("name", name={"type": "string", "pattern": "^[a-z0-9-]+$"})
CONTAINER = exactly(
    "name image",
    name={"type": "string"},
    image={"type": "string"},
    env=many(exactly("name value", name=TEXT, value=TEXT)),
    envFrom=many(exactly(secretRef=NAMED)),
    resources=exactly(limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts=many(exactly("name mountPath", name=TEXT, mountPath=TEXT)),
)
POD = exactly(
    "spec",
    spec=exactly(
        "containers",
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        volumes=many(exactly("name", name=TEXT, configMap=NAMED)),
    ),
)
CLUSTER = exactly(
    "headGroupSpec",
    rayVersion={"type": "string"},
    authOptions=exactly(mode={"enum": ["disabled", "token"]}, secretName={"type": "string"}),
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=exactly("template", rayStartParams=TEXTS, labels=TEXTS, template=POD),
    workerGroupSpecs={
        "type": "array",
        "items": exactly(
            "groupName template", groupName={"type": "string"}, replicas=COUNT, minReplicas=COUNT,
            maxReplicas=COUNT, labels=TEXTS, rayStartParams=TEXTS, template=POD,
        ),
    },
)  # fmt: skip
RAY_JOB = exactly(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=NAMED,
    spec=exactly(
        "entrypoint rayClusterSpec",
        entrypoint={"type": "string"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=COUNT,
        activeDeadlineSeconds=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)


@pytest.fixture
def manifest():
    return YAML(typ="safe").load((DOCS / "cluster" / "rayjob.yaml").read_text())


def test_the_ray_job_has_the_fields_of_its_kind(manifest):
    jsonschema.validate(manifest, RAY_JOB)


@pytest.mark.parametrize("path", [("spec", "entryPoint"), ("spec", "rayClusterSpec", "headGroup")])
def test_a_slip_in_it_would_be_seen(path, manifest):
    *way, last = path
    place = manifest
    for key in way:
        place = place[key]
    place[last] = "x"
    with pytest.raises(jsonschema.ValidationError, match=last):
        jsonschema.validate(manifest, RAY_JOB)


def test_the_ray_job_is_safe_and_goes_on_where_it_was(manifest):
    spec = manifest["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert spec["backoffLimit"] > 0
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_every_command_is_one(manifest):
    """The words after `stn-bench` in the manifest, the script and the page are taken by it."""
    from typer.testing import CliRunner

    from bench.cli import app

    texts = [
        manifest["spec"]["entrypoint"],
        (DOCS / "cluster" / "slurm.sh").read_text(),
        (DOCS / "cluster.md").read_text(),
    ]
    lines = [
        line for text in texts for line in re.findall(r"stn-bench ((?:run|status|logs) .*)", text)
    ]
    assert len(lines) >= 7
    for line in lines:
        words = [word for word in shlex.split(line.split("`")[0]) if word.startswith("--")]
        help_ = CliRunner().invoke(app, [line.split()[0], "--help"], env={"COLUMNS": "200"}).output
        assert all(word in help_ for word in words), line


def test_the_script_is_bash():
    subprocess.run(["bash", "-n", str(DOCS / "cluster" / "slurm.sh")], check=True)


def test_the_defaults_in_the_page_are_those_of_the_study():
    from bench.study.schema import Retries

    page = (DOCS / "cluster.md").read_text()
    told = {kind: int(n) for kind, n in re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", page, re.M)}
    assert {
        k: n for k, n in told.items() if k not in ("workers", "cpus", "gpus")
    } == Retries().model_dump()


def test_the_token_of_the_page_is_its_owners_alone(tmp_path):
    (line,) = re.findall(r"^mkdir .*auth_token\)$", (DOCS / "cluster.md").read_text(), re.M)
    command = ["bash", "-euc", f"umask 022; {line}"]
    subprocess.run(command, check=True, env=os.environ | {"HOME": str(tmp_path)})
    file = tmp_path / ".ray" / "auth_token"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(bytes.fromhex(file.read_text())) == 32


def test_the_token_of_the_script_is_its_owners_alone_and_goes_with_the_job(tmp_path):
    """SLURM's commands are stood in for; `srun` runs nothing, but looks at the token."""
    bin_, seen = tmp_path / "bin", tmp_path / "seen"
    bin_.mkdir()
    for name, text in {
        "scontrol": "echo one; seq 100000",  # more than a pipe holds
        "srun": f'stat -c %a "$RAY_AUTH_TOKEN_PATH" >> {seen}; wc -c < "$RAY_AUTH_TOKEN_PATH" >> '
        f'{seen}; printf "%s\\n" "$@" >> {tmp_path}/words; echo 10.0.0.1',
        "sleep": "",
    }.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    environment = {
        "HOME": str(tmp_path), "PATH": f"{bin_}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "one,two", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "16",
    }  # fmt: skip
    script = DOCS / "cluster" / "slurm.sh"
    subprocess.run(["bash", script, "study.yaml", "/store"], check=True, env=environment)
    looked = seen.read_text().split()
    assert len(looked) == 8
    assert set(looked) == {"600", "64"}
    assert list((tmp_path / ".ray").iterdir()) == []
    words = (tmp_path / "words").read_text().split("\n")
    assert "--address=10.0.0.1:20007" in words and "stn-bench" in words


def test_a_local_ray_has_a_token_also_where_the_shell_asks_for_tokens(monkeypatch):
    """Ray would write one for itself, for everybody to read."""
    from bench.launch import _secure_ray

    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    _secure_ray(local=True)
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    _secure_ray(local=True)
    assert os.environ["RAY_AUTH_TOKEN"] == "mine"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    _secure_ray(local=True)
    assert "RAY_AUTH_TOKEN" not in os.environ
