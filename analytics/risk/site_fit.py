"""A site's own version: split by time, fit by how much there is, validate, ask the gates.

Fewer than 100 onsets in the training days move the intercept, 100 to 299 the slope too, from 300 on the
weights are refitted around those of the active version (prior SD .10). Training ends 9 days and more
before validation begins: the week of its last row, and two days until that label is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from analytics.risk.alert_measures import MONTH, fire, load_curve, own_rate_score, theta_for
from analytics.risk.arrays import Floats, Marks
from analytics.risk.cohort import Cohort
from analytics.risk.fit import Fitted, fit_hazard, rate_prior, recalibrate
from analytics.risk.gates import Gate, Subgroup, Validation, judge_gates, verdict
from analytics.risk.landmarks import Landmarks, hazards, within
from analytics.risk.measures import (
    Estimate,
    Resampling,
    auc_draws,
    calibration,
    estimate,
    net_benefit_draws,
    rate_draws,
    ratio,
)
from analytics.risk.model import HORIZON, Model, ReferenceClass
from analytics.risk.stages import (
    EMBARGO_DAYS,
    KNOWABLE_DAYS,
    REFIT_ONSETS,
    SLOPE_ONSETS,
    VALIDATION_DAYS,
    longest_validation,
)

#: Validation reaches back until it has seen this many onsets, as far as it may.
WANTED_ONSETS: Final = 200
#: Days on which the load of thresholds is counted.
LOAD_DAYS: Final = 56
BAND_QUANTILES: Final = (0.30, 0.80)
DEFAULT_BUDGET: Final = 0.5
#: Fitting and the personal rate depend on each other; they settle in a few rounds, to so much log-odds.
_ROUNDS: Final = 8
_SETTLED: Final = 0.005


@dataclass(frozen=True)
class Split:
    """Columns, inclusive: training up to `train_to`, validation from `first` to `last`."""

    train_to: int
    first: int
    last: int


@dataclass(frozen=True)
class SiteFit:
    """A candidate and what was found about it.

    Parameters
    ----------
    stage : str
        intercept, slope or refit.
    errors : dict
        Feature -> clustered standard errors of b and g; empty unless refitted.
    """

    model: Model
    stage: str
    split: Split
    train_rows: int
    train_onsets: int
    validation: Validation
    gates: list[Gate]
    verdict: str
    errors: dict[str, tuple[float, float]]


def split_by_time(cohort: Cohort) -> Split:
    """Validation are the last 28 knowable days, or as many weeks more as it takes to see 200 onsets."""
    last = cohort.panel.shape[1] - 1 - KNOWABLE_DAYS
    longest, days = longest_validation(last), VALIDATION_DAYS
    while days + 7 <= longest:
        rows = cohort.rows.where(cohort.rows.of_columns(last - days + 1, last))
        if rows.onsets() >= WANTED_ONSETS:
            break
        days += 7
    first = last - days + 1
    return Split(first - EMBARGO_DAYS - 1, first, last)


def fit_site(
    cohort: Cohort,
    champion: Model,
    version: str,
    *,
    scales_version: str,
    budget: float = DEFAULT_BUDGET,
    groups: Mapping[str, Marks] | None = None,
    draws: int = 500,
) -> SiteFit:
    """Fit a candidate on the training days and hold it against the validation days.

    Parameters
    ----------
    cohort : Cohort
        The site up to now.
    champion : Model
        The version in force; its weights are where fitting starts from.
    budget : float
        Alerts per eligible patient and 30 days the threshold is set for.
    groups : mapping of str to array of bool (patients,), optional
        Subgroups.

    Raises
    ------
    ValueError
        Not one row to train on.
    """
    split = split_by_time(cohort)
    train = cohort.rows.of_columns(0, split.train_to)
    rows = cohort.rows.where(train)
    if not len(rows):
        raise ValueError("no training day that was followed: too little history")
    model, stage, fitted = fit_stages(cohort, train, champion, version)
    model = replace(model, scales_version=scales_version)
    model = with_threshold(cohort, train, model, split.train_to, budget)
    validation = validate(cohort, model, champion, split, budget, groups or {}, draws)
    gates = judge_gates(validation)
    return SiteFit(
        # what a threshold asks of the team needs no labels: it is counted up to the last day
        model=replace(model, loads=load_curves(cohort, model, cohort.panel.shape[1] - 1)),
        stage=stage,
        split=split,
        train_rows=len(rows),
        train_onsets=rows.onsets(),
        validation=validation,
        gates=gates,
        verdict=verdict(gates),
        errors=fitted.standard_errors() if fitted else {},
    )


def fit_stages(
    cohort: Cohort, train: Marks, champion: Model, version: str
) -> tuple[Model, str, Fitted | None]:
    """The staged rule; the strength of the personal rate by moments in every stage from 100 onsets on.

    The personal rate goes by what the model itself expects: with that of another one a recalibrated intercept
    is right for nobody (O/E .75 in training where the one before was off by a factor e).
    """
    rows = cohort.rows.where(train)
    onsets = rows.onsets()
    model, fitted = champion, None
    for _ in range(_ROUNDS):
        before = model
        if onsets >= SLOPE_ONSETS:
            model = replace(model, rate_prior=_rate_prior(cohort, model, int(rows.column.max())))
        history = cohort.of_rows(cohort.history(model))[train]
        if onsets < REFIT_ONSETS:
            base = replace(champion, rate_prior=model.rate_prior)
            has_slope = onsets >= SLOPE_ONSETS
            model = recalibrate(rows, base, version, has_slope=has_slope, history=history)
        else:
            fitted = fit_hazard(rows, prior=champion, history=history)
            model = fitted.model(version, model)
        if np.abs(np.subtract(model.intercepts, before.intercepts)).max() < _SETTLED:
            break
    stage = "refit" if fitted is not None else "slope" if onsets >= SLOPE_ONSETS else "intercept"
    return model, stage, fitted


def _rate_prior(cohort: Cohort, model: Model, column: int) -> float:
    _, onsets, expected = cohort.sums(model)
    return rate_prior(onsets[:, column], expected[:, column])


def with_threshold(cohort: Cohort, train: Marks, model: Model, train_to: int, budget: float) -> Model:
    """The model with threshold, bands and reference classes of the training days."""
    risk = risk_matrix(cohort, model)
    risk[:, train_to + 1 :] = np.nan
    own = cohort.rows.where(train)
    on_rows = cohort.of_rows(risk)[train]
    low, high = np.quantile(on_rows, BAND_QUANTILES)
    return replace(
        model,
        theta=theta_for(risk, budget),
        budget=budget,
        bands=(float(low), float(high)),
        reference=_reference(own, on_rows, len(cohort.panel.patients)),
    )


def load_curves(cohort: Cohort, model: Model, last: int) -> dict[str, tuple[tuple[float, float], ...]]:
    """Curves of :attr:`Model.loads` of the eight weeks up to column `last`.

    Personal rates spread as pasts grow longer: curves of older days give half as many alerts again.
    """
    part = slice(max(0, last + 1 - LOAD_DAYS), last + 1)
    present = cohort.panel.is_present[:, part]
    return {
        f"{days}d": load_curve(risk_matrix(cohort, model, days)[:, part], present) for days in (3, HORIZON)
    }


def risk_matrix(cohort: Cohort, model: Model, days: int = HORIZON) -> Floats:
    """Risk within some days (7) of every scored day, NaN elsewhere."""
    at = np.nonzero(cohort.is_scored)
    rows = Landmarks(
        at[0],
        at[1],
        np.stack([values[at] for values in cohort.features.values()], axis=1),
        np.zeros(len(at[0]), np.int64),
        np.zeros(len(at[0]), np.int64),
    )
    found = np.full(cohort.panel.shape, np.nan)
    found[at] = within(hazards(model, rows, cohort.history(model)[at]), days)
    return found


def _reference(rows: Landmarks, risk: Floats, patients: int) -> tuple[ReferenceClass, ...]:
    """What followed on days of similar risk, by tenths; rates are product limits over the week."""
    alone = Resampling(patients, draws=0)
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, 11)[1:-1]))
    place = np.searchsorted(edges, risk, side="right")
    uppers = [*edges.tolist(), 1.0]
    found: list[ReferenceClass] = []
    for i, upper in enumerate(uppers):
        days = int((place == i).sum())
        rate = float(rate_draws(rows, place == i, alone)[0]) if days else 0.0
        found.append(ReferenceClass(float(upper), days, round(days * np.nan_to_num(rate))))
    return tuple(found)


def validate(
    cohort: Cohort,
    model: Model,
    champion: Model,
    split: Split,
    budget: float,
    groups: Mapping[str, Marks],
    draws: int,
) -> Validation:
    """What the validation days say."""
    chosen = cohort.rows.of_columns(split.first, split.last)
    rows = cohort.rows.where(chosen)
    resampling = Resampling(len(cohort.panel.patients), draws=draws)
    own = cohort.hazards(model)[chosen]
    risk, active = within(own, HORIZON), within(cohort.hazards(champion)[chosen], HORIZON)
    drawn = auc_draws(rows, risk, HORIZON, resampling)
    return Validation(
        onsets=rows.onsets(),
        calibration=calibration(rows, own, resampling),
        auc=estimate(drawn),
        auc_gain=estimate(drawn - auc_draws(rows, active, HORIZON, resampling)),
        benefit_gain=_benefit_gain(cohort, chosen, rows, risk, model, resampling),
        load=_load(cohort, model, split, resampling),
        budget=budget,
        subgroups=[_subgroup(name, who, rows, own, resampling) for name, who in groups.items()],
    )


def _benefit_gain(
    cohort: Cohort, chosen: Marks, rows: Landmarks, risk: Floats, model: Model, resampling: Resampling
) -> Estimate:
    """Against acting on as many days by the own past rate alone, at the threshold of the model."""
    theta = model.theta or 1.0
    rate = cohort.of_rows(own_rate_score(cohort, model.rate_prior))[chosen]
    acted = float((risk >= theta).mean())
    cut = float(np.quantile(rate, 1 - acted)) if len(rate) else 1.0
    # the past rate on the scale of the threshold: only above or below it matters
    as_risk = np.where(rate >= cut, 1.0, 0.0) if acted > 0 else np.zeros(len(rate))
    gain = net_benefit_draws(rows, risk, theta, resampling) - net_benefit_draws(
        rows, as_risk, theta, resampling
    )
    return estimate(gain)


def _load(cohort: Cohort, model: Model, split: Split, resampling: Resampling) -> Estimate:
    risk = risk_matrix(cohort, model)
    inside = np.zeros(risk.shape, np.bool_)
    inside[:, split.first : split.last + 1] = True
    alerts = fire(risk, model.theta or 1.0) & inside
    eligible = ~np.isnan(risk) & inside
    top, bottom = (resampling.sums(one.sum(axis=1).astype(np.float64)) for one in (alerts, eligible))
    return estimate(MONTH * ratio(top, bottom))


def _subgroup(
    name: str, who: Marks, rows: Landmarks, day_hazards: Floats, resampling: Resampling
) -> Subgroup:
    chosen = who[rows.patient]
    part = rows.where(chosen)
    is_there = part.followed[:, None] > np.arange(HORIZON)
    expected = np.where(is_there, day_hazards[chosen], 0).sum(axis=1)
    patients = len(who)
    sums = (
        resampling.sums(np.bincount(part.patient, one, patients).astype(np.float64))
        for one in ((part.event > 0).astype(np.float64), expected)
    )
    drawn = ratio(*sums)
    with np.errstate(divide="ignore"):
        error = np.nanstd(np.log(np.maximum(drawn[1:], 1e-3))) if len(part) else np.nan
    return Subgroup(name, part.onsets(), float(drawn[0]), float(error))
