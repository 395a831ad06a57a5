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
from sampler_gpu import (
    OPTIONS,
    SHAPES,
    Item,
    captured,
    gradient,
    item_of,
    rotation,
    thetas_of,
    with_map,
)
from torch import Tensor

from stn_core.kernels.gpu import launch

CASES = [
    ("img224", "float32"), ("feat32", "float32"), ("mnist", "float32"), ("inc14", "float32"),
    ("img224x8", "float32"), ("feat32x8", "float32"), ("feat32", "channels_last"),
    ("feat32x8", "channels_last"), ("inc14", "channels_last"), ("img224", "bfloat16"),
    ("feat32", "bfloat16"), ("attn", "float32"), ("cub448", "float32"), ("deep128", "float32"),
]  # fmt: skip
# Cuts that one process compiles in a turn.
TURN = 6
CUDA = torch.device("cuda")


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


def inputs(shape: str, case: str) -> Callable[[], Item]:
    """What makes an image, its matrices and the gradient of the output."""
    theta = thetas_of(shape, CUDA)
    return lambda: with_map(item_of(shape, case, theta), "gather", SHAPES[shape][1])


def by_map(item: Item) -> Tensor:
    """The gradient by the matrices alone."""
    image, matrix, upstream = item
    run = torch.ops.stn_core.warp_backward.default
    return run(upstream, image, matrix, None, None, *OPTIONS, False, True)[1]


def forward(item: Item) -> Tensor:
    """The warped image."""
    image, matrix, upstream = item
    run = torch.ops.stn_core.warp.default
    return run(image, matrix, None, None, *upstream.shape[2:], *OPTIONS)


KERNELS: dict[str, Callable[[Item], Tensor]] = {
    "forward": forward, "by_map": by_map, "by_image": gradient,
}  # fmt: skip


def compiled(part: tuple[str, str, str, list[Cut]]) -> None:
    """Leave some cuts of a kernel in Triton's cache."""
    kernel, shape, case, some = part
    given, run = inputs(shape, case)(), KERNELS[kernel]
    for cut in some:
        choose(kernel, shape, cut)
        run(given)
    torch.cuda.synchronize()


def microseconds(run: Callable[[Item], Tensor], items: list[Item]) -> float:
    """Median of a call, over replays of a graph of a call for each input."""
    graph, kept = captured(run, items)
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
    for shape, case in CASES:
        items = rotation(inputs(shape, case), CUDA)
        for kernel, run in KERNELS.items():
            launch._cut, launch._in_turns = rules
            chosen, times = microseconds(run, items), []
            for cut in cuts(kernel, shape, case):
                choose(kernel, shape, cut)
                times.append((microseconds(run, items), cut))
            best = [(round(t, 2), *cut) for t, cut in sorted(times)[:4]]
            print(shape, case, kernel, f"chosen {chosen:.2f}", "best", best, flush=True)
            results.append([kernel, shape, case, chosen, sorted(times)])
            (asked.out / "cuts.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
