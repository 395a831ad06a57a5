"""The timing protocol, version 2; docs/measuring.md states it in full.

Warm up until stable, then blocks of steps until their median is known well enough or the time is
over. All samples are kept; what disturbed one is written on it. A change here that can move a
number raises `PROTOCOL` in `bench.results.schema`.
"""

import gc
import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .conditions import (
    Gpu,
    counters,
    crowded,
    disturbed,
    last_level_cache,
    peak_memory,
    reset_peak_memory,
)  # fmt: skip
from .results import Metric, TimingSample
from .statistics import half_width

Step = Callable[[], object]
Item = TypeVar("Item")

BLOCK_SECONDS = 0.01
WINDOW = 5
STABLE = 0.02
WARMUP_SECONDS = (0.05, 0.5)
# At least the first where the time is over, and the second before.
BLOCKS = (3, 15)
MEASURE_SECONDS = (0.1, 0.4)
PRECISION = 0.005
ROTATION = 1.5
ROTATION_ITEMS = (4, 256)
# A block is bound by the host where it spends more than this share on launching kernels.
HOST_BOUND = 0.95


@dataclass(frozen=True)
class Timing:
    """Blocks of one mode, and what else was measured of it.

    Metrics are called `<mode>_cpus`, how many the process could use; `<mode>_host_memory` and
    `<mode>_device_memory`, the high-water marks meanwhile; `<mode>_energy`, of a GPU and a step.
    """

    samples: tuple[TimingSample, ...]
    metrics: tuple[Metric, ...]


def measure(mode: str, step: Step, device: torch.device) -> Timing:
    """Time a step, by protocol 2.

    A block is as many steps as fill `BLOCK_SECONDS`, timed as a whole: on a CPU by the clock, on a
    GPU by two events of its stream, with one synchronisation at the end. Steps are warm when the
    medians of two windows of blocks in a row differ by less than `STABLE`, or time is over. Then
    blocks follow until the 95 % interval of their median is within `PRECISION` of it, or the time
    is over: see `BLOCKS` and `MEASURE_SECONDS`. The garbage collector is off meanwhile.

    Args:
        mode: What the samples are called.
        step: What is timed; it must give a GPU its work on the current stream.
        device: Where it computes.
    """
    gpu = _gpu(device)
    reset_peak_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        warm, steps = _warm_up(mode, step, device, gpu)
        kept = list[TimingSample]()
        before, joules = counters(), gpu and gpu.energy()
        begun = time.perf_counter()
        while not _enough([s.seconds for s in kept], time.perf_counter() - begun):
            kept.append(_block(mode, step, steps, device, gpu))
        around = crowded(before, counters(), time.perf_counter() - begun)
        around += gpu.crowded() if gpu else ()
        used = gpu and gpu.energy()
    finally:
        if collecting:
            gc.enable()
    kept = [replace(sample, flags=(*sample.flags, *around)) for sample in kept]
    numbers = {
        "cpus": (len(os.sched_getaffinity(0)), "count"),
        "host_memory": (peak_memory(), "bytes"),
        "device_memory": (_device_memory(device), "bytes"),
        "energy": (
            None if joules is None or used is None else (used - joules) / (steps * len(kept)), "J",
        ),
    }  # fmt: skip
    return Timing(
        tuple(replace(sample, sample=i) for i, sample in enumerate([*warm, *kept])),
        tuple(
            Metric(f"{mode}_{name}", float(value), unit, False)
            for name, (value, unit) in numbers.items()
            if value is not None
        ),
    )


@dataclass(frozen=True)
class Block:
    """A step that is warm, to be timed a block at a time: for arms that take turns.

    Attributes:
        seconds: That a step takes, by the warm-up.
        made: How many steps the warm-up made: that far the step's inputs have moved on.
    """

    mode: str
    step: Step
    seconds: float
    made: int
    device: torch.device
    gpu: Gpu | None

    def time(self, steps: int) -> TimingSample:
        """Time a block of so many steps."""
        return _block(self.mode, self.step, steps, self.device, self.gpu)


def warm_up(mode: str, step: Step, device: torch.device) -> tuple[list[TimingSample], Block]:
    """Make a step warm, as `measure` does; the blocks that it took, and the step to be timed."""
    gpu = _gpu(device)
    samples, _ = _warm_up(mode, step, device, gpu)
    once = median(s.seconds / s.iterations for s in samples[-WINDOW:])
    samples = [replace(sample, sample=i) for i, sample in enumerate(samples)]
    return samples, Block(mode, step, once, sum(s.iterations for s in samples), device, gpu)


def flops(mode: str, step: Step) -> tuple[Metric, ...]:
    """Floating-point operations of one step, by torch's own formulae for products, convolutions.

    Elementwise work and sampling are not in it.
    """
    from torch.utils.flop_counter import flop_registry  # its import takes half a second

    total = 0

    class Counting(TorchDispatchMode):
        """As torch's `FlopCounterMode`, which imports a compiler for seconds."""

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal total
            output = func(*args, **(kwargs or {}))
            if (formula := flop_registry.get(func.overloadpacket)) is not None:
                total += formula(*args, **(kwargs or {}), out_val=output)
            return output

    with Counting():
        step()
    return (Metric(f"{mode}_flops", float(total), "count", False),)


def rotated(make: Callable[[], Item], device: torch.device) -> Callable[[], Item]:
    """Inputs in turn, so many that together they do not fit into the device's last cache.

    Args:
        make: Makes one input, a tensor or a tuple of tensors, with contents of its own.
        device: Where they lie.
    """
    items = [make()]
    first: Any = items[0]
    tensors = first if isinstance(first, tuple) else (first,)
    size = sum(t.numel() * t.element_size() for t in tensors)
    least, most = ROTATION_ITEMS
    count = min(max(math.ceil(ROTATION * _cache(device) / max(size, 1)), least), most)
    items += [make() for _ in range(count - 1)]
    return itertools.cycle(items).__next__


def _warm_up(
    mode: str, step: Step, device: torch.device, gpu: Gpu | None
) -> tuple[list[TimingSample], int]:
    """Blocks until they are stable or the time is over, and how many steps fill a block."""
    warm = list[TimingSample]()
    steps, same = 1, 0
    begun = time.perf_counter()
    while True:
        warm.append(replace(_block(mode, step, steps, device, gpu), warmup=True))
        now, seconds = time.perf_counter(), warm[-1].seconds
        if len(warm) <= 2:
            # The first steps can take a thousand times as long as the next.
            begun = now
        elif seconds < BLOCK_SECONDS / 2:
            steps, same = math.ceil(steps * min(BLOCK_SECONDS / seconds, 10)), len(warm)
        elif now - begun >= WARMUP_SECONDS[1]:
            break
        elif now - begun > WARMUP_SECONDS[0] and _stable([s.seconds for s in warm[same:]]):
            break
    return warm, steps


def _gpu(device: torch.device) -> Gpu | None:
    if device.type != "cuda":
        return None
    return Gpu(str(torch.cuda.get_device_properties(device).uuid))


def _enough(seconds: Sequence[float], spent: float) -> bool:
    least, most = MEASURE_SECONDS
    if spent >= most:
        return len(seconds) >= BLOCKS[0]
    enough = spent >= least and len(seconds) >= BLOCKS[1]
    return enough and half_width(seconds) <= PRECISION * median(seconds)


def _stable(blocks: Sequence[float]) -> bool:
    if len(blocks) < 2 * WINDOW:
        return False
    before, now = median(blocks[-2 * WINDOW : -WINDOW]), median(blocks[-WINDOW:])
    return abs(now - before) < STABLE * before


def _block(
    mode: str, step: Step, iterations: int, device: torch.device, gpu: Gpu | None
) -> TimingSample:
    before = counters()
    if device.type == "cuda":
        seconds, flags = _on_gpu(step, iterations, device)
        flags += gpu.flags() if gpu else ()
    else:
        begun = time.perf_counter_ns()
        for _ in range(iterations):
            step()
        seconds, flags = (time.perf_counter_ns() - begun) / 1e9, ()
    flags += disturbed(before, counters())
    return TimingSample(mode, 0, seconds, iterations, False, flags)


def _on_gpu(step: Step, iterations: int, device: torch.device) -> tuple[float, tuple[str, ...]]:
    """Seconds between two events of the stream that the steps ran on."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    start.record()
    for _ in range(iterations):
        step()
    end.record()
    launched = time.perf_counter() - begun
    end.synchronize()
    spent = time.perf_counter() - begun
    flags = ("host_bound",) if launched > HOST_BOUND * spent else ()
    return start.elapsed_time(end) / 1e3, flags


def _cache(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    return last_level_cache()


def _device_memory(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
