"""The kernels for a GPU, where there is none: Triton's interpreter, and machine code for sm_90."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from contract import TRANSFORMS, size_of, thetas
from torch._subclasses.fake_tensor import FakeTensorMode

from stn_core import samplers, warp
from stn_core._warp import _map_of
from stn_core.backends import choose
from stn_core.kernels import fused, library
from stn_core.samplers import Bicubic, Bilinear
from stn_core.transforms import Affine, Projective, ThinPlateSpline, Translation

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("module", "environment"),
    [("interpreted_gpu.py", {"TRITON_INTERPRET": "1"}), ("compiled_gpu.py", {})],
)
def test_in_a_process_of_its_own(module, environment, tmp_path):
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-o", "addopts=", str(HERE / module)],
        env={
            **os.environ,
            "TRITON_CACHE_DIR": str(tmp_path),
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def on_a_gpu(theta_on="cuda"):
    """An image and a `theta` of a device that need not be here."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.empty(1, 1, 4, 4, device="cuda"), torch.empty(1, 2, device=theta_on)


def test_the_rule_knows_gpus(monkeypatch):
    options = (Translation(), Bilinear(), "zeros")
    monkeypatch.setattr(library, "find_spec", lambda name: name)
    assert choose(*on_a_gpu(), *options, "auto")[0] == "fused"
    chosen, why = choose(*on_a_gpu("cpu"), *options, "auto")
    assert (chosen, why) == ("torch", "`theta` is on cpu and the image on cuda:0.")
    there = "Kernels on a GPU are for"
    for sampler, padding, why in [
        (Bicubic(), "zeros", f"{there} Bilinear, Nearest, not for Bicubic."),
        (Bilinear(), "reflection", f"{there} the paddings zeros, border and a value, not for 'r"),
    ]:
        chosen, said = choose(*on_a_gpu(), Translation(), sampler, padding, "auto")
        assert chosen == "torch" and said.startswith(why)
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    missing = "There are no compiled kernels. Triton is not installed."
    assert choose(*on_a_gpu(), *options, "auto") == ("torch", missing)
    with pytest.raises(ValueError, match=f"cannot do this warp. {missing}"):
        choose(*on_a_gpu(), *options, "fused")


# What waits for a GPU to know a number, or sends it one: neither may be captured in a graph.
WAITS = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh"}


@pytest.mark.parametrize("name", [n for n, transform in TRANSFORMS.items() if transform.dims == 2])
def test_no_map_waits_for_a_gpu(monkeypatch, name):
    monkeypatch.setattr(fused, "is_on_gpu", lambda image: True)
    transform = TRANSFORMS[name]
    theta = thetas(transform, 2, dtype=torch.float32).requires_grad_()

    def both():
        size = size_of(transform)
        image = torch.zeros(2, 1, *size)
        map, fields = _map_of(image, theta, transform, samplers.Bilinear(), size, False)
        assert fields is None
        torch.autograd.grad(map.sum(), theta)

    # Constants are made at the first call.
    both()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        both()
    names = {event.name for event in profile.events() or ()}
    assert names and not WAITS & names


def test_nothing_of_triton_is_imported_before_it_is_needed():
    code = """
import sys, torch, stn_core
from stn_core import warp, transforms
before = "triton" in sys.modules
sys.modules["triton"] = None
warp(torch.ones(1, 1, 4, 4), torch.zeros(1, 2), transforms.Translation())
print(before, "stn_core.kernels.gpu" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("transform", [Affine(), Projective(), ThinPlateSpline()])
@pytest.mark.parametrize("channels", [1, 3, 48])
def test_on_a_gpu_it_is_what_torch_computes(transform, channels):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    generator = torch.Generator().manual_seed(0)
    theta = transform.identity + 0.1 * torch.randn(
        3, transform.num_params, generator=generator, dtype=torch.float64
    )
    image = torch.randn(3, channels, 40, 50, generator=generator, dtype=torch.float64)

    def run(image, theta, backend):
        leaves = image.requires_grad_(), theta.requires_grad_()
        output = warp(*leaves, transform, output_size=(30, 60), backend=backend)
        return output, *torch.autograd.grad(output.square().sum(), leaves)

    right = run(image, theta, "torch")
    for form in (torch.contiguous_format, torch.channels_last):
        given = image.detach().float().cuda().contiguous(memory_format=form)
        to = theta.detach().float().cuda()
        found, again = (run(given.detach(), to.detach(), "fused") for _ in range(2))
        for mine, its in zip(found, right, strict=True):
            torch.testing.assert_close(
                mine.double().cpu(), its, rtol=1e-4, atol=1e-4 * its.abs().max().item()
            )
        if not isinstance(transform, ThinPlateSpline):
            assert all(map(torch.equal, found, again))
