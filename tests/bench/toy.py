"""A repository whose arm answers at once: what a gate does, without torch and without waiting.

Its `speeds.json` says, by variant and mode, how many seconds a step takes, or what goes wrong.
"""

import json
import subprocess
import sys
from pathlib import Path

from bench.check.trees import Tree

ARM = """
import json, math, os, random, sys, time
speeds = json.load(open("speeds.json"))
ready = {}
def open_(question):
    return {"root": os.getcwd(), "protocol": speeds.get("protocol", PROTOCOL), "code_hash": "code",
            "questions": speeds.get("questions", 2),
            "environment": {"commit": None, "cpu": speeds.get("cpu", "a processor")}, "cpus": 1,
            "device_name": "a processor", "pid": os.getpid()}
def prepare(question):
    name = question["settings"]["workload"]["name"]
    if "import torch" in speeds: raise ImportError(speeds["import torch"])
    told = speeds[name]
    if "die" in told: sys.exit(told["die"])
    if "hang" in told: time.sleep(told["hang"])
    if "raise" in told: return {"failure": told["raise"]}
    who = os.path.basename(os.getcwd()) if "fixed" in speeds else os.getpid()
    noise = random.Random(f"{who} {name} {question['seed']}")
    factor = math.exp(noise.gauss(0, speeds.get("noise", 0.002)))
    ready.clear(); ready.update({m: s * factor for m, s in told["modes"].items()})
    return {"modes": {mode: [seconds, 10] for mode, seconds in ready.items()},
            "samples": [sample(m, True) for m in ready],
            "metrics": [dict(name=k, value=v, unit="", higher_is_better=False)
                        for k, v in told.get("metrics", {}).items()]}
def sample(mode, warmup=False):
    return {"mode": mode, "sample": 0, "seconds": ready[mode], "iterations": 1,
            "warmup": warmup, "flags": []}
def block(question):
    steps = question["steps"]
    return {"sample": {**sample(question["mode"]), "iterations": steps,
                       "seconds": steps * ready[question["mode"]]}}
verbs = {"open": open_, "prepare": prepare, "block": block}
for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = verbs[question["do"]](question)
    except Exception as error:
        answer = {"failure": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
"""


def repository(folder: Path, base: dict, head: dict, protocol: str) -> Tree:
    """A git repository in `folder/repo` with a commit of `base` and, not committed, `head`."""
    repo = folder / "repo"
    (repo / "bench").mkdir(parents=True)
    (repo / "bench" / "__init__.py").touch()
    (repo / "bench" / "arm.py").write_text(f"PROTOCOL = {protocol!r}\n{ARM}")
    (repo / "speeds.json").write_text(json.dumps(base))
    run(repo, "init", "-q", "-b", "main")
    run(repo, "add", ".")
    run(repo, "commit", "-q", "-m", "base")
    (repo / "speeds.json").write_text(json.dumps(head))
    return Tree(repo, sys.executable, run(repo, "rev-parse", "HEAD"), "head")


def run(repo: Path, *words: str) -> str:
    """A git command in a repository."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(repo), *author, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
