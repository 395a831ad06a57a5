"""How fast warps are on this GPU, beside torch's: `python benchmarks/sampler_gpu.py`.

Writes results/reference/sampler_gpu/: `results.json`, all medians in microseconds and all errors,
and `report.md`, each beside its target. It takes some minutes; nothing else should use the GPU
meanwhile. For one shape or a few: `--shapes mnist,attn`.

Times are of `bench.measurement`, protocol 2. Inputs take turns, so many that together they do not
fit into the L2 cache. `eager` is called from Python; `graph` is one CUDA graph of a call for each
of the inputs, so it is the GPU's time alone.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sampler_gpu_report import markdown
from sampler_shapes import SHAPES as OF_A_CPU
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from bench.environment import environment
from bench.measurement import measure, rotated
from bench.tasks.workloads.thetas import random_thetas
from stn_core import transforms, warp

OUT = Path(__file__).parent.parent / "results" / "reference" / "sampler_gpu"
# Deep maps, and maps that no cache holds.
BEYOND: dict[str, Any] = {
    "img224x8": ((256, 3, 224, 224), 224, "rts"),
    "feat32x8": ((512, 64, 32, 32), 32, "rts"),
}
SHAPES: dict[str, Any] = {
    **OF_A_CPU,
    "deep128": ((64, 128, 28, 28), 28, "rts"),
    "deep256": ((32, 256, 14, 14), 14, "rts"),
    **BEYOND,
}
CASES = ("float32", "channels_last", "bfloat16")
# The operator's interpolation, padding and `align_corners`.
OPTIONS = ("bilinear", "zeros", False, 1)
COPIED = 1 << 30
Warp = Callable[[Tensor, Tensor], Tensor]
Item = tuple[Tensor, ...]


def rows(name: str, device: torch.device) -> list[dict[str, Any]]:
    """All measurements of a shape."""
    shape, side, _ = SHAPES[name]
    theta = thetas_of(name, device)
    warps = {"torch": of_torch(side), "fused": of_fused(side)}
    found = []
    for case in CASES:
        if case == "channels_last" and shape[1] < 16:
            continue

        def make(case=case) -> Item:
            return item_of(name, case, theta)

        floor, errors = least_bytes(make(), side), errors_of(warps, make())
        label = {"shape": name, "case": case, "channels": shape[1], "is_beyond": name in BEYOND}
        for what in ("forward", "backward"):
            times = {
                f"{who} {mode}": timed(step(run, what), make, mode, device)
                for who, run in warps.items()
                for mode in ("eager", "graph")
            }
            row = {"what": what, "bytes": floor[what], "times": times, "errors": errors}
            found.append(label | row)
        times = {
            way: timed(gradient, lambda way=way: with_map(make(), way, side), "graph", device)
            for way in ("gather", "atomic")
        }
        found.append(label | {"what": "gradient", "times": times})
    return found


def thetas_of(name: str, device: torch.device) -> Tensor:
    """The thetas of a shape, the same at each call."""
    shape, _, kind = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    return random_thetas(transforms.Affine(), shape[0], kind, generator).to(device)


def item_of(name: str, case: str, theta: Tensor) -> Item:
    """An image of a shape, a theta of its own, and the gradient of the output."""
    shape, side, _ = SHAPES[name]
    form = torch.channels_last if case == "channels_last" else torch.contiguous_format
    dtype = torch.bfloat16 if case == "bfloat16" else torch.float32
    sizes = shape, (*shape[:2], side, side)
    image, upstream = (torch.randn(size, device=theta.device, dtype=dtype) for size in sizes)
    image, upstream = (t.contiguous(memory_format=form) for t in (image, upstream))
    return image, theta.clone(), upstream


def of_torch(side: int) -> Warp:
    """The usual way, coordinates in float32 as is right."""

    def run(image: Tensor, theta: Tensor) -> Tensor:
        size = [*image.shape[:2], side, side]
        grid = affine_grid(theta.view(-1, 2, 3), size, align_corners=False)
        wide = image.to(torch.promote_types(image.dtype, torch.float32))
        return grid_sample(wide, grid, align_corners=False).to(image.dtype)

    return run


def of_fused(side: int) -> Warp:
    """This library."""
    return lambda image, theta: warp(
        image, theta, transforms.Affine(), output_size=(side, side), backend="fused"
    )


def step(run: Warp, what: str) -> Callable[[Item], Any]:
    """A call of one pass on one input."""
    if what == "forward":
        return lambda item: run(item[0], item[1])

    def both(item: Item) -> Any:
        leaves = item[0].detach().requires_grad_(), item[1].detach().requires_grad_()
        return torch.autograd.grad(run(*leaves), leaves, item[2])

    return both


def with_map(item: Item, way: str, side: int) -> Item:
    """Instead of theta its matrix, which is gathered by, or its grid, which takes atomic sums."""
    image, theta, upstream = item
    matrix = theta.view(-1, 2, 3)
    if way == "gather":
        return image, matrix, upstream
    return image, affine_grid(matrix, [*image.shape[:2], side, side], align_corners=False), upstream


def gradient(item: Item) -> Tensor:
    """The gradient by the image alone."""
    image, map, upstream = item
    run = torch.ops.stn_core.warp_backward.default
    return run(upstream, image, map, None, None, *OPTIONS, True, False)[0]


def least_bytes(item: Item, side: int) -> dict[str, int]:
    """What has to be read and written: pixels that are read, once, and results."""
    image, theta, upstream = item
    leaf = image.float().requires_grad_()
    output = of_torch(side)(leaf, theta)
    (share,) = torch.autograd.grad(output, leaf, torch.ones_like(output))
    size = image.element_size()
    seen, out = int(share.count_nonzero()) * size, upstream.numel() * size
    # Backward reads the image and the output's gradient, and writes the image's.
    return {"forward": seen + out, "backward": seen + out + seen + out + image.numel() * size}


def errors_of(warps: dict[str, Warp], item: Item) -> dict[str, list[float]]:
    """Relative distances of output, image's and theta's gradient from torch's in float64."""
    image, theta, upstream = item

    def all_of(run: Warp, *leaves: Tensor) -> list[Tensor]:
        leaves = tuple(leaf.detach().requires_grad_() for leaf in leaves)
        output = run(*leaves)
        return [output, *torch.autograd.grad(output, leaves, upstream.to(output.dtype))]

    exact = all_of(warps["torch"], image.double(), theta.double())
    return {
        who: [
            ((mine - right).norm() / right.norm()).item()
            for mine, right in zip(all_of(run, image, theta), exact, strict=True)
        ]
        for who, run in warps.items()
    }


def timed(
    run: Callable[[Item], Any], make: Callable[[], Item], mode: str, device: torch.device
) -> float:
    """Median microseconds of a call."""
    if mode == "eager":
        following = rotated(make, device)
        return median(lambda: run(following()), device)
    items = rotation(make, device)
    if device.type != "cuda":
        return median(lambda: [run(item) for item in items], device) / len(items)
    graph, kept = captured(run, items)
    try:
        return median(graph.replay, device) / len(kept)
    finally:
        graph.reset()


def rotation(make: Callable[[], Item], device: torch.device) -> list[Item]:
    """The inputs that `rotated` gives in turn."""
    items: list[Item] = []

    def kept() -> Item:
        items.append(make())
        return items[-1]

    rotated(kept, device)
    return items


def captured(run: Callable[[Item], Any], items: list[Item]) -> tuple[torch.cuda.CUDAGraph, list]:
    """A CUDA graph of a call for each of the inputs, and their results."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(items[0])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        # All results are kept, or a second call would write where the first one did.
        kept = [run(item) for item in items]
    return graph, kept


def median(run: Callable[[], object], device: torch.device) -> float:
    """Median microseconds of a step, by protocol 2."""
    samples = measure("step", run, device).samples
    return statistics.median(s.seconds / s.iterations for s in samples if not s.warmup) * 1e6


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy that no cache holds."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / (median(lambda: target.copy_(source), device) / 1e6)


def main(words: list[str] | None = None) -> None:
    """Measure, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    asked = parser.parse_args(words)
    names, device = asked.shapes.split(","), asked.device
    if unknown := [name for name in names if name not in SHAPES]:
        sys.exit(f"`--shapes` must be of {', '.join(SHAPES)}, got {', '.join(unknown)}.")
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here.")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    asked.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "environment": {"GPU": where, **environment()},
        "bandwidth": copy_bandwidth(device),
        "rows": [],
    }
    for name in names:
        results["rows"] += rows(name, device)
        # Written after each shape, so that what is measured is not lost with the machine.
        (asked.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (asked.out / "report.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
