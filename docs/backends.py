"""The table of docs/backends.md: who computes which warp, as the rule itself says.

`python docs/backends.py` writes it into the page.
"""

from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from stn_core import samplers, transforms as t
from stn_core.backends import choose
from stn_core.transforms import Transform

PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- begin: python docs/backends.py -->", "<!-- end -->"

FAMILIES: dict[str, Transform] = {
    "linear family (`Affine`, `Similarity`, …): its matrix": t.Affine(),
    "`Projective`: its matrix": t.Projective(),
    "`ThinPlateSpline`: its control points": t.ThinPlateSpline(),
    "every other in 2-D: its grid": t.PiecewiseAffine(),
    "3-D": t.Affine(dims=3),
}
SAMPLERS = {
    "`Bilinear`": samplers.Bilinear(),
    "`Nearest`": samplers.Nearest(),
    "`Bicubic`": samplers.Bicubic(),
    "`Antialiased`": samplers.Antialiased(),
    "any other": samplers.Gaussian(),
}
PADDINGS = {"zeros": "zeros", "border": "border", "reflection": "reflection", "a fill value": 0.5}
TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
DEVICES = {"CPU": "cpu", "GPU": "cuda"}


def table() -> str:
    """A row for each transform and type of image, a column for each sampler."""
    heads = ["transform", "image", *SAMPLERS]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for family, transform in FAMILIES.items():
        types: dict[tuple[str, ...], list[str]] = {}
        for dtype in TYPES:
            cells = tuple(_cell(transform, sampler, dtype) for sampler in SAMPLERS.values())
            types.setdefault(cells, []).append(str(dtype).removeprefix("torch."))
        lines += [f"| {family} | {', '.join(n)} | {' | '.join(c)} |" for c, n in types.items()]
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the table as it is now."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _cell(transform, sampler, dtype) -> str:
    """Who computes it with which padding, and where, if that is not the same everywhere."""
    said = {name: _backends(transform, sampler, dtype, device) for name, device in DEVICES.items()}
    if len(set(said.values())) == 1:
        return said["CPU"]
    return "; ".join(f"{device}: {name}" for device, name in said.items())


def _backends(transform, sampler, dtype, device) -> str:
    # Of a GPU that need not be here.
    with FakeTensorMode():
        image = torch.zeros(1, 1, *[4] * transform.dims, dtype=dtype, device=device)
        theta = torch.zeros(1, transform.num_params, device=device)
    found: dict[str, list[str]] = {}
    for name, padding in PADDINGS.items():
        chosen = choose(image, theta, transform, sampler, padding, "auto")[0]
        found.setdefault(chosen, []).append(name)
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{chosen} ({', '.join(names)})" for chosen, names in found.items())


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
