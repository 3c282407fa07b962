"""Rows, fit and recalibration against spelt-out twins and known truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from analytics.risk.features import FEATURES
from analytics.risk.fit import fit_hazard, rate_prior, recalibrate
from analytics.risk.landmarks import Landmarks, hazards, make_landmarks
from analytics.risk.model import HORIZON, SHIPPED, Model

NOTHING = (0.0,) * HORIZON


def matrices(patients, days, *, rate=0.03, answered=1.0, seed=1, weights=None):
    """A cohort of known hazard: features drawn, onsets from them, answers at random."""
    rng = np.random.default_rng(seed)
    x = {name: rng.standard_normal((patients, days)) * 0.5 for name in FEATURES}
    logit = np.log(rate / (1 - rate)) + sum(x[name] * w for name, w in (weights or {}).items())
    onset = np.zeros((patients, days), np.bool_)
    onset[:, 1:] = (rng.random((patients, days)) < 1 / (1 + np.exp(-logit)))[:, :-1]
    observed = rng.random((patients, days)) < answered
    return x, onset, observed


def rows_of(patients, days, **more):
    x, onset, observed = matrices(patients, days, **more)
    return make_landmarks(x, onset, np.ones_like(onset), observed, known_after=0)


def test_a_row_is_followed_to_its_onset_to_the_first_silent_day_or_for_a_week():
    x = {name: np.zeros((1, 20)) for name in FEATURES}
    onset = np.zeros((1, 20), np.bool_)
    observed = np.ones((1, 20), np.bool_)
    onset[0, 5] = True
    observed[0, 12] = False
    rows = make_landmarks(x, onset, np.ones_like(onset), observed)
    found = {int(c): (int(f), int(e)) for c, f, e in zip(rows.column, rows.followed, rows.event, strict=True)}
    assert found[0] == (5, 5)
    assert found[4] == (1, 1)
    assert found[5] == (6, 0)
    assert 11 not in found, "nothing was seen of it"
    assert found[12] == (5, 0), "the labels of the last two days are not known yet"
    assert 17 not in found


def test_an_onset_on_a_silent_day_is_not_seen():
    x = {name: np.zeros((1, 20)) for name in FEATURES}
    onset, observed = np.zeros((1, 20), np.bool_), np.ones((1, 20), np.bool_)
    onset[0, 5], observed[0, 5] = True, False
    rows = make_landmarks(x, onset, np.ones_like(onset), observed)
    assert not (rows.event > 0).any()


@pytest.mark.parametrize("answered", [1.0, 0.5, 0.3])
def test_censoring_keeps_the_rate_whatever_share_of_days_is_answered(answered):
    rows = rows_of(1500, 90, answered=answered, seed=4)
    fitted = fit_hazard(rows).model("m", SHIPPED)
    week = 1 - np.prod([1 - 1 / (1 + np.exp(-a)) for a in fitted.intercepts])
    assert week == pytest.approx(1 - 0.97**7, abs=0.03)


def test_the_fit_is_the_optimum_of_the_spelt_out_likelihood():
    weights = {"nrs_1": 0.5, "tst_3": 0.3}
    rows = rows_of(60, 80, rate=0.06, answered=0.8, weights=weights, seed=2)
    prior = replace(SHIPPED, weights={"nrs_1": 0.2}, slopes={"nrs_1": -0.1})
    history = np.random.default_rng(3).normal(0, 0.3, len(rows))
    fitted = fit_hazard(rows, prior=prior, history=history)
    count = len(FEATURES)
    center = np.zeros(HORIZON + 2 * count)
    place = list(FEATURES).index("nrs_1")
    center[HORIZON + place], center[HORIZON + count + place] = 0.2, -0.1
    stiffness = np.concatenate([np.full(7, 1e-6), np.full(count, 100.0), np.full(count, 500.0)])

    def loss(theta):
        total = 0.5 * (stiffness * (theta - center) ** 2).sum()
        for ahead in range(HORIZON):
            at = rows.followed > ahead
            factor = ahead / 6
            logit = (
                theta[ahead] + rows.x[at] @ (theta[7 : 7 + count] + factor * theta[7 + count :]) + history[at]
            )
            y = rows.event[at] == ahead + 1
            total += (np.logaddexp(0, logit) - y * logit).sum() / 3
        return total

    twin = minimize(loss, fitted.theta + 0.05, method="L-BFGS-B", options={"maxiter": 3000, "ftol": 1e-14})
    assert loss(fitted.theta) <= twin.fun + 1e-6
    assert fitted.theta == pytest.approx(twin.x, abs=2e-3)


def test_the_fit_finds_the_weights_that_made_the_data():
    weights = {"nrs_1": 0.8, "mood_3": -0.6}
    rows = rows_of(800, 200, rate=0.05, weights=weights, seed=5)
    fitted = fit_hazard(replace_followed(rows, 1))
    model = fitted.model("m", SHIPPED)
    for name in FEATURES:
        error = fitted.standard_errors()[name][0]
        assert abs(model.weights[name] - weights.get(name, 0.0)) < 4 * error + 0.03, name
    assert model.standing == "fitted"
    assert model.theta is None


def replace_followed(rows, days):
    """The same rows, looked at for so many days only."""
    event = np.where(rows.event <= days, rows.event, 0)
    return Landmarks(rows.patient, rows.column, rows.x, np.minimum(rows.followed, days), event)


def test_standard_errors_know_that_rows_of_a_patient_belong_together():
    rows = rows_of(80, 60, rate=0.06, seed=6)
    twice = Landmarks(*(np.concatenate([part, part]) for part in vars(rows).values()))
    alone, doubled = (fit_hazard(one).standard_errors()["nrs_1"][0] for one in (rows, twice))
    # every patient's rows twice tell nothing new; the ridge alone weighs a little less
    assert doubled == pytest.approx(alone, rel=0.12)


def test_recalibration_finds_a_shift_and_a_slope():
    weights = {"nrs_1": 0.9, "tst_3": 0.7}
    rows = rows_of(900, 120, rate=0.05, weights=weights, seed=7)
    rows = replace_followed(rows, 1)
    half = Model("h", "shipped", (-2.0,) * HORIZON, {name: w / 1.4 for name, w in weights.items()}, {})
    model = recalibrate(rows, half, "m", has_slope=True, history=np.zeros(len(rows)))
    assert model.weights["nrs_1"] == pytest.approx(0.9, abs=0.08)
    assert hazards(model, rows)[:, 0].mean() == pytest.approx((rows.event == 1).mean(), rel=1e-3)
    shifted = recalibrate(rows, half, "m", has_slope=False, history=np.zeros(len(rows)))
    assert shifted.weights == half.weights
    assert hazards(shifted, rows)[:, 0].mean() == pytest.approx((rows.event == 1).mean(), rel=1e-3)


def test_the_slope_stays_within_its_limits():
    rows = rows_of(900, 120, rate=0.05, weights={"nrs_1": 0.9}, seed=8)
    weak = Model("w", "shipped", (-3.0,) * HORIZON, {"nrs_1": 0.1}, {})
    model = recalibrate(rows, weak, "m", has_slope=True, history=np.zeros(len(rows)))
    assert model.weights["nrs_1"] == pytest.approx(0.15)
    wrong = Model("w", "shipped", (-3.0,) * HORIZON, {"nrs_1": -1.0}, {})
    model = recalibrate(rows, wrong, "m", has_slope=True, history=np.zeros(len(rows)))
    assert model.weights["nrs_1"] == pytest.approx(-0.5)


@pytest.mark.parametrize("shape", [3.0, 6.0])
def test_the_rate_prior_by_moments_finds_the_shape(shape):
    rng = np.random.default_rng(9)
    expected = rng.uniform(2, 8, 5000)
    onsets = rng.poisson(expected * rng.gamma(shape, 1 / shape, 5000)).astype(np.float64)
    assert rate_prior(onsets, expected) == pytest.approx(shape, rel=0.15)


def test_the_rate_prior_is_kept_within_two_and_ten():
    expected = np.full(200, 5.0)
    assert rate_prior(np.full(200, 5.0), expected) == 10
    assert rate_prior(np.where(np.arange(200) % 2, 40.0, 0.0), expected) == 2


def test_nothing_to_fit_is_said():
    rows = rows_of(5, 30, rate=1e-9)
    with pytest.raises(ValueError, match="no onset"):
        fit_hazard(rows)
