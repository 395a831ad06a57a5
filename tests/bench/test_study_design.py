"""From `base` and its changes to variants: what is merged, crossed, named, dropped, compared."""

import pytest

from bench.errors import BenchError
from bench.study import load_study

BASE = """\
schema: 1
name: study
question: Does it help?
task: classify
base:
  dataset: {name: digits, distortion: {name: affine, rotation: 90}}
  model: {name: cnn, transformer: {transform: affine, sampler: nearest, placement: conv2}}
  train: {steps: 10, batch_size: 32, lr: 0.1}
seeds: 2
"""
NO_TRANSFORMER = "baseline: {model.transformer: null}\n"


def transformer(variant):
    assert variant.model is not None
    return variant.model["transformer"]


def distortion(variant):
    assert variant.dataset is not None
    return variant.dataset["distortion"]


def load(tmp_path, design="", base=BASE, **options):
    file = tmp_path / "study.yaml"
    file.write_text(base + design)
    return load_study(file, options.pop("overrides", ()), **options)


def names(*arguments, **options):
    return [variant.name for variant in load(*arguments, **options).variants]


def comparisons(study):
    return {variant.name: variant.baseline for variant in study.variants}


def refusal(*arguments, **options):
    with pytest.raises(BenchError) as caught:
        load(*arguments, **options)
    return str(caught.value)


def test_a_change_keeps_what_it_does_not_mention(tmp_path):
    design = "vary: {model.transformer: [{transform: attention}, {output_size: [9, 8]}]}\n"
    first, second = (transformer(v) for v in load(tmp_path, design).variants)
    assert (first["transform"], first["sampler"], first["placement"]) == (
        {"name": "attention"}, {"name": "nearest"}, "conv2",
    )  # fmt: skip
    assert (second["transform"]["name"], second["output_size"]) == ("affine", [9, 8])


def test_null_and_lists_replace(tmp_path):
    base = BASE.replace("name: cnn,", "name: cnn, filters: [1, 2, 3], kernel_sizes: [3, 3, 3],")
    design = "variants: [{name: A, set: {model: {transformer: null, filters: [7, 7, 7]}}}]\n"
    (variant,) = load(tmp_path, design, base).variants
    assert variant.model == {
        "name": "cnn", "filters": [7, 7, 7], "kernel_sizes": [3, 3, 3], "project": False,
        "width": 1.0, "parameters": None, "transformer": None,
    }  # fmt: skip


def test_a_name_replaces_a_component_and_a_mapping_is_laid_on_it(tmp_path):
    design = "vary: {dataset.distortion: [affine, {rotation: 45}, {scale: [1, 2]}]}\n"
    got = [distortion(v) for v in load(tmp_path, design).variants]
    assert [(d["rotation"], d["scale"]) for d in got] == [(0, [1, 1]), (45, [1, 1]), (90, [1, 2])]
    base = BASE.replace("{name: affine, rotation: 90}", "affine")
    got = [distortion(v) for v in load(tmp_path, design, base).variants]
    assert [(d["rotation"], d["scale"]) for d in got] == [(0, [1, 1]), (45, [1, 1]), (0, [1, 2])]


def test_axes_are_crossed_and_zipped_ones_go_in_step(tmp_path):
    design = """
vary: {train.lr: [0.1, 0.2], train.steps: [10, 20]}
zip: [{train.batch_size: [32, 64], train.optimizer: [adamw, sgd]}]
"""
    base = BASE.replace("lr: 0.1", "lr: 0.1, optimizer: adamw")
    assert names(tmp_path, design, base) == [
        "base", "batch_size=64, optimizer=sgd", "steps=20",
        "steps=20, batch_size=64, optimizer=sgd",
        "lr=0.2", "lr=0.2, batch_size=64, optimizer=sgd", "lr=0.2, steps=20",
        "lr=0.2, steps=20, batch_size=64, optimizer=sgd",
    ]  # fmt: skip


def test_ablate_changes_one_thing_at_a_time_at_every_point(tmp_path):
    design = (
        "vary: {train.steps: [10, 20]}\nablate: {train.lr: [1, 2], model.transformer: [null]}\n"
    )
    assert names(tmp_path, design) == [
        "base", "lr=1", "lr=2", "transformer=null",
        "steps=20", "lr=1, steps=20", "lr=2, steps=20", "transformer=null, steps=20",
    ]  # fmt: skip


def test_add_changes_one_thing_at_a_time_of_the_baseline(tmp_path):
    design = (
        NO_TRANSFORMER
        + """
variants: [{name: CNN, set: {model.transformer: null}}]
add: {train.lr: [1], model.transformer: [{transform: attention}]}
"""
    )
    study = load(tmp_path, design)
    assert comparisons(study) == {
        "CNN": "CNN", "transformer=null, lr=1": "CNN", "transform=attention": "CNN",
    }  # fmt: skip
    assert transformer(study.variants[2])["sampler"] == {"name": "bilinear"}


def test_baseline_is_taken_at_the_same_point(tmp_path):
    design = NO_TRANSFORMER + "vary: {train.lr: [1, 2], model.transformer: [null, {}]}\n"
    assert comparisons(load(tmp_path, design)) == {
        "lr=1, transformer=null": "lr=1, transformer=null", "lr=1": "lr=1, transformer=null",
        "lr=2, transformer=null": "lr=2, transformer=null", "lr=2": "lr=2, transformer=null",
    }  # fmt: skip
    at_1 = design + "exclude: [{train.lr: 2, model.transformer: null}]\n"
    assert comparisons(load(tmp_path, at_1))["lr=2"] is None
    assert comparisons(load(tmp_path, "vary: {train.lr: [1]}\n")) == {"lr=1": None}


def test_variants_stand_at_every_point(tmp_path):
    design = "vary: {train.lr: [0.1, 1]}\nvariants: [{name: A}, {name: B, set: {train.steps: 5}}]\n"
    assert names(tmp_path, design) == ["A", "B", "A, lr=1", "B, lr=1"]


def test_exclude_takes_away_what_has_all_its_values(tmp_path):
    design = "vary: {train.lr: [1, 2], train.steps: [10, 20]}\n"
    assert names(tmp_path, design + "exclude: [{train.lr: 1.0, train.steps: 20}]\n") == [
        "lr=1", "lr=2", "lr=2, steps=20",
    ]  # fmt: skip
    assert names(tmp_path, design + "exclude: [{train.lr: 1}, {train: {steps: 10}}]\n") == [
        "lr=2, steps=20"
    ]


@pytest.mark.parametrize(
    "key", ["exclude: [{train.stepz: 10}]", "exclude: [{train.lr: x}]",
            "published: [{where: {train.stepz: 1}, metric: test_error, value: 1, source: x}]"],
)  # fmt: skip
def test_a_condition_that_no_variant_can_have_is_refused(key, tmp_path):
    got = refusal(tmp_path, f"vary: {{train.lr: [1, 2]}}\n{key}\n")
    wrong = {
        "x": 'exclude[0].train.lr: must be a number, got the text "x"',
        "E": "exclude[0].train.stepz: unknown key (did you mean `steps`?)",
        "p": "published[0].where.train.stepz: unknown key (did you mean `steps`?)",
    }["x" if "lr" in key else "E" if "exclude" in key else "p"]
    assert got == f"{tmp_path}/study.yaml:11: {wrong}"


def test_a_condition_that_fits_only_some_models_is_fine(tmp_path):
    base = BASE.replace(
        ", transformer: {transform: affine, sampler: nearest, placement: conv2}", ""
    )
    design = "vary: {model: [cnn, fcn]}\nexclude: [{model.units: [256, 200]}]\n"
    assert names(tmp_path, design, base) == ["model=cnn"]


def test_published_figures_come_to_the_variants_they_are_of(tmp_path):
    design = """
vary: {train.lr: [1, 2]}
published:
- {where: {train.lr: 1}, metric: test_error, value: 0.5, source: here}
- {where: {dataset.name: digits}, metric: test_error, value: 7, source: there}
"""
    sources = [[p.source for p in v.published] for v in load(tmp_path, design).variants]
    assert sources == [["here", "there"], ["there"]]


def test_equal_variants_are_one(tmp_path):
    design = """
vary: {train.lr: [0.1, 1.0e-1, 0.2]}
ablate: {train.weight_decay: [0, 0.5], model.transformer.align_corners: [false]}
"""
    assert names(tmp_path, design) == [
        "base",
        "weight_decay=0.5",
        "lr=0.2",
        "weight_decay=0.5, lr=0.2",
    ]


def test_two_written_names_of_one_variant_are_refused(tmp_path):
    design = "variants: [{name: A}, {name: B, set: {train.momentum: 0}}]\n"
    assert refusal(tmp_path, design) == (
        f"{tmp_path}/study.yaml:10: variants[1]: is the same as variant `A`"
    )


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("vary: {train: [{lr: 1}], train.lr: [2, 3]}", ["lr=2", "lr=3"]),
        ("vary: {train.lr: [2, 3]}\nablate: {train.lr: [0.1]}", ["lr=2", "base", "lr=3"]),
        ("vary: {dataset.distortion.name: [affine]}", ["base"]),
        ("vary: {dataset.distortion: [null, {rotation: 5}]}", ["distortion=null", "rotation=5"]),
        ("vary: {dataset.distortion: [affine]}", ["distortion=affine"]),
        ("vary: {model.filters: [[1, 2]]}", ["filters=[1, 2]"]),
        ("vary: {model: [{name: fcn, transformer: null}]}", ["model=fcn, transformer=null"]),
        (
            "vary: {model.transformer.sampler.name: [bilinear], model.transformer.transform.name:"
            " [attention]}",
            ["sampler=bilinear, transform=attention"],
        ),
        (
            "vary: {dataset.distortion.scale: [[1, 2]], model.transformer.localisation.units: [5],"
            " model.transformer.localisation.name: [fcn]}",
            ["scale=[1, 2], units=5, localisation=fcn"],
        ),
        (
            "vary: {model.transformer.transform: [my_warp.py:A], dataset.distortion:"
            " [{name: my_warp.py:D, transform: x}]}",
            ["model.transformer.transform=my_warp.py:A, distortion=my_warp.py:D, "
             "dataset.distortion.transform=x"],
        ),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_name_says_what_differs_from_base(design, expected, tmp_path):
    (tmp_path / "my_warp.py").write_text(
        "class A: ...\nclass D:\n    def __init__(self, rotation: int, transform: str): ...\n"
    )
    assert names(tmp_path, design + "\n") == expected


def test_a_name_never_denies_a_transformer(tmp_path):
    design = (
        NO_TRANSFORMER
        + """
variants: [{name: CNN, set: {model.transformer: null}}]
add: {model.transformer.transform: [affine]}
"""
    )
    assert names(tmp_path, design) == ["CNN", "transform=affine"]


def test_a_design_that_cannot_be(tmp_path):
    at = f"{tmp_path}/study.yaml:10:"
    assert refusal(tmp_path, "add: {train.lr: [1]}\n") == f"{at} add: needs a `baseline` to add to"
    assert refusal(tmp_path, "zip: [{train.lr: [1]}, {train.lr: [2]}]\n") == (
        f"{at} zip[1].train.lr: is an axis already"
    )
    spans = "spans 160000 points; at most 100000 are possible"
    many = ", ".join(["1"] * 400)
    design = f"vary: {{train.lr: [{many}], train.steps: [{many}]}}\n"
    assert refusal(tmp_path, design) == f"{at} vary: {spans}"
    design = f"zip: [{{train.lr: [{many}]}}, {{train.steps: [{many}]}}]\n"
    assert refusal(tmp_path, design) == f"{at} zip: {spans}"


def test_a_variant_knows_its_point_and_its_arm(tmp_path):
    design = (
        "vary: {dataset.distortion: [null, {name: affine, rotation: 90}]}\n"
        "zip: [{train.lr: [0.1, 0.2], train.steps: [10, 20]}]\n"
        "ablate: {model.transformer: [null, {transform: projective}]}\n"
    )
    study = load(tmp_path, design + NO_TRANSFORMER)
    found = {(*variant.point.items(), variant.arm) for variant in study.variants}
    assert found == {
        (("distortion", d), ("lr + steps", s), arm)
        for d in ("none", "affine, rotation=90")
        for s in ("0.1, 10", "0.2, 20")
        for arm in ("base", "transformer=null", "transform=projective")
    }
