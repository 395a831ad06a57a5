"""The task `latency`: what a study of it needs, and its workloads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command import ROOT, stn_bench

from bench import build
from bench.errors import BenchError, StudyError
from bench.results import ResultStore
from bench.study import load_study
from bench.study.json_schema import json_schema
from bench.tasks.latency import workload
from bench.tasks.task import Place
from bench.tasks.workloads.thetas import random_thetas, wake
from stn_core import SpatialTransformer, WithTheta, transforms
from stn_core.kernels.library import why_missing

PLACE = Place(torch.device("cpu"), None, Path())
BASE = """\
schema: 1
name: study
question: How long does it take?
task: latency
base:
  workload: {name: warp, transform: affine, sampler: bilinear, shape: [2, 1, 8, 8]}
"""
TRAINING = """\
  dataset: digits
  model: {name: cnn, filters: [4], kernel_sizes: [5], transformer: {transform: affine}}
  train: {steps: 2, batch_size: 8, lr: 1e-3}
"""


def load(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text)
    return load_study(tmp_path / "study.yaml")


def cells(study):
    return {v.name: v.settings(study.task) for v in study.variants}


@pytest.fixture(scope="module")
def gate():
    return load_study(ROOT / "studies" / "throughput_gate.yaml")


def test_a_study_of_latency_is_timed_once_a_variant_and_never_trained(tmp_path):
    study = load(tmp_path, BASE + "vary: {workload.mode: [forward, forward_backward]}\nseeds: 5\n")
    trials = study.trials("cpu")
    assert [(t.seed, t.phases) for t in trials] == [(0, ("timing",))] * 2
    assert set(trials[0].settings) == {"task", "workload"}
    assert trials[0].settings["workload"] == {
        "name": "warp", "transform": {"name": "affine"}, "sampler": {"name": "bilinear"},
        "shape": [2, 1, 8, 8], "output_size": None, "thetas": "rts", "mode": "forward",
        "dtype": "float32", "channels_last": False, "backend": "auto", "execution": "eager",
    }  # fmt: skip


def test_a_workload_has_in_its_identity_what_it_needs_and_nothing_else(tmp_path):
    head, _, warp = BASE.partition("  workload: ")
    sets = [warp.strip(), "trial", "{name: batches, batch_size: 4}"]
    variants = [f"- {{name: v{i}, set: {{workload: {one}}}}}\n" for i, one in enumerate(sets)]
    found = cells(load(tmp_path, head + TRAINING + "variants:\n" + "".join(variants)))
    assert [set(settings) for settings in found.values()] == [
        {"task", "workload"}, {"task", "workload", "dataset", "model", "train"},
        {"task", "workload", "dataset"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: warp", "name: wrap", "unknown workload `wrap` (did you mean `warp`?)"),
        ("shape: [2, 1, 8, 8]", "shape: [2, 1, 8]", "has too few entries"),
        ("shape: [2, 1, 8, 8]", "shape: [2, 1, 0, 8]", "must be at least 1, got 0"),
        (", shape: [2, 1, 8, 8]", "", "required key is missing"),
        ("transform: affine", "transform: afine", "unknown transform `afine`"),
        ("sampler: bilinear, ", "", "sampler: required key is missing"),
        ("shape:", "backend: fast, shape:", "must be one of"),
        ("{name: warp, transform: affine, sampler: bilinear, shape: [2, 1, 8, 8]}", "batches",
         "dataset: required key is missing"),
        ("  workload: {name: warp, transform: affine, sampler: bilinear, shape: [2, 1, 8, 8]}\n",
         TRAINING, "workload: required key is missing"),
        ("task: latency\nbase:\n", f"task: classify\nbase:\n{TRAINING}",
         "is nothing that task `classify` knows"),
    ],
    ids=range(10),
)  # fmt: skip
def test_mistakes_are_told_in_one_line(old, new, problem, tmp_path):
    assert old in BASE
    with pytest.raises(StudyError) as caught:
        load(tmp_path, BASE.replace(old, new))
    (line,) = caught.value.problems
    assert problem in line


def test_the_schema_knows_workloads():
    found = json_schema()
    assert found["$defs"]["Base"]["properties"]["workload"] == {"$ref": "#/$defs/workload"}
    assert "warp" in found["$defs"]["workload"]["anyOf"][0]["enum"]


def test_every_cell_of_the_gate_is_checked_and_takes_a_step(gate):
    for settings in cells(gate).values():
        chosen = workload(settings, PLACE)
        chosen.check(settings, PLACE)
        if settings["workload"]["name"] != "trial":
            for step in chosen.prepare(settings, 0, PLACE).steps.values():
                step()


def test_the_sampler_study_is_the_six_shapes_and_both_give_the_references_numbers():
    study = load_study(ROOT / "studies" / "speed_sampler.yaml")
    found = cells(study)
    works = [settings["workload"] for settings in found.values()]
    shapes = {(*work["shape"], *(work["output_size"] or ())) for work in works}
    assert len(works) == 24 and shapes == {
        (256, 1, 28, 28), (128, 1, 60, 60, 20, 20), (64, 64, 32, 32), (32, 3, 224, 224),
        (32, 192, 28, 28, 14, 14), (8, 3, 448, 448, 224, 224),
    }  # fmt: skip
    for work in works:
        if work["backend"] == "fused" and (missing := why_missing()):
            pytest.skip(missing)
        settings = {"workload": work | {"shape": [1, *work["shape"][1:]]}}
        workload(settings, PLACE).check(settings, PLACE)
        prepared = workload(settings, PLACE).prepare(settings, 0, PLACE)
        (step,) = prepared.steps.values()
        step()
        assert prepared.quality is not None
        (error,) = prepared.quality()
        assert error.value < 1e-5


FAMILIES = [transforms.Affine(), transforms.Similarity(), transforms.Projective(),
            transforms.ThinPlateSpline(), transforms.ExponentialAffine()]  # fmt: skip


@pytest.mark.parametrize("transform", FAMILIES, ids=lambda one: type(one).__name__)
def test_thetas_turn_scale_and_shift_as_they_say(transform):
    """By what they do to points, so for every family alike."""
    theta = random_thetas(transform, 50, "rts", torch.Generator().manual_seed(0)).double()
    x, y, o = torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    right, up = (transform(theta, p) - transform(theta, o) for p in (x, y))
    scale = right.norm(dim=1) / 0.5
    angle = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0]))
    assert ((0.7 - 1e-4 < scale) & (scale < 1.2 + 1e-4)).all()
    assert angle.abs().max() < 45.01 and angle.std() > 15
    assert transform(theta, o).abs().max() < 0.2001
    torch.testing.assert_close((right * up).sum(1), torch.zeros(50).double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "transform", [transforms.Translation(), transforms.Rotation(), transforms.Attention(),
                  transforms.PiecewiseAffine()], ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_a_family_without_affine_maps_has_thetas_that_are_no_identity(transform):
    theta = random_thetas(transform, 8, "rts", torch.Generator().manual_seed(0))
    assert theta.isfinite().all()
    assert ((theta - transform.identity).abs().amax(1) > 0.01).all()


def test_a_flow_has_no_thetas_of_its_own():
    with pytest.raises(BenchError, match="not `Flow`"):
        random_thetas(transforms.Flow(), 1, "rts", torch.Generator())


def test_an_untrained_model_is_woken_from_the_identity(gate):
    settings = cells(gate)["training step"]
    data = build.dataset(settings, None, Path())
    net = build.model(settings, data, Path())
    assert any(isinstance(m, SpatialTransformer) for m in net.modules())
    seen = WithTheta(net)
    images = torch.rand(6, *data.in_shape)
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0])
    (before,) = seen(images)[1].values()
    assert (before == identity).all()
    wake(net, seed=0)
    (after,) = seen(images)[1].values()
    assert (after - identity).abs().amax(1).min() > 0.05
    assert not torch.equal(after[0], after[1]), "they depend on the image"


def test_gradients_of_a_warp_are_computed(gate):
    settings = cells(gate)["warp images, forward and backward"]
    (step,) = workload(settings, PLACE).prepare(settings, 0, PLACE).steps.values()
    gradients: Any = step()
    image, theta = gradients
    assert image.shape == (64, 1, 28, 28) and image.abs().sum() > 0
    assert theta.shape == (64, 6) and theta.abs().sum() > 0


def test_a_graph_without_a_gpu_is_refused(tmp_path):
    study = load(tmp_path, BASE.replace("shape:", "execution: cuda_graph, shape:"))
    (settings,) = cells(study).values()
    with pytest.raises(BenchError, match="`cuda_graph` needs a GPU, the device is cpu"):
        workload(settings, PLACE).check(settings, PLACE)


def test_a_run_times_every_variant_in_each_round(tmp_path):
    load(tmp_path, BASE + "vary: {workload.mode: [forward, forward_backward]}\nrounds: 2\n")
    store = tmp_path / "store"
    done = stn_bench("run", tmp_path / "study.yaml", "--in-process", "--results", store)
    order = [line.partition(",")[0] for line in done.stdout.splitlines() if ": done" in line]
    assert order == [f"mode={mode}" for mode in ("forward", *["forward_backward"] * 2, "forward")]
    rows = ResultStore(store).read().table.to_pylist()
    assert {(row["phase"], row["round"]) for row in rows} == {("timing", 0), ("timing", 1)}
    metrics = {m["name"]: m["value"] for m in rows[0]["metrics"]}
    mode = rows[0]["timings"][0]["mode"]
    assert metrics[f"{mode}_host_memory"] > 10e6
    assert metrics[f"{mode}_cpus"] == 1
    assert set(ResultStore(store).rounds()["mode"]) == {"forward", "forward_backward"}
    again = stn_bench("run", tmp_path / "study.yaml", "--in-process", "--results", store)
    assert "timing" not in again.stdout.partition("report:")[0].partition("mode")[0]
