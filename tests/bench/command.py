"""The command in a process of its own, and a study that it finishes in seconds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from bench.cli import main; main()"]
QUICKSTART = ROOT / "studies" / "quickstart.yaml"


def stn_bench(*words, check=0, timeout=300, **options):
    """Run `stn-bench words…`; fails the test when it does not end with status `check`."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True, text=True, timeout=timeout, cwd=ROOT, **options,
    )  # fmt: skip
    assert done.returncode == check, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
