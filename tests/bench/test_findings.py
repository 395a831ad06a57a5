"""The numbers of a report, against numbers worked out by hand or by SciPy."""

import dataclasses
import datetime
import json
import math

import numpy as np
import pytest
from found import ENVIRONMENT, START, accuracy, find, make_study, row, timing, trained
from large_store import make
from scipy import stats

from bench.report import write_report
from bench.results import ResultStore

ERRORS = {"CNN": [20.0, 22.0, 24.0], "ST": [4.0, 5.0, 6.0]}
VARIED = """\
vary: {train.lr: [1e-3, 1e-2], train.batch_size: [30, 60]}
ablate: {model.transformer: [null, {placement: conv2}]}
baseline: {model.transformer: null}
"""


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path)


def by_name(found):
    return {row.variant: row for row in found.rows}


def test_differences_are_those_of_a_paired_t_test(study):
    found = by_name(find(study, trained(study, ERRORS)))
    difference = found["ST"].difference
    want = stats.ttest_rel(ERRORS["ST"], ERRORS["CNN"])
    assert difference.estimate.mean == pytest.approx(-17)
    low, high = want.confidence_interval()
    assert (difference.estimate.low, difference.estimate.high) == pytest.approx((low, high))
    assert difference.p == pytest.approx(want.pvalue)
    assert difference.p_holm == difference.p
    assert found["CNN"].difference is None


def test_a_seed_that_one_side_lacks_is_in_its_mean_and_in_no_difference(study):
    found = by_name(find(study, trained(study, {"CNN": [20.0, 22.0], "ST": [4.0, 5.0, 9.0]})))
    assert found["ST"].score.mean == pytest.approx(6)
    assert found["ST"].difference.estimate.mean == pytest.approx(-16.5)
    assert found["ST"].difference.estimate.n == 2


def test_ratios_are_paired_by_round_so_that_drift_cancels(study):
    ms = {"CNN": [10.0, 20.0], "ST": [11.0, 22.4]}
    st = by_name(find(study, trained(study, ERRORS, ms)))["ST"].speeds["train_step"]
    logs = np.log([1.1, 1.12])
    half = stats.t.ppf(0.975, 1) * logs.std(ddof=1) / math.sqrt(2)
    want = [math.exp(logs.mean() + end) for end in (0, -half, half)]
    estimate = st.ratio.estimate
    assert [estimate.mean, estimate.low, estimate.high] == pytest.approx(want)
    assert st.ratio.p == pytest.approx(stats.ttest_1samp(logs, 0)[1])
    # Medians of blocks at 0.9, 1 and 1.2 times; the warm-up's, at 9 times, does not count.
    assert dict(st.rounds) == {("run", 0): pytest.approx(11), ("run", 1): pytest.approx(22.4)}
    assert st.per_s == pytest.approx(30e3 / math.sqrt(11 * 22.4))


def test_rounds_of_two_runs_are_no_pairs(study):
    cnn, st = (trial for trial in study.trials("cpu") if trial.seed == 0)
    rows = [timing(cnn, 0, train_step=10.0)]
    rows += [dataclasses.replace(timing(st, 0, train_step=20.0), run_id="another")]
    assert by_name(find(study, rows))["ST"].speeds["train_step"].ratio is None


def test_holm_is_over_all_differences_and_points_are_apart(tmp_path):
    study = make_study(tmp_path, VARIED)
    rng = np.random.default_rng(0)
    errors = {v.name: list(10 + i + rng.normal(size=3)) for i, v in enumerate(study.variants)}
    found = find(study, trained(study, errors))
    assert found.points == (
        "lr=0.001, batch_size=30", "lr=0.001, batch_size=60", "lr=0.01, batch_size=30",
        "lr=0.01, batch_size=60",
    )  # fmt: skip
    tested = [row for row in found.rows if row.difference]
    assert found.comparisons == len(tested) == 8
    ps = [stats.ttest_rel(errors[row.variant], errors[row.baseline]).pvalue for row in tested]
    order = np.argsort(ps)
    want = np.maximum.accumulate([min(1, (8 - i) * ps[k]) for i, k in enumerate(order)])
    assert [tested[k].difference.p_holm for k in order] == pytest.approx(list(want))


def test_effects_are_the_contrasts_of_a_factorial(tmp_path):
    study = make_study(tmp_path, VARIED)
    # lr 0.01 adds 2, a batch of 60 adds 3, the two together 5 more; a transformer takes 4.
    values = {}
    for v in study.variants:
        lr, batch = v.point["lr"] == "0.01", v.point["batch_size"] == "60"
        base = 10 + 2 * lr + 3 * batch + 5 * (lr and batch) - 4 * (v.arm != "transformer=null")
        values[v.name] = [base + 0.1 * seed * (1 + lr) for seed in range(3)]
    found = find(study, trained(study, values))
    effects = {(e.factors, e.levels): e for e in found.effects}
    assert len(effects) == 4 + 5
    lr = effects[("lr",), ("0.01",)]
    # Over batches: (2 + 7) / 2, and on seed s 0.1 s more.
    assert (lr.cells, lr.references) == (6, ("0.001",))
    want = np.array([4.5, 4.6, 4.7])
    assert lr.difference.estimate.mean == pytest.approx(4.6)
    assert lr.difference.p == pytest.approx(stats.ttest_1samp(want, 0)[1])
    both = effects[("lr", "batch_size"), ("0.01", "60")]
    assert both.difference.estimate.mean == pytest.approx(5)
    arm = effects[("variant",), ("base",)]
    assert (arm.references, arm.cells) == (("transformer=null",), 4)
    assert arm.difference.estimate.mean == pytest.approx(-4)


def test_a_hole_in_the_design_takes_no_level_with_it(tmp_path):
    study = make_study(tmp_path, VARIED + "exclude: [{train.lr: 1e-2, train.batch_size: 60}]\n")
    values = {v.name: [10.0 + (v.point["lr"] == "0.01")] * 3 for v in study.variants}
    found = find(study, trained(study, values))
    effects = {(e.factors, e.levels): e for e in found.effects}
    # Only at a batch of 30 are both learning rates there, for three arms.
    assert effects[("lr",), ("0.01",)].cells == 3
    assert ("lr", "batch_size") not in {factors for factors, _ in effects}


def test_one_factor_has_no_effects_beside_its_differences(study):
    assert find(study, trained(study, ERRORS)).effects == ()


def test_the_front_is_what_nothing_beats_in_both(tmp_path):
    design = (
        "variants: [{name: A, set: {train.lr: 1}}, {name: B, set: {train.lr: 2}}, "
        "{name: C, set: {train.lr: 3}}]\nbaseline: {train.lr: 1}\n"
    )
    study = make_study(tmp_path, design)
    errors = {"A": [9.0] * 3, "B": [5.0] * 3, "C": [9.5] * 3}
    found = find(study, trained(study, errors, {"A": [10.0], "B": [20.0], "C": [11.0]}))
    assert [row.on_front for row in found.rows] == [True, True, False]


def test_curves_have_means_and_bands_and_leave_out_what_is_not_finite(study):
    rows = trained(study, ERRORS)
    (first, *_), point = [r for r in rows if r.variant == "ST"], rows[0].curves[0]
    bad = dataclasses.replace(point, name="test_error", step=20, value=math.nan)
    rows[rows.index(first)] = dataclasses.replace(first, curves=(first.curves[0], bad))
    curve = next(c for c in find(study, rows).curves if c.variant == "ST")
    assert (curve.steps, curve.seeds) == ((10, 20), (3, 2))
    assert curve.mean == pytest.approx((10, 5.5))
    assert (curve.low, curve.high) == ((9.0, 5.0), (11.0, 6.0))


def test_flags_are_counted_and_drop_nothing(study):
    trial = study.trials("cpu")[0]
    found = find(study, [timing(trial, 0, flags=("cpu_steal",), train_step=10.0, forward=2.0)])
    assert (found.rows[0].flags, found.rows[0].blocks) == ({"cpu_steal": 2}, 6)
    assert [d.blocks for d in found.distributions] == [3, 3]
    quantiles = found.distributions[0].quantiles
    assert quantiles == pytest.approx(np.quantile([9, 10, 12], (0.05, 0.25, 0.5, 0.75, 0.95)))


def test_attempts_side_by_side_stand_in_lanes_of_their_own(study):
    trials = study.trials("cpu")
    starts = [0, 1, 2.5]
    rows = [
        dataclasses.replace(
            accuracy(trial, 5.0), started_at=START + datetime.timedelta(seconds=start)
        )
        for trial, start in zip(trials, starts, strict=False)
    ]
    found = find(study, rows)
    assert [(span.start, span.lane) for span in found.spans] == [(0, 0), (1, 1), (2.5, 0)]


def test_a_trial_row_tells_its_attempts_and_its_last_failure(study):
    trial, other, *_ = study.trials("cpu")
    rows = [
        row(trial, failure="ValueError: first"),
        dataclasses.replace(accuracy(trial, 5.0, parameters=7), attempt=2),
        *(timing(trial, i, train_step=1.0) for i in range(2)),
        row(other, failure="Diverged: nan", failure_kind="diverged"),
    ]
    good, bad, *rest = find(study, rows).trials
    assert (good.status, good.attempts, good.score, good.failure) == ("done", 4, 5.0, None)
    assert good.metrics == {"parameters": 7.0}
    assert (bad.status, bad.kind, bad.failure) == ("failed", "diverged", "Diverged: nan")
    assert {trial.status for trial in rest} == {"missing"}


def test_the_report_of_many_trials_is_small(tmp_path):
    study = make(tmp_path / "large", points=20, rates=5, arms=4, seeds=5)
    made = write_report(study, tmp_path / "large", output=tmp_path / "report")
    assert made.undone == 0
    assert ResultStore(tmp_path / "large").read([]).table.num_rows == 5 * 4 * (5 + 4)
    assert made.html.stat().st_size < 3e6


@pytest.mark.parametrize(
    ("commit", "dirty", "told"),
    [
        (None, None, "unknown"),
        ("c" * 40, None, "c" * 12),
        ("c" * 40, "0f", f"{'c' * 12} with changes"),
    ],
)
def test_the_environment_names_the_commit(commit, dirty, told, study):
    facts = {**json.loads(ENVIRONMENT), "commit": commit, "dirty": dirty}
    (line,) = find(study, [row(study.trials("cpu")[0], environment=json.dumps(facts))]).environments
    assert line == f"cpu (a CPU, 2 CPUs), Python 3.11, torch 2; commit {told}"
