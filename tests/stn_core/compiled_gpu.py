"""Triton's kernels as machine code of an H100 or H200 (sm_90), without one: test_gpu.py runs this.

What `launch` would give a GPU is compiled in place of that, with the arguments that it gives.
"""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from stn_core.kernels.gpu import launch, points

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
WIDE = re.compile(r"LDG\.E\.128")
ATOMIC = re.compile(r"\b(RED|REDG|ATOM|ATOMG)\b.*")
SPILLED = re.compile(r"\b(LDL|STL)\b")
LAYOUT = re.compile(r"(#\w+) = #ttg\.blocked<.*threadsPerWarp = \[([\d, ]+)\]")
PIXELS = points.PIXELS.value
LOAD = re.compile(r"tt\.load .*tensor<\d+x\d+x!tt\.ptr<\w+>, (#\w+)>")
# Over how many pixels the lanes of a warp lie where a kernel reads blocks of pixels and channels.
lanes: dict[str, set[str]] = {}


@pytest.fixture(autouse=True)
def made(monkeypatch, tmp_path):
    """The kernels that were asked for, by name, as machine code."""
    driver = SimpleNamespace(
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
    )
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    found: dict[str, str] = {}
    lanes.clear()
    run = JITFunction.run

    def compiled(self, *args, grid, warmup, **kwargs):
        kernel: Any = run(self, *args, grid=grid, warmup=True, **kwargs)
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(kernel.asm["cubin"])
        shown = subprocess.run(
            [CUOBJDUMP, "-sass", cubin], capture_output=True, text=True, check=True
        )
        assert "EF_CUDA_SM90" in shown.stdout or "sm_90" in shown.stdout
        found[self.__name__] = shown.stdout
        of_warps = dict(LAYOUT.findall(kernel.asm["ttgir"]))
        lanes[self.__name__] = {
            of_warps[name].split(", ")[PIXELS] for name in LOAD.findall(kernel.asm["ttgir"])
        }

    monkeypatch.setattr(JITFunction, "run", compiled)
    return found


def steps(tensor, is_last):
    channels, pixels = tensor.shape[1], tensor.shape[2] * tensor.shape[3]
    return (channels * pixels, 1, channels) if is_last else (channels * pixels, pixels, 1)


MAPS = {"affine": (2, 2, 3), "projective": (2, 3, 3), "dense": (2, 16, 48, 2)}


def compile_all(channels, dtype, is_last, map, border=False):
    form = torch.channels_last if is_last else torch.contiguous_format
    image = torch.zeros(2, channels, 32, 64, dtype=dtype).contiguous(memory_format=form)
    output = torch.zeros(2, channels, 16, 48, dtype=dtype).contiguous(memory_format=form)
    map = torch.zeros(MAPS[map])
    at, to = steps(output, is_last), steps(image, is_last)
    options = {"border": border, "align_corners": False}
    launch.forward(image, map, output, at, nearest=False, **options)
    launch.by_image(output, at, map, image, to, nearest=False, **options)
    launch.by_map(output, at, image, map, torch.zeros_like(map), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_deep_maps_are_read_128_bits_at_a_time(made, dtype):
    compile_all(64, dtype, True, "affine")
    for name in ("forward", "gather", "slopes"):
        assert WIDE.search(made[name]), name
        assert not SPILLED.search(made[name]), name
        # In a fixed order, each number written once.
        assert not ATOMIC.search(made[name]), name


def test_matrices_take_no_atomic_sums(made):
    compile_all(24, torch.float32, False, "projective", border=True)
    assert made.keys() == {"forward", "slopes", "gather"}
    for name, code in made.items():
        assert not SPILLED.search(code) and not ATOMIC.search(code), name
        # Neighbours have neighbouring pixels, not one pixel of several channels, each in a plane.
        assert lanes[name] == {"32"}, name


def test_sums_of_a_grid_are_four_numbers_wide(made):
    compile_all(64, torch.bfloat16, True, "dense")
    sums = [line for line in made["scatter"].splitlines() if ATOMIC.search(line)]
    assert sums and all("F32x4" in line for line in sums), sums
    assert WIDE.search(made["forward"])
