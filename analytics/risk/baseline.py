"""The patient's own baseline, and how far a day is from it.

Center and spread are median and 1.4826 MAD over days t-35 to t-8 (fewer than 7
of them: t-35 to t-2; fewer than 5: none), of the same device only. The gap keeps
a beginning flare out of its own yardstick. The spread is shrunk towards the
metric's usual within-person spread: a fortnight of equal values is not certainty.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.metrics import METRICS, Metric
from analytics.risk.panel import Array, Floats, Panel

LONGEST: Final = 35
GAP, SHORT_GAP = 8, 2
#: Baseline days that are enough; with fewer the younger days help out; with fewer than LEAST there is none.
ENOUGH, LEAST = 7, 5
#: Days of prior knowledge in the spread.
PRIOR_DAYS: Final = 7
MAD_TO_SD: Final = 1.4826
Z_LIMIT: Final = 4.0


@dataclass(frozen=True)
class Deviation:
    """One metric against its baseline; matrices (patients, days)."""

    metric: Metric
    value: Floats  # on the metric's scale
    center: Floats
    scale: Floats
    count: NDArray[np.int32]
    z: Floats


def deviations(panel: Panel) -> dict[str, Deviation]:
    """Deviation of every metric on every day of the panel."""
    return {name: _deviation(panel, metric) for name, metric in METRICS.items()}


def on_scale(values: Floats, metric: Metric) -> Floats:
    """Values on the scale on which the patient's days are compared."""
    return np.log(np.maximum(values, metric.scale_floor)) if metric.scale == "ln" else values


def off_scale(values: Floats, metric: Metric) -> Floats:
    """Back to the unit of the metric."""
    return np.exp(values) if metric.scale == "ln" else values


def _deviation(panel: Panel, metric: Metric) -> Deviation:
    values = on_scale(panel.values[metric.id], metric)
    segment = carried(panel.segments[metric.stream]) if metric.stream else None
    center, scale = np.full(panel.shape, np.nan), np.full(panel.shape, np.nan)
    count = np.zeros(panel.shape, np.int32)
    for column in range(panel.shape[1]):
        low, high = max(0, column - LONGEST), max(0, column - SHORT_GAP + 1)
        window = values[:, low:high].copy()
        if segment is not None:
            window[segment[:, low:high] != segment[:, [column]]] = np.nan
        old = max(0, column - GAP + 1 - low)
        center[:, column], scale[:, column], count[:, column] = _baseline(window, old, metric.within_sd)
    with np.errstate(invalid="ignore"):
        z = np.clip((values - center) / scale, -Z_LIMIT, Z_LIMIT)
    return Deviation(metric, values, center, scale, count, z)


def carried(segment: Array) -> Array:
    """The device of the last day on which one spoke (-1 before the first)."""
    columns = np.where(segment >= 0, np.arange(segment.shape[1]), -1)
    last = np.maximum.accumulate(columns, axis=1)
    carried = np.take_along_axis(segment, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, carried, -1)


def _baseline(window: Floats, old: int, within_sd: float) -> tuple[Floats, Floats, Array]:
    """Center, spread and days of each row; the first `old` columns come before the gap."""
    is_enough = (~np.isnan(window[:, :old])).sum(axis=1) >= ENOUGH
    window[np.ix_(is_enough, np.arange(old, window.shape[1]))] = np.nan
    center, count = median(window)
    mad, _ = median(np.abs(window - center[:, None]))
    spread = MAD_TO_SD * mad
    with np.errstate(divide="ignore", invalid="ignore"):
        shrunk = np.sqrt((count * spread**2 + PRIOR_DAYS * within_sd**2) / (count + PRIOR_DAYS))
        scale = shrunk * np.sqrt(1 + 1.57 / count)
    center[count < LEAST] = np.nan
    scale[count < LEAST] = np.nan
    return center, scale, count


def median(window: Floats) -> tuple[Floats, Array]:
    """Median of each row without its NaN, and how many values it has."""
    count = (~np.isnan(window)).sum(axis=1)
    if window.shape[1] == 0:
        return np.full(len(window), np.nan), count
    ordered = np.sort(window, axis=1)
    rows = np.arange(len(window))
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, window.shape[1] - 1)
    return (ordered[rows, low] + ordered[rows, high]) / 2, count
