"""A new level of steps within eight weeks: Pettitt's test, corrected for autocorrelation.

Pettitt's K is the largest |U_t|, the Mann-Whitney statistic of the days up to t against
the days after. Its variance grows with the lag-1 autocorrelation r as that of Kendall's S
does, so K is divided by sqrt((1+r)/(1-r)), r that of the deviations from the two levels
(from one level a real shift looks like autocorrelation and is never found). p = 2 exp(-6 K^2 / (n^3 + n^2)).
A split needs 14 valid days on either side. Source: Pettitt 1979; type-I error by
``flarecast risk type-one``.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Floats
from analytics.risk.trend import inflation, median

LEAST_SIDE: Final = 14
ALPHA: Final = 0.01
#: A device change or a journey so close explains the shift.
NEAR_DAYS: Final = 3


@dataclass(frozen=True)
class Shift:
    """Largest shift of each row; arrays (patients,)."""

    p_value: Floats  # NaN where there are too few days
    at: NDArray[np.int64]  # column of the first day of the new level
    change_pct: Floats


def pettitt(values: Floats) -> Shift:
    """Largest shift of each row of ln steps (patients, days) without weekends; NaN where not valid."""
    held = ~np.isnan(values)
    count = held.sum(axis=1)
    left_count = np.cumsum(held, axis=1)
    u = _mann_whitney(values)
    # split after column t: enough days up to it and behind it, and it is a day itself
    can = held & (left_count >= LEAST_SIDE) & (count[:, None] - left_count >= LEAST_SIDE)
    size = np.where(can, np.abs(u), -1.0)
    best = size.argmax(axis=1)
    rows = np.arange(len(values))
    largest = size[rows, best]
    later = np.arange(values.shape[1]) > best[:, None]
    new, old = median(np.where(later, values, np.nan))[0], median(np.where(later, np.nan, values))[0]
    left = values - np.where(later, new[:, None], old[:, None])
    n = count.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        corrected = largest / np.sqrt(inflation(left, np.zeros(len(values))))
        p = np.minimum(1.0, 2 * np.exp(-6 * corrected**2 / (n**3 + n**2)))
    first = (held & later).argmax(axis=1)
    is_there = largest >= 0
    return Shift(np.where(is_there, p, np.nan), first, np.where(is_there, 100 * np.expm1(new - old), np.nan))


def _mann_whitney(values: Floats) -> Floats:
    """U_t = sum over days up to t and days after t of sign(later - earlier), for every t."""
    days = values.shape[1]
    u = np.zeros(values.shape)
    total = np.zeros(len(values))
    for t in range(days):
        # day t joins the earlier side: its pairs with earlier days leave, those with later ones come
        signs = np.sign(values - values[:, [t]])
        signs = np.where(np.isnan(signs), 0.0, signs)
        total = total + signs[:, t + 1 :].sum(axis=1) + signs[:, :t].sum(axis=1)
        u[:, t] = total
    return u
