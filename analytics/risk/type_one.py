"""How often the tests of trend and level shift find something where nothing is.

SYNTHETIC steps: no trend and no shift, a weekday pattern, autocorrelation from none to strong,
days missing at random and in runs. What is printed is measured, not promised.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.metrics import METRICS
from analytics.risk.arrays import Floats
from analytics.risk.shift import pettitt
from analytics.risk.trend import DAYS, theil_sen, without_weekend

AUTOCORRELATIONS, MISSING = (0.0, 0.2, 0.4, 0.6), (0.0, 0.3)
NOMINAL: Final = 0.05
#: Highest share that is still what was promised.
HIGHEST: Final = 0.07
_WITHIN_SD: Final = METRICS["steps"].within_sd
_WEEKEND_OFFSET: Final = -0.15
#: A run of missing days has this mean length: outages, not coins.
_RUN_DAYS: Final = 3


@dataclass(frozen=True)
class TypeOne:
    """Share of series without anything in which a test found something at a nominal 5 %."""

    autocorrelation: float
    missing: float
    series: int
    trend: float
    shift: float


def type_one(series: int, seed: int = 1) -> Iterator[TypeOne]:
    """Measured type-I errors, one row per autocorrelation and share of missing days."""
    weekend = np.arange(DAYS) % 7 >= 5
    for number, (rho, missing) in enumerate((r, m) for r in AUTOCORRELATIONS for m in MISSING):
        steps = nothing(np.random.default_rng((seed, number)), series, rho, missing)
        steps = steps + _WEEKEND_OFFSET * weekend
        slopes, shifts = theil_sen(steps, weekend), pettitt(without_weekend(steps, weekend))
        yield TypeOne(rho, missing, series, _share(slopes.p_value), _share(shifts.p_value))


def nothing(rng: np.random.Generator, series: int, rho: float, missing: float) -> Floats:
    """Stationary ln steps (series, 56) with lag-1 autocorrelation `rho` and runs of missing days."""
    values = rng.normal(0, 1, (series, DAYS))
    for day in range(1, DAYS):
        values[:, day] = rho * values[:, day - 1] + np.sqrt(1 - rho**2) * values[:, day]
    return np.where(_outages(rng, series, missing), np.nan, 8.5 + _WITHIN_SD * values)


def _outages(rng: np.random.Generator, series: int, missing: float) -> NDArray[np.bool_]:
    """Runs of days, so many that the share of missing ones is as wanted."""
    end = 1 / _RUN_DAYS
    begin = end * missing / (1 - missing)
    away = np.zeros((series, DAYS), np.bool_)
    away[:, 0] = rng.random(series) < missing
    for day in range(1, DAYS):
        draw = rng.random(series)
        away[:, day] = np.where(away[:, day - 1], draw >= end, draw < begin)
    return away


def _share(p_values: Floats) -> float:
    tested = p_values[~np.isnan(p_values)]
    return float((tested < NOMINAL).mean())
