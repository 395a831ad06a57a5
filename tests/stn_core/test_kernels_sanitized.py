"""The C++ kernels touch no memory but their own, and do nothing undefined."""

import shutil
import subprocess
from pathlib import Path

import pytest

from stn_core.kernels.build import PROCESSORS, SOURCE
from stn_core.kernels.library import processor

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
FLAGS = "-std=c++17 -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -pthread"


def test_random_problems(tmp_path):
    if COMPILER is None:
        pytest.skip("there is no C++ compiler")
    driver, program = Path(__file__).with_name("sanitize.cpp"), tmp_path / "sanitize"
    flags = [*FLAGS.split(), *PROCESSORS[processor()].split(), f"-I{SOURCE}"]
    command = [COMPILER, *flags, "-o", str(program), str(driver), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "sanitize" in built.stderr.replace(str(driver), ""):
        pytest.skip("the compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program, "1500"], capture_output=True, text=True)
    assert done.stdout == "1500 problems\n", done.stderr[:3000]
