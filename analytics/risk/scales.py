"""The usual within-person spread of every metric (``sd_k``): shipped, or re-estimated at a site.

A baseline of few days is shrunk towards it. A table of scales is never changed:
a new estimate is a new version, and a model names the version it was fitted on.
"""

import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.metrics import METRICS
from analytics.risk.panel import Panel, carried

#: A patient counts from this many days of one device on, a metric from this many patients on.
LEAST_DAYS: Final = 28
LEAST_PATIENTS: Final = 20
MAD_TO_SD: Final = 1.4826


@dataclass(frozen=True)
class Scales:
    """One immutable version of the table.

    Parameters
    ----------
    version : str
        ``default-1`` as shipped, the site's own otherwise.
    within_sd : dict of str to float
        Metric id -> within-person standard deviation on the metric's baseline scale.
    patients : dict of str to int
        Metric id -> patients behind it; 0: taken over from the table before.
    """

    version: str
    within_sd: dict[str, float]
    patients: dict[str, int]

    def to_json(self) -> str:
        """Canonical JSON, one line."""
        return json.dumps(
            {"version": self.version, "within_sd": self.within_sd, "patients": self.patients}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> "Scales":
        """Table of its JSON."""
        return cls(**json.loads(text))


#: As in the registry of metrics.
DEFAULT_SCALES: Final = Scales(
    version="default-1",
    within_sd={name: metric.within_sd for name, metric in METRICS.items()},
    patients=dict.fromkeys(METRICS, 0),
)


def estimate_scales(panel: Panel, version: str, before: Scales = DEFAULT_SCALES) -> Scales:
    """Re-estimate the table from a site's own days.

    Per patient 1.4826 MAD of the days of the most used device around their median,
    over patients the median; the same statistic as the baseline's, so that shrinking
    pulls towards what it would find. Suspended days do not count.

    Returns
    -------
    Scales
        With fewer than 20 patients of 28 days a metric keeps what it had in `before`.
    """
    spreads, patients = dict(before.within_sd), dict.fromkeys(METRICS, 0)
    values = panel.comparable()
    for name, metric in METRICS.items():
        segments = carried(panel.segments[metric.stream]) if metric.stream else None
        found: list[float] = []
        for row, own in enumerate(values[name]):
            held = ~np.isnan(own)
            if segments is not None and held.any():
                codes, days = np.unique(segments[row][held], return_counts=True)
                held &= segments[row] == codes[np.argmax(days)]
            if held.sum() >= LEAST_DAYS:
                found.append(MAD_TO_SD * float(np.median(np.abs(own[held] - np.median(own[held])))))
        if len(found) >= LEAST_PATIENTS and np.median(found) > 0:
            spreads[name], patients[name] = float(np.median(found)), len(found)
    return Scales(version, spreads, patients)
