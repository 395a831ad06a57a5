"""The timing protocol against `torch.utils.benchmark.Timer`, on the same operations in one run.

`python tests/bench/against_timer.py` prints a table; the two take turns, so what drifts hits both.
"""

import sys
from statistics import median

import torch
from torch.nn import functional as F
from torch.utils.benchmark import Timer

from bench.measurement import measure

CPU = torch.device("cpu")


def operations():
    """Steps of some microseconds, some hundred, and some milliseconds."""
    generator = torch.Generator().manual_seed(0)
    small, large = (torch.rand(n, n, generator=generator) for n in (16, 256))
    image = torch.rand(16, 8, 32, 32, generator=generator)
    theta = torch.rand(16, 2, 3, generator=generator) - 0.5
    weight = torch.rand(8, 8, 3, 3, generator=generator)

    def warp():
        grid = F.affine_grid(theta, [16, 8, 32, 32], align_corners=False)
        return F.grid_sample(image, grid, align_corners=False)

    return {
        "sum of 16×16": lambda: small.sum(),
        "product of 256×256": lambda: large @ large,
        "warp of 16×8×32×32": warp,
        "convolution of 16×8×32×32": lambda: F.conv2d(image, weight),
    }


def ratios(step, rounds):
    """Median time by the protocol over the Timer's, round by round, there and back."""
    found = []
    timer = Timer("step()", globals={"step": step}, num_threads=1)
    for i in range(rounds):
        taken = {}
        for name in ("ours", "theirs") if i % 2 == 0 else ("theirs", "ours"):
            if name == "theirs":
                taken[name] = timer.blocked_autorange(min_run_time=0.2).median
            else:
                kept = [s for s in measure("step", step, CPU).samples if not s.warmup]
                taken[name] = median(s.seconds / s.iterations for s in kept)
        found.append(taken["ours"] / taken["theirs"])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"{'operation':28} {'protocol / Timer':>16}   least … most of {count} rounds")
    for name, step in operations().items():
        found = ratios(step, count)
        print(f"{name:28} {median(found):16.4f}   {min(found):.4f} … {max(found):.4f}")
