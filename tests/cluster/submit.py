"""A run that is submitted as a job to a cluster, and one whose driver is outside of it.

`python tests/cluster/submit.py` starts a Ray node with a job server and a server for clients, which
ask for a token; submits a study with `ray job submit --working-dir . -- stn-bench run …`, and runs
it once more with `--address ray://…`. It ends with status 0 where both are whole, and equal to the
bit to a run in one process. Needs `pip install 'ray[client,default]'`; says so, with status 0,
where that is missing.
"""

import argparse
import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import COMMAND, ROOT  # noqa: E402
from record import record  # noqa: E402
from whole import STUDY, verdict  # noqa: E402

RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
NEEDED = ("aiohttp", "opencensus", "grpc")


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, help="a Markdown file for what was found")
    options = parser.parse_args()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"skipped: {', '.join(missing)} missing; pip install 'ray[client,default]'")
        return 0
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        lines, good = submitted(Path(folder), options.steps)
    record("Submitted as a job, and run from outside", lines, options.output)
    return 0 if good else 1


def submitted(folder: Path, steps: int) -> tuple[list[str], bool]:
    """Run a study three times, and compare."""
    study = folder / "chaos.yaml"
    study.write_text(STUDY.format(seeds=1, steps=steps))
    words = ["run", str(study), "--device", "cpu", "--results"]
    subprocess.run([*COMMAND, *words, str(folder / "calm"), "--in-process"], cwd=ROOT, check=True)
    lines, good = list[str](), True
    with node(folder) as (jobs, clients, environment):
        job = ["job", "submit", "--address", jobs, "--working-dir", "."]
        entry = ["--", "stn-bench", *words, str(folder / "job")]
        client = [*COMMAND, *words, str(folder / "client"), "--address", clients]
        for name, command in (("job", [*RAY, *job, *entry]), ("client", client)):
            begun = time.time()
            status = subprocess.run(command, cwd=ROOT, env=environment).returncode
            found, whole = verdict(folder / "calm", folder / name)
            told = " ".join(["ray", *job, *entry] if name == "job" else ["stn-bench", *client[3:]])
            lines += [
                f"- `{told.replace(str(folder), '…')}`: status {status} "
                f"after {time.time() - begun:.0f} s",
                *(f"  {line}" for line in found),
            ]
            good &= whole and status == 0
    return lines, good


@contextlib.contextmanager
def node(folder: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """A Ray node: the addresses of its job server and of its clients' server, and who may ask."""
    ports = [free_port() for _ in range(3)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder), "RAY_worker_niceness": "0",
    }  # fmt: skip
    options = ["--port", "--dashboard-port", "--ray-client-server-port"]
    started = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--num-cpus=2", "--dashboard-host=127.0.0.1",
         *(f"{name}={port}" for name, port in zip(options, ports, strict=True))],
        env=environment, stdout=2, start_new_session=True,
    )  # fmt: skip
    try:
        jobs, deadline = f"http://127.0.0.1:{ports[1]}", time.time() + 120
        while not answers(f"{jobs}/api/version", environment["RAY_AUTH_TOKEN"]):
            if started.poll() is not None or time.time() > deadline:
                raise SystemExit("the job server does not start")
            time.sleep(0.5)
        if answers(f"{jobs}/api/jobs/", "0" * 64):
            raise SystemExit("the job server answers to who has another token")
        yield jobs, f"ray://127.0.0.1:{ports[2]}", environment
    finally:
        started.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def answers(address: str, token: str) -> bool:
    """Whether a server answers to who has a token."""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
