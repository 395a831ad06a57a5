"""How fast warps are on this GPU, beside torch's: `python benchmarks/sampler_gpu.py`.

Writes results/reference/sampler_gpu/: `sampler_gpu.json`, all medians in microseconds, and
`sampler_gpu.md`, ratios and shares of the copy bandwidth beside the targets. It takes some minutes;
nothing else should use the GPU meanwhile. For one shape or a few: `--shapes mnist,attn`.

Times are of `bench.measurement`, protocol 2. Inputs take turns, so many that together they do not
fit into the L2 cache. `eager` is called from Python; `graph` is one CUDA graph of a call for each
of the inputs, so it is the GPU's time alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sampler_cpu import SHAPES, thetas
from torch.nn.functional import affine_grid, grid_sample

from bench.measurement import measure, rotated
from stn_core import transforms, warp

OUT = Path(__file__).parent.parent / "results" / "reference" / "sampler_gpu"
DEVICE = torch.device("cuda")
# Deep maps, and maps that no cache holds, beside those of the CPU's table.
SHAPES = {
    **SHAPES,
    "deep128": ((64, 128, 28, 28), 28, "turn"),
    "deep256": ((32, 256, 14, 14), 14, "turn"),
    "img224x8": ((256, 3, 224, 224), 224, "turn"),
    "feat32x8": ((512, 64, 32, 32), 32, "turn"),
}
DEEP, BEYOND = 128, 8
# (forward, forward and backward): times as fast as torch, there and on deep maps; shares of the
# copy bandwidth, where inputs are beyond the cache by themselves.
FASTER, FASTER_DEEP, SHARE = (4, 3), (10, 10), (0.8, 0.6)
Warp = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Item = tuple[torch.Tensor, ...]


def rows(name: str) -> list[dict[str, Any]]:
    """All measurements of a shape."""
    shape, side, kind = SHAPES[name]
    found = []
    for case in ("float32", "channels_last", "bfloat16"):
        if case == "channels_last" and shape[1] < 16:
            continue
        form = torch.channels_last if case == "channels_last" else torch.contiguous_format
        dtype = torch.bfloat16 if case == "bfloat16" else torch.float32
        theta = thetas(shape[0], kind).to(DEVICE)

        def make(form=form, dtype=dtype, theta=theta) -> Item:
            image = torch.randn(shape, device=DEVICE, dtype=dtype).contiguous(memory_format=form)
            upstream = torch.randn(*shape[:2], side, side, device=DEVICE, dtype=dtype)
            return image, theta.clone(), upstream.contiguous(memory_format=form)

        floor = least_bytes(make(), side)
        for what in ("forward", "backward"):
            times = {
                f"{who} {mode}": timed(step(run, what), make, mode)
                for who, run in {"torch": of_torch(side), "fused": of_fused(side)}.items()
                for mode in ("eager", "graph")
            }
            label = {"shape": name, "case": case, "what": what, "bytes": floor[what]}
            found.append(label | {"channels": shape[1], "times": times})
        if case != "bfloat16":
            times = {who: timed(run, make, "graph") for who, run in gradients(side).items()}
            found.append({"shape": name, "case": case, "what": "gradient", "times": times})
    return found


def of_torch(side: int) -> Warp:
    """The usual way, coordinates in float32 as is right."""

    def run(image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        size = [*image.shape[:2], side, side]
        grid = affine_grid(theta.view(-1, 2, 3), size, align_corners=False)
        return grid_sample(image.float(), grid, align_corners=False).to(image.dtype)

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


def gradients(side: int) -> dict[str, Callable[[Item], Any]]:
    """The gradient by the image alone: gathered in a fixed order, and by atomic sums of a grid."""
    operator = torch.ops.stn_core.warp_backward.default

    def by(map_of: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Item], Any]:
        maps: dict[int, torch.Tensor] = {}

        def run(item: Item) -> Any:
            image, theta, upstream = item
            if theta.data_ptr() not in maps:
                maps[theta.data_ptr()] = map_of(theta.view(-1, 2, 3))
            options = (False, False, False, True, False)
            return operator(upstream, image, maps[theta.data_ptr()], *options)

        return run

    def grid(matrix: torch.Tensor) -> torch.Tensor:
        return affine_grid(matrix, [len(matrix), 1, side, side], align_corners=False)

    return {"gather": by(lambda matrix: matrix), "atomic": by(grid)}


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


def timed(run: Callable[[Item], Any], make: Callable[[], Item], mode: str) -> float:
    """Median microseconds of a call."""
    count = 0

    def counted() -> Item:
        nonlocal count
        count += 1
        return make()

    following = rotated(counted, DEVICE)
    if mode == "eager":
        return median(lambda: run(following()))
    items = [following() for _ in range(count)]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(items[0])
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = [run(item) for item in items]
    try:
        return median(graph.replay) / len(kept)
    finally:
        graph.reset()


def median(run: Callable[[], object]) -> float:
    """Median microseconds of a step, by protocol 2."""
    samples = measure("step", run, DEVICE).samples
    return statistics.median(s.seconds / s.iterations for s in samples if not s.warmup) * 1e6


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a copy of a gigabyte."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() / (median(lambda: target.copy_(source)) / 1e6)


def markdown(results: dict[str, Any]) -> str:
    """The tables, each number beside its target."""
    lines = ["# Warps on a GPU", ""]
    lines += [f"- {name}: {value}" for name, value in results["environment"].items()]
    lines += ["", "Microseconds; `×` is torch's time over that of `fused`.", ""]
    lines += ["| shape | case | pass | torch graph | fused graph | × graph | × eager | target × |"]
    lines[-1] += " of copy bandwidth | target |"
    lines += ["| --- " * 10 + "|"]
    for row in results["rows"]:
        if row["what"] == "gradient":
            continue
        both, times = row["what"] == "backward", row["times"]
        faster = (FASTER_DEEP if row["channels"] >= DEEP else FASTER)[both]
        share = row["bytes"] / (times["fused graph"] / 1e6) / results["bandwidth"]
        is_beyond = row["shape"].endswith(f"x{BEYOND}")
        ratios = [times[f"torch {mode}"] / times[f"fused {mode}"] for mode in ("graph", "eager")]
        cells = [row["shape"], row["case"], row["what"], *map("{:.1f}".format, (
            times["torch graph"], times["fused graph"])), *map("{:.2f}".format, ratios),
            f"≥ {faster}", f"{share:.0%}", f"≥ {SHARE[both]:.0%}" if is_beyond else "",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "The gradient by the image alone; the target is that gathering is no slower.", ""]
    lines += ["| shape | case | gather | atomic | × |", "| --- " * 5 + "|"]
    for row in results["rows"]:
        if row["what"] == "gradient":
            gather, atomic = row["times"]["gather"], row["times"]["atomic"]
            numbers = f"{gather:.1f} | {atomic:.1f} | {atomic / gather:.2f}"
            lines.append(f"| {row['shape']} | {row['case']} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--out", type=Path, default=OUT)
    words = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device here.")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    bandwidth = copy_bandwidth()
    environment = {
        "commit": commit.strip(),
        "GPU": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "copy bandwidth": f"{bandwidth / 1e12:.2f} TB/s",
    }
    found = [row for name in words.shapes.split(",") for row in rows(name)]
    results = {"environment": environment, "bandwidth": bandwidth, "rows": found}
    words.out.mkdir(parents=True, exist_ok=True)
    (words.out / "sampler_gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    (words.out / "sampler_gpu.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
