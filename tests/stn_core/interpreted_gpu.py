"""Triton's kernels against the sums of the paper, in its interpreter: test_gpu.py runs this.

Apart, since Triton asks TRITON_INTERPRET when it is imported, and its kernels are no functions
whose types could be checked.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from warp_problems import is_as_the_reference, lost_points_touch_nothing, near_a_jump

from stn_core import backends, samplers, transforms as t, warp
from stn_core.kernels import fused
from stn_core.kernels.gpu import launch

LINEAR, BENT, SPLINE, FLOW = t.Affine(), t.Projective(), t.ThinPlateSpline((3, 3)), t.Flow()
NEAREST = samplers.Nearest()
LAST = "channels_last"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZES = {"size": (4, 5), "out_size": (5, 6)}
# NumPy, which the interpreter computes with, warns of what is infinite.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def _on_gpu(monkeypatch):
    """Tensors are on the CPU, where the interpreter has them."""
    monkeypatch.setattr(fused, "is_on_gpu", lambda image: True)
    monkeypatch.setattr(backends, "why_missing", lambda: None)


def case(transform, channels=3, kind="near", layout="contiguous", dtype=torch.float32, **given):
    options = {
        "sampler": given.pop("sampler", samplers.Bilinear()),
        "padding": given.pop("padding", "zeros"),
        "align_corners": given.pop("align_corners", False),
    }
    problem = {"batch": 1, "value": math.nan, **SIZES, **given}
    problem |= {"transform": transform, "channels": channels, "kind": kind, "dtype": dtype}
    return problem, layout, options


CASES = [
    case(LINEAR, channels=1, batch=2),
    case(LINEAR, channels=9, layout="crop", align_corners=True),
    case(LINEAR, channels=17, layout=LAST),
    case(LINEAR, padding="border", kind="far"),
    case(LINEAR, sampler=NEAREST, padding="border", align_corners=True),
    case(LINEAR, sampler=NEAREST, channels=16, layout=LAST, dtype=torch.float16),
    # Ten times larger, and to a tenth; more than one tile.
    case(LINEAR, kind="magnified", size=(12, 12), out_size=(12, 13)),
    case(LINEAR, kind="shrunk", size=(9, 41), out_size=(3, 3)),
    case(LINEAR, kind="singular"),
    case(LINEAR, kind="singular", padding="border", layout=LAST, channels=16),
    case(LINEAR, kind="singular", sampler=NEAREST),
    case(LINEAR, kind="far"),
    case(LINEAR, size=(1, 4), align_corners=True),
    case(LINEAR, size=(4, 1), padding="border", out_size=(1, 5)),
    case(LINEAR, batch=0),
    case(LINEAR, kind="lost", batch=2),
    case(LINEAR, kind="lost", value=math.inf, padding="border"),
    case(BENT, dtype=torch.bfloat16),
    case(BENT, padding="border", align_corners=True, channels=16, layout=LAST),
    case(BENT, sampler=NEAREST, padding="border"),
    case(BENT, kind="lost", value=-math.inf),
    case(SPLINE, channels=5),
    case(FLOW, padding="border", channels=33, kind="lost", batch=2),
    case(FLOW, sampler=NEAREST, channels=16, layout=LAST, dtype=torch.bfloat16),
]


@pytest.mark.parametrize(("problem", "layout", "options"), CASES)
def test_is_the_reference(problem, layout, options):
    seeds = range(problem.pop("seed", 0), 99)
    seed = next(seed for seed in seeds if not near_a_jump(problem | {"seed": seed}, **options))
    # The interpreter cuts bfloat16 off where a GPU rounds it.
    is_as_the_reference(problem | {"seed": seed}, layout, options, rounding=2)


def gradients(theta, transform, size, image=None, **options):
    image = torch.randn(1, 2, 5, 6) if image is None else image
    leaves = image.requires_grad_(), theta.clone().requires_grad_()
    output = warp(*leaves, transform, output_size=size, backend="fused", **options)
    return output, *torch.autograd.grad(output.square().sum(), leaves)


def exact(theta, transform, size, image, **options):
    leaves = image.detach().double().requires_grad_(), theta.double().requires_grad_()
    output = warp(*leaves, transform, output_size=size, backend="reference", **options)
    return output, *torch.autograd.grad(output.square().sum(), leaves)


# Of rank 1, along each axis and across; nearly; a horizon in the image and in the output.
HARD = {
    "row": (LINEAR, [0.8, 0.1, 0.05, 0, 0, 0.1], "zeros"),
    "column": (LINEAR, [0, 0, 0.13, 0.1, 0.9, 0.02], "border"),
    "diagonal": (LINEAR, [0.5, 0.4, 0.03, 0.25, 0.2, 0.01], "zeros"),
    "nearly": (LINEAR, [1.5, 1.2, 0.03, 0.75, 0.6001, 0.01], "border"),
    "horizon": (BENT, [0.9, 0.1, 0.02, 0.05, 0.8, 0.07, 1.3, 0.6], "zeros"),
    "horizon and edges": (BENT, [0.9, 0.1, 0.02, 0.05, 0.8, 0.07, 1.3, 0.6], "border"),
    "flat": (BENT, [0.5, 0.4, 0.03, 0.25, 0.2, 0.01, 0.1, 0.1], "zeros"),
}


@pytest.mark.parametrize("name", HARD)
def test_maps_without_an_inverse(name):
    transform, numbers, padding = HARD[name]
    image, theta = torch.randn(1, 2, 3, 4), torch.tensor([numbers])
    found = gradients(theta, transform, (4, 5), image, padding=padding)
    right = exact(theta, transform, (4, 5), image, padding=padding)
    for mine, its in zip(found, right, strict=True):
        torch.testing.assert_close(
            mine.double(), its, rtol=1e-4, atol=1e-4 * its.abs().max().item()
        )


@pytest.mark.parametrize(("most", "at_edge"), [(-1.0, -1.0), (1e9, 1e9), (1e9, 4.0)])
@pytest.mark.parametrize(
    ("transform", "numbers"),
    [
        (LINEAR, [0.7, -0.5, 0.1, 0.4, 0.9, -0.1]),
        (BENT, [0.7, -0.5, 0.1, 0.4, 0.9, -0.1, 0.2, 0.1]),
    ],
)
def test_both_ways_to_gather_are_one(monkeypatch, transform, numbers, most, at_edge):
    """Lanes that are pixels, lanes that are rows, and both in one tile."""
    from stn_core.kernels.gpu import gather

    monkeypatch.setattr(gather, "MOST", most)
    monkeypatch.setattr(gather, "MOST_AT_EDGE", at_edge)
    image, theta = torch.randn(1, 2, 3, 4), torch.tensor([numbers])
    found = gradients(theta, transform, (4, 5), image, padding="border")
    right = exact(theta, transform, (4, 5), image, padding="border")
    torch.testing.assert_close(found[1].double(), right[1], rtol=1e-4, atol=1e-5)


def test_slope_of_the_cell_before_the_first_pixel():
    """Coordinates are clamped to [-2, W], not to [-1, W]: at -0.75 there is a slope."""
    theta = torch.tensor([[-0.75 * 2 / 4, 0.0]]).requires_grad_()
    output = warp(torch.ones(1, 3, 4, 4), theta, t.Translation(), backend="fused")
    torch.testing.assert_close(output[0, 0, :, 0], torch.full((4,), 0.25))
    (slope,) = torch.autograd.grad(output[0, :, :, 0].sum(), theta)
    # A step of the whole image is 2 long and 4 pixels wide.
    torch.testing.assert_close(slope[0, 0], torch.tensor(3 * 4 * 4 / 2))


def test_offsets_in_64_bits_are_the_same(monkeypatch):
    for theta, transform in [(LINEAR.identity, LINEAR), (SPLINE.identity, SPLINE)]:
        given = (theta.float()[None] * 0.9, transform, (6, 7), torch.randn(1, 2, 5, 6))
        narrow = gradients(*given)
        monkeypatch.setattr(launch, "_MANY", 0)
        assert all(map(torch.equal, narrow, gradients(*given)))


def test_lost_points_are_nan_and_touch_nothing():
    for padding in ("zeros", "border"):
        by_image, lost = lost_points_touch_nothing(padding)
        torch.testing.assert_close(by_image.sum(), (~lost).sum() * 5.0, rtol=0.3, atol=0)


def test_sums_of_a_grid_are_refused_where_order_must_not_matter():
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="no fixed order"):
            gradients(SPLINE.identity.float()[None], SPLINE, (3, 3))
        gradients(LINEAR.identity.float()[None], LINEAR, (3, 3))
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_benchmark_runs_to_its_end(monkeypatch, tmp_path, capsys):
    """Of its mistakes, all that do not hang on CUDA's own graphs and events are found here."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import sampler_gpu

    from bench import measurement

    shapes = {"deep": ((1, 16, 1, 2), 1, "half")}
    monkeypatch.setattr(sampler_gpu, "CASES", ("channels_last", "bfloat16"))
    monkeypatch.setattr(sampler_gpu, "SHAPES", shapes)
    monkeypatch.setattr(sampler_gpu, "BEYOND", shapes)
    monkeypatch.setattr(sampler_gpu, "COPIED", 1 << 16)
    monkeypatch.setattr(measurement, "ROTATION_ITEMS", (1, 1))
    monkeypatch.setattr(measurement, "BLOCK_SECONDS", 1e-9)
    monkeypatch.setattr(measurement, "WARMUP_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(measurement, "MEASURE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(measurement, "BLOCKS", (1, 1))
    sampler_gpu.main(["--device", "cpu", "--out", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["rows"]) == 2 * 3
    for row in results["rows"]:
        assert all(time > 0 for time in row["times"].values())
        limit = 5e-2 if row["case"] == "bfloat16" else 1e-4
        errors = row.get("errors", {"torch": [], "fused": []})
        for of_torch, ours in zip(errors["torch"], errors["fused"], strict=True):
            assert ours <= of_torch + limit
    report = (tmp_path / "report.md").read_text()
    assert capsys.readouterr().out == report + "\n"
    with pytest.raises(SystemExit, match="must be of deep, got nothing"):
        sampler_gpu.main(["--device", "cpu", "--shapes", "nothing"])
