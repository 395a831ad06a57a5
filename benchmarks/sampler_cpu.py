"""How fast warps are on this CPU, beside other libraries: `python benchmarks/sampler_cpu.py`.

Writes results/reference/sampler_cpu/: `sampler_cpu.json`, all medians and minima in microseconds,
and `sampler_cpu.md`, ratios. Takes about five minutes; nothing else should run meanwhile. The
contenders of a row are interleaved call by call in one process. Every setting of the allocator is a
process of its own. For one shape or a few: `--shapes mnist,attn`. Needs kornia and OpenCV.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import affine_grid, grid_sample

from bench.models.cnn import CNN
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
# (batch, channels, height, width), the output's side, the kind of theta.
SHAPES = {
    "mnist": ((256, 1, 28, 28), 28, "turn"),
    "attn": ((128, 1, 60, 60), 20, "crop"),
    "feat32": ((64, 64, 32, 32), 32, "turn"),
    "img224": ((32, 3, 224, 224), 224, "turn"),
    "inc14": ((32, 192, 28, 28), 14, "half"),
    "cub448": ((8, 3, 448, 448), 224, "half"),
}
SPLINES = {
    "mnist": ((256, 1, 28, 28), (28, 28), (4, 4)),
    "attn": ((128, 1, 60, 60), (28, 28), (4, 4)),
    "text": ((64, 3, 32, 100), (32, 100), (5, 5)),
    "img224": ((8, 3, 224, 224), (224, 224), (4, 4)),
    "feat32": ((64, 64, 32, 32), (32, 32), (4, 4)),
}
# What glibc does with freed memory: by default large outputs are fresh pages at every call.
ALLOCATORS = {
    "default": {},
    "raised": {
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
        "MALLOC_TOP_PAD_": str(256 << 20),
    },
}
Run = Callable[[], Any]


def thetas(count: int, kind: str) -> torch.Tensor:
    """Random matrices: turned and scaled; crops of a third; crops of half, shifted only."""
    generator = torch.Generator().manual_seed(0)

    def between(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    turn, scale, shift = {
        "turn": (math.pi / 4, (0.7, 1.2), 0.2),
        "crop": (0.1, (0.28, 0.40), 0.4),
        "half": (0.0, (0.5, 0.5), 0.4),
    }[kind]
    angle, s = between(-turn, turn), between(*scale)
    x, y = between(-shift, shift), between(-shift, shift)
    cos, sin = s * angle.cos(), s * angle.sin()
    return torch.stack([cos, -sin, x, sin, cos, y], 1)


def rows(names: list[str], threads: int) -> list[dict[str, Any]]:
    """All measurements with so many threads."""
    torch.set_num_threads(threads)
    found = []
    for name in names:
        shape, side, kind = SHAPES[name]
        theta, image = thetas(shape[0], kind), torch.randn(shape)
        for case in ("float32", "channels_last", "bfloat16", "nearest"):
            if case == "channels_last" and shape[1] < 16:
                continue
            for what, contenders in affine_contenders(image, theta, side, case).items():
                label = {"threads": threads, "shape": name, "case": case, "what": what}
                found.append(label | {"times": timed(contenders)})
    for name, (shape, size, control) in SPLINES.items():
        if name in names or name == "text":
            contenders = spline_contenders(torch.randn(shape), size, control)
            label = {"threads": threads, "shape": name, "case": "spline", "what": "backward"}
            found.append(label | {"times": timed(contenders)})
    label = {"threads": threads, "shape": "mnist", "case": "training step", "what": "backward"}
    return [*found, label | {"times": timed(step_contenders())}]


def affine_contenders(
    image: torch.Tensor, theta: torch.Tensor, side: int, case: str
) -> dict[str, dict[str, Run]]:
    """Who warps, for the forward pass and for that with the gradients of image and theta."""
    if case == "channels_last":
        image = image.contiguous(memory_format=torch.channels_last)
    if case == "bfloat16":
        image = image.bfloat16()
    sampler = samplers.Nearest() if case == "nearest" else samplers.Bilinear()
    mode = "nearest" if case == "nearest" else "bilinear"
    size = [*image.shape[:2], side, side]

    def of_torch(image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        grid = affine_grid(theta.view(-1, 2, 3), size, align_corners=False)
        # In 16 bits torch's own is wrong by pixels, and beyond 181 x 181 reads foreign memory.
        read = grid_sample(image.float(), grid, mode=mode, align_corners=False)
        return read.to(image.dtype)

    def of_fused(kind: str):
        def run(image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
            os.environ["STN_CORE_CPU"] = kind
            options = {"sampler": sampler, "output_size": (side, side)}
            return warp(image, theta, transforms.Affine(), **options, backend="fused")

        return run

    best = processor()
    functions = {"torch": of_torch, "fused": of_fused(best)}
    if best == "avx512":
        functions["fused avx2"] = of_fused("avx2")
    forward: dict[str, Run] = {
        name: lambda f=function: f(image, theta) for name, function in functions.items()
    }
    if case == "float32":
        forward |= foreign(image, theta, side)
    leaves = image.clone().requires_grad_(), theta.clone().requires_grad_()
    upstream = torch.randn(size).to(image)
    slow = leaves if case != "nearest" else leaves[:1]
    backward: dict[str, Run] = {
        name: lambda f=function: torch.autograd.grad(f(*leaves), slow, upstream)
        for name, function in functions.items()
    }
    return {"forward": forward, "backward": backward}


def foreign(image: torch.Tensor, theta: torch.Tensor, side: int) -> dict[str, Run]:
    """kornia, and OpenCV image by image, with the same maps in pixels."""
    import cv2
    from kornia.geometry.transform import warp_affine

    width = image.shape[3]
    matrix = torch.zeros(len(theta), 3, 3, dtype=torch.float64)
    matrix[:, :2] = theta.view(-1, 2, 3).double()
    matrix[:, 2, 2] = 1
    to_pixels = torch.tensor([[width / 2, 0, (width - 1) / 2], [0, width / 2, (width - 1) / 2]])
    to_pixels = torch.cat([to_pixels, torch.tensor([[0.0, 0, 1]])]).double()
    from_pixels = torch.tensor([[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1]])
    from_pixels = torch.cat([from_pixels, torch.tensor([[0.0, 0, 1]])]).double()
    reading = to_pixels @ matrix @ from_pixels
    forth = reading.inverse()[:, :2].float()
    runs: dict[str, Run] = {"kornia": lambda: warp_affine(image, forth, (side, side))}
    if image.shape[1] <= 4:
        cv2.setNumThreads(torch.get_num_threads())
        pictures = [picture.permute(1, 2, 0).contiguous().numpy() for picture in image]
        maps = [m.numpy() for m in reading[:, :2]]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        runs["opencv"] = lambda: [
            cv2.warpAffine(picture, m, (side, side), flags=flags)
            for picture, m in zip(pictures, maps, strict=True)
        ]
    return runs


def spline_contenders(
    image: torch.Tensor, size: tuple[int, int], control: tuple[int, int]
) -> dict[str, Run]:
    """The usual way, an inverse and a batched product, and this library; with gradients."""
    spline = transforms.ThinPlateSpline(control)
    start = spline.identity.float()
    theta = start + 0.05 * torch.randn(len(image), len(start))
    leaves = image.requires_grad_(), theta.requires_grad_()
    upstream = torch.randn(*image.shape[:2], *size)
    points = start.view(-1, 2)
    count = len(points)

    def kernel(squared: torch.Tensor) -> torch.Tensor:
        return squared * torch.log(squared + 1e-6)

    lattice = transforms.Affine().grid(torch.eye(2, 3).view(1, 6), size, align_corners=False)
    targets = lattice.view(-1, 2)
    ones = torch.ones(count, 1)
    upper = torch.cat([kernel(torch.cdist(points, points).square()), ones, points], 1)
    lower = torch.cat([torch.cat([ones, points], 1).T, torch.zeros(3, 3)], 1)
    system = torch.cat([upper, lower])
    terms = torch.cat(
        [kernel(torch.cdist(targets, points).square()), torch.ones(len(targets), 1), targets], 1
    )

    def usual() -> Any:
        right = torch.cat([leaves[1].view(-1, count, 2), torch.zeros(len(image), 3, 2)], 1)
        weights = torch.inverse(system).expand(len(image), -1, -1).bmm(right)
        grid = terms.expand(len(image), -1, -1).bmm(weights).view(-1, *size, 2)
        output = grid_sample(leaves[0], grid, align_corners=False)
        return torch.autograd.grad(output, leaves, upstream)

    def ours() -> Any:
        output = warp(*leaves, spline, output_size=size)
        return torch.autograd.grad(output, leaves, upstream)

    return {"torch": usual, "fused": ours}


def step_contenders() -> dict[str, Run]:
    """A training step of the MNIST network, without and with a transformer at its input."""
    image, labels = torch.rand(256, 1, 28, 28), torch.randint(10, (256,))
    plain, behind = CNN((1, 28, 28), 10), CNN((1, 28, 28), 10)
    network = LocalisationNetwork(localisation.FCN((1, 28, 28)), transforms.Affine())
    whole = torch.nn.Sequential(SpatialTransformer(network, transforms.Affine()), behind)

    def step(model: torch.nn.Module) -> Run:
        def run() -> None:
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(image), labels).backward()

        return run

    return {"ST-CNN": step(whole), "CNN": step(plain)}


def timed(contenders: dict[str, Run], seconds: float = 1.0) -> dict[str, dict[str, float]]:
    """Median and minimum of each contender's calls, in turn: so many seconds, or 5 rounds."""
    for run in contenders.values():
        run()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[next(iter(samples))]) < 5:
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            samples[name].append((time.perf_counter() - start) * 1e6)
    return {
        name: {"median": round(statistics.median(s), 1), "minimum": round(min(s), 1)}
        for name, s in samples.items()
    }


def markdown(results: dict[str, Any]) -> str:
    """The table of ratios to `fused`, and geometric means over the shapes."""
    lines = [
        "# Warps on a CPU",
        "",
        *[f"- {name}: {value}" for name, value in results["environment"].items()],
        "",
        "Microseconds; `×` is the other's time over that of `fused`. Medians with one thread,",
        "minima with more. Training step: ST-CNN over CNN.",
        "",
        "| allocator | threads | case | shape | pass | fused | × torch | others |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    ratios: dict[tuple[Any, ...], list[float]] = {}
    for row in results["rows"]:
        pick = "median" if row["threads"] == 1 else "minimum"
        times = {name: each[pick] for name, each in row["times"].items()}
        group = row["allocator"], row["threads"], row["case"], row["what"]
        ours = times.pop("CNN" if "CNN" in times else "fused")
        theirs = times.pop("ST-CNN" if "ST-CNN" in times else "torch")
        ratios.setdefault(group, []).append(theirs / ours)
        others = ", ".join(f"{name} × {value / ours:.2f}" for name, value in times.items())
        cells = [*group[:3], row["shape"], group[3], f"{ours:.0f}", f"{theirs / ours:.2f}", others]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| allocator | threads | case | pass | geometric mean × torch | least |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for group, values in ratios.items():
        cells = [*group, f"{statistics.geometric_mean(values):.2f}", f"{min(values):.2f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def environment() -> dict[str, Any]:
    """What the numbers depend on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    names = [s for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s]
    return {
        "commit": commit.strip(),
        "processor": names[0].partition(": ")[2] if names else "unknown",
        "kernels": processor(),
        "torch": torch.__version__,
        "load before": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def main() -> None:
    """Measure in a process for each setting of the allocator, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--allocator", choices=ALLOCATORS, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.allocator:
        threads = map(int, words.threads.split(","))
        found = [row for n in threads for row in rows(words.shapes.split(","), n)]
        print(json.dumps([row | {"allocator": words.allocator} for row in found]))
        return
    results: dict[str, Any] = {"environment": environment(), "rows": []}
    for name, settings in ALLOCATORS.items():
        command = [sys.executable, __file__, *sys.argv[1:], "--allocator", name]
        done = subprocess.run(
            command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
        )
        results["rows"] += json.loads(done.stdout)
    words.out.mkdir(parents=True, exist_ok=True)
    (words.out / "sampler_cpu.json").write_text(json.dumps(results, indent=1) + "\n")
    (words.out / "sampler_cpu.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
