"""The patient's own baseline, and how far a day is from it.

Center and spread are median and 1.4826 MAD over days t-35 to t-8 (fewer than 7
of them: t-35 to t-2; fewer than 5: none), of the same device segment only. The gap
keeps a beginning flare out of its own yardstick. The spread is shrunk towards the
metric's usual within-person spread: a fortnight of equal values is not certainty.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.metrics import METRICS, Metric
from analytics.risk.arrays import Floats
from analytics.risk.baseline_kernel import rolling_baseline
from analytics.risk.panel import Panel, carried
from analytics.risk.scales import DEFAULT_SCALES, Scales

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


def deviations(panel: Panel, scales: Scales = DEFAULT_SCALES, *, first: int = 0) -> dict[str, Deviation]:
    """Deviation of every metric on the days of the panel.

    Parameters
    ----------
    panel : Panel
        Every column is baseline for later ones; suspended days of wearables are not.
    scales : Scales
        Usual within-person spreads.
    first : int
        Columns before it are not computed (NaN).
    """
    values = panel.comparable()
    return {
        name: _deviation(panel, metric, values[name], scales.within_sd[name], first)
        for name, metric in METRICS.items()
    }


def off_scale(values: Floats, metric: Metric) -> Floats:
    """Back to the unit of the metric."""
    return np.exp(values) if metric.scale == "ln" else values


def _deviation(panel: Panel, metric: Metric, values: Floats, within_sd: float, first: int) -> Deviation:
    segments = carried(panel.segments[metric.stream]) if metric.stream else np.zeros(panel.shape, np.int32)
    center, scale = np.full(panel.shape, np.nan), np.full(panel.shape, np.nan)
    count = np.zeros(panel.shape, np.int32)
    rolling_baseline(values, segments, within_sd, first, center, scale, count)
    with np.errstate(invalid="ignore"):
        z = np.clip((values - center) / scale, -Z_LIMIT, Z_LIMIT)
    return Deviation(metric, values, center, scale, count, z)
