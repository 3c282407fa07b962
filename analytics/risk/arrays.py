"""Matrices of a cohort: patients down, consecutive dates across; and shifts along the dates.

Everything goes along a row in a fixed order: a patient's numbers are the same to
the last bit whoever else is computed, and however long the past in the matrix is.
"""

from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.metrics import METRICS

Array = NDArray[Any]
Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

EPOCH: Final = date(1970, 1, 1)
#: Streams of wearables; a segment of one is what may be compared with itself.
STREAMS: Final = tuple(sorted({metric.stream for metric in METRICS.values() if metric.stream}))


def lagged(values: Floats, lag: int) -> Floats:
    """Values of `lag` days before; NaN before the first day."""
    moved = np.full(values.shape, np.nan)
    moved[:, lag:] = values[:, : max(0, values.shape[1] - lag)]
    return moved


def sum_and_count(values: Floats, newest: int, oldest: int) -> tuple[Floats, NDArray[np.int64]]:
    """Sum and count of what is there of the days t-oldest to t-newest, day by day."""
    total: Floats = np.zeros(values.shape)
    count = np.zeros(values.shape, np.int64)
    for lag in range(newest, min(oldest, values.shape[1] - 1) + 1):
        part = values[:, : values.shape[1] - lag]
        held = ~np.isnan(part)
        total[:, lag:] += np.where(held, part, 0.0)
        count[:, lag:] += held
    return total, count


def mean(values: Floats, days: int, *, least: int = 1) -> Floats:
    """Mean of what is there of the last `days` days, today included; NaN with fewer than `least`."""
    total, count = sum_and_count(values, 0, days - 1)
    return np.where(count >= least, total / np.maximum(count, 1), np.nan)


def highest(values: Floats, days: int) -> Floats:
    """Largest of what is there of the last `days` days; NaN when nothing is."""
    found = values.copy()
    for lag in range(1, days):
        found = np.fmax(found, lagged(values, lag))
    return found


def recent(marks: Marks, days: int) -> Marks:
    """True when marked on the day or one of the `days` - 1 before it."""
    found = marks.copy()
    for lag in range(1, min(days, marks.shape[1])):
        found[:, lag:] |= marks[:, : marks.shape[1] - lag]
    return found


def days_since(marks: Marks, known_after: int) -> Floats:
    """Days since the last mark that is known by now; infinite when there is none."""
    columns = np.arange(marks.shape[1])
    last = np.maximum.accumulate(np.where(marks, columns, -1), axis=1).astype(np.float64)
    known = lagged(np.where(last < 0, np.nan, last), known_after)
    return np.where(np.isnan(known), np.inf, columns - known)
