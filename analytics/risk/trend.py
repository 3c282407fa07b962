"""Where steps are going over eight weeks, without the calendar and without false certainty.

Theil-Sen slope of ln steps over 56 days, weekend offset taken out, days of the
present device only. Test: Mann-Kendall with lag-1 inflation Z / sqrt((1+r)/(1-r)),
r bias-corrected on the Sen residuals, clipped to 0-0.8. No tie correction (ties
come from the floor of 200 steps; leaving it out errs on the careful side).
"""

from dataclasses import dataclass, fields
from math import erfc
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Array, Floats, Marks
from analytics.risk.panel import Panel, carried

METRIC: Final = "steps"
DAYS: Final = 56
LEAST_DAYS: Final = 28
#: Weekend days of prior knowledge that weekends are like other days.
WEEKEND_PRIOR: Final = 8
#: A trend is spoken of only when both hold: smaller ones are seldom real at this length.
ALPHA, LEAST_CHANGE_PCT = 0.05, 15.0
_Z95: Final = 1.959963984540054
#: Patients whose pairs of days are worked through together: they stay in the processor's cache.
AT_ONCE: Final = 128
_PAIRS: Final = np.triu_indices(DAYS, 1)
_GAPS: Final = (_PAIRS[1] - _PAIRS[0]).astype(np.float64)


@dataclass(frozen=True)
class Trend:
    """Trend per patient on one day; arrays (patients,), NaN with fewer than 28 valid days."""

    count: NDArray[np.int64]
    level: Floats  # steps a day, the median
    change_pct: Floats  # per 4 weeks
    low_pct: Floats
    high_pct: Floats
    p_value: Floats


def window_of(panel: Panel, values: Floats, column: int, days: int, *, stream: str | None = METRIC) -> Floats:
    """Values of the `days` days that end on a column, (patients, days); NaN before the first.

    With a `stream` only days of its present device segment.
    """
    low = column - days + 1
    source = slice(max(0, low), column + 1)
    own = values[:, source]
    if stream is not None:
        segment = carried(panel.segments[stream][:, : column + 1])
        own = np.where(segment[:, source] == segment[:, [column]], own, np.nan)
    window = np.full((panel.shape[0], days), np.nan)
    window[:, max(0, -low) :] = own
    return window


def weekends(panel: Panel, column: int, days: int = DAYS) -> Marks:
    """Which of the `days` days that end on a column are Saturdays and Sundays."""
    return np.array([panel.day(column - days + 1 + i).weekday() >= 5 for i in range(days)], np.bool_)


def theil_sen(window: Floats, is_weekend: Marks) -> Trend:
    """Trend of each row.

    Parameters
    ----------
    window : array (patients, 56)
        ln steps per day, NaN where not valid.
    is_weekend : array of bool (56,)
    """
    parts = [
        _theil_sen(window[start : start + AT_ONCE], is_weekend)
        for start in range(0, max(1, len(window)), AT_ONCE)
    ]
    columns = ([getattr(part, own.name) for part in parts] for own in fields(Trend))
    return Trend(*(np.concatenate(column) for column in columns))


def _theil_sen(window: Floats, is_weekend: Marks) -> Trend:
    count = (~np.isnan(window)).sum(axis=1)
    level = np.exp(median(window)[0])
    values = without_weekend(window, is_weekend)
    slopes = (values[:, _PAIRS[1]] - values[:, _PAIRS[0]]) / _GAPS
    slopes.sort(axis=1)
    slope, pairs = _median_of_sorted(slopes)
    extra = inflation(values, slope)
    variance = count * (count - 1) * (2 * count + 5) / 18
    spread = np.sqrt(variance * extra)
    kendall = (slopes > 0).sum(axis=1) - (slopes < 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (kendall - np.sign(kendall)) / spread
    p_value = np.array([erfc(abs(own) / np.sqrt(2)) for own in score])
    low, high = _interval(slopes, pairs, spread)
    is_enough = count >= LEAST_DAYS
    change, low_pct, high_pct = (
        np.where(is_enough, 100 * np.expm1(28 * values), np.nan) for values in (slope, low, high)
    )
    return Trend(count, level, change, low_pct, high_pct, np.where(is_enough, p_value, np.nan))


def median(window: Floats) -> tuple[Floats, Array]:
    """Median of each row without its NaN, and how many values it has."""
    return _median_of_sorted(np.sort(window, axis=1))


def _median_of_sorted(ordered: Floats) -> tuple[Floats, Array]:
    """The same of rows in their order, NaN last."""
    count = (~np.isnan(ordered)).sum(axis=1)
    rows = np.arange(len(ordered))
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, ordered.shape[1] - 1)
    return (ordered[rows, low] + ordered[rows, high]) / 2, count


def without_weekend(window: Floats, is_weekend: Marks) -> Floats:
    """Take out the offset of weekends, shrunken towards none."""
    held = ~np.isnan(window)
    n_weekend, n_week = held[:, is_weekend].sum(axis=1), held[:, ~is_weekend].sum(axis=1)
    # whole rows: a selection of columns is laid out, and summed, in an order that depends on the cohort
    total, weekend = np.nansum(window, axis=1), np.nansum(np.where(is_weekend, window, 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = weekend / n_weekend - (total - weekend) / n_week
    offset = np.nan_to_num(offset) * n_weekend / (n_weekend + WEEKEND_PRIOR)
    return window - np.where(is_weekend, offset[:, None], 0)


def inflation(values: Floats, slope: Floats) -> Floats:
    """(1 + r) / (1 - r), r the lag-1 autocorrelation of what the slope leaves, bias-corrected, 0 to 0.8."""
    left = values - slope[:, None] * np.arange(values.shape[1])
    left = left - median(left)[0][:, None]
    product = left[:, 1:] * left[:, :-1]
    pairs = (~np.isnan(product)).sum(axis=1)
    squares, days = np.nansum(left**2, axis=1), (~np.isnan(left)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.nansum(product, axis=1) / pairs / (squares / days)
        r = r + (1 + 4 * r) / pairs
    r = np.clip(np.nan_to_num(r), 0, 0.8)
    return (1 + r) / (1 - r)


def _interval(ordered: Floats, pairs: Array, spread: Floats) -> tuple[Floats, Floats]:
    """95 % interval of the slope: order statistics of the pairwise slopes."""
    rows, half = np.arange(len(ordered)), _Z95 * spread
    last = np.maximum(pairs - 1, 0)
    low = np.clip(np.floor((pairs - half) / 2), 0, last).astype(np.int64)
    high = np.clip(np.ceil((pairs + half) / 2), 0, last).astype(np.int64)
    return ordered[rows, low], ordered[rows, high]
