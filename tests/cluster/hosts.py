"""Several hosts with addresses of their own, one of which is cut off while a study runs.

`python tests/cluster/hosts.py --trials 12` makes network namespaces, joined by a bridge that lies
in one too, and starts in each a Ray node under a host name of its own; all of them see the store.
In the middle of the study the link of a host that works goes down; what runs there goes on, and
sees the store, as behind a network of its own. It ends with status 0 where the
run has ended and every trial has exactly one good result, equal to the bit to an undisturbed run's.
Needs root and `ip` (iproute2); says so, with status 0, where namespaces are not allowed.
"""

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[i] / part) for i, part in ((2, ""), (1, "bench"))]

from command import COMMAND, ROOT  # noqa: E402
from record import record  # noqa: E402
from whole import STUDY, verdict  # noqa: E402

from bench.results import ResultStore  # noqa: E402

# Within five seconds it is known that a host does not answer; Ray's own default is a minute.
NOTICE = {
    "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}  # fmt: skip
# Shared memory and sockets are a host's own, as its name is.
BOOT = (
    "mount -t tmpfs shm /dev/shm && mkdir -p /tmp/ray && mount -t tmpfs ray /tmp/ray "
    '&& hostname "$0" && exec "$@"'
)
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
LABEL = ["resources.timing.label={class: quick}"]
COUNT = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=40)
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]))
"""


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2, help="hosts beside the head")
    parser.add_argument("--output", type=Path, help="a Markdown file for what was found")
    options = parser.parse_args()
    if missing := not_allowed():
        print(f"skipped: network namespaces are not allowed here: {missing}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        lines, good = cut_off(Path(folder), options)
    record(f"{options.workers + 1} hosts, one cut off", lines, options.output)
    return 0 if good else 1


def not_allowed() -> str:
    """Why no namespace can be made; empty where one can."""
    name = f"stn-try-{os.getpid()}"
    try:
        done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    except FileNotFoundError as error:
        return str(error)
    if done.returncode == 0:
        ip("netns", "del", name)
    return done.stderr.strip()


def cut_off(folder: Path, options: argparse.Namespace) -> tuple[list[str], bool]:
    """Make an undisturbed run, and one in which a host loses its link; compare."""
    study = folder / "chaos.yaml"
    study.write_text(STUDY.format(seeds=options.trials // 3, steps=options.steps))
    calm, wild = folder / "calm", folder / "wild"
    command = [*COMMAND, "run", str(study), "--device", "cpu", "--results"]
    subprocess.run([*command, str(calm), "--in-process"], cwd=ROOT, check=True, stdout=2)
    with network(options.workers + 1) as hosts:
        switch, (head, *others) = hosts
        with contextlib.ExitStack() as stack:
            address = f"{head.address}:6379"
            first = ["--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false"]
            stack.enter_context(head.up(*first))
            for host in others:
                labels = f"--labels=class={'quick' if host is others[0] else 'plain'}"
                stack.enter_context(host.up(f"--address={address}", "--num-cpus=1", labels))
            deadline = time.time() + 180
            while head.start(sys.executable, "-c", COUNT, address, str(len(hosts[1]))).wait():
                if time.time() > deadline:
                    raise SystemExit("the Ray nodes do not find each other")
                time.sleep(1)
            begun = time.time()
            driver = head.start(*command, str(wild), "--address", address, *LABEL)
            victim = at_work(wild, driver, options.trials // 4, but=others[0].name)
            ip("-n", switch, "link", "set", victim, "down")
            cut = time.time()
            print(f"{cut - begun:.0f} s: the link of {victim} is down", flush=True)
            status = driver.wait(timeout=1200)
            ended = time.time()
    done = [row for row in ResultStore(wild).read().table.to_pylist() if row["status"] == "done"]
    where = Counter(f"{row['phase']} on {row['host']}" for row in done)
    routed = {row["host"] for row in done if row["phase"] == "timing"} == {others[0].name}
    found, good = verdict(calm, wild)
    lines = [
        f"- hosts: {', '.join(f'{host.name} {host.address}' for host in (head, *others))}",
        f"- the link of {victim} went down {cut - begun:.0f} s after the start; "
        f"the run ended {ended - cut:.0f} s later, with status {status}",
        f"- good results: {', '.join(f'{n} {what}' for what, n in sorted(where.items()))}; "
        f"timing was to be on {others[0].name} by its label",
    ]
    return lines + found, good and routed and status == 0


def at_work(store: Path, driver: subprocess.Popen[bytes], results: int, but: str) -> str:
    """A host with a training under way, when there are so many results; another than `but`."""
    while driver.poll() is None:
        time.sleep(0.1)
        if not store.exists() or len(ResultStore(store).read(["trial_id"]).table) < results:
            continue
        marks = [m for m in ResultStore(store).marks() if m.alive and m.phase == "accuracy"]
        if hosts := {mark.host for mark in marks} - {but}:
            return min(hosts)
    raise SystemExit("the run has ended before a host could be cut off")


class Host:
    """A network namespace with a name, an address and a Ray node, of which all else is a child."""

    def __init__(self, namespace: str, name: str, address: str, token: str) -> None:
        self.namespace, self.name, self.address = namespace, name, address
        self._environment = os.environ | {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
        } | NOTICE  # fmt: skip
        self._node = 0

    @contextlib.contextmanager
    def up(self, *words: str) -> Iterator[None]:
        """Have a Ray node on this host; all that runs there ends with the block."""
        inside = ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--uts"]
        node = [*RAY, "start", "--block", f"--node-ip-address={self.address}", *words]
        self._node = self._run(*inside, "bash", "-c", BOOT, self.name, *node).pid
        try:
            yield
        finally:
            for pid in ip("netns", "pids", self.namespace).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command on this host, which is up."""
        host = ["nsenter", "--target", str(self._node), "--mount", "--uts", "--net"]
        return self._run(*host, *words)

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(words, cwd=ROOT, stdout=2, env=self._environment)


@contextlib.contextmanager
def network(count: int) -> Iterator[tuple[str, list[Host]]]:
    """So many hosts on one bridge, whose ends of the links bear the hosts' names."""
    mine, token = f"stn{os.getpid()}", secrets.token_hex(32)
    switch = f"{mine}-switch"
    names = ["head", *(f"host{i}" for i in range(1, count))]
    hosts = [Host(f"{mine}-{n}", n, f"10.77.0.{i}", token) for i, n in enumerate(names, 1)]
    spaces = [switch, *(host.namespace for host in hosts)]
    try:
        for space in spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in hosts:
            ip("link", "add", host.name, "netns", switch, "type", "veth",
               "peer", "name", "net", "netns", host.namespace)  # fmt: skip
            ip("-n", switch, "link", "set", host.name, "master", "bridge", "up")
            ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "net")
            ip("-n", host.namespace, "link", "set", "net", "up")
        yield switch, hosts
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def ip(*words: str) -> str:
    """What a command of iproute2 prints."""
    return subprocess.run(["ip", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
