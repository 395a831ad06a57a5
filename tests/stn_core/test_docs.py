"""The pages of docs/ tell the truth: their code runs, their tables agree with the classes."""

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import images
from PIL import Image

import stn_core
from stn_core import diagnostics, localisation, samplers, transforms as t
from stn_core.kernels.library import why_missing, why_missing_on_gpu

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CHOOSING = (ROOT / "docs" / "choosing.md").read_text()
BLOCKS = {
    f"{page.name}-{number}": code
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    if "stn_core" in code
}
FLAGS = {"yes": True, "no": False}


def final(*modules) -> dict[str, Any]:
    """The final classes that modules export or, where they are no packages, define."""
    kinds = [
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__.startswith(module.__name__)
    ]
    return {kind.__name__: kind for kind in kinds if not inspect.isabstract(kind)}


TRANSFORMS = final(t)
SAMPLERS = final(samplers)
PUBLIC = final(stn_core, t, samplers, diagnostics, localisation)


def table(*headers):
    """The rows of the table of a page with these first headers, by name, as header to cell."""
    lines = CHOOSING.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {' | '.join(headers)}"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    names = rows[0]
    assert all(len(row) == len(names) for row in rows)
    return {row[0].strip("` "): dict(zip(names, row, strict=True)) for row in rows[2:]}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS.keys())
def test_code_of_the_pages_runs(code):
    exec(compile(code, "page", "exec"), {"__name__": "page"})


def test_every_public_class_has_an_example():
    assert len(PUBLIC) > 40
    assert [
        n for n, kind in PUBLIC.items() if ">>> " not in kind.__doc__.partition("Example:")[2]
    ] == []


def test_every_public_class_is_on_a_page():
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in PUBLIC if not re.search(rf"\b{name}\b", text)] == []


def test_each_class_has_one_row_in_each_of_its_tables():
    assert table("transform", "can").keys() == TRANSFORMS.keys()
    assert table("transform", "theta").keys() == TRANSFORMS.keys()
    assert table("sampler").keys() == SAMPLERS.keys()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_the_table_says_of_a_transform(name):
    row, kind = table("transform", "theta")[name], TRANSFORMS[name]
    counts = re.fullmatch(r"(\d+|–), (\d+|–)", row["parameters"])
    has_dims = "dims" in inspect.signature(kind).parameters
    if counts is None:
        assert row["identity"].startswith(("if ", "with "))
    elif has_dims:
        assert [str(kind(dims).num_params) for dims in (2, 3)] == list(counts.groups())
    else:
        assert str(kind().num_params) == counts[kind().dims - 1]
    if row["identity"] in FLAGS:
        assert (kind().identity is not None) == FLAGS[row["identity"]]
    assert (row["inverse"] == "closed") == hasattr(kind, "inverse")


def test_identities_that_depend():
    assert t.Flow().identity is None
    assert t.Flow(size=(2, 3)).identity is not None
    assert t.DiffeomorphicFlow().identity is None
    assert t.DiffeomorphicFlow(size=(2, 3)).identity is not None
    assert t.Compose(t.Affine(), t.Polar()).identity is None
    assert t.Compose(t.Affine(), t.Shear()).identity is not None
    assert t.Inverse(t.Polar()).identity is None
    assert t.ConstrainedAffine(((0.5, None, None), (None, 1.0, None))).identity is None


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_the_table_says_of_a_sampler(name):
    row = table("sampler")[name]
    lanczos = (lambda d: torch.sinc(d) * torch.sinc(d / 3), 3.0)
    sampler = samplers.Kernel(*lanczos) if name == "Kernel" else SAMPLERS[name]()
    promises = ("interpolates", "exact gradient", "pointwise")
    kept = (sampler.interpolates, sampler.has_exact_gradient, sampler.is_pointwise)
    for promise, is_kept in zip(promises, kept, strict=True):
        assert row[promise] not in FLAGS or FLAGS[row[promise]] == is_kept
    counts = re.findall(r"^(\d+), (\d+)$", row["taps"])
    for dims, count in enumerate(counts[0] if counts else (), 2):
        image = images(1, 1, *[12] * dims).requires_grad_()
        grid = torch.full((1, *[1] * dims, dims), 0.05, dtype=torch.float64)
        output = sampler(image, grid, padding="zeros", align_corners=False)
        (weights,) = torch.autograd.grad(output.sum(), image)
        assert weights.count_nonzero().item() == int(count)


def test_table_of_the_backends_is_that_of_the_rule():
    if why_missing() or why_missing_on_gpu(None):
        pytest.skip("without compiled kernels it is another")
    text = (ROOT / "docs" / "backends.md").read_text()
    assert runpy.run_path(str(ROOT / "docs" / "backends.py"))["page"](text) == text


def test_pictures_are_those_that_the_script_makes(tmp_path):
    shown = {
        name for page in PAGES for name in re.findall(r"\]\(pictures/(.*?)\)", page.read_text())
    }
    runpy.run_path(str(ROOT / "docs" / "pictures.py"))["main"](tmp_path)
    committed = {path.name: path for path in (ROOT / "docs" / "pictures").iterdir()}
    assert shown == committed.keys() == {path.name for path in tmp_path.iterdir()}
    for name, path in committed.items():
        assert path.stat().st_size < 60_000
        with Image.open(path) as picture, Image.open(tmp_path / name) as made:
            assert picture.size == made.size


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(((?!http)[^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
