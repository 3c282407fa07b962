"""Pacing in three plain numbers, without a label for anybody.

1. Variability: SD of ln steps over 56 days beside the 84 days before.
2. Contingency: how steps go with pain of the day before, good days (less pain than the own
   mean) and bad days apart: ridge regression of ln steps, penalty 6 on either slope, with a
   95 % interval widened for autocorrelation. In percent per point of pain.
3. Days of at least +1 SD steps that were followed within 2 days by a pain rise of 2 points or
   by a day of -1 SD or less; beside what would be expected had these days fallen on other
   days of the same weekdays (the mean over all such permutations, in closed form).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Floats, Marks
from analytics.risk.trend import inflation, median

DAYS, BEFORE_DAYS = 56, 84
LEAST_DAYS: Final = 28
LEAST_PAIRS: Final = 40
RIDGE: Final = 6.0
#: Own days of less or more pain, without which a slope is nothing but the penalty.
LEAST_SIDE: Final = 5
HIGH, LOW, PAIN_RISE = 1.0, -1.0, 2.0
FOLLOW_DAYS: Final = 2
_Z95: Final = 1.959963984540054


@dataclass(frozen=True)
class Slope:
    """Effect in percent per point of pain with its 95 % interval; arrays (patients,)."""

    pct: Floats
    low_pct: Floats
    high_pct: Floats


@dataclass(frozen=True)
class Pacing:
    """The three numbers; arrays (patients,), NaN (counts: 0) where there is too little."""

    variability: Floats
    variability_before: Floats
    pairs: NDArray[np.int64]
    good: Slope
    bad: Slope
    high_days: NDArray[np.int64]
    followed: NDArray[np.int64]
    by_chance: Floats

    @property
    def is_enough(self) -> Marks:
        """Enough paired days for numbers 2 and 3."""
        return self.pairs >= LEAST_PAIRS


def pacing(
    steps: Floats, before: Floats, nrs: Floats, weekday: NDArray[np.int64], within_sd: float
) -> Pacing:
    """Pacing of each row.

    Parameters
    ----------
    steps : array (patients, 56)
        ln steps of one device segment, without weekends.
    before : array (patients, 84)
        ln steps of the days before.
    nrs : array (patients, 56)
        Pain scores.
    weekday : array of int (56,)
        0 to 6.
    within_sd : float
        Usual within-person standard deviation of ln steps.
    """
    pain_before = np.full(nrs.shape, np.nan)
    pain_before[:, 1:] = nrs[:, :-1]
    both = ~np.isnan(steps) & ~np.isnan(pain_before)
    pairs = both.sum(axis=1)
    x = pain_before - _row_mean(np.where(both, pain_before, np.nan))[:, None]
    good, bad = _slopes(np.where(both, steps, np.nan), np.where(both, x, np.nan))
    high, followed, eligible = _follow(steps, nrs, within_sd)
    chance = np.zeros(len(steps))
    for day in range(7):
        own = eligible & (weekday == day)
        count = own.sum(axis=1)
        share = (followed & own).sum(axis=1) / np.maximum(count, 1)
        chance = chance + (high & own).sum(axis=1) * share
    return Pacing(
        variability=_spread(steps),
        variability_before=_spread(before),
        pairs=pairs,
        good=good,
        bad=bad,
        high_days=(high & eligible).sum(axis=1),
        followed=(high & followed & eligible).sum(axis=1),
        by_chance=chance,
    )


def _row_sum(values: Floats) -> Floats:
    """Sum of each row in the order of the days."""
    return np.cumsum(np.where(np.isnan(values), 0.0, values), axis=1)[:, -1]


def _row_mean(values: Floats) -> Floats:
    count = (~np.isnan(values)).sum(axis=1)
    return np.where(count > 0, _row_sum(values) / np.maximum(count, 1), np.nan)


def _spread(values: Floats) -> Floats:
    count = (~np.isnan(values)).sum(axis=1)
    squares = _row_sum((values - _row_mean(values)[:, None]) ** 2)
    return np.where(count >= LEAST_DAYS, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


def _slopes(y: Floats, x: Floats) -> tuple[Slope, Slope]:
    """Ridge slopes of y on less and on more pain than usual; both NaN where not paired."""
    less, more = np.maximum(-x, 0), np.maximum(x, 0)
    n = np.maximum((~np.isnan(y)).sum(axis=1), 1)
    ly, lx, mx = (values - _row_mean(values)[:, None] for values in (y, less, more))
    a, b, d = _row_sum(lx * lx), _row_sum(lx * mx), _row_sum(mx * mx)
    p, q = _row_sum(lx * ly), _row_sum(mx * ly)
    # (X'X + k I) is 2 x 2: its inverse by hand, for all patients at once
    ridge_a, ridge_d = a + RIDGE, d + RIDGE
    determinant = ridge_a * ridge_d - b * b
    slope_less, slope_more = (ridge_d * p - b * q) / determinant, (ridge_a * q - b * p) / determinant
    left = ly - slope_less[:, None] * lx - slope_more[:, None] * mx
    variance = _row_sum(left * left) / np.maximum(n - 3, 1) * inflation(left, np.zeros(len(left)))
    # A^-1 X'X A^-1
    var_less = variance * (ridge_d**2 * a - 2 * ridge_d * b * b + b * b * d) / determinant**2
    var_more = variance * (ridge_a**2 * d - 2 * ridge_a * b * b + b * b * a) / determinant**2
    return (
        _percent(slope_less, var_less, (less > 0).sum(axis=1)),
        _percent(slope_more, var_more, (more > 0).sum(axis=1)),
    )


def _percent(slope: Floats, variance: Floats, days: NDArray[np.int64]) -> Slope:
    half = _Z95 * np.sqrt(np.maximum(variance, 0))
    shown = (np.where(days >= LEAST_SIDE, value, np.nan) for value in (slope, slope - half, slope + half))
    return Slope(*(100 * np.expm1(value) for value in shown))


def _follow(steps: Floats, nrs: Floats, within_sd: float) -> tuple[Marks, Marks, Marks]:
    """High days, days followed by a pain rise or a slump, and days on which that can be told."""
    center, count = median(steps)
    spread = 1.4826 * median(np.abs(steps - center[:, None]))[0]
    scale = np.sqrt((count * spread**2 + 7 * within_sd**2) / (count + 7))
    z = (steps - center[:, None]) / scale[:, None]
    followed, known = np.zeros(steps.shape, np.bool_), np.zeros(steps.shape, np.bool_)
    days = steps.shape[1]
    for ahead in range(1, FOLLOW_DAYS + 1):
        rise = nrs[:, ahead:] - nrs[:, : days - ahead]
        with np.errstate(invalid="ignore"):
            followed[:, : days - ahead] |= (rise >= PAIN_RISE) | (z[:, ahead:] <= LOW)
        known[:, : days - ahead] |= ~np.isnan(rise) | ~np.isnan(z[:, ahead:])
    with np.errstate(invalid="ignore"):
        high = z >= HIGH
    return high, followed, known & ~np.isnan(z)
