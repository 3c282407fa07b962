"""Measures against plain loops and against forecasts of known worth."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from analytics.risk.alert_measures import caught_onsets, fire, load_curve, theta_for, under_way
from analytics.risk.gates import Subgroup, Validation, judge_gates, verdict
from analytics.risk.landmarks import Landmarks, within
from analytics.risk.measures import (
    Calibration,
    Estimate,
    Resampling,
    auc,
    calibration,
    deciles,
    estimate,
    net_benefit_draws,
    rate_draws,
    within_patient_auc,
)
from analytics.risk.model import SHIPPED

PATIENTS = 200


def simulated(seed=1, *, rows=6000, patients=PATIENTS, spread=0.8, answered=0.8):
    """Rows of known hazard per row; returns them and the hazards that made them."""
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, patients, rows))
    own = rng.normal(0, spread, patients)[patient] * 0.5 + rng.normal(0, spread, rows)
    hazard = 1 / (1 + np.exp(-(-3.3 + own)))
    event, followed = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    goes_on = np.ones(rows, np.bool_)
    for ahead in range(1, 8):
        goes_on &= (rng.random(rows) < answered) | (ahead == 1)
        followed[goes_on] = ahead
        comes = goes_on & (rng.random(rows) < hazard)
        event[comes] = ahead
        goes_on &= ~comes
    return Landmarks(patient, np.arange(rows), np.zeros((rows, 0)), followed, event), np.repeat(
        hazard[:, None], 7, axis=1
    )


def plain_auc(rows, score, days, same=None):
    """Every pair by hand; days ahead weigh by their onsets."""
    good = number = 0.0
    for ahead in range(1, days + 1):
        for i in np.flatnonzero(rows.event == ahead):
            controls = np.flatnonzero((rows.followed >= ahead) & (rows.event != ahead))
            if same:
                controls = controls[rows.patient[controls] == rows.patient[i]]
            if len(controls):
                other = score[controls]
                good += (other < score[i]).mean() + (other == score[i]).mean() / 2
                number += 1
    return good / number


@pytest.mark.parametrize("days", [1, 3, 7])
def test_auc_is_that_of_every_pair(days):
    rows, hazard = simulated(rows=900)
    score = np.round(within(hazard, days), 2)
    resampling = Resampling(PATIENTS, draws=5)
    assert auc(rows, score, days, resampling).value == pytest.approx(plain_auc(rows, score, days), abs=0.005)
    own = within_patient_auc(rows, score, days, resampling).value
    assert own == pytest.approx(plain_auc(rows, score, days, same=True), abs=1e-9)


def test_a_true_hazard_is_calibrated_and_a_stretched_one_is_not():
    rows, hazard = simulated(rows=40_000)
    resampling = Resampling(PATIENTS, draws=200)
    own = calibration(rows, hazard, resampling)
    assert own.slope.low < 1 < own.slope.high
    assert own.in_the_large.overlaps(0, 0)
    assert own.observed_expected.overlaps(1, 1)
    logit = np.log(hazard / (1 - hazard))
    stretched = calibration(rows, 1 / (1 + np.exp(-(2 * logit + 3.3))), resampling)
    assert stretched.slope.value == pytest.approx(own.slope.value / 2, rel=0.03)
    doubled = calibration(rows, 2 * hazard, resampling)
    assert doubled.observed_expected.value == pytest.approx(own.observed_expected.value / 2, rel=1e-3)
    assert not doubled.in_the_large.overlaps(0, 0)


@pytest.mark.parametrize("answered", [1.0, 0.5])
def test_the_rate_within_a_week_does_not_depend_on_how_much_is_answered(answered):
    rows, hazard = simulated(rows=60_000, answered=answered, spread=0.3)
    found = estimate(rate_draws(rows, np.ones(len(rows), np.bool_), Resampling(PATIENTS, draws=100)))
    assert found.value == pytest.approx(float(within(hazard, 7).mean()), abs=0.025)
    naive = (rows.event > 0)[(rows.followed == 7) | (rows.event > 0)].mean()
    assert (naive > found.value + 0.05) == (answered < 1), "what the rows kept for their end would have said"


def test_deciles_rise_and_meet_what_was_seen():
    rows, hazard = simulated(rows=60_000)
    found = deciles(rows, hazard, Resampling(PATIENTS, draws=100))
    assert len(found) == 10
    assert [one.predicted for one in found] == sorted(one.predicted for one in found)
    inside = sum(one.observed.low - 0.01 <= one.predicted <= one.observed.high + 0.01 for one in found)
    assert inside >= 9


def test_net_benefit_of_acting_on_nobody_is_nothing_and_on_all_is_the_formula():
    rows, hazard = simulated(rows=20_000)
    resampling = Resampling(PATIENTS, draws=3)
    risk = within(hazard, 7)
    assert net_benefit_draws(rows, risk, 1.0 - 1e-9, resampling)[0] == 0
    rate = rate_draws(rows, risk >= 0, resampling)[0]
    everybody = net_benefit_draws(rows, np.ones(len(rows)), 0.2, resampling)[0]
    assert everybody == pytest.approx(rate - (1 - rate) * 0.25)
    assert (
        net_benefit_draws(rows, risk, 0.3, resampling)[0]
        > net_benefit_draws(rows, 1 - risk, 0.3, resampling)[0]
    )


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(40):
        rows, hazard = simulated(seed, rows=2000, patients=100)
        held += calibration(rows, hazard, Resampling(100, draws=150, seed=seed)).in_the_large.overlaps(0, 0)
    assert 33 <= held <= 40


def test_alerts_are_a_week_apart_and_the_threshold_meets_its_budget():
    score = np.full((1, 30), 0.9)
    assert np.flatnonzero(fire(score, 0.5)[0]).tolist() == [0, 7, 14, 21, 28]
    score = np.random.default_rng(1).random((300, 120))
    score[:, ::3] = np.nan
    for budget in (0.5, 1.0, 2.0):
        load = 30 * fire(score, theta_for(score, budget)).sum() / (~np.isnan(score)).sum()
        assert load == pytest.approx(budget, rel=0.03)


@pytest.mark.parametrize("budget", [0.5, 2.0, 8.0])
def test_by_the_load_curve_a_budget_per_100_patients_and_week_is_met_and_counts_who_cannot_be_scored(budget):
    rng = np.random.default_rng(2)
    score = rng.beta(2, 8, (600, 200))
    score[rng.random(score.shape) < 0.4] = np.nan
    # a third is there and never scored
    score[::3] = np.nan
    curve = load_curve(score, np.ones(score.shape, np.bool_))
    load = dataclasses.replace(SHIPPED, loads={"7d": curve}).load_at("7d", score)
    alerts = fire(-load, -budget)
    assert 0.9 * budget <= 100 * alerts.sum() / (score.size / 7) <= budget
    order = np.argsort(score[~np.isnan(score)])
    assert (np.diff(load[~np.isnan(score)][order]) <= 0).all()
    assert np.isnan(load[::3]).all()
    assert load_curve(np.full((2, 9), np.nan), np.ones((2, 9), np.bool_)) == ()


def test_a_flare_under_way_is_found_from_a_day_before_to_six_after_and_chance_is_told_beside_it():
    onset, alert = np.zeros((2, 40), np.bool_), np.zeros((2, 40), np.bool_)
    onset[0, [10, 20, 30]] = True
    alert[0, [9, 16, 17, 27]] = True
    # too young to tell of, and an onset whose week reaches out
    alert[1, 38], onset[1, 33] = True, True
    cohort = SimpleNamespace(labels=SimpleNamespace(is_onset=onset))
    found = under_way(cohort, alert, np.ones_like(onset), 0, 37, Resampling(2, draws=0))
    # 9 and 16 are of the flare of day 10, 17 and 27 of none
    assert (found.ppv.value, found.sensitivity.value) == (0.5, 1 / 3)
    assert found.by_chance == (3 * 8 + 5) / (2 * 37)
    later = under_way(cohort, alert, np.ones_like(onset), 10, 37, Resampling(2, draws=0))
    assert later.ppv.value == 1 / 3, "what was before is not counted"


def test_an_onset_is_caught_by_an_alert_on_one_of_the_seven_days_before():
    onset, alert = np.zeros((1, 40), np.bool_), np.zeros((1, 40), np.bool_)
    onset[0, [10, 20, 30]] = True
    alert[0, [3, 20, 22]] = True
    caught, counted, lead = caught_onsets(onset, alert, np.ones_like(onset), 39)
    assert np.flatnonzero(caught[0]).tolist() == [10]
    assert counted.sum() == 3
    assert lead.tolist() == [7]
    alert[0, 29] = True
    assert caught_onsets(onset, alert, np.ones_like(onset), 39)[2].tolist() == [7, 1]


def around(value, half):
    return Estimate(value, value - half, value + half)


def validation(**changes):
    """A good one, with changes."""
    good = {
        "onsets": 120,
        "calibration": Calibration(around(1.0, 0.3), around(0.0, 0.2), around(1.0, 0.1), around(0.02, 0.01)),
        "auc": around(0.62, 0.05),
        "auc_gain": around(0.02, 0.02),
        "benefit_gain": around(0.001, 0.002),
        "load": around(0.5, 0.1),
        "budget": 0.5,
    }
    return Validation(**(good | changes))


def calibrated(**changes):
    own = vars(validation().calibration) | changes
    return Calibration(**own)


def answers(**changes):
    gates = judge_gates(validation(**changes))
    return verdict(gates), [gate.name for gate in gates if gate.answer != "pass"]


def test_a_good_validation_passes_every_gate():
    assert answers() == ("pass", [])


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"calibration": calibrated(slope=around(0.4, 0.3))}, "slope"),
        ({"calibration": calibrated(slope=around(1.8, 0.4))}, "slope"),
        ({"calibration": calibrated(in_the_large=around(0.3, 0.2))}, "calibration in the large"),
        ({"auc": around(0.54, 0.05)}, "discrimination"),
        ({"auc_gain": around(-0.04, 0.02)}, "not worse than the active version"),
        ({"benefit_gain": around(-0.01, 0.005)}, "net benefit"),
        ({"load": around(0.9, 0.1)}, "alert load"),
        ({"load": around(0.2, 0.1)}, "alert load"),
        ({"subgroups": [Subgroup("65 and over", 40, 2.2, 0.1)]}, "subgroup 65 and over"),
    ],
)
def test_each_gate_can_fail_alone(changes, gate):
    assert answers(**changes) == ("fail", [gate])


def test_too_few_onsets_and_a_wide_slope_ask_for_more_days_not_for_a_verdict():
    assert answers(onsets=30) == ("wait", ["onsets"])
    assert answers(onsets=30, auc=around(0.55, 0.2)) == ("wait", ["onsets", "discrimination"])
    wide = calibrated(slope=around(1.0, 0.9))
    assert answers(calibration=wide) == ("wait", ["slope width"])


def test_subgroups_are_judged_from_thirty_onsets_on_and_share_the_level():
    few = [Subgroup("few", 29, 5.0, 0.05)]
    assert answers(subgroups=few) == ("pass", [])
    # 1.75 (1.44 to 2.13) alone is too high; as one of ten its interval meets the range
    alone = [Subgroup("one", 40, 1.75, 0.1)]
    assert answers(subgroups=alone)[0] == "fail"
    among = [*alone, *(Subgroup(str(i), 40, 1.0, 0.1) for i in range(9))]
    assert answers(subgroups=among) == ("pass", [])
