"""What docs/cluster.md hands out: the manifest has RayJob's fields, the script parses.

The names and types of the fields are those of the Go types of KubeRay (`rayjob_types.go`,
`raycluster_types.go`, v1.6.2's reference), as far as a study needs them: a field that is not here
is taken for a slip.
"""

import re
import shlex
import subprocess
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
    assert {k: n for k, n in told.items() if k not in ("cpus", "gpus")} == Retries().model_dump()
