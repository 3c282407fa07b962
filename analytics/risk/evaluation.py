"""Everything that is said about a risk on a cohort, in one table.

Forecasting an onset (on days out of flare) and detecting a flare under way (on all days) are
different tasks with different figures; they are never mixed here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.alert_measures import (
    AlertMeasures,
    by_chance,
    fire,
    measure_alerts,
    own_rate_score,
    theta_for,
)
from analytics.risk.arrays import Floats, recent
from analytics.risk.cohort import Cohort
from analytics.risk.landmarks import within
from analytics.risk.measures import (
    Calibration,
    Estimate,
    Resampling,
    RiskClass,
    auc,
    calibration,
    deciles,
    state_auc,
    within_patient_auc,
)
from analytics.risk.model import Model

HORIZONS: Final = (1, 3, 7)
#: Budgets of a risk rule that are shown, alerts per 100 patients and week.
SITE_BUDGETS: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Forecast:
    """What is judged.

    Parameters
    ----------
    without, with_history : array (rows, 7)
        Hazards of the cohort's rows, without and with the personal rate.
    risk : matrix (patients, days)
        7-day risk of every scored day, NaN elsewhere.
    theta : float
        Alert threshold, fixed elsewhere.
    budget : float
        Alerts per eligible patient and 30 days it was fixed for.
    """

    without: Floats
    with_history: Floats
    risk: Floats
    theta: float
    budget: float


@dataclass(frozen=True)
class Evaluation:
    """Figures of one cohort."""

    patients: int
    rows: int
    onsets: int
    auc_without: dict[int, Estimate]
    auc_with: dict[int, Estimate]
    auc_own_rate: Estimate
    within_auc: dict[int, Estimate]
    calibration_without: Calibration
    calibration_with: Calibration
    deciles: list[RiskClass]
    alerts: AlertMeasures
    own_rate: AlertMeasures
    chance_sensitivity: float
    chance_ppv: float
    budget: float
    detection: dict[str, Estimate]


def evaluate(cohort: Cohort, forecast: Forecast, first: int, last: int, *, draws: int = 500) -> Evaluation:
    """Judge a forecast on the columns `first` to `last`, inclusive."""
    resampling = Resampling(len(cohort.panel.patients), draws=draws)
    chosen = cohort.rows.of_columns(first, last)
    rows = cohort.rows.where(chosen)
    bare, full = forecast.without[chosen], forecast.with_history[chosen]
    eligible = ~np.isnan(forecast.risk)
    fired = measure_alerts(cohort, fire(forecast.risk, forecast.theta), eligible, first, last, resampling)
    own = own_rate_score(cohort, 4.0)
    inside = np.full(own.shape, np.nan)
    inside[:, first : last + 1] = own[:, first : last + 1]
    # as many alerts as the model gave: the comparison is about which days, not about how many
    load = fired.load.value
    by_rate = fire(own, theta_for(inside, load))
    sensitivity, ppv = by_chance(cohort, eligible, first, last, load)
    return Evaluation(
        patients=len(np.unique(rows.patient)),
        rows=len(rows),
        onsets=rows.onsets(),
        auc_without={days: auc(rows, within(bare, days), days, resampling) for days in HORIZONS},
        auc_with={days: auc(rows, within(full, days), days, resampling) for days in HORIZONS},
        auc_own_rate=auc(rows, cohort.of_rows(own)[chosen], 7, resampling),
        within_auc={
            days: within_patient_auc(rows, within(bare, days), days, resampling) for days in HORIZONS
        },
        calibration_without=calibration(rows, bare, resampling),
        calibration_with=calibration(rows, full, resampling),
        deciles=deciles(rows, full, resampling),
        alerts=fired,
        own_rate=measure_alerts(cohort, by_rate, eligible, first, last, resampling),
        chance_sensitivity=sensitivity,
        chance_ppv=ppv,
        budget=forecast.budget,
        detection=_detection(cohort, first, last, resampling),
    )


def at_site_budgets(
    cohort: Cohort, risk: Floats, model: Model, first: int, last: int, resampling: Resampling
) -> list[tuple[float, AlertMeasures]]:
    """Budgets of a risk rule, and what they give on the columns `first` to `last` by the model's counts."""
    load = model.load_at("7d", risk)
    eligible = ~np.isnan(risk)
    return [
        (budget, measure_alerts(cohort, fire(-load, -budget), eligible, first, last, resampling))
        for budget in SITE_BUDGETS
    ]


def _detection(cohort: Cohort, first: int, last: int, resampling: Resampling) -> dict[str, Estimate]:
    """AUC of being in a flare today: by what wearables say of today, and by having been in one before."""
    is_in = cohort.labels.is_flare_day
    judged = cohort.is_observed & cohort.panel.is_present
    judged[:, : max(1, first)] = False
    judged[:, last + 1 :] = False
    known = np.zeros(is_in.shape, np.bool_)
    known[:, 1:] = recent(is_in, 3)[:, :-1]
    z = {name: np.nan_to_num(own.z) for name, own in cohort.deviations.items()}
    wearables = z["resting_hr_bpm"] - z["rmssd_ms"] - z["tst_min"] + z["waso_min"] - z["steps"]
    scores: dict[str, Floats] = {
        "wearables today": wearables,
        "pain today": z["nrs"],
        "in a flare on one of the three days before": known.astype(np.float64),
    }
    return {
        name: state_auc(is_in & judged, judged & ~is_in, score, resampling) for name, score in scores.items()
    }


def in_words(found: Evaluation) -> list[str]:
    """The table as lines of text."""
    lines = [
        f"{found.patients} people, {found.rows:,} days followed, {found.onsets:,} onsets",
        "forecast of an onset (days out of flare)        1 day               3 days              7 days",
    ]
    for label, values in (
        ("AUC without the personal rate", found.auc_without),
        ("AUC with the personal rate", found.auc_with),
        ("AUC within patients", found.within_auc),
    ):
        lines.append(f"  {label:44}" + "  ".join(f"{values[days]!s:18}" for days in HORIZONS))
    lines.append(f"  {'AUC of the own past rate alone':44}{'':40}{found.auc_own_rate}")
    for label, own in (("without", found.calibration_without), ("with", found.calibration_with)):
        lines.append(
            f"  calibration {label:8} slope {own.slope}  in the large {own.in_the_large}"
            f"  O/E {own.observed_expected}"
        )
    lines.append("  tenths of the 7-day risk: said / seen")
    lines += [f"    {one.predicted:.3f} / {one.observed}" for one in found.deciles]
    fired, own_rate = found.alerts, found.own_rate
    lines += [
        f"alerts  budget {found.budget} per patient-month, load {fired.load}; "
        f"{fired.per_100_weeks} per 100 patients and week",
        f"  {'':24}sensitivity          PPV",
        f"  {'model':24}{fired.sensitivity!s:20} {fired.ppv}",
        f"  {'own past rate':24}{own_rate.sensitivity!s:20} {own_rate.ppv}",
        f"  {'random days':24}{found.chance_sensitivity:<20.2f} {found.chance_ppv:.2f}",
        f"  lead {fired.lead_days:.0f} days (median); "
        f"{100 * fired.top_tenth:.0f} % of the alerts go to a tenth of the patients",
        "detection of a flare under way (all days): AUC",
    ]
    lines += [f"  {name:44}{value}" for name, value in found.detection.items()]
    return lines
