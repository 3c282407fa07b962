"""`flarecast evaluate sim`: fit on one simulated cohort, judge on people it has never seen; SYNTHETIC."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from analytics.risk.alert_measures import MONTH, AlertMeasures, fire
from analytics.risk.arrays import Marks, recent
from analytics.risk.cohort import Cohort, make_cohort
from analytics.risk.evaluation import Evaluation, Forecast, at_site_budgets, evaluate
from analytics.risk.measures import Resampling
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import carried, make_panel
from analytics.risk.site_fit import (
    DEFAULT_BUDGET,
    LOAD_DAYS,
    fit_stages,
    load_curves,
    risk_matrix,
    with_threshold,
)
from devices.sim.flares import SCENARIOS, simulate_flares

#: Days after a changed wearable in which alerts must not become many more.
AFTER_SWAP_DAYS = 21


@dataclass(frozen=True)
class SimEvaluation:
    """One scenario: its table, and alerts before and after what changes in it."""

    scenario: str
    model: Model
    evaluation: Evaluation
    load_before: float
    load_after: float
    site_budgets: list[tuple[float, AlertMeasures]]


def simulated_cohort(people: int, days: int, seed: int, scenario: str) -> Cohort:
    """A simulated cohort made ready."""
    made = simulate_flares(people, days, seed=seed, scenario=scenario)
    return make_cohort(make_panel(made.days, made.first + timedelta(days=days - 1), made.notes))


def fitted_on(cohort: Cohort, budget: float) -> Model:
    """The staged rule on a whole cohort, threshold included."""
    everything = np.ones(len(cohort.rows), np.bool_)
    model, _, _ = fit_stages(cohort, everything, SHIPPED, "evaluated")
    last = cohort.panel.shape[1] - 1
    model = replace(model, loads=load_curves(cohort, model, last))
    return with_threshold(cohort, everything, model, last, budget)


def forecast_of(cohort: Cohort, model: Model) -> Forecast:
    """What a model says of every row of a cohort."""
    return Forecast(
        without=cohort.hazards(model, has_history=False),
        with_history=cohort.hazards(model),
        risk=risk_matrix(cohort, model),
        theta=model.theta or 1.0,
        budget=model.budget or 0.0,
    )


def evaluate_scenario(
    scenario: str, *, people: int, days: int, seed: int, draws: int, budget: float = DEFAULT_BUDGET
) -> SimEvaluation:
    """Fit under the assumptions that hold before anything changes, judge under those of the scenario.

    The training people of `missing` and `swap` are those of `usual`: a model meets the change unprepared.
    """
    own = SCENARIOS[scenario]
    has_change = own.missing_logit > 0 or own.swap_share > 0
    model = fitted_on(simulated_cohort(people, days, seed, "usual" if has_change else scenario), budget)
    cohort = simulated_cohort(people, days, seed + 1, scenario)
    forecast = forecast_of(cohort, model)
    change = days - own.change_days
    first = change if has_change else 0
    found = evaluate(cohort, forecast, first, days - 1, draws=draws)
    return SimEvaluation(
        scenario,
        model,
        found,
        load_before=_load(forecast, change // 2, change - 1),
        load_after=_load(forecast, change, days - 1),
        site_budgets=at_site_budgets(
            cohort,
            forecast.risk,
            model,
            max(first, cohort.panel.shape[1] - LOAD_DAYS),
            cohort.panel.shape[1] - 1,
            Resampling(people, draws=draws),
        ),
    )


def swapped_load(*, people: int, days: int, seed: int, budget: float = DEFAULT_BUDGET) -> tuple[float, float]:
    """Alerts per patient-month in the 21 days after a replaced wearable, and of the same days without.

    Everybody's wearable is replaced towards the end; the two cohorts differ in nothing else.
    """
    model = fitted_on(simulated_cohort(people, days, seed, "usual"), budget)
    swapped, usual = (simulated_cohort(people, days, seed + 1, name) for name in ("swap", "usual"))
    after = _after_swap(swapped, days - SCENARIOS["swap"].change_days)
    loads: list[float] = []
    for cohort in (swapped, usual):
        risk = risk_matrix(cohort, model)
        alerts = fire(risk, model.theta or 1.0) & after
        loads.append(float(MONTH * alerts.sum() / max(1, (~np.isnan(risk) & after).sum())))
    return loads[0], loads[1]


def _after_swap(cohort: Cohort, change: int) -> Marks:
    """The first 21 days of the segment that begins after `change`."""
    segment = carried(cohort.panel.segments["steps"])
    begins = np.zeros(segment.shape, np.bool_)
    begins[:, 1:] = (segment[:, 1:] != segment[:, :-1]) & (segment[:, :-1] >= 0)
    begins[:, :change] = False
    return recent(begins, AFTER_SWAP_DAYS)


def _load(forecast: Forecast, first: int, last: int) -> float:
    part = slice(first, last + 1)
    alerts = fire(forecast.risk, forecast.theta)[:, part].sum()
    return float(MONTH * alerts / max(1, (~np.isnan(forecast.risk[:, part])).sum()))
