"""Chance of a reported flare onset in the coming days, and how far from usual the last three were.

Features, hazard and personal rate of every patient-day under one model. Without an
approved model the risk is a shadow: stored with what it would have alerted, told to nobody.
Nothing of a day looks at a later day; labels are used once they are known.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Array, Floats, Marks, lagged, last_marked, mean, since, spaced
from analytics.risk.baseline import Deviation
from analytics.risk.baseline import deviations as deviations_of
from analytics.risk.features import features, last_known
from analytics.risk.hazard import contributions, day_ahead, own_history, risk_within
from analytics.risk.labels import Labels, flare_labels
from analytics.risk.model import HORIZON, SHIPPED, Model
from analytics.risk.panel import Panel, carried
from analytics.risk.past import PAST_DAYS, Past
from analytics.risk.scales import DEFAULT_SCALES, Scales
from analytics.risk.status import LEARNING_DAYS, Standing, standing

#: Deviation: nine cells (3 metrics x 3 days), of which five must be there.
DEVIATION_METRICS: Final = ("steps", "tst_min", "rmssd_ms")
DEVIATION_DAYS: Final = 3
LEAST_CELLS: Final = 5
#: One alert per patient and horizon.
REFRACTORY_DAYS: Final = 7
#: A new segment's heart values alert nobody in its first days.
SETTLING_DAYS: Final = 21
#: After so long a silence there is no baseline that a new segment would differ from.
FORGOTTEN_DAYS: Final = 30
_HEART: Final = ("rhr_3", "rhr_7", "lnr_3", "lnr_7")


@dataclass(frozen=True)
class Scores:
    """Matrices (patients, days) over the whole panel; NaN where there is no value.

    Parameters
    ----------
    deviation, cell_count : matrix
        Mean z of the nine cells (negative: worse than usual; NaN in the first 14 days and on
        suspended ones), and how many are there.
    mean_z : dict of str to matrix
        Mean z over the last three days per metric.
    risk_3d, risk_7d : matrix
        Chance of an onset.
    onsets, expected : matrix
        Onsets known, and expected, behind the own history.
    day_ahead : matrix
        Day-ahead hazard (without the personal rate), of which `expected` is the sum three days late;
        NaN where the day does not count.
    last_flare, last_onset : matrix
        Days since the last flare day and onset that are known, infinite for none.
    last_source : matrix of int
        What made the last flare day one (:data:`analytics.risk.labels.SOURCES`).
    would_alert : matrix of bool
        The model passes its threshold, outside the refractory days.
    alert_loads : dict of str to matrix
        Horizon -> alerts per 100 patients and week that a threshold at this risk gave where an approved
        model was fitted; NaN: of this day nobody may be told.
    last_alert : matrix
        Days since the last of these, infinite for none.
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
    day_ahead: Floats
    last_flare: Floats
    last_source: Array
    last_onset: Floats
    would_alert: Marks
    alert_loads: dict[str, Floats]
    last_alert: Floats
    contributions: dict[str, Floats]


def score(panel: Panel, labels: Labels, deviations: dict[str, Deviation], model: Model = SHIPPED) -> Scores:
    """Score every day of a panel that holds the patients' whole past."""
    stand = standing(panel, labels, deviations, model)
    return _score(panel, labels, deviations, stand, is_settling(panel), model, None)


@dataclass(frozen=True)
class Judged:
    """Everything about the days of a panel; columns before `first` only lead up to it."""

    panel: Panel
    labels: Labels
    deviations: dict[str, Deviation]
    scores: Scores
    first: int


def judge(
    panel: Panel,
    first: int,
    *,
    model: Model = SHIPPED,
    scales: Scales = DEFAULT_SCALES,
    past: Past | None = None,
) -> Judged:
    """Labels, deviations and scores of the columns from `first` on.

    Parameters
    ----------
    panel : Panel
        With the whole past; or, with a `past`, with at least :data:`RAW_DAYS` columns before
        `first` as far as there are any.
    past : Past, optional
        What was known on the day before `first`. The result is the same to the last bit.
    """
    if past is not None and first < PAST_DAYS:
        raise ValueError(f"a past needs {PAST_DAYS} columns before the first one scored, not {first}")
    start = 0 if past is None else first - PAST_DAYS
    against = deviations_of(panel, scales, first=start)
    labels = flare_labels(panel, start)
    monitored = None
    if past is not None:
        monitored = np.where(past.monitored_days > 0, past.monitored_days - first, np.nan)
    stand = standing(panel, labels, against, model, monitored)
    parts = (
        panel.since(start),
        since(labels, start),
        {name: since(one, start) for name, one in against.items()},
    )
    settling = is_settling(panel)[:, start:]
    scores = _score(*parts, since(stand, start), settling, model, past)
    return Judged(*parts, scores, first - start)


def _score(
    panel: Panel,
    labels: Labels,
    deviations: dict[str, Deviation],
    stand: Standing,
    settling: Marks,
    model: Model,
    past: Past | None,
) -> Scores:
    z = {name: deviation.z for name, deviation in deviations.items()}
    deviation, cells = _combined(z)
    # the first fortnight is for learning what is usual, and a suspended day is not judged
    is_spoken = (stand.monitored_days >= LEARNING_DAYS) & ~panel.is_suspended()
    found = features(panel, labels, deviations, past)
    hazards = day_ahead(found, labels.is_at_risk & stand.is_sufficient, model, past)
    history, onsets, expected = own_history(hazards, labels, panel.is_observed(), model.rate_prior, past)
    risk_3d, risk_7d = (
        np.where(stand.is_scored, risk, np.nan) for risk in risk_within(found, model, (3, HORIZON), history)
    )
    parts = contributions(found, model, history)
    last_flare = last_known(labels.is_flare_day, None if past is None else past.last_flare)
    held_back = settling & is_heart_led(parts)
    would_alert, last_alert = alerts(risk_7d, model.theta, held_back, past)
    may_tell = ~held_back & (model.standing == "approved")
    return Scores(
        standing=stand,
        deviation=np.where(is_spoken, deviation, np.nan),
        cell_count=cells,
        mean_z={name: mean(values, DEVIATION_DAYS) for name, values in z.items()},
        risk_3d=risk_3d,
        risk_7d=risk_7d,
        onsets=onsets,
        expected=expected,
        day_ahead=hazards,
        last_flare=_age(last_flare),
        last_source=_source(labels, last_flare, past),
        last_onset=_age(last_known(labels.is_onset, None if past is None else past.last_onset)),
        would_alert=would_alert,
        alert_loads={
            name: np.where(may_tell, model.load_at(name, risk), np.nan)
            for name, risk in (("3d", risk_3d), ("7d", risk_7d))
        },
        last_alert=_age(last_alert),
        contributions=parts,
    )


def _source(labels: Labels, last_flare: Floats, past: Past | None) -> Array:
    """Source of the last flare day known; from before the matrices what was known then."""
    at = np.maximum(last_flare, 0).astype(np.int64)
    found = np.where(last_flare >= 0, np.take_along_axis(labels.source, at, axis=1), 0)
    if past is None:
        return found
    is_covered = last_flare <= past.last_flare[:, None]
    return np.where(is_covered, past.last_source[:, None], found)


def _age(last: Floats) -> Floats:
    """Days since the column named; infinite for none."""
    return np.arange(last.shape[1]) - last


def alerts(
    risk_7d: Floats, theta: float | None, is_held_back: Marks, past: Past | None = None
) -> tuple[Marks, Floats]:
    """Days on which the risk passes `theta`, each at least 7 days after the one before.

    Returns
    -------
    would_alert : matrix of bool
    last_alert : matrix
        Column of the last one up to each day, -inf for none.
    """
    with np.errstate(invalid="ignore"):
        passes = (risk_7d > (np.inf if theta is None else theta)) & ~is_held_back
    before = None
    if past is not None:
        passes[:, :PAST_DAYS], before = False, past.last_alert
    found = spaced(passes, REFRACTORY_DAYS, before)
    latest = last_marked(found, 0)
    return found, latest if before is None else np.maximum(latest, before[:, None])


def is_heart_led(parts: dict[str, Floats]) -> Marks:
    """Days on which heart values raise the log-odds by more than all other features together."""
    rising = {name: np.maximum(values, 0) for name, values in parts.items() if name != "own_history"}
    shape = next(iter(rising.values())).shape
    heart, other = np.zeros(shape), np.zeros(shape)
    for name, values in rising.items():
        if name in _HEART:
            heart += values
        else:
            other += values
    return heart > other


def is_settling(panel: Panel) -> Marks:
    """Days within 21 of a new segment of heart values."""
    young = np.zeros(panel.shape, np.bool_)
    for stream in ("hrv", "pulse"):
        young |= _segment_age(panel.segments[stream]) < SETTLING_DAYS
    return young


def _segment_age(segment: Array) -> Floats:
    """Days since the present segment began; infinite where none has gone before it within 30 days."""
    columns = np.arange(segment.shape[1], dtype=np.float64)
    spoke = segment >= 0
    last = np.maximum.accumulate(np.where(spoke, columns, -np.inf), axis=1)
    before = np.full(segment.shape, -np.inf)
    before[:, 1:] = last[:, :-1]
    held = carried(segment)
    begins = np.zeros(segment.shape, np.bool_)
    begins[:, 1:] = (held[:, 1:] != held[:, :-1]) & (columns[1:] - before[:, 1:] <= FORGOTTEN_DAYS)
    began = np.maximum.accumulate(np.where(begins, columns, -np.inf), axis=1)
    return columns - began


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
