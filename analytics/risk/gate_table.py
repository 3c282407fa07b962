"""How often the gates pass a perfectly calibrated and a useless forecast, by site size.

Assumptions: 2.8 onsets per 100 quiet days; people differ as a Gamma of shape 4 in their rates; on top of
that a state (SD .35 in log-odds, .9 from day to day) that the perfect forecast knows on its day. It gives
the true chance of every coming day. The useless one is the perfect forecast of somebody else: as spread
out, as high on average, and about nobody. 70 % of days are answered (people differ). The own past rate is
counted over 180 days. Nothing of this depends on a fitted model: it is about the gates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.alert_measures import MONTH, fire, theta_for
from analytics.risk.arrays import Floats, Marks
from analytics.risk.features import FEATURES
from analytics.risk.gates import Answer, Validation, judge_gates, verdict
from analytics.risk.landmarks import Landmarks, make_landmarks, within
from analytics.risk.measures import Resampling, auc_draws, calibration, estimate, net_benefit_draws, ratio
from analytics.risk.model import HORIZON
from analytics.risk.site_fit import WANTED_ONSETS
from analytics.risk.stages import LONGEST_VALIDATION, VALIDATION_DAYS

_INTERCEPT: Final = float(np.log(0.028 / 0.972))
_STATE_SD, _MEMORY, _RATE_SHAPE, _HISTORY_DAYS = 0.35, 0.9, 4.0, 180
_QUIET_AFTER: Final = 5
_BUDGET: Final = 0.5
_SITE_FOR_THETA: Final = 3000
FORECASTS: Final = ("perfect", "useless")


@dataclass(frozen=True)
class PassRates:
    """Shares of simulated validations by answer."""

    patients: int
    kind: str
    onsets: float
    passed: float
    failed: float
    extended: float


def pass_rates(
    patients: int,
    repeats: int,
    *,
    seed: int,
    draws: int = 200,
    on_validation: Callable[[], None] = lambda: None,
) -> list[PassRates]:
    """Rates of a site size, for both kinds of forecast; `on_validation` is called after each, for a bar."""
    theta = _theta(seed)
    found: list[PassRates] = []
    for kind in FORECASTS:
        answers: list[tuple[Answer, int]] = []
        for number in range(repeats):
            # the same simulated sites for both kinds
            rng = np.random.default_rng((seed, patients, number))
            answers.append(_one(rng, patients, kind, theta, draws))
            on_validation()
        share = [
            float(np.mean([answer == wanted for answer, _ in answers])) for wanted in ("pass", "fail", "wait")
        ]
        onsets = float(np.median([count for _, count in answers]))
        found.append(PassRates(patients, kind, onsets, *share))
    return found


@dataclass(frozen=True)
class _Site:
    rows: Landmarks
    rate: Floats  # ln M, (patients,)
    state: Floats
    past: Floats  # own past rate as counted, (patients,)
    is_quiet: Marks


def _theta(seed: int) -> float:
    """Threshold of the budget on a large site of its own."""
    rng = np.random.default_rng((seed, 0))
    rate, state = _people(rng, _SITE_FOR_THETA, 60)
    days = np.broadcast_to(rate[:, None], state.shape)
    return theta_for(within(_forecast(days.ravel(), state.ravel()), HORIZON).reshape(state.shape), _BUDGET)


def _one(rng: np.random.Generator, patients: int, kind: str, theta: float, draws: int) -> tuple[Answer, int]:
    site = _site(rng, patients)
    other_rate, other_state = _people(rng, patients, site.state.shape[1])
    rate, state = (site.rate, site.state) if kind == "perfect" else (other_rate, other_state)
    days = VALIDATION_DAYS
    columns = site.state.shape[1]
    while days < LONGEST_VALIDATION and _since(site, columns - days).onsets() < WANTED_ONSETS:
        days += 7
    rows = _since(site, columns - days)
    if not (rows.event > 0).any():
        return "wait", 0
    at = rows.patient, rows.column
    hazards = _forecast(rate[rows.patient], state[at])
    # the active version knows people apart, and nothing of their days; a useless one is up against another
    active = (
        _forecast(rate[rows.patient], np.zeros(len(rows)))
        if kind == "perfect"
        else rng.random((len(rows), 7))
    )
    resampling = Resampling(patients, draws=draws, seed=int(rng.integers(1 << 31)))
    risk = within(hazards, HORIZON)
    drawn = auc_draws(rows, risk, HORIZON, resampling)
    gain = drawn - auc_draws(rows, within(active, HORIZON), HORIZON, resampling)
    validation = Validation(
        onsets=rows.onsets(),
        calibration=calibration(rows, hazards, resampling),
        auc=estimate(drawn),
        auc_gain=estimate(gain),
        benefit_gain=estimate(_benefit_gain(rows, risk, site.past, theta, resampling)),
        load=estimate(_load(site, rate, state, columns - days, theta, resampling)),
        budget=_BUDGET,
    )
    return verdict(judge_gates(validation)), validation.onsets


def _people(rng: np.random.Generator, patients: int, days: int) -> tuple[Floats, Floats]:
    rate = np.log(rng.gamma(_RATE_SHAPE, 1 / _RATE_SHAPE, patients))
    state = rng.standard_normal((patients, days))
    fresh = np.sqrt(1 - _MEMORY**2)
    for day in range(1, days):
        state[:, day] = _MEMORY * state[:, day - 1] + fresh * state[:, day]
    return rate, _STATE_SD * state


def _site(rng: np.random.Generator, patients: int) -> _Site:
    days = LONGEST_VALIDATION + 2 * HORIZON
    rate, state = _people(rng, patients, days)
    hazard = 1 / (1 + np.exp(-(_INTERCEPT + rate[:, None] + state)))
    onset, quiet = np.zeros(hazard.shape, np.bool_), np.zeros(hazard.shape, np.bool_)
    wait = np.zeros(patients, np.int64)
    for day in range(days):
        onset[:, day] = (wait == 0) & (rng.random(patients) < hazard[:, day])
        wait = np.where(onset[:, day], _QUIET_AFTER, np.maximum(wait - 1, 0))
        quiet[:, day] = wait == 0
    answered = rng.random(hazard.shape) < rng.beta(7, 3, (patients, 1))
    nothing = dict.fromkeys(FEATURES, np.zeros(hazard.shape))
    expected = _HISTORY_DAYS * np.exp(_INTERCEPT)
    seen = rng.poisson(expected * np.exp(rate))
    past = (_RATE_SHAPE + seen) / (_RATE_SHAPE + expected)
    return _Site(make_landmarks(nothing, onset, quiet, answered), rate, state, past, quiet)


def _since(site: _Site, column: int) -> Landmarks:
    return site.rows.where(site.rows.column >= column - 2 * HORIZON)


def _forecast(rate: Floats, state: Floats) -> Floats:
    """True chance of an onset on each of seven coming days, (rows, 7): mean over where the state may go."""
    points, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    found: list[Floats] = []
    for ahead in range(1, HORIZON + 1):
        center = _INTERCEPT + rate + _MEMORY**ahead * state
        spread = _STATE_SD * np.sqrt(1 - _MEMORY ** (2 * ahead))
        chance = 1 / (1 + np.exp(-(center[:, None] + spread * points)))
        found.append(chance @ weights)
    return np.stack(found, axis=1)


def _benefit_gain(
    rows: Landmarks, risk: Floats, past: Floats, theta: float, resampling: Resampling
) -> Floats:
    rate = past[rows.patient]
    acted = float((risk >= theta).mean())
    as_risk = (rate >= np.quantile(rate, 1 - acted)).astype(np.float64) if acted > 0 else np.zeros(len(rows))
    return net_benefit_draws(rows, risk, theta, resampling) - net_benefit_draws(
        rows, as_risk, theta, resampling
    )


def _load(
    site: _Site, rate: Floats, state: Floats, column: int, theta: float, resampling: Resampling
) -> Floats:
    """Over all quiet days, followed or not."""
    eligible = site.is_quiet & (np.arange(state.shape[1]) >= column - 2 * HORIZON)
    at = np.nonzero(eligible)
    risk = np.full(state.shape, np.nan)
    risk[at] = within(_forecast(rate[at[0]], state[at]), HORIZON)
    alerts = fire(risk, theta)
    top, bottom = (resampling.sums(one.sum(axis=1).astype(np.float64)) for one in (alerts, eligible))
    return MONTH * ratio(top, bottom)
