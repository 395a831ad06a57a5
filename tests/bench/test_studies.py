"""The studies that ship: they plan, and their models, made small, learn on real data."""

import json
import os
import runpy
from pathlib import Path

import pytest
import torch
from command import ROOT

import stn_core
from bench import build
from bench.study import load_study
from bench.tasks import colocalise
from bench.tasks.colocalise import boxes, missed, random_crops, triplet_hinge
from bench.tasks.resident import resident
from bench.tasks.task import Place
from bench.training import training_step

FILES = sorted((ROOT / "studies").glob("*.yaml"))
CPU = torch.device("cpu")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_study_plans_in_full_and_in_short(file):
    study = load_study(file)
    assert study.question.endswith("?")
    for profile in ("short",) if "profiles:" in file.read_text() else ():
        short = load_study(file, profile=profile)
        assert 0 < len(short.variants) <= len(study.variants)


def place() -> Place:
    folder = os.environ.get("STN_BENCH_DATA")
    if not folder:
        pytest.skip("STN_BENCH_DATA names no folder with MNIST, svhn_boxes and CUB_200_2011")
    return Place(CPU, Path(folder), ROOT / "studies")


def settings_of(study, variant, *words):
    loaded = load_study(ROOT / f"studies/{study}.yaml", words, profile="short")
    (found,) = [v for v in loaded.variants if v.name == variant]
    return found.settings(loaded.task)


TINY = ("model.parameters=20000",)
SMALL = ("model.filters=[8, 16]",)
NARROW = ("model.width=0.1", "model.dropout=0.0")
# Study, variant, overrides, size of the fixed subset, steps, learning rate.
CASES = [
    ("paper_distorted_mnist", "ST-FCN affine", ("model.parameters=60000",), 16, 30, 3e-3),
    ("paper_distorted_mnist", "ST-CNN affine, distortion=rts, steps=1000", TINY, 8, 50, 3e-3),
    ("paper_cluttered_mnist", "ST-FCN", (), 8, 30, 3e-3),
    ("paper_addition", "2×ST-FCN affine", (), 8, 30, 2e-3),
    ("architecture", "ST, model=rnn", TINY, 8, 120, 5e-3),
    ("transform_type", "affine then spline", SMALL, 8, 40, 3e-3),
    ("transform_type", "diffeomorphic flow", SMALL, 8, 40, 3e-3),
    ("placement", "placement=SL2", (), 8, 30, 3e-3),
    ("placement", 'placement=["input", "conv2"]', (), 8, 40, 3e-3),
    ("placement", "parallel", (), 8, 40, 3e-3),
    ("sampler_kernel", "linearised multi-sample, output_size=[20, 20]", (), 8, 40, 3e-3),
    ("recurrent", "recurrent", SMALL, 4, 100, 3e-3),
    ("theta_forward", "ST with theta", SMALL, 8, 40, 3e-3),
    ("localisation_lr", "0.1", SMALL, 8, 50, 0.05),
    ("attention_cost", "antialiased crop of 64", NARROW, 4, 80, 2e-3),
    ("paper_svhn", "ST-CNN Multi", NARROW, 4, 60, 2e-3),
    ("paper_3d", "ST projected CNN", (), 8, 20, 3e-3),
    ("paper_birds", "2×ST-CNN 224", ("model.architecture=test_resnet",), 4, 40, 3e-3),
]


@pytest.mark.parametrize(
    ("study", "variant", "words", "size", "steps", "lr"), CASES, ids=[c[0] + c[1] for c in CASES]
)
def test_a_small_model_learns_a_fixed_subset(study, variant, words, size, steps, lr):
    """Nine labels in ten are right, and every transformer has come to look elsewhere.

    A model that gives every image the same answer has at most as many right as the commonest one.
    """
    where = place()
    settings = settings_of(study, variant, *words)
    torch.manual_seed(0)
    data = resident(settings, 0, where)
    net = build.model(settings, data.dataset, where.folder)
    images, targets = data.batch(size)
    labels = targets.reshape(size, -1)
    assert (labels == labels.mode(0).values).float().mean() <= 0.7
    before = thetas(net, images)
    assert before
    step = training_step(net.train(), settings["train"])
    for _ in range(steps):
        step(images, targets, lr)
    with torch.no_grad():
        right = (net(images).argmax(-1).reshape(size, -1) == labels).float().mean().item()
    assert right >= 0.9
    for name, theta in thetas(net, images).items():
        assert (theta - before[name]).abs().max() > 1e-3, name


def thetas(net, images):
    """What each transformer of a model is told of some images, by the transformer's name."""
    seen = {}
    spatial = [(n, m) for n, m in net.named_modules() if isinstance(m, stn_core.SpatialTransformer)]
    hooks = [
        m.localisation.register_forward_hook(lambda _, given, out, name=n: seen.update({name: out}))
        for n, m in spatial
    ]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(spatial)
    return seen


# In these all models of one kind are to have as many parameters, transformers included.
MATCHED = ("paper_distorted_mnist", "paper_cluttered_mnist", "paper_addition", "architecture")


@pytest.mark.parametrize("profile", [None, "short"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_model_of_a_study_can_be_built(file, profile):
    """On `meta`, without data, each model for each size of image once."""
    if profile and "profiles:" not in file.read_text():
        pytest.skip("it has one setting")
    counts = {}
    for variant in load_study(file, profile=profile).variants:
        settings = from_scratch(variant.settings("classify"))
        if not {"dataset", "model"} <= settings.keys():
            continue
        data = build.dataset(settings, None, file.parent)
        case = json.dumps([settings["model"], data.in_shape])
        if case in counts:
            continue
        with torch.device("meta"):
            net = build.model(settings, data, file.parent)
            scores = net(torch.zeros(2, *data.in_shape))
        assert scores.numel() == 2 * data.labels * data.num_classes
        counts[case] = sum(p.numel() for p in net.parameters())
    if file.stem in MATCHED:
        for case, count in counts.items():
            wanted = json.loads(case)[0]["parameters"]
            assert 0.9 * wanted <= count <= 1.1 * wanted


def from_scratch(settings):
    """The same without weights that would have to be downloaded."""
    found = {k: from_scratch(v) if isinstance(v, dict) else v for k, v in settings.items()}
    return found | {"pretrained": False} if "pretrained" in found else found


def test_a_box_is_where_the_crop_looks():
    transform = stn_core.transforms.Attention()
    transformer = stn_core.SpatialTransformer(Fixed(0.5, 0.25, -0.5), transform)
    # Half of 84×60 pixels, its centre moved by a quarter of the half-width right, half up.
    wanted = [[84 * (0.625 - 0.25), 60 * (0.25 - 0.25), 84 * (0.625 + 0.25), 60 * (0.25 + 0.25)]]
    assert boxes(transformer, torch.zeros(1, 1, 60, 84)).tolist() == wanted


class Fixed(torch.nn.Module):
    """A localisation network that always says the same."""

    def __init__(self, *theta):
        super().__init__()
        self.theta = theta

    def forward(self, image):
        return image.new_tensor([self.theta]).expand(len(image), -1)


def test_an_image_is_missed_at_an_overlap_of_a_half_or_less():
    true = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4)
    found = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 5.1], [20, 20, 30, 30]])
    assert missed(found, true).tolist() == [False, True, False, True]


def test_the_triplet_hinge_by_hand():
    crops, random = torch.randn(4, 3), torch.randn(4, 3)
    apart = torch.cdist(crops.double(), crops.double()) ** 2
    own = ((crops - random).double() ** 2).sum(1)
    pairs = [(n, m) for n in range(4) for m in range(4) if m != n]
    terms = [max(0.0, float(apart[n, m] - own[n]) + 1) for n, m in pairs]
    loss = float(triplet_hinge((crops, random), torch.zeros(4)))
    assert loss == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_random_crop_is_a_piece_of_its_image():
    image = torch.arange(2 * 6 * 7.0).view(2, 1, 6, 7)
    for crop, whole in zip(random_crops(image, (2, 3)), image, strict=True):
        pieces = whole.unfold(1, 2, 1).unfold(2, 3, 1).flatten(1, 2)[0]
        assert any(torch.equal(crop[0], piece) for piece in pieces)


def test_colocalisation_learns():
    """By chance a crop meets the digit's frame in less than one image of ten."""
    words = ("dataset.images=16", "train.batch_size=16", "train.steps=320")
    settings = settings_of("paper_colocalisation", "base", *words)
    torch.manual_seed(0)
    found = colocalise.Colocalise().accuracy(settings, 0, place())
    values = {m.name: m.value for m in found.metrics}
    assert values["localised"] == 100 - values["test_error"] >= 50
    steps = {p.step for p in found.pictures if p.kind == "output"}
    assert {0, 320} <= steps and not any(p.kind == "error" for p in found.pictures)
    crops = [p for p in found.pictures if p.kind == "output" and p.step == 320]
    inputs = [p for p in found.pictures if p.kind == "input"]
    assert len(crops) == len(inputs) > 0
    for crop in crops:
        assert (crop.transformer, len(crop.label.split())) == ("transformer", 4)
        assert len(crop.outline) >= 8
    assert 0 <= values["outside_share"] <= 1


def test_a_step_takes_about_as_long_as_one_written_by_hand():
    rate = runpy.run_path(str(ROOT / "benchmarks" / "training_rate.py"))
    times = rate["measure"]("ST-FCN affine", place(), rounds=3)
    least = {loop.__name__: min(found) for loop, found in times.items()}
    assert least["ours_in_memory"] < 1.5 * least["by_hand"]
    assert least["ours"] < least["with_loader"]
    assert "\n".join(rate["table"]("ST-FCN affine", times)).count("\n| ") == 13
