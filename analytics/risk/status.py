"""Whether a day can be scored, and if not, why not.

A status is a word of the table flare_risk; behind ``insufficient_data`` stands one of
several causes, kept beside it as a code.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Array, Floats, Marks, lagged, recent, sum_and_count
from analytics.risk.baseline import Deviation
from analytics.risk.baseline_kernel import ENOUGH
from analytics.risk.labels import KNOWN_AFTER, Labels
from analytics.risk.model import Model
from analytics.risk.panel import Panel

LEARNING_DAYS: Final = 14
INSUFFICIENT, LEARNING = "insufficient_data", "learning"
IN_FLARE, POSSIBLE_FLARE = "in_flare", "possible_flare"
UNCALIBRATED, OK = "uncalibrated", "ok"
#: Statuses with a risk.
SCORED: Final = (UNCALIBRATED, OK)
#: By their code in a matrix.
STATUSES: Final = (INSUFFICIENT, LEARNING, IN_FLARE, POSSIBLE_FLARE, UNCALIBRATED, OK)

#: Wearable metrics of which two must be there.
WEARABLE: Final = ("steps", "tst_min", "resting_hr_bpm", "rmssd_ms")
RECENT_DAYS, RECENT_VALUES, LEAST_STREAMS = 4, 2, 2
SCORE_DAYS, LEAST_SCORES = 28, 7


@dataclass(frozen=True)
class Standing:
    """Matrices (patients, days).

    Parameters
    ----------
    status : matrix of int
        Index into :data:`STATUSES`.
    is_sufficient : matrix of bool
        Enough data, whatever else is the case.
    is_scored : matrix of bool
        The day has a risk.
    monitored_days : matrix of int
        Days since the first one with anything in it, that one included.
    stream_count : matrix of int
        Wearable metrics that are ready.
    score_count : matrix of int
        Pain scores in 28 days.
    """

    status: Array
    is_sufficient: Marks
    is_scored: Marks
    monitored_days: NDArray[np.int64]
    stream_count: NDArray[np.int64]
    score_count: NDArray[np.int64]

    def word(self, row: int, column: int) -> str:
        """Status of one day."""
        return STATUSES[int(self.status[row, column])]


def standing(
    panel: Panel,
    labels: Labels,
    deviations: dict[str, Deviation],
    model: Model,
    monitored_before: Array | None = None,
) -> Standing:
    """Status of every day.

    Parameters
    ----------
    monitored_before : array (patients,), optional
        Days monitored before the matrices begin; NaN where the first one is in them.
    """
    monitored = _monitored_days(panel, monitored_before)
    streams, scores, has_recent_score = _there(panel, deviations)
    is_sufficient = (streams >= LEAST_STREAMS) | ((scores >= LEAST_SCORES) & has_recent_score)
    is_sufficient &= ~panel.is_suspended()
    scored = STATUSES.index(OK if model.standing == "approved" else UNCALIBRATED)
    status = np.where(is_sufficient, scored, STATUSES.index(INSUFFICIENT)).astype(np.int8)
    status[monitored < LEARNING_DAYS] = STATUSES.index(LEARNING)
    days = KNOWN_AFTER + 1
    exceeding = labels.exceeds.astype(np.int8)
    for lag in range(1, min(days, panel.shape[1])):
        exceeding[:, lag:] += labels.exceeds[:, :-lag]
    status[exceeding == 1] = STATUSES.index(POSSIBLE_FLARE)
    status[(exceeding > 1) | recent(labels.is_tapped, days)] = STATUSES.index(IN_FLARE)
    return Standing(status, is_sufficient, status == scored, monitored, streams, scores)


def _monitored_days(panel: Panel, before: Array | None) -> NDArray[np.int64]:
    has_any = panel.is_flare_reported.copy()
    for values in panel.values.values():
        has_any |= ~np.isnan(values)
    days = np.cumsum(np.maximum.accumulate(has_any, axis=1), axis=1)
    if before is not None:
        known = before[:, None] + np.arange(panel.shape[1]) + 1
        days = np.where(np.isnan(known), days, known)
    return days.astype(np.int64)


def _there(
    panel: Panel, deviations: dict[str, Deviation]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Marks]:
    """Wearable metrics that are ready; pain scores in four weeks, and whether any is recent."""
    streams = np.zeros(panel.shape, np.int64)
    for name in WEARABLE:
        own = deviations[name]
        _, values = sum_and_count(own.value, 0, RECENT_DAYS - 1)
        streams += (values >= RECENT_VALUES) & (own.count >= ENOUGH)
    held = np.cumsum(~np.isnan(panel.values["nrs"]), axis=1).astype(np.float64)
    in_month, in_days = held - _zero(lagged(held, SCORE_DAYS)), held - _zero(lagged(held, RECENT_DAYS))
    return streams, np.rint(in_month).astype(np.int64), in_days > 0


def _zero(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)
