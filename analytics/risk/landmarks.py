"""Landmark rows: a patient's day, what was known on it, and what followed as far as anybody looked.

A row is followed day by day until an onset, until the first day on which the patient
said nothing, or for a week. It is never kept *because* enough was reported or an onset came:
that turns a 10 % seven-day rate into 15-26 %. A tap on a day without any other answer ends the
follow-up like silence: else the days of the silent would count only when they are bad.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Floats, Marks
from analytics.risk.features import FEATURES
from analytics.risk.labels import KNOWN_AFTER
from analytics.risk.model import HORIZON, Model

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Landmarks:
    """Rows in order of patient and day.

    Parameters
    ----------
    patient, column : array of int (rows,)
        Row and column in the panel.
    x : array (rows, features)
        In the order of :data:`analytics.risk.features.FEATURES`.
    followed : array of int (rows,)
        Days followed, 1 to 7; with an onset its day is the last.
    event : array of int (rows,)
        Days until the onset, 0 where none was seen.
    """

    patient: Ints
    column: Ints
    x: Floats
    followed: Ints
    event: Ints

    def __len__(self) -> int:
        return len(self.patient)

    def where(self, chosen: Marks) -> "Landmarks":
        """The rows chosen."""
        return Landmarks(
            self.patient[chosen],
            self.column[chosen],
            self.x[chosen],
            self.followed[chosen],
            self.event[chosen],
        )

    def of_columns(self, first: int, last: int) -> Marks:
        """Rows of the columns `first` to `last`, inclusive."""
        return (self.column >= first) & (self.column <= last)

    def onsets(self) -> int:
        """Different onsets among what followed: several rows may see the same one."""
        seen = self.event > 0
        days = int(self.column.max(initial=0)) + HORIZON + 1
        return len(np.unique(self.patient[seen] * days + (self.column + self.event)[seen]))


def make_landmarks(
    features: dict[str, Floats],
    is_onset: Marks,
    is_counted: Marks,
    is_observed: Marks,
    *,
    known_after: int = KNOWN_AFTER,
) -> Landmarks:
    """Rows of every counted day that was followed for at least one.

    Parameters
    ----------
    features : dict of str to matrix (patients, days)
    is_onset : matrix of bool
        First days of episodes.
    is_counted : matrix of bool
        At risk and with enough data to be scored.
    is_observed : matrix of bool
        The patient said something about how the day was; taps alone do not count.
    known_after : int
        Days until the label of a day is known: the last ones of the panel are not followed.
    """
    days = is_onset.shape[1]
    followed = np.zeros(is_onset.shape, np.int64)
    event = np.zeros(is_onset.shape, np.int64)
    goes_on = np.ones(is_onset.shape, np.bool_)
    for ahead in range(1, HORIZON + 1):
        last = max(0, days - known_after - ahead)
        is_there = np.zeros(is_onset.shape, np.bool_)
        comes = np.zeros(is_onset.shape, np.bool_)
        is_there[:, :last] = is_observed[:, ahead : ahead + last]
        comes[:, :last] = is_onset[:, ahead : ahead + last]
        goes_on &= is_there
        followed[goes_on] = ahead
        event[goes_on & comes] = ahead
        goes_on &= ~comes
    patient, column = np.nonzero(is_counted & (followed > 0))
    at = patient, column
    x = np.stack([features[name][at] for name in FEATURES], axis=1)
    return Landmarks(patient, column, x, followed[at], event[at])


def hazards(model: Model, rows: Landmarks, history: Floats | float = 0.0) -> Floats:
    """Hazards 1 to 7 days ahead, (rows, 7); the same numbers as :func:`analytics.risk.hazard.hazard`.

    Parameters
    ----------
    history : array (rows,) or float
        ln M; 0 leaves the personal rate out.
    """
    ahead = np.arange(HORIZON)
    near = np.array([model.weights.get(name, 0.0) for name in FEATURES])
    slope = np.array([model.slopes.get(name, 0.0) for name in FEATURES])
    logit = (
        np.asarray(model.intercepts)
        + (rows.x @ near)[:, None]
        + np.outer(rows.x @ slope, ahead / (HORIZON - 1))
    )
    return 1 / (1 + np.exp(-(logit + np.reshape(history, (-1, 1)))))


def within(day_hazards: Floats, days: int) -> Floats:
    """Chance of an onset within the first `days` days, (rows,)."""
    return 1 - np.prod(1 - day_hazards[:, :days], axis=1)
