"""Chance of a reported flare onset in the coming days, and how far from usual the last three were.

A landmark hazard for 1 to 7 days ahead on deviations from the patient's own
baseline, with a personal rate. The shipped weights are weak literature priors:
status ``uncalibrated`` says that nobody has held them against this site's flares.
Missing values count as usual (0), and that something is missing is no predictor.
Nothing of a day looks at a later day; labels are used once they are known.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.baseline import ENOUGH, Deviation
from analytics.risk.labels import KNOWN_AFTER, Labels
from analytics.risk.panel import Array, Floats, Marks, Panel

LEARNING_DAYS: Final = 14
#: Deviation: nine cells (3 metrics x 3 days), of which five must be there.
DEVIATION_METRICS: Final = ("steps", "tst_min", "rmssd_ms")
DEVIATION_DAYS: Final = 3
LEAST_CELLS: Final = 5
HORIZON: Final = 7

INSUFFICIENT, LEARNING = "insufficient_data", "learning"
IN_FLARE, POSSIBLE_FLARE = "in_flare", "possible_flare"
UNCALIBRATED = "uncalibrated"


@dataclass(frozen=True)
class Model:
    """Weights of the hazard: log-odds per unit of a feature one day and seven days ahead."""

    version: str
    intercept: float
    weights: dict[str, tuple[float, float]]
    #: Strength of the prior of the personal rate, in expected onsets.
    rate_prior: float


def _prior(weight: float) -> tuple[float, float]:
    """A literature weight: what is known of tomorrow is worth half in a week."""
    return weight, weight / 2


#: Judgement from the literature (docs: Dudarev 2024, Aitken 2026, Gerhart 2017, Hirten 2025, FLAReS 2025).
SHIPPED: Final = Model(
    version="prior-1",
    intercept=float(np.log(0.03 / 0.97)),
    weights={
        "nrs": _prior(0.15),
        "mood": _prior(0.15),
        "resting_hr_bpm": _prior(0.10),
        "rmssd_ms": _prior(0.08),
        "tst_min": _prior(0.10),
        "waso_min": _prior(0.05),
        "steps": _prior(0.10),
        "recent_flare": _prior(0.50),
    },
    rate_prior=4.0,
)


@dataclass(frozen=True)
class Scores:
    """Matrices (patients, days) over the whole panel; NaN where there is no value."""

    status: Array
    deviation: Floats
    cell_count: NDArray[np.int64]
    #: Mean z over the last three days per metric.
    mean_z: dict[str, Floats]
    risk_3d: Floats
    risk_7d: Floats
    #: Contribution (log-odds, mean over the next three days) per feature, and of the own history.
    contributions: dict[str, Floats]
    observed_days: NDArray[np.int64]


def score(panel: Panel, labels: Labels, deviations: dict[str, Deviation], model: Model) -> Scores:
    """Score every day of the panel; `deviations` cover all its columns."""
    z = {name: deviation.z for name, deviation in deviations.items()}
    deviation, cells = _combined(z)
    observed = _observed_days(panel)
    is_sufficient = _is_sufficient(panel, deviations)
    quiet = ~_recent(labels.exceeds | labels.is_tapped, KNOWN_AFTER + 1)
    status = _status(labels, observed, is_sufficient)
    features = _features(z, labels)
    history = _own_history(features, labels, quiet & is_sufficient, model)
    hazards = [_hazard(features, model, ahead, history) for ahead in range(1, HORIZON + 1)]
    is_scored = status == UNCALIBRATED
    contributions = {name: x * _weight(model, name, 2) for name, x in features.items()}
    return Scores(
        status=status,
        deviation=deviation,
        cell_count=cells,
        mean_z={name: _mean(values, DEVIATION_DAYS) for name, values in z.items()},
        risk_3d=np.where(is_scored, _within(hazards[:3]), np.nan),
        risk_7d=np.where(is_scored, _within(hazards), np.nan),
        contributions=contributions | {"own_history": history},
        observed_days=observed,
    )


def _combined(z: dict[str, Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """Mean z of the nine cells (negative: worse than usual) and how many of them are there."""
    total: Floats = np.zeros_like(z[DEVIATION_METRICS[0]])
    cells = np.zeros(total.shape, np.int64)
    for name in DEVIATION_METRICS:
        for lag in range(DEVIATION_DAYS):
            own = _lagged(z[name], lag)
            total += np.nan_to_num(own)
            cells += ~np.isnan(own)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(cells >= LEAST_CELLS, total / cells, np.nan), cells


def _features(z: dict[str, Floats], labels: Labels) -> dict[str, Floats]:
    """Features, positive where a flare is expected to be likelier; 0 where nothing is known."""
    boom = np.nan_to_num(_stack(z["steps"], 3), nan=-np.inf).max(axis=0)
    found = {
        "nrs": _mean(z["nrs"], 2),
        "mood": _mean(z["mood"], 3),
        "resting_hr_bpm": _mean(z["resting_hr_bpm"], 3),
        "rmssd_ms": -_mean(z["rmssd_ms"], 3),
        "tst_min": -_mean(z["tst_min"], 3),
        "waso_min": _mean(z["waso_min"], 3),
        "steps": np.maximum(boom, 0),
        "recent_flare": np.exp(-_days_since(labels.is_flare_day, KNOWN_AFTER) / 10) - 0.15,
    }
    return {name: np.nan_to_num(values) for name, values in found.items()}


def _hazard(features: dict[str, Floats], model: Model, ahead: int, history: Floats | float) -> Floats:
    logit = model.intercept + history
    for name, values in features.items():
        near, far = model.weights[name]
        logit = logit + values * (near + (far - near) * (ahead - 1) / 6)
    return 1 / (1 + np.exp(-logit))


def _weight(model: Model, name: str, ahead: int) -> float:
    near, far = model.weights[name]
    return near + (far - near) * (ahead - 1) / 6


def _within(hazards: list[Floats]) -> Floats:
    return 1 - np.prod([1 - hazard for hazard in hazards], axis=0)


def _own_history(features: dict[str, Floats], labels: Labels, is_at_risk: Marks, model: Model) -> Floats:
    """ln of (a + onsets seen) / (a + onsets expected), up to the last day whose label is known.

    Expected without the personal rate itself: with it the slope goes to 1.5.
    """
    expected = np.where(is_at_risk, _hazard(features, model, 1, 0.0), 0.0)
    lag = KNOWN_AFTER + 1
    seen = _lagged(np.cumsum(labels.is_onset, axis=1).astype(np.float64), lag)
    hoped = _lagged(np.cumsum(expected, axis=1), lag)
    ratio = (model.rate_prior + np.nan_to_num(seen)) / (model.rate_prior + np.nan_to_num(hoped))
    return np.log(ratio)


def _status(labels: Labels, observed: NDArray[np.int64], is_sufficient: Marks) -> Array:
    status = np.full(is_sufficient.shape, UNCALIBRATED, np.object_)
    status[~is_sufficient] = INSUFFICIENT
    status[observed < LEARNING_DAYS] = LEARNING
    days = KNOWN_AFTER + 1
    exceeding = np.nan_to_num(_stack(labels.exceeds.astype(np.float64), days)).sum(axis=0)
    status[exceeding == 1] = POSSIBLE_FLARE
    status[(exceeding > 1) | _recent(labels.is_tapped, days)] = IN_FLARE
    return status


def _observed_days(panel: Panel) -> NDArray[np.int64]:
    """Days since the first one with anything in it, that one included."""
    has_any = panel.is_flare_reported.copy()
    for values in panel.values.values():
        has_any |= ~np.isnan(values)
    return np.cumsum(np.maximum.accumulate(has_any, axis=1), axis=1).astype(np.int64)


def _is_sufficient(panel: Panel, deviations: dict[str, Deviation]) -> Marks:
    """Two wearable metrics with a baseline and recent values, or enough pain scores."""
    ready = np.zeros(panel.shape, np.int64)
    for name in ("steps", "tst_min", "resting_hr_bpm", "rmssd_ms"):
        own = deviations[name]
        recent = (~np.isnan(_stack(own.value, 4))).sum(axis=0) >= 2
        ready += recent & (own.count >= ENOUGH)
    nrs = ~np.isnan(panel.values["nrs"])
    total = np.cumsum(nrs, axis=1).astype(np.float64)
    in_28 = total - np.nan_to_num(_lagged(total, 28))
    in_4 = total - np.nan_to_num(_lagged(total, 4))
    return (ready >= 2) | ((in_28 >= 7) & (in_4 >= 1))


def _lagged(values: Floats, lag: int) -> Floats:
    """Values of `lag` days before; NaN before the first day."""
    moved = np.full(values.shape, np.nan)
    moved[:, lag:] = values[:, : max(0, values.shape[1] - lag)]
    return moved


def _stack(values: Floats, days: int) -> Floats:
    """The last `days` days, newest first: (days, patients, days)."""
    return np.stack([_lagged(values, lag) for lag in range(days)])


def _mean(values: Floats, days: int) -> Floats:
    """Mean of what is there of the last `days` days; NaN when nothing is."""
    stack = _stack(values, days)
    count = (~np.isnan(stack)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nansum(stack, axis=0) / count


def _recent(marks: Marks, days: int) -> Marks:
    """True when marked on the day or one of the days before it."""
    found = marks.copy()
    for lag in range(1, days):
        found[:, lag:] |= marks[:, : marks.shape[1] - lag]
    return found


def _days_since(marks: Marks, known_after: int) -> Floats:
    """Days since the last mark that is known by now; infinite when there is none."""
    columns = np.arange(marks.shape[1])
    last = np.maximum.accumulate(np.where(marks, columns, -1), axis=1).astype(np.float64)
    known = _lagged(np.where(last < 0, np.nan, last), known_after)
    return np.where(np.isnan(known), np.inf, columns - known)
