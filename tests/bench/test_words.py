"""What a report says in words: the answer, and plainly what cannot be said."""

import dataclasses
import math

import pytest
from found import TWO, accuracy, find, make_study, row, timing, trained

from bench.report.words import answer, details, notes

ERRORS = {"CNN": [20.0, 22.0, 24.0], "ST": [4.0, 5.0, 6.0]}
VARIED = """\
vary: {train.lr: [1e-3, 1e-2]}
ablate: {model.transformer: [null, {placement: conv2}]}
baseline: {model.transformer: null}
"""
ALONE = "variants: [{name: ST}]\n"


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path)


def test_the_answer_in_one_sentence(study):
    ms = {"CNN": [10.0, 10.1], "ST": [11.1, 11.2]}
    (sentence,) = answer(find(study, trained(study, ERRORS, ms)))
    assert sentence == (
        "ST lowers the test error by 17.00 points [14.52, 19.48] (3 seeds) against CNN and costs "
        "9.9 % [9.3, 10.4] of training throughput (2 rounds)."
    )


def test_a_gain_is_a_gain(study):
    worse = {"CNN": ERRORS["ST"], "ST": ERRORS["CNN"]}
    ms = {"CNN": [10.0, 10.0], "ST": [8.0, 8.0]}
    (sentence,) = answer(find(study, trained(study, worse, ms)))
    assert "ST raises the test error by 17.00 points [14.52, 19.48]" in sentence
    assert "gains 25.0 % [25.0, 25.0] of training throughput" in sentence


def test_a_large_gain_is_a_factor(study):
    ms = {"CNN": [10.0, 10.0], "ST": [0.5, 0.5]}
    (sentence,) = answer(find(study, trained(study, ERRORS, ms)))
    assert "and has 20.0 [20.0, 20.0] times the training throughput (2 rounds)" in sentence


def test_a_large_gain_of_one_round_is_a_factor_too(study):
    sentence, *_ = answer(find(study, trained(study, ERRORS, {"CNN": [10.0], "ST": [0.5]})))
    assert "has 20.0 times the training throughput (one round: no interval)" in sentence


def test_noise_is_called_noise(study):
    noisy = {"CNN": [20.0, 4.0, 24.0], "ST": [4.0, 20.0, 22.0]}
    told = " ".join(answer(find(study, trained(study, noisy, {"CNN": [1, 2], "ST": [2, 1]}))))
    assert "Whether ST changes the test error of CNN cannot be told" in told
    assert "the interval includes 0" in told
    assert "so what it costs cannot be told" in told
    assert "lowers" not in told and "costs " not in told.replace("what it costs", "")


def test_among_many_comparisons_one_small_p_is_chance(tmp_path):
    arms = ", ".join(f"{{name: V{i}, set: {{train.lr: {i + 2}}}}}" for i in range(3))
    design = f"variants: [{{name: A, set: {{train.lr: 1}}}}, {arms}]\nbaseline: {{train.lr: 1}}\n"
    study = make_study(tmp_path, design)
    base = [10.0, 11.0, 12.0]
    errors = {"A": base, "V0": [8.0, 9.5, 10.8], "V1": [10.0, 11.5, 11.7], "V2": [9.9, 11.3, 12.4]}
    found = find(study, trained(study, errors))
    first = found.rows[1].difference
    assert first.p < 0.05 < first.p_holm and first.estimate.excludes_zero
    told = answer(found)[0]
    assert told.startswith("Whether V0 changes the test error of A cannot be told")
    assert "among so many comparisons that can be chance" in told
    assert "Holm" in notes(found)


def test_points_are_summed_up_and_each_is_in_the_details(tmp_path):
    study = make_study(tmp_path, VARIED)
    errors = {}
    for v in study.variants:
        ours = v.arm != "transformer=null"
        less = 9 * ours if v.point["lr"] == "0.001" else 0
        errors[v.name] = [20.0 - less + 0.1 * i * (1 + (ours and (-1) ** i)) for i in range(3)]
    ms = {v.name: [10.0 + 2 * (v.arm == "base")] * 2 for v in study.variants}
    found = find(study, trained(study, errors, ms))
    base, conv = answer(found)
    assert base.startswith(
        "base against transformer=null: lowers the test error at 1 of 2 points, most at lr=0.001: "
        "by 8.9"
    )
    assert base.endswith(
        "at 1 of 2 points no difference can be told; "
        "training throughput changes by −16.7 to −16.7 %."
    )
    ms = {v.name: [1.0 if v.arm == "base" else 10.0] * 2 for v in study.variants}
    assert answer(find(study, trained(study, errors, ms)))[0].endswith(
        "training throughput is 10.0 to 10.0 times as high."
    )
    assert conv.startswith("placement=conv2 against transformer=null")
    assert len(details(found)) == 4
    assert details(found)[0].startswith("At lr=0.001: base lowers the test error by 8.9")


def test_many_variants_are_counted(tmp_path):
    arms = ", ".join(f"{{name: V{i}, set: {{train.lr: {i + 2}}}}}" for i in range(5))
    design = f"variants: [{{name: A, set: {{train.lr: 1}}}}, {arms}]\nbaseline: {{train.lr: 1}}\n"
    study = make_study(tmp_path, design)
    errors = {"A": [10.0, 11.0, 12.0]} | {
        name: [v + 0.001 * k for k, v in enumerate([10 - d, 11 - d, 12 - d])]
        for name, d in {"V0": 5, "V1": 4, "V2": -3, "V3": 2, "V4": 1}.items()
    }
    told = answer(find(study, trained(study, errors)))[0]
    assert told == (
        "Of 5 variants compared with A: 4 lower the test error, most V0: by 5.00 points "
        "[5.00, 5.00] (3 seeds); 1 raises the test error, most V2: by 3.00 points [3.00, 3.00] "
        "(3 seeds)."
    )


def test_a_study_of_speed_alone_answers_in_speed(study):
    rows = [
        timing(trial, i, warp=ms + 0.01 * i)
        for trial, ms in zip(study.trials("cpu")[:2], (10.0, 12.5), strict=True)
        for i in range(2)
    ]
    (told, _) = answer(find(study, rows))
    assert told.startswith("ST costs 20.0 % [19.")
    assert "of warp throughput (2 rounds) against CNN." in told


def test_a_profile_is_said_first(tmp_path):
    study = make_study(tmp_path, "profiles: {short: {train.steps: 5}}\n" + TWO,
                       profile="short")  # fmt: skip
    told = answer(find(study, trained(study, ERRORS)))
    assert told[0].startswith("Short profile, not the full setting: ST lowers")


def test_no_trial(study):
    assert answer(find(study, [])) == [
        "No trial of this study has a result yet, so there is no answer.",
        "Of 6 trials 0 are done, 0 failed, 6 are missing and 0 are running.",
    ]


def test_one_trial(tmp_path):
    study = make_study(tmp_path, ALONE, seeds=1)
    (trial,) = study.trials("cpu")
    rows = [accuracy(trial, 4.0), *(timing(trial, i, train_step=2.0) for i in range(2))]
    assert answer(find(study, rows)) == [
        "The test error of ST is 4.00 % (one seed: no interval).",
        "The study has one variant, so nothing is compared.",
    ]


def test_one_seed(tmp_path):
    study = make_study(tmp_path, seeds=1)
    told = answer(find(study, trained(study, {"CNN": [20.0], "ST": [4.0]})))
    assert told[0] == (
        "ST differs from CNN by −16.00 points of test error on one seed, which gives no interval, "
        "so nothing can be concluded."
    )


def test_all_failed(study):
    rows = [row(trial, failure="ValueError: it broke") for trial in study.trials("cpu")]
    assert answer(find(study, rows)) == [
        "All 6 trials failed, so there is no answer: ValueError: it broke",
        "Of 6 trials 0 are done, 6 failed (6 exception), 0 are missing and 0 are running.",
    ]


def test_half_failed(study):
    rows = [
        row(trial, failure="OutOfMemoryError: 2 GB", failure_kind="out_of_memory")
        if trial.variant == "ST"
        else accuracy(trial, 20.0 + trial.seed)
        for trial in study.trials("cpu")
    ]
    told = answer(find(study, rows))
    assert told[0] == "ST and CNN share no seed with a result, so they cannot be compared."
    assert "3 failed (3 out of memory)" in told[1]


def test_a_nan_is_left_out_and_said(study):
    rows = trained(study, ERRORS)
    last = rows[-1]
    bad = dataclasses.replace(last.metrics[0], value=math.nan)
    rows[-1] = dataclasses.replace(last, metrics=(bad,))
    found = find(study, rows)
    assert found.not_finite == (last.trial_id,)
    assert found.rows[1].score.n == 2
    assert "The test error of 1 trial is no finite number and is left out." in answer(found)


def test_no_baseline(tmp_path):
    study = make_study(tmp_path, "variants: [{name: A}, {name: B, set: {train.lr: 1}}]\n")
    told = answer(find(study, trained(study, {"A": [1.0, 2.0, 3.0], "B": [1.0, 2.0, 3.0]})))
    assert told[0] == "The study names no baseline, so nothing is compared."


def test_whether_networks_were_pretrained_is_said(tmp_path):
    body = "localisation: {name: backbone, architecture: test_resnet}"
    design = f"""\
variants:
- {{name: whole, set: {{model: {{name: backbone, architecture: resnet10t, pretrained: true}}}}}}
- {{name: anew, set: {{model: {{name: backbone, architecture: resnet10t}}}}}}
- {{name: crop, set: {{model.transformer: {{{body}}}}}}}
- {{name: CNN}}
baseline: {{model.name: cnn, model.transformer.localisation: cnn}}
"""
    study = make_study(tmp_path, design)
    found = find(study, trained(study, {v.name: [1.0, 2.0, 3.0] for v in study.variants}))
    assert (
        "`resnet10t` starts from pretrained weights in whole. "
        "`resnet10t` starts from scratch in anew. `test_resnet` starts from scratch. "
    ) in notes(found)
    plain = make_study(tmp_path)
    assert "starts" not in notes(find(plain, trained(plain, ERRORS)))
