"""The tables of `sampler_cpu.py`, out of its results."""

import statistics
from collections.abc import Iterator
from typing import Any

# What is aimed at with AVX-512: case, pass, geometric mean over the shapes, least of them. With
# AVX2 half of it is, but for what says how two ways of this machine compare.
TARGETS = [
    ("float32", "forward", 8.0, None),
    ("float32", "backward", 5.0, 3.5),
    ("bfloat16", "backward", 6.0, None),
    ("channels_last", "backward", 5.0, None),
    ("spline", "backward", 4.0, None),
]
PASSES = {"forward": "forward", "backward": "forward + backward"}
# OpenCV and others that are as fast up to this are not said to be faster.
SAME = 1.02


def markdown(results: dict[str, Any]) -> str:
    """Targets, who is faster, geometric means, errors, and all rows."""
    rows = results["rows"]
    processor = results["environment"]["kernels"]
    parts = [
        ["# Warps on a CPU", ""],
        [f"- {name}: {value}" for name, value in results["environment"].items()],
        [
            "",
            "Ratios are the other's time over ours, so above 1 ours is faster; `torch` is",
            "`affine_grid` and `grid_sample`, for a spline an inverse, a batched product and",
            "`grid_sample`; `grid` is this library's way with a grid in memory. Medians with one",
            "thread, minima with more. `default`: glibc's allocator as it is; `raised`:",
            "`MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_` and `MALLOC_TOP_PAD_` so high that",
            "memory is kept. `nearest` has no gradient by theta; `fill` has 0.5 outside; of",
            "`antialiased` torch is this library's way by 16 times `grid_sample`.",
            "`elsewhere`: other shapes in float32, `pictures` of three channels in channels-last",
            "format. `ours, avx2`: the kernels that a processor without AVX-512 would take, on",
            "this one.",
            "",
            "## Targets",
            "",
        ],
        list(_targets(rows, processor)),
        ["", "## Where another is faster than ours", ""],
        list(_faster(rows)) or ["Nowhere."],
        ["", "## Ratios to torch over the shapes", ""],
        list(_means(rows)),
        [
            "",
            "## Errors",
            "",
            "Relative distances from float64: output, gradients of image and theta.",
        ],
        ["", *_errors(rows), "", "## All rows", ""],
        list(_all(rows)),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _times(row: dict[str, Any]) -> dict[str, float]:
    pick = "median" if row["threads"] == 1 else "minimum"
    return {name: each[pick] for name, each in row["times"].items()}


def _ratios(
    rows: list[dict[str, Any]], own: str = "ours"
) -> dict[tuple[Any, ...], dict[str, float]]:
    """By allocator, threads, case and pass the ratio to torch of each shape."""
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        times = _times(row)
        if "torch" in times and own in times:
            group = row["allocator"], row["threads"], row["case"], row["what"]
            found.setdefault(group, {})[row["shape"]] = times["torch"] / times[own]
    return found


def _targets(rows: list[dict[str, Any]], processor: str) -> Iterator[str]:
    yield "| kernels | case | pass | threads | allocator | × torch, mean | least | target | met |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for kernels, own in ((processor, "ours"), ("avx2", "ours, avx2")):
        ratios = _ratios(rows, own)
        for case, what, mean, least in TARGETS:
            share = 1.0 if kernels == "avx512" or case == "spline" else 0.5
            for group in (g for g in ratios if g[2:] == (case, what)):
                values = ratios[group].values()
                got, low = statistics.geometric_mean(values), min(values)
                met = got >= mean * share and (least is None or low >= least * share)
                aim = f"{mean * share:g}" + ("" if least is None else f", each {least * share:g}")
                cells = [kernels, case, PASSES[what], group[1], group[0], f"{got:.2f}"]
                cells += [f"{low:.2f}", aim, "yes" if met else "no"]
                yield "| " + " | ".join(map(str, cells)) + " |"
    for row in (row for row in rows if "CNN" in row["times"]):
        times = _times(row)
        ratio = times["ST-CNN"] / times["CNN"]
        met = "yes" if ratio <= 1.4 else "no"
        yield (
            f"| {processor} | MNIST ST-CNN over CNN | training step | {row['threads']} | "
            f"{row['allocator']} | {ratio:.2f} | | at most 1.4 | {met} |"
        )


def _faster(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        times = _times(row)
        ours = times.get("ours")
        for name, value in times.items():
            if ours and name != "ours, avx2" and ours > value * SAME:
                yield (
                    f"- {row['shape']}, {row['case']}, {PASSES[row['what']]}, {row['threads']} "
                    f"threads, {row['allocator']}: {name} takes {value / ours:.2f} of our time"
                )


def _means(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| allocator | threads | case | pass | geometric mean | least | most |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for group, by_shape in _ratios(rows).items():
        values = by_shape.values()
        cells = [*group[:3], PASSES[group[3]]]
        cells += [f"{f(values):.2f}" for f in (statistics.geometric_mean, min, max)]
        yield "| " + " | ".join(map(str, cells)) + " |"


def _errors(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| case | shape | ours | torch |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        if row["errors"] and row["what"] == "forward" and row["threads"] == 1:
            cells = [
                " ".join(f"{x:.1e}" for x in row["errors"][name]) for name in ("ours", "torch")
            ]
            yield f"| {row['case']} | {row['shape']} | {' | '.join(cells)} |"


def _all(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| allocator | threads | case | shape | pass | µs | others |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        times = _times(row)
        first = "ours" if "ours" in times else "CNN"
        own = times.pop(first)
        others = ", ".join(f"{name} × {value / own:.2f}" for name, value in times.items())
        cells = [row["allocator"], row["threads"], row["case"], row["shape"], PASSES[row["what"]]]
        yield "| " + " | ".join(map(str, [*cells, f"{own:.0f}", others])) + " |"
