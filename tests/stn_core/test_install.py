"""What `pip install` builds: kernels where there is a compiler, and a word where there is none."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stn_core.kernels.build import file_name, processors_here
from stn_core.kernels.library import why_missing

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
sys.modules["torch"] = None  # it cannot be imported
from hatchling.builders.wheel import WheelBuilder
print(*WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=["standard"]))
"""
# The same compiler in less time: what it writes is not run here.
QUICKLY = '#!/bin/sh\nexec c++ "$@" -O0\n'


def wheel(folder: Path, compiler: Path) -> tuple[zipfile.ZipFile, str]:
    """The wheel that a build without torch makes with this compiler, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(ROOT), str(folder)],
        env=os.environ | {"CXX": str(compiler)},
        capture_output=True,
        text=True,
        check=True,
    )
    return zipfile.ZipFile(done.stdout.split()[-1]), done.stdout + done.stderr


def libraries(archive: zipfile.ZipFile) -> set[str]:
    return {Path(name).name for name in archive.namelist() if name.endswith(".so")}


def test_a_wheel_has_kernels_for_each_kind_of_processor_and_needs_no_torch(tmp_path):
    if missing := why_missing():
        pytest.skip(missing)
    compiler = tmp_path / "quickly"
    compiler.write_text(QUICKLY)
    compiler.chmod(0o755)
    archive, _ = wheel(tmp_path, compiler)
    assert libraries(archive) == {file_name(kind) for kind in processors_here()}
    assert not str(archive.filename).endswith("-any.whl"), "what is compiled is for one platform"


def test_without_a_compiler_the_installation_succeeds_and_says_what_is_lost(tmp_path):
    archive, said = wheel(tmp_path, Path("/no/compiler"))
    assert libraries(archive) == set()
    assert "stn_core/kernels/cpu/warp.cpp" in archive.namelist(), "to be compiled at first use"
    assert "stn_core is installed without its compiled kernels: There is no C++ compiler" in said
    assert "Warps then take several times as long" in said
