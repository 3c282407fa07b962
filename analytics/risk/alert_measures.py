"""What alerts at a threshold are worth: load, sensitivity, PPV, lead, beside chance and the own past rate.

Events, not days: an onset is caught once, by an alert on one of the seven days before it; an alert
silences its patient for a week. Chance is alerts on random eligible days, as many of them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.arrays import Floats, Marks, recent, spaced
from analytics.risk.cohort import Cohort
from analytics.risk.flare import REFRACTORY_DAYS
from analytics.risk.labels import KNOWN_AFTER
from analytics.risk.measures import Estimate, Resampling, estimate, rate_draws, ratio
from analytics.risk.model import HORIZON

#: Days of a patient-month.
MONTH: Final = 30
WEEK: Final = 7
_RANDOM_DRAWS: Final = 20
_BISECTIONS: Final = 40
#: Points of a load curve: each about a tenth more alerts than the one above it.
_LOADS: Final = 128


@dataclass(frozen=True)
class AlertMeasures:
    """Alerts of a range of days.

    Parameters
    ----------
    load : Estimate
        Per eligible patient and 30 days.
    per_100_weeks : Estimate
        Per 100 patients and week, eligible or not.
    sensitivity : Estimate
        Share of onsets with an alert on one of the 7 days before.
    ppv : Estimate
        Share of alerts followed by an onset within 7 days (product limit).
    lead_days : float
        Median days from the alert to its onset; NaN where none was caught.
    top_tenth : float
        Share of the alerts that went to the tenth of patients with most of them.
    """

    alerts: int
    onsets: int
    load: Estimate
    per_100_weeks: Estimate
    sensitivity: Estimate
    ppv: Estimate
    lead_days: float
    top_tenth: float


def fire(score: Floats, theta: float) -> Marks:
    """Days on which a score (NaN: not eligible) passes a threshold, each 7 days after the one before."""
    with np.errstate(invalid="ignore"):
        return spaced(score > theta, REFRACTORY_DAYS)


def theta_for(score: Floats, budget: float) -> float:
    """Threshold at which the days of `score` give `budget` alerts per eligible patient and 30 days."""
    eligible = ~np.isnan(score)
    low, high = 0.0, 1.0
    values = np.sort(score[eligible])
    if not len(values):
        return 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        theta = float(values[min(len(values) - 1, int(middle * len(values)))])
        if fire(score, theta).sum() / eligible.sum() * MONTH > budget:
            low = middle
        else:
            high = middle
        if high - low < 0.5 / len(values):
            break
    return float(values[min(len(values) - 1, int(high * len(values)))])


def load_curve(score: Floats, is_present: Marks) -> tuple[tuple[float, float], ...]:
    """Scores, rising, and the alerts per 100 patients and week that a threshold at each gives.

    Parameters
    ----------
    score : matrix
        NaN on days that are not eligible.
    is_present : matrix of bool
        Days of patients who were there, eligible or not: a team's load is counted over all of them.
    """
    values = score[~np.isnan(score)]
    weeks = is_present.sum() / WEEK
    if not len(values) or not weeks:
        return ()
    # close together at the top, where budgets are
    share = np.append(np.geomspace(1, 1 / len(values), _LOADS - 1), 0.0)
    thetas = np.unique(np.quantile(values, 1 - share))
    loads = [100 * float(fire(score, float(theta)).sum()) / weeks for theta in thetas]
    # a lower threshold may alert earlier and then be silent for a week: never taken for the lesser load
    falling = np.maximum.accumulate(loads[::-1])[::-1]
    return tuple(zip(thetas.tolist(), falling.tolist(), strict=True))


def measure_alerts(
    cohort: Cohort, alerts: Marks, eligible: Marks, first: int, last: int, resampling: Resampling
) -> AlertMeasures:
    """Measures of the alerts on the columns `first` to `last`, inclusive."""
    inside = np.zeros(alerts.shape, np.bool_)
    inside[:, first : last + 1] = True
    fired, could = alerts & inside, eligible & inside
    caught, onsets, lead = caught_onsets(cohort.labels.is_onset, fired, could, last)
    sums = [resampling.sums(marks.sum(axis=1).astype(np.float64)) for marks in (fired, could, caught, onsets)]
    present = cohort.panel.is_present & inside
    weeks = resampling.sums(present.sum(axis=1).astype(np.float64)) / WEEK
    chosen = fired[cohort.rows.patient, cohort.rows.column]
    per_patient = np.sort(fired.sum(axis=1))[::-1]
    tenth = per_patient[: max(1, len(per_patient) // 10)].sum()
    return AlertMeasures(
        alerts=int(fired.sum()),
        onsets=int(onsets.sum()),
        load=estimate(MONTH * ratio(sums[0], sums[1])),
        per_100_weeks=estimate(100 * ratio(sums[0], weeks)),
        sensitivity=estimate(ratio(sums[2], sums[3])),
        ppv=estimate(rate_draws(cohort.rows, chosen, resampling)),
        lead_days=float(np.median(lead)) if len(lead) else np.nan,
        top_tenth=float(tenth / max(1, fired.sum())),
    )


@dataclass(frozen=True)
class UnderWay:
    """Alerts held against flares that had begun, or began the next day: what a rule finds, not forecasts.

    Parameters
    ----------
    ppv : Estimate
        Share of the alerts with an onset from six days before them to a day after.
    sensitivity : Estimate
        Share of the onsets with such an alert.
    by_chance : float
        Share of the eligible days of which the same is true.
    """

    ppv: Estimate
    sensitivity: Estimate
    by_chance: float


def under_way(
    cohort: Cohort, alerts: Marks, eligible: Marks, first: int, last: int, resampling: Resampling
) -> UnderWay:
    """Alerts of the columns `first` to `last` beside the flares that they found.

    Left out are alerts whose next day has no label yet, and onsets whose week reaches out of the columns.
    """
    onset = cohort.labels.is_onset
    column = np.arange(onset.shape[1])
    is_known = (column >= first) & (column <= last) & (column < onset.shape[1] - 1 - KNOWN_AFTER)
    near = recent(onset, HORIZON)
    near[:, :-1] |= onset[:, 1:]
    told = np.zeros(onset.shape, np.bool_)
    for lag in range(-1, HORIZON):
        moved = np.roll(alerts, -lag, axis=1)
        moved[:, (column + lag < first) | (column + lag > last)] = False
        told |= moved
    onsets = onset & (column > first) & (column <= last - HORIZON + 1)
    could, fired = eligible & is_known, alerts & is_known
    sums = [
        resampling.sums(marks.sum(axis=1).astype(np.float64))
        for marks in (fired & near, fired, onsets & told, onsets)
    ]
    return UnderWay(
        ppv=estimate(ratio(sums[0], sums[1])),
        sensitivity=estimate(ratio(sums[2], sums[3])),
        by_chance=float((could & near).sum() / could.sum()) if could.any() else np.nan,
    )


def caught_onsets(is_onset: Marks, fired: Marks, eligible: Marks, last: int) -> tuple[Marks, Marks, Floats]:
    """Onsets with an alert before them, onsets that could have had one, and days between the two.

    An onset counts when one of the seven days before it was eligible.
    """
    onsets = is_onset & _before(eligible)
    onsets[:, last + 1 + HORIZON :] = False
    caught = onsets & _before(fired)
    column = np.arange(fired.shape[1])
    latest = np.maximum.accumulate(np.where(fired, column, -1), axis=1)
    moved = np.full(fired.shape, -1)
    moved[:, 1:] = latest[:, :-1]
    return caught, onsets, (column - moved)[caught].astype(np.float64)


def _before(marks: Marks) -> Marks:
    """Marked on one of the seven days before."""
    moved = np.zeros(marks.shape, np.bool_)
    moved[:, 1:] = recent(marks, HORIZON)[:, :-1]
    return moved


def by_chance(
    cohort: Cohort, eligible: Marks, first: int, last: int, budget: float, *, seed: int = 1
) -> tuple[float, float]:
    """Sensitivity and PPV of as many alerts on random eligible days, means of 20 draws."""
    rng = np.random.default_rng(seed)
    alone = Resampling(len(cohort.panel.patients), draws=0)
    found: list[tuple[float, float]] = []
    inside = np.zeros(eligible.shape, np.bool_)
    inside[:, first : last + 1] = True
    for _ in range(_RANDOM_DRAWS):
        score = np.where(eligible & inside, rng.random(eligible.shape), np.nan)
        alerts = fire(score, theta_for(score, budget))
        own = measure_alerts(cohort, alerts, eligible, first, last, alone)
        found.append((own.sensitivity.value, own.ppv.value))
    drawn = np.array(found)
    sensitivity, ppv = (
        float(own[~np.isnan(own)].mean()) if (own == own).any() else np.nan for own in drawn.T
    )
    return sensitivity, ppv


def own_rate_score(cohort: Cohort, rate_prior: float) -> Floats:
    """The patient's own past rate alone: onsets known per day looked at, shrunk; NaN where not eligible."""
    onset = cohort.labels.is_onset & cohort.is_observed
    counted = cohort.is_counted & cohort.is_observed
    share = onset.sum() / max(1, counted.sum())
    seen, days = (_known(marks) for marks in (onset, counted))
    rate = (rate_prior + seen) / (rate_prior + days * share)
    return np.where(cohort.is_scored, rate, np.nan)


def _known(marks: Marks) -> Floats:
    total = np.cumsum(marks, axis=1).astype(np.float64)
    moved = np.zeros(total.shape)
    moved[:, 3:] = total[:, :-3]
    return moved
