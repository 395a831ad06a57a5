"""The tables of `sampler_gpu.py`, out of its results: each number beside its target."""

from typing import Any

PASSES = {"forward": "forward", "backward": "forward + backward"}
# Times as fast as torch, and so on maps of DEEP channels and more; shares of the copy bandwidth of
# inputs that no cache holds.
FASTER = {"forward": 4, "backward": 3}
FASTER_DEEP, DEEP = 10, 128
SHARE = {"forward": 0.8, "backward": 0.6}


def markdown(results: dict[str, Any]) -> str:
    """All rows."""
    warps = [row for row in results["rows"] if row["what"] in PASSES]
    sums = [row for row in results["rows"] if row["what"] == "gradient"]
    parts = [
        ["# Warps on a GPU", ""],
        [f"- {name}: {value}" for name, value in results["environment"].items()],
        [f"- copy bandwidth: {results['bandwidth'] / 1e12:.2f} TB/s, read and written"],
        ["", "Microseconds. `×` is the time of `affine_grid` and `grid_sample` over that of"],
        ["`fused`: `graph` in CUDA graphs, so of the GPU alone, `eager` called from Python.", ""],
        table(
            "shape, case, pass, torch graph, fused graph, × graph, target, met, × eager, "
            "of the copy bandwidth, target, met",
            map(warp_cells, warps, [results["bandwidth"]] * len(warps)),
        ),
        ["", "## The gradient by the image alone", ""],
        ["Gathered in a fixed order, or summed by atomic operations; the target is ≥ 1.", ""],
        table("shape, case, gather, atomic, ×, met", map(sum_cells, sums)),
        ["", "## Errors", ""],
        ["Relative distances from torch in float64 of output, image's and theta's gradient.", ""],
        table(
            "shape, case, fused, torch",
            (
                [row["shape"], row["case"], *(errors(row, who) for who in ("fused", "torch"))]
                for row in warps
                if row["what"] == "forward"
            ),
        ),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def table(names: str, rows: Any) -> list[str]:
    """Lines of a table."""
    cells = [names.split(", "), ["---"] * len(names.split(", ")), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


def warp_cells(row: dict[str, Any], bandwidth: float) -> list[str]:
    """A row of the first table."""
    times, what = row["times"], row["what"]
    graph, eager = (times[f"torch {mode}"] / times[f"fused {mode}"] for mode in ("graph", "eager"))
    faster = FASTER_DEEP if row["channels"] >= DEEP else FASTER[what]
    share = row["bytes"] / (times["fused graph"] / 1e6) / bandwidth
    asked = (f"≥ {SHARE[what]:.0%}", met(share, SHARE[what])) if row["is_beyond"] else ("", "")
    return [
        *(row["shape"], row["case"], PASSES[what]),
        *(f"{times[f'{who} graph']:.1f}" for who in ("torch", "fused")),
        *(f"{graph:.2f}", f"≥ {faster}", met(graph, faster), f"{eager:.2f}"),
        *(f"{share:.0%}", *asked),
    ]


def sum_cells(row: dict[str, Any]) -> list[str]:
    """A row of the second table."""
    gather, atomic = row["times"]["gather"], row["times"]["atomic"]
    ratio = atomic / gather
    numbers = f"{gather:.1f}", f"{atomic:.1f}", f"{ratio:.2f}"
    return [row["shape"], row["case"], *numbers, met(ratio, 1)]


def met(found: float, target: float) -> str:
    """Whether a target is met."""
    return "yes" if found >= target else "**no**"


def errors(row: dict[str, Any], who: str) -> str:
    """Three relative errors."""
    return ", ".join(f"{error:.1e}" for error in row["errors"][who])
