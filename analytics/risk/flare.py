"""Chance of a reported flare onset in the coming days, and how far from usual the last three were.

Features, hazard and personal rate of every patient-day under one model. Without an
approved model the risk is a shadow: stored with what it would have alerted, told to nobody.
Nothing of a day looks at a later day; labels are used once they are known.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Array, Floats, Marks, lagged, mean
from analytics.risk.baseline import Deviation
from analytics.risk.features import features
from analytics.risk.hazard import contributions, own_history, risk_within
from analytics.risk.labels import Labels
from analytics.risk.model import HORIZON, SHIPPED, Model
from analytics.risk.panel import Panel, carried
from analytics.risk.status import Standing, standing

#: Deviation: nine cells (3 metrics x 3 days), of which five must be there.
DEVIATION_METRICS: Final = ("steps", "tst_min", "rmssd_ms")
DEVIATION_DAYS: Final = 3
LEAST_CELLS: Final = 5
#: One alert per patient and horizon.
REFRACTORY_DAYS: Final = 7
#: A new segment's heart values alert nobody in its first days.
SETTLING_DAYS: Final = 21
_HEART: Final = ("rhr_3", "rhr_7", "lnr_3", "lnr_7")


@dataclass(frozen=True)
class Scores:
    """Matrices (patients, days) over the whole panel; NaN where there is no value.

    Parameters
    ----------
    deviation, cell_count : matrix
        Mean z of the nine cells (negative: worse than usual), and how many are there.
    mean_z : dict of str to matrix
        Mean z over the last three days per metric.
    risk_3d, risk_7d : matrix
        Chance of an onset.
    onsets, expected : matrix
        Onsets known, and expected, behind the own history.
    would_alert : matrix of bool
        The model passes its threshold, outside the refractory days.
    contributions : dict of str to matrix
        Log-odds per feature (mean over the next three days), and of ``own_history``.
    """

    standing: Standing
    deviation: Floats
    cell_count: NDArray[np.int64]
    mean_z: dict[str, Floats]
    risk_3d: Floats
    risk_7d: Floats
    onsets: Floats
    expected: Floats
    would_alert: Marks
    contributions: dict[str, Floats]


def score(panel: Panel, labels: Labels, deviations: dict[str, Deviation], model: Model = SHIPPED) -> Scores:
    """Score every day of the panel; `deviations` cover all its columns."""
    z = {name: deviation.z for name, deviation in deviations.items()}
    deviation, cells = _combined(z)
    stand = standing(panel, labels, deviations, model)
    found = features(panel, labels, deviations)
    history, onsets, expected = own_history(found, labels, labels.is_at_risk & stand.is_sufficient, model)
    shown = stand.is_scored
    risk_7d = np.where(shown, risk_within(found, model, HORIZON, history), np.nan)
    parts = contributions(found, model, history)
    return Scores(
        standing=stand,
        deviation=deviation,
        cell_count=cells,
        mean_z={name: mean(values, DEVIATION_DAYS) for name, values in z.items()},
        risk_3d=np.where(shown, risk_within(found, model, 3, history), np.nan),
        risk_7d=risk_7d,
        onsets=onsets,
        expected=expected,
        would_alert=alerts(risk_7d, model.theta, is_held_back(panel, parts)),
        contributions=parts,
    )


def alerts(risk_7d: Floats, theta: float | None, is_held_back: Marks) -> Marks:
    """Days on which the risk passes `theta`, each at least 7 days after the one before."""
    found: Marks = np.zeros(risk_7d.shape, np.bool_)
    if theta is None:
        return found
    wait = np.zeros(len(found), np.int64)
    for column in range(found.shape[1]):
        with np.errstate(invalid="ignore"):
            passes = (risk_7d[:, column] > theta) & ~is_held_back[:, column]
        found[:, column] = passes & (wait == 0)
        wait = np.where(found[:, column], REFRACTORY_DAYS - 1, np.maximum(wait - 1, 0))
    return found


def is_held_back(panel: Panel, parts: dict[str, Floats]) -> Marks:
    """Days whose risk rests on heart values of a segment younger than 21 days.

    They dominate when they raise the log-odds by more than all other features together.
    """
    rising = {name: np.maximum(values, 0) for name, values in parts.items() if name != "own_history"}
    heart = sum((rising[name] for name in _HEART), np.zeros(panel.shape))
    other = sum((values for name, values in rising.items() if name not in _HEART), np.zeros(panel.shape))
    is_young = np.zeros(panel.shape, np.bool_)
    for stream in ("hrv", "pulse"):
        is_young |= _segment_age(carried(panel.segments[stream])) < SETTLING_DAYS
    return is_young & (heart > other)


def _segment_age(segment: Array) -> Array:
    """Days since the present segment began; the first segment of a patient has always been."""
    columns = np.arange(segment.shape[1])
    begins = np.zeros(segment.shape, np.bool_)
    begins[:, 1:] = (segment[:, 1:] != segment[:, :-1]) & (segment[:, :-1] >= 0)
    last = np.maximum.accumulate(np.where(begins, columns, -SETTLING_DAYS), axis=1)
    return columns - last


def _combined(z: dict[str, Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """Mean z of the nine cells and how many of them are there."""
    total: Floats = np.zeros_like(z[DEVIATION_METRICS[0]])
    cells = np.zeros(total.shape, np.int64)
    for name in DEVIATION_METRICS:
        for lag in range(DEVIATION_DAYS):
            own = lagged(z[name], lag)
            total += np.nan_to_num(own)
            cells += ~np.isnan(own)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(cells >= LEAST_CELLS, total / cells, np.nan), cells
