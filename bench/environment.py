"""Where a number comes from: commit, code, versions, machine. Needs no torch."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGES = ("stn-bench", "torch", "torchvision", "numpy", "ray", "pyarrow", "triton", "timm")

# What decides a trial's numbers: the library and the making wing, but not how they are shown.
CODE = (
    "stn_core",
    "bench/conditions.py",
    "bench/build.py",
    "bench/data_parallel.py",
    "bench/datasets",
    "bench/execution.py",
    "bench/measurement.py",
    "bench/models",
    "bench/optimizer.py",
    "bench/pictures.py",
    "bench/resume.py",
    "bench/tasks",
    "bench/training.py",
    "bench/transformers.py",
    "bench/trial.py",
)


def code_hash(own_files: tuple[Path, ...] = ()) -> str:
    """Hash of the code that computes trials, the user's own files included."""
    root = Path(__file__).parent.parent
    files: list[Path] = []
    for name in CODE:
        place = root / name
        inside = [f for f in place.rglob("*") if f.suffix in (".py", ".cpp", ".hpp")]
        files += sorted(inside) if place.is_dir() else [place]
    digest = hashlib.sha256()
    for file in (*files, *own_files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Commit, versions and machine, as every row bears them."""
    return {
        **_commit(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
    }


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """The processor's name as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cpus() -> int:
    """Processors that this process may use: its affinity and its cgroup's quota."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


def local_device() -> str:
    """`cuda` where this machine has an NVIDIA GPU that is not hidden, else `cpu`."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return "cpu"
    return "cuda" if any(Path("/proc/driver/nvidia/gpus").glob("*")) else "cpu"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> dict[str, str | None]:
    """Commit of the checkout that this package runs from, and the hash of what differs from it."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode(errors="replace").strip()

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return {"commit": None, "dirty": None}
    diff = git("diff", "HEAD")
    dirty = hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else None
    return {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
