"""What the hazard looks at: positive where a flare is expected to be likelier, 0 where nothing is known.

That something is missing is no feature: the alert load would follow the outages.
All of a day is known on that day; flares are used two days late, when they are known.
"""

from typing import Final

import numpy as np

from analytics.risk.arrays import Array, Floats, Marks, highest, lagged, last_marked, mean, sum_and_count
from analytics.risk.baseline import Deviation
from analytics.risk.labels import KNOWN_AFTER, Labels
from analytics.risk.panel import Panel
from analytics.risk.past import FEATURE_DAYS, PAST_DAYS, Past

#: Nights a mean over a week needs, pairs of days a swing, scores a spread.
LEAST_NIGHTS, LEAST_PAIRS, LEAST_SCORES = 3, 4, 5
#: Usual values, taken off so that 0 is a usual day.
USUAL_SWING, USUAL_SPREAD, USUAL_RECENT = 1.1, 0.8, 0.15
LEAST_IRREGULARITY: Final = 0.2
#: Days in which a flare is forgotten (by the factor e).
FORGETTING_DAYS: Final = 10.0

#: Feature -> metric whose deviation it looks at (recent: the reported flares).
FEATURES: Final[dict[str, str | None]] = {
    "tst_3": "tst_min",
    "waso_3": "waso_min",
    "rhr_3": "resting_hr_bpm",
    "rhr_7": "resting_hr_bpm",
    "lnr_3": "rmssd_ms",
    "lnr_7": "rmssd_ms",
    "over3": "steps",
    "under3": "steps",
    "boombust": "steps",
    "midirr": "midpoint_h",
    "nrs_1": "nrs",
    "nrs_3": "nrs",
    "nrs_7": "nrs",
    "mood_3": "mood",
    "nrs_sd": "nrs",
    "recent": None,
}


def features(
    panel: Panel, labels: Labels, deviations: dict[str, Deviation], past: Past | None = None
) -> dict[str, Floats]:
    """Features of every day: name of :data:`FEATURES` -> matrix (patients, days), nowhere NaN.

    Parameters
    ----------
    past : Past, optional
        What was known before; then only columns from :data:`analytics.risk.past.PAST_DAYS` on stand.
    """
    z = {name: deviation.z for name, deviation in deviations.items()}
    rhr, lnr, pain = z["resting_hr_bpm"], z["rmssd_ms"], z["nrs"]
    before = None if past is None else past.last_flare
    since = np.arange(panel.shape[1]) - last_known(labels.is_flare_day, before)
    recency = np.exp(-since / FORGETTING_DAYS) - USUAL_RECENT
    found = {
        "tst_3": -mean(z["tst_min"], 3),
        "waso_3": mean(z["waso_min"], 3),
        "rhr_3": mean(rhr, 3),
        "rhr_7": mean(rhr, 7, least=LEAST_NIGHTS),
        "lnr_3": -mean(lnr, 3),
        "lnr_7": -mean(lnr, 7, least=LEAST_NIGHTS),
        "over3": np.maximum(highest(z["steps"], 3), 0),
        "under3": np.maximum(-mean(z["steps"], 3), 0),
        "boombust": _swing(z["steps"]),
        "midirr": _irregularity(z["midpoint_h"]),
        "nrs_1": mean(pain, 2),
        "nrs_3": mean(pain, 3),
        "nrs_7": mean(pain, 7),
        "mood_3": mean(z["mood"], 3),
        "nrs_sd": _spread(pain),
        "recent": recency,
    }
    return {name: np.where(np.isnan(values), 0.0, values) for name, values in found.items()}


def last_known(marks: Marks, before: Array | None) -> Floats:
    """Column of the last flare day (or onset) known by each day, -inf for none.

    `before` is that of the day before column :data:`analytics.risk.past.PAST_DAYS`; what it
    covers is not looked at again.
    """
    if before is None:
        return last_marked(marks, KNOWN_AFTER)
    young = marks.copy()
    young[:, : PAST_DAYS - KNOWN_AFTER] = False
    return np.maximum(last_marked(young, KNOWN_AFTER), before[:, None])


def _swing(z: Floats) -> Floats:
    """Mean change of steps from one day to the next over a week, as seen on usual weeks: 0."""
    return mean(np.abs(z - lagged(z, 1)), 7, least=LEAST_PAIRS) - USUAL_SWING


def _irregularity(z: Floats) -> Floats:
    """ln of the root mean square of mid-sleep's deviations over a week."""
    square = mean(z * z, 7, least=LEAST_NIGHTS)
    # not fmax: what is not known must not become the least irregularity
    return np.log(np.maximum(np.sqrt(square), LEAST_IRREGULARITY))


def _spread(z: Floats) -> Floats:
    """Standard deviation (ddof 1) of pain's deviations over a fortnight."""
    total, count = sum_and_count(z, 0, FEATURE_DAYS - 1)
    center = total / np.maximum(count, 1)
    squares: Floats = np.zeros(z.shape)
    for lag in range(min(FEATURE_DAYS, z.shape[1])):
        distance = lagged(z, lag) - center
        squares += np.where(np.isnan(distance), 0.0, distance * distance)
    spread = np.sqrt(squares / np.maximum(count - 1, 1))
    return np.where(count >= LEAST_SCORES, spread - USUAL_SPREAD, np.nan)
