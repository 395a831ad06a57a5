"""How fast warps are on this CPU, beside other libraries: `python benchmarks/sampler_cpu.py`.

Writes results/reference/sampler_cpu/: `results.json`, all medians and minima in microseconds and
all errors, and `report.md`. Takes about five minutes; nothing else should run meanwhile. The
contenders of a row take turns call by call in one process, on the same tensors. Every setting of
the allocator is a process of its own. For some shapes: `--shapes mnist,attn`. Needs kornia and
OpenCV, and for `torch.compile` a C++ compiler.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from sampler_cpu_report import markdown
from sampler_shapes import OTHERS, SHAPES
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

import stn_core
from bench.models.cnn import CNN
from bench.tasks.workloads.thetas import random_thetas, wake
from stn_core import (
    LocalisationNetwork,
    SpatialTransformer,
    localisation,
    samplers,
    transforms,
    warp,
)
from stn_core.kernels.library import processor

OUT = Path(__file__).parent.parent / "results" / "reference" / "sampler_cpu"
# The output's size, and the control points.
SPLINES = {
    "mnist": ((256, 1, 28, 28), (28, 28), (4, 4)),
    "attn": ((128, 1, 60, 60), (28, 28), (4, 4)),
    "text": ((64, 3, 32, 100), (32, 100), (5, 5)),
    "img224": ((8, 3, 224, 224), (224, 224), (4, 4)),
    "feat32": ((64, 64, 32, 32), (32, 32), (4, 4)),
}
CASES = ("float32", "channels_last", "bfloat16", "nearest", "bicubic", "reflection", "fill")
CASES += ("antialiased",)
FILL = 0.5
# What glibc does with freed memory: by default large outputs are fresh pages at every call.
ALLOCATORS = {
    "default": {},
    "raised": {
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
        "MALLOC_TOP_PAD_": str(256 << 20),
    },
}
SAMPLERS = {
    "nearest": samplers.Nearest(),
    "bicubic": samplers.Bicubic(),
    "antialiased": samplers.Antialiased(),
}
Run = Callable[[], Any]
Warp = Callable[[Tensor, Tensor], Tensor]


def rows(
    names: list[str], threads: int, allocator: str, compiles: bool
) -> Iterator[dict[str, Any]]:
    """All measurements with so many threads; with glibc's defaults those in float32 alone."""
    torch.set_num_threads(threads)
    is_full = allocator == "raised"
    for name in names:
        shape, side, kind = (SHAPES | OTHERS)[name]
        theta = random_thetas(transforms.Affine(), shape[0], kind, torch.Generator())
        plain = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        for case in cases_of(name) if is_full else CASES[: name in SHAPES]:
            image = as_asked(plain, "channels_last" if name == "pictures" else case)
            warps = affine_warps(side, case)
            errors = errors_of(warps, image, theta) if is_full and case != "nearest" else {}
            is_compared = is_full and case == "float32"
            rivals = foreign(image, theta, side, compiles) if is_compared else {}
            for what, runs in both(warps, image, theta, case == "nearest").items():
                label = {"threads": threads, "shape": name, "case": case, "what": what}
                times = timed(runs | rivals.get(what, {}))
                yield label | {"times": times, "errors": errors}
    for name, (shape, size, control) in SPLINES.items():
        if name in names or name == "text":
            warps, image, theta = spline_warps(shape, size, control)
            errors = errors_of(warps, image, theta) if is_full else {}
            for what, runs in both(warps, image, theta, False).items():
                label = {"threads": threads, "shape": name, "case": "spline", "what": what}
                yield label | {"times": timed(runs), "errors": errors}
    if is_full:
        label = {"threads": threads, "shape": "mnist", "case": "training step", "what": "backward"}
        yield label | {"times": timed(step_runs()), "errors": {}}


def cases_of(name: str) -> tuple[str, ...]:
    """What is measured of a shape."""
    if name in OTHERS:
        return ("elsewhere",)
    is_deep = SHAPES[name][0][1] >= 16
    return tuple(case for case in CASES if is_deep or case != "channels_last")


def as_asked(image: Tensor, case: str) -> Tensor:
    """The image in the memory format or type that a case is about."""
    if case == "channels_last":
        return image.contiguous(memory_format=torch.channels_last)
    return image.bfloat16() if case == "bfloat16" else image


def affine_warps(side: int, case: str) -> dict[str, Warp]:
    """torch, this library, and the grid that it makes where it has no kernel."""
    mode = case if case in SAMPLERS else "bilinear"
    padding: Any = {"reflection": "reflection", "fill": FILL}.get(case, "zeros")

    def of_torch(image: Tensor, theta: Tensor) -> Tensor:
        size = [*image.shape[:2], side, side]
        grid = affine_grid(theta.view(-1, 2, 3), size, align_corners=False)
        # In 16 bits torch's own is wrong by pixels, and beyond 181 x 181 reads foreign memory.
        wide = image.to(torch.promote_types(image.dtype, torch.float32))
        options = {"mode": mode, "align_corners": False}
        if case == "fill":
            return grid_sample(wide - FILL, grid, **options) + FILL
        return grid_sample(wide, grid, padding_mode=padding, **options).to(image.dtype)

    sampler, affine = SAMPLERS.get(case, samplers.Bilinear()), transforms.Affine()

    def ours(kind: str, backend: Any) -> Warp:
        options = {"output_size": (side, side), "padding": padding, "backend": backend}
        return with_kernels(kind, partial(warp, transform=affine, sampler=sampler, **options))

    best = own_kernels()
    # What averages areas is of this library alone; without its kernel it reads by `grid_sample`.
    usual = ours(best, "torch") if case == "antialiased" else of_torch
    warps = {"ours": ours(best, "auto"), "torch": usual}
    if case == "float32":
        warps["grid"] = ours(best, "torch")
    if best == "avx512":
        warps["ours, avx2"] = ours("avx2", "auto")
    return warps


@lru_cache
def own_kernels() -> str:
    """The kind of processor that this one is, whatever kernels were asked for since."""
    return processor()


def with_kernels(kind: str, function: Warp) -> Warp:
    """The same with the kernels for a kind of processor."""

    def run(image: Tensor, theta: Tensor) -> Tensor:
        os.environ["STN_CORE_CPU"] = kind
        return function(image, theta)

    return run


def both(
    warps: dict[str, Warp], image: Tensor, theta: Tensor, is_flat: bool
) -> dict[str, dict[str, Run]]:
    """Forward; and forward with the gradients of image and theta, where theta has one."""
    leaves = image.clone(memory_format=torch.preserve_format).requires_grad_()
    asked = (leaves, theta.clone().requires_grad_())
    upstream = torch.randn_like(next(iter(warps.values()))(image, theta))

    def backward(function: Warp) -> Run:
        by = asked[:1] if is_flat else asked
        return lambda: torch.autograd.grad(function(*asked), by, upstream)

    return {
        "forward": {name: lambda f=f: f(image, theta) for name, f in warps.items()},
        "backward": {name: backward(f) for name, f in warps.items()},
    }


def errors_of(warps: dict[str, Warp], image: Tensor, theta: Tensor) -> dict[str, list[float]]:
    """Relative distances of output, image's and theta's gradient from torch's in float64."""

    def all_of(function: Warp, *dtypes: torch.dtype) -> list[Tensor]:
        given = zip((image, theta), dtypes, strict=True)
        leaves = [t.detach().to(dtype).requires_grad_() for t, dtype in given]
        output = function(*leaves)
        upstream = torch.cos(torch.arange(output.numel())).view(output.shape).to(image.dtype)
        return [output, *torch.autograd.grad(output, leaves, upstream.to(output))]

    exact = all_of(warps["torch"], torch.float64, torch.float64)
    found = {name: all_of(warps[name], image.dtype, torch.float32) for name in ("ours", "torch")}
    return {
        name: [((g - e).norm() / e.norm()).item() for g, e in zip(given, exact, strict=True)]
        for name, given in found.items()
    }


def foreign(image: Tensor, theta: Tensor, side: int, compiles: bool) -> dict[str, dict[str, Run]]:
    """Rivals with the same maps: kornia, OpenCV image by image, and torch's compiler if asked."""
    import cv2
    from kornia.geometry.transform import warp_affine

    torch_warp = affine_warps(side, "float32")["torch"]
    width = image.shape[3]
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(theta), 1, 1)
    matrix[:, :2] = theta.view(-1, 2, 3).double()
    last = [0, 0, 1]
    to_pixels = [[width / 2, 0, (width - 1) / 2], [0, width / 2, (width - 1) / 2], last]
    from_pixels = [[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1], last]
    reading = torch.tensor(to_pixels).double() @ matrix @ torch.tensor(from_pixels).double()
    forth = reading.inverse()[:, :2].float()

    def of_kornia(image: Tensor, forth: Tensor) -> Tensor:
        return warp_affine(image, forth, (side, side))

    found = both({"kornia": of_kornia}, image, forth, False)
    right = torch_warp(image, theta)
    assert (of_kornia(image, forth) - right).abs().median() < 1e-3, "kornia warps otherwise"
    if image.shape[1] <= 4:
        cv2.setNumThreads(torch.get_num_threads())
        pictures = [picture.permute(1, 2, 0).contiguous().numpy() for picture in image]
        maps = [m.numpy() for m in reading[:, :2]]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

        def of_opencv() -> list[Any]:
            pairs = zip(pictures, maps, strict=True)
            return [cv2.warpAffine(u, m, (side, side), flags=flags) for u, m in pairs]

        first = torch.from_numpy(of_opencv()[0]).view(side, side, -1).movedim(-1, 0)
        assert (first - right[0]).abs().median() < 1e-3, "OpenCV warps otherwise"
        found["forward"]["opencv"] = of_opencv
    if compiles:
        torch.compiler.reset()
        compiled = both({"compile": torch.compile(torch_warp, dynamic=False)}, image, theta, False)
        found = {what: runs | compiled[what] for what, runs in found.items()}
    return found


def spline_warps(
    shape: tuple[int, ...], size: tuple[int, int], control: tuple[int, int]
) -> tuple[dict[str, Warp], Tensor, Tensor]:
    """The usual way, an inverse and a batched product, and this library; an image and thetas."""
    spline = transforms.ThinPlateSpline(control)
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(shape, generator=generator)
    start = spline.identity
    theta = (start + 0.05 * torch.randn(shape[0], len(start), generator=generator)).float()
    points = start.view(-1, 2)
    count = len(points)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a[:, None] - b).square().sum(-1)
        return torch.xlogy(squared, squared)

    lattice = transforms.Affine().grid(torch.eye(2, 3).view(1, 6), size, align_corners=False)
    targets = lattice.view(-1, 2).double()
    ones = torch.ones(count, 1, dtype=torch.float64)
    upper = torch.cat([kernel(points, points), ones, points], 1)
    lower = torch.cat([torch.cat([ones, points], 1).T, torch.zeros(3, 3)], 1)
    system = torch.cat([upper, lower])
    terms = torch.cat([kernel(targets, points), torch.ones(len(targets), 1), targets], 1)
    constants = {t: (system.to(t), terms.to(t)) for t in (torch.float32, torch.float64)}

    def usual(image: Tensor, theta: Tensor) -> Tensor:
        system, terms = constants[theta.dtype]
        right = torch.cat([theta.view(-1, count, 2), theta.new_zeros(len(image), 3, 2)], 1)
        weights = torch.inverse(system).expand(len(image), -1, -1).bmm(right)
        grid = terms.expand(len(image), -1, -1).bmm(weights).view(-1, *size, 2)
        return grid_sample(image, grid, align_corners=False)

    def ours(image: Tensor, theta: Tensor) -> Tensor:
        return warp(image, theta, spline, output_size=size)

    best = own_kernels()
    warps = {"ours": with_kernels(best, ours), "torch": usual}
    if best == "avx512":
        warps["ours, avx2"] = with_kernels("avx2", ours)
    return warps, image, theta


def step_runs() -> dict[str, Run]:
    """A training step of the MNIST network, without and with a transformer at its input."""
    image, labels = torch.rand(256, 1, 28, 28), torch.randint(10, (256,))
    plain, behind = CNN((1, 28, 28), 10), CNN((1, 28, 28), 10)
    network = LocalisationNetwork(localisation.FCN((1, 28, 28)), transforms.Affine())
    whole = torch.nn.Sequential(SpatialTransformer(network, transforms.Affine()), behind)
    wake(whole, 0)

    def step(model: torch.nn.Module) -> Run:
        def run() -> None:
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(image), labels).backward()

        return run

    return {"ST-CNN": step(whole), "CNN": step(plain)}


def timed(runs: dict[str, Run], seconds: float = 0.6) -> dict[str, dict[str, float]]:
    """Median and minimum of each contender's calls, in turn: so many seconds, or 5 rounds."""
    for run in runs.values():
        run()
    samples: dict[str, list[float]] = {name: [] for name in runs}
    end, rounds = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or rounds < 5:
        rounds += 1
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            samples[name].append((time.perf_counter() - start) * 1e6)
    return {
        name: {"median": round(statistics.median(s), 1), "minimum": round(min(s), 1)}
        for name, s in samples.items()
    }


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is about."""
    return tuple(row[name] for name in ("allocator", "threads", "shape", "case", "what"))


def environment() -> dict[str, Any]:
    """What the numbers depend on."""
    # Of the library that is measured, which need not lie beside this file.
    git = ["git", "-C", str(Path(stn_core.__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout
    names = [s for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s]
    packages = ("torch", "kornia", "opencv-python-headless")
    return {
        "commit": commit.strip(),
        "processor": names[0].partition(": ")[2] if names else "unknown",
        "CPUs": os.cpu_count(),
        "kernels": processor(),
        "system": f"{os.uname().sysname} {os.uname().release}, {'.'.join(platform.libc_ver())}",
        **{name: importlib.metadata.version(name) for name in packages},
        "load before": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def main() -> None:
    """Measure in a process for each setting of the allocator, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES | OTHERS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--without-compiler", action="store_true")
    parser.add_argument("--more", action="store_true", help="keep the other rows that are there")
    parser.add_argument("--allocator", choices=ALLOCATORS, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.allocator:
        for threads in map(int, words.threads.split(",")):
            # Each of its graphs takes half a minute to compile.
            compiles = threads == 1 and not words.without_compiler
            for row in rows(words.shapes.split(","), threads, words.allocator, compiles):
                print(json.dumps({"allocator": words.allocator, **row}), flush=True)
        return
    results: dict[str, Any] = {"environment": environment(), "rows": []}
    old = json.loads((words.out / "results.json").read_text())["rows"] if words.more else []
    for name, settings in ALLOCATORS.items():
        command = [sys.executable, __file__, *sys.argv[1:], "--allocator", name]
        done = subprocess.run(
            command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
        )
        results["rows"] += [json.loads(line) for line in done.stdout.splitlines()]
    new = {key_of(row) for row in results["rows"]}
    results["rows"] = [row for row in old if key_of(row) not in new] + results["rows"]
    words.out.mkdir(parents=True, exist_ok=True)
    (words.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (words.out / "report.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
