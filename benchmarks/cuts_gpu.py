"""Which cut of a warp into programs is fastest on this GPU: `python benchmarks/cuts_gpu.py`.

For the rules in `stn_core.kernels.gpu.launch`, which choose how many pixels and channels a program
takes. All cuts are compiled first, by many processes at once, then each kernel is timed alone, by
CUDA graphs whose inputs together do not fit into the L2 cache. Writes `cuts.json` into `--out`, and
prints the best of each kernel beside what the rules choose. A minute or two on an H200.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sampler_gpu import SHAPES
from torch import Tensor

from bench.measurement import rotated
from bench.tasks.workloads.thetas import random_thetas
from stn_core import transforms
from stn_core.kernels import fused
from stn_core.kernels.gpu import launch

CASES = [
    ("img224", "float32"), ("feat32", "float32"), ("mnist", "float32"), ("inc14", "float32"),
    ("img224x8", "float32"), ("feat32x8", "float32"), ("feat32", "channels_last"),
    ("feat32x8", "channels_last"), ("inc14", "channels_last"), ("img224", "bfloat16"),
    ("feat32", "bfloat16"), ("attn", "float32"), ("cub448", "float32"), ("deep128", "float32"),
]  # fmt: skip
KERNELS = ("forward", "by_map", "by_image")
# Cuts that one process compiles in a turn.
TURN = 6
Item = tuple[Tensor, Tensor, Tensor]


class Cut(NamedTuple):
    """Pixels of a program and their width, channels at once and in all, warps."""

    pixels: int
    width: int
    depth: int
    group: int
    warps: int


def cuts(kernel: str, shape: str, case: str) -> Iterator[Cut]:
    """All that are tried: from one number a lane to as many as its registers hold."""
    channels = SHAPES[shape][0][1]
    pixels, sides, warps, most = (64, 128, 256, 512, 1024), (16, 32), (2, 4, 8), 16
    if case == "channels_last":
        pixels, sides, warps, most = (8, 16, 32, 64), (8,), (1, 2, 4), 64
        depths, groups = (32, 64, 128), (32, 64, 128, 256)
    elif channels < 4:
        depths, groups = ((4,), (4,)) if kernel == "by_image" else ((1,), (channels,))
    else:
        pixels, sides, depths, groups = (128, 256, 512), (16,), (2, 4, 8, 16), (4, 8, 16, 32, 64)
    is_one = kernel == "by_image" or (kernel == "forward" and case == "channels_last")
    for cut in map(Cut._make, itertools.product(pixels, sides, depths, groups, warps)):
        fits = 1 <= cut.pixels * cut.depth / (32 * cut.warps) <= most
        if fits and cut.depth <= max(4, channels) and cut.group >= cut.depth:
            if not is_one or cut.group == cut.depth:
                yield cut


def choose(kernel: str, shape: str, cut: Cut) -> None:
    """Have `launch` cut so."""
    chosen: dict[str, Any] = {
        "TILE_Y": cut.pixels // cut.width, "TILE_X": cut.width, "DEPTH": cut.depth,
        "WHOLE": SHAPES[shape][0][1] % cut.depth == 0, "enable_fp_fusion": True,
        "num_warps": cut.warps,
    }  # fmt: skip
    launch._cut = lambda *_: dict(chosen)
    launch._in_turns = lambda *_: {**chosen, "GROUP": cut.group}


def item(shape: str, case: str) -> Item:
    """An image, its matrices and the gradient of the output."""
    sizes, side, kind = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    theta = random_thetas(transforms.Affine(), sizes[0], kind, generator).cuda().view(-1, 2, 3)
    dtype = torch.bfloat16 if case == "bfloat16" else torch.float32
    form = torch.channels_last if case == "channels_last" else torch.contiguous_format
    both = (torch.randn(s, device="cuda", dtype=dtype) for s in (sizes, (*sizes[:2], side, side)))
    image, upstream = (t.contiguous(memory_format=form) for t in both)
    return image, theta, upstream


def step(kernel: str, case: str) -> Callable[[Item], Tensor]:
    """A call of one kernel."""
    is_last, options = case == "channels_last", {"border": False, "align_corners": False}

    def run(given: Item) -> Tensor:
        image, theta, upstream = given
        at = fused._steps(upstream, is_last)
        if kernel == "forward":
            result = torch.empty_like(upstream)
            launch.forward(image, theta, result, at, nearest=False, **options)
        elif kernel == "by_map":
            result = torch.empty_like(theta)
            launch.by_map(upstream, at, image, theta, result, **options)
        else:
            result = torch.empty_like(image)
            to = fused._steps(result, is_last)
            launch.by_image(upstream, at, theta, result, to, nearest=False, **options)
        return result

    return run


def compiled(part: tuple[str, str, str, list[Cut]]) -> None:
    """Leave some cuts of a kernel in Triton's cache."""
    kernel, shape, case, some = part
    given, run = item(shape, case), step(kernel, case)
    for cut in some:
        choose(kernel, shape, cut)
        run(given)
    torch.cuda.synchronize()


def microseconds(run: Callable[[Item], Tensor], items: list[Item]) -> float:
    """Median of a call, over replays of a graph of a call for each input."""
    run(items[0])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [run(each) for each in items]
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begun < 0.004:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    graph.reset()
    return 1e3 * statistics.median(times[2:]) / len(kept)


def main() -> None:
    """Compile, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    asked.out.mkdir(parents=True, exist_ok=True)
    every = [(k, *case, list(cuts(k, *case))) for case in CASES for k in KERNELS]
    parts = [(*job, some[i : i + TURN]) for *job, some in every for i in range(0, len(some), TURN)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        for _ in pool.imap_unordered(compiled, parts):
            pass
    rules, results = (launch._cut, launch._in_turns), []
    for kernel, shape, case, some in every:
        make = rotated(lambda s=shape, c=case: item(s, c), torch.device("cuda"))
        first = make()
        items = [first, *itertools.takewhile(lambda each, f=first: each is not f, iter(make, None))]
        run = step(kernel, case)
        launch._cut, launch._in_turns = rules
        chosen, times = microseconds(run, items), []
        for cut in some:
            choose(kernel, shape, cut)
            times.append((microseconds(run, items), cut))
        best = [(round(t, 2), *cut) for t, cut in sorted(times)[:4]]
        print(shape, case, kernel, f"chosen {chosen:.2f}", "best", best, flush=True)
        results.append([kernel, shape, case, chosen, sorted(times)])
        (asked.out / "cuts.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
