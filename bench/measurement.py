"""The timing protocol, version 2: warm up until stable, then blocks of steps, all samples kept.

A change here that can move a number raises `PROTOCOL` in `bench.results.schema`.
"""

import gc
import time
from collections.abc import Callable
from statistics import median

import torch

from .results import TimingSample

BLOCK_SECONDS = 0.02
WARMUP_SECONDS = (0.1, 2.0)
STABLE = 0.02
WINDOW = 5
MEASURE_SECONDS = 0.4
BLOCKS = 10


def measure(mode: str, step: Callable[[], object], device: torch.device) -> list[TimingSample]:
    """Time a step: the warm-up's blocks first, flagged, then at least `BLOCKS` blocks.

    A block is as many steps as fill `BLOCK_SECONDS`, timed as a whole, with one synchronisation at
    its end. It is warm when the medians of two windows of blocks in a row differ by less than
    `STABLE`. The garbage collector is off meanwhile.
    """
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        first = _block(step, 1, device)
        once = min(first, _block(step, 1, device))
        iterations = max(1, round(BLOCK_SECONDS / once))
        warm: list[float] = []
        begun = time.perf_counter()
        while (spent := time.perf_counter() - begun) < WARMUP_SECONDS[1]:
            warm.append(_block(step, iterations, device))
            if spent > WARMUP_SECONDS[0] and _stable(warm):
                break
        kept: list[float] = []
        begun = time.perf_counter()
        while len(kept) < BLOCKS or time.perf_counter() - begun < MEASURE_SECONDS:
            kept.append(_block(step, iterations, device))
    finally:
        if collecting:
            gc.enable()
    samples = [TimingSample(mode, 0, first, 1, True)]
    blocks = [(seconds, True) for seconds in warm] + [(seconds, False) for seconds in kept]
    samples += [
        TimingSample(mode, i, seconds, iterations, warmup)
        for i, (seconds, warmup) in enumerate(blocks, start=1)
    ]
    return samples


def _block(step: Callable[[], object], iterations: int, device: torch.device) -> float:
    begun = time.perf_counter_ns()
    for _ in range(iterations):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter_ns() - begun) / 1e9


def _stable(blocks: list[float]) -> bool:
    if len(blocks) < 2 * WINDOW:
        return False
    before, now = median(blocks[-2 * WINDOW : -WINDOW]), median(blocks[-WINDOW:])
    return abs(now - before) < STABLE * before
