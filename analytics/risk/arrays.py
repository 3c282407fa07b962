"""Matrices of a cohort: patients down, consecutive dates across; and shifts along the dates.

Everything goes along a row in a fixed order: a patient's numbers are the same to
the last bit whoever else is computed, and however long the past in the matrix is.
"""

from dataclasses import fields, is_dataclass, replace
from datetime import date
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from analytics.metrics import METRICS
from analytics.risk.rolling_kernel import rolling_sums

Array = NDArray[Any]
Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

#: A dataclass of matrices.
Record = TypeVar("Record", bound=Any)

EPOCH: Final = date(1970, 1, 1)
#: Streams of wearables; a segment of one is what may be compared with itself.
STREAMS: Final = tuple(sorted({metric.stream for metric in METRICS.values() if metric.stream}))


def cut(record: Record, rows: slice, columns: slice) -> Record:
    """Some patients and days of every matrix in a record; whatever is no matrix stays."""

    def part(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[rows, columns]
        if isinstance(value, dict):
            return {name: part(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
        return cut(value, rows, columns) if is_dataclass(value) else value

    return replace(record, **{one.name: part(getattr(record, one.name)) for one in fields(record)})


def since(record: Record, column: int) -> Record:
    """The days from `column` on of every matrix in a record."""
    return cut(record, slice(None), slice(column, None))


def lagged(values: Floats, lag: int) -> Floats:
    """Values of `lag` days before; NaN before the first day."""
    moved = np.full(values.shape, np.nan)
    moved[:, lag:] = values[:, : max(0, values.shape[1] - lag)]
    return moved


def sum_and_count(
    values: Floats, newest: int, oldest: int, *, first: int = 0
) -> tuple[Floats, NDArray[np.int64]]:
    """Sum and count of what is there of the days t-oldest to t-newest, day by day, from column `first` on."""
    days = values.shape[1]
    total: Floats = np.zeros((len(values), days - first))
    count = np.zeros(total.shape, np.int64)
    rolling_sums(values, newest, oldest, first, total, count)
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


def last_marked(marks: Marks, known_after: int) -> Floats:
    """Column of the last mark that is known by each day, `known_after` days late; -inf for none."""
    columns = np.arange(marks.shape[1], dtype=np.float64)
    last = np.maximum.accumulate(np.where(marks, columns, -np.inf), axis=1)
    known = np.full(marks.shape, -np.inf)
    known[:, known_after:] = last[:, : max(0, marks.shape[1] - known_after)]
    return known


def spaced(marks: Marks, days: int, last: Array | None = None) -> Marks:
    """Of the marks those that are at least `days` after the one before.

    Parameters
    ----------
    last : array (patients,), optional
        Column of the last one before the matrix, -inf for none.
    """
    found: Marks = np.zeros(marks.shape, np.bool_)
    latest = np.full(len(marks), -np.inf) if last is None else last.copy()
    for column in np.flatnonzero(marks.any(axis=0)):
        found[:, column] = marks[:, column] & (column - latest >= days)
        latest[found[:, column]] = column
    return found
