"""SYNTHETIC days: what a day would measure if everything were worn and said.

Assumptions

* Within-person SD: ln steps .46, TST 55 min, WASO 14.6 min, mid-sleep 50 min, resting heart rate 1.8 bpm,
  ln RMSSD .18, pain .9, mood 1.2; weekends 12 % fewer steps and half an hour later.
* In a flare: pain +1.5 to +4.5 (a *building* one 60 % of it on the first day), steps -17 %, TST -20 min, WASO
  +6, resting heart rate +.8, ln RMSSD -.06, mood +.8. Ill: steps -55 %, resting heart rate +5, ln RMSSD -.25.
* A flare day is tapped with a personal chance of 40-75 %, another one with .4 %.
* Clock changes make days of 23 and 25 h (steps in proportion) and move mid-sleep for three days.
"""

from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from devices.clock import MINUTE, day_bounds
from devices.sim.flare_course import Course, Floats, Marks
from devices.sim.flare_life import Life
from devices.sim.people import ZONES
from devices.sim.physiology import Rng

WITHIN_SD: Final = {
    "steps": 0.46,
    "tst_min": 55.0,
    "waso_min": 14.6,
    "midpoint_h": 50 / 60,
    "resting_hr_bpm": 1.8,
    "rmssd_ms": 0.18,
    "nrs": 0.9,
    "mood": 1.2,
}
_IN_FLARE: Final = {
    "steps": -0.186,
    "tst_min": -20.0,
    "waso_min": 6.0,
    "resting_hr_bpm": 0.8,
    "rmssd_ms": -0.06,
    "mood": 0.8,
}
_ILL: Final = {"steps": -0.8, "resting_hr_bpm": 5.0, "rmssd_ms": -0.25}
_USUAL: Final = {
    "steps": (np.log(1500), np.log(9000)),
    "tst_min": (340, 470),
    "waso_min": (22, 65),
    "midpoint_h": (1.5, 5.0),
    "resting_hr_bpm": (52, 78),
    "rmssd_ms": (np.log(18), np.log(58)),
    "nrs": (2.0, 6.5),
    "mood": (2.0, 6.0),
}
#: One in fifty has pain near the top of the scale, where no score can rise by much.
_CEILING_SHARE: Final = 0.02
_FALSE_TAP: Final = 0.004


def measured(
    rng: Rng, course: Course, life: Life, minutes: NDArray[np.int64], first: date
) -> tuple[dict[str, Floats], Marks]:
    """What a day measures if everything is worn and said, and who taps."""
    shape = people, days = course.hazard.shape
    is_in, weekend = course.flare_day > 0, np.array([_is_weekend(first, day) for day in range(days)])
    rise = rng.uniform(1.5, 4.5, (people, 1)) * np.where((course.kind == 1) & (course.flare_day == 1), 0.6, 1)
    found: dict[str, Floats] = {}
    for name, sd in WITHIN_SD.items():
        level = rng.uniform(*_USUAL[name], people)
        if name == "nrs":
            level = np.where(rng.random(people) < _CEILING_SHARE, rng.uniform(9, 10, people), level)
        drift = rng.normal(0, 0.5 * sd, people)[:, None] * np.linspace(-0.5, 0.5, days)
        found[name] = level[:, None] + drift + sd * course.deviation[name]
        found[name] += _IN_FLARE.get(name, 0.0) * is_in + _ILL.get(name, 0.0) * life.is_ill
        if name in life.bias:
            found[name] += life.bias[name]
    found["nrs"] += rise * is_in
    found["steps"] += -0.12 * weekend + 0.2 * (life.away_h != 0) + np.log(minutes / 1440)
    found["resting_hr_bpm"] -= 5.0 * life.has_medication
    found["midpoint_h"] += 0.5 * weekend + life.away_h + _clock_change(minutes)
    for name in ("steps", "rmssd_ms"):
        found[name] = np.exp(found[name])
    for name in ("nrs", "mood"):
        found[name] = np.clip(np.rint(found[name]), 0, 10)
    found["steps"] = np.rint(found["steps"])
    found["tst_min"] = np.clip(np.rint(found["tst_min"]), 180, 700)
    found["waso_min"] = np.maximum(np.rint(found["waso_min"]), 0)
    found["midpoint_h"] = (found["midpoint_h"] + 12) % 24 - 12
    recall = rng.uniform(0.40, 0.75, (people, 1))
    return found, rng.random(shape) < np.where(is_in, recall, _FALSE_TAP)


def _is_weekend(first: date, day: int) -> bool:
    return (first + timedelta(days=day)).weekday() >= 5


def day_minutes(first: date, days: int) -> NDArray[np.int64]:
    """Minutes of every local day, (zones, days)."""
    return np.array(
        [
            [
                (end - start) // MINUTE
                for start, end in (
                    day_bounds(first + timedelta(days=day), ZoneInfo(zone)) for day in range(days)
                )
            ]
            for zone in ZONES
        ]
    )


def _clock_change(minutes: NDArray[np.int64]) -> Floats:
    """Hours by which mid-sleep is off the clock on the three days from a change on."""
    shift = (1440 - minutes) / 60
    moved = shift.copy()
    for lag, share in ((1, 0.6), (2, 0.3)):
        moved[:, lag:] += share * shift[:, :-lag]
    return moved
