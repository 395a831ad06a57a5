"""Compile the C++ kernels. It needs no torch, so that an installation can run it by itself."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "cpu"

# What the compiler is told for each kind of processor; the best first.
PROCESSORS = {
    "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512",
    "avx2": "-mavx2 -mfma",
    "portable": "",
}
_FLAGS = "-O3 -std=c++17 -fPIC -shared -fvisibility=hidden -fno-math-errno -fno-trapping-math"
_LIBRARIES = ["-pthread", *(["-ldl"] if sys.platform == "linux" else [])]


class BuildError(Exception):
    """Why there are no compiled kernels, in one sentence."""


def processors_here() -> list[str]:
    """The kinds of processors that this machine's compiler can compile for."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return list(PROCESSORS) if is_x86 else ["portable"]


def file_name(processor: str) -> str:
    """What the library for a kind of processor is called."""
    return f"warp-{processor}.so"


def build(processor: str, target: Path) -> None:
    """Compile the library for a kind of processor, to a file that is whole or not there.

    Args:
        processor: A key of `PROCESSORS`.
        target: The file.

    Raises:
        BuildError: If there is no compiler, or it fails, or the file cannot be written.
    """
    part = target.with_suffix(f".{os.getpid()}.part")
    command = [*_command(processor), "-o", str(part), str(SOURCE / "warp.cpp"), *_LIBRARIES]
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            said = next((s for s in done.stderr.splitlines() if "error" in s), done.stderr[:200])
            raise BuildError(f"The compiler {command[0]} failed: {said.strip()}")
        part.replace(target)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"The compiler {command[0]} could not make {target}: {error}.") from None
    finally:
        part.unlink(missing_ok=True)


def cached(processor: str) -> Path:
    """Where a user's own build of these sources by this compiler lies.

    Raises:
        BuildError: If there is no compiler.
    """
    digest = hashlib.sha256(repr((_command(processor), platform.machine())).encode())
    for file in sorted(SOURCE.iterdir()):
        if file.suffix in (".cpp", ".hpp"):
            digest.update(file.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = file_name(processor).replace(".so", f"-{digest.hexdigest()[:16]}.so")
    return Path(home) / "stn_core" / name


def _command(processor: str) -> list[str]:
    named = os.environ.get("CXX")
    for name in [named] if named else ["c++", "g++", "clang++"]:
        if path := shutil.which(name):
            return [path, *_FLAGS.split(), *PROCESSORS[processor].split()]
    raise BuildError(f"There is no C++ compiler ({named or 'c++, g++ or clang++'}).")
