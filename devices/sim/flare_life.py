"""SYNTHETIC circumstances: illness, travel, devices that change, what is worn, said, lost or late.

Assumptions

* Illness: .6 % of days begin one, 2-6 days; half are noted. Travel: one trip of 4-12 days in a third of
  the people a year, 2-9 h away; half are noted. Medication that moves the heart: one in twelve, noted.
* A wearable is replaced in half of the people a year, and each has its own bias (steps 25 %, resting heart
  rate 2 bpm, ln RMSSD .20, sleep 20 min).
* Wear: a personal 45-95 % of days, a tenth of the worn days too short to count; of its nights 85 % give
  HRV. Answers: a personal 40-95 % of days. Both are missed more often when things are bad: logit .6 less in
  a flare, .2 per SD of vulnerability, .5 in illness. People stop answering (.10 % a day) before they
  stop wearing (.05 %).
* Outages of the home begin on .8 % of days, last 1-8 (two may meet); half of them lose what the wearables
  had, the others deliver everything on the day after the last. 2 % of the days come twice: first without
  the evening.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from devices.sim.flare_course import Course, Floats, Marks
from devices.sim.physiology import Rng

_SWAP_RATE: Final = 0.5 / 365
DEVICES: Final = 3
_BIAS_SD: Final = {"steps": 0.22, "resting_hr_bpm": 2.0, "rmssd_ms": 0.20, "tst_min": 20.0}


@dataclass(frozen=True)
class Life:
    """Circumstances; matrices (people, days)."""

    is_ill: Marks
    is_illness_noted: Marks
    away_h: Floats  # zone shift while travelling, hours; 0 at home
    is_travel_noted: Marks
    has_medication: Marks
    device: Floats  # number of the wearable, from 0
    bias: dict[str, Floats]
    is_worn: Marks
    is_short: Marks  # worn, too short to count
    has_hrv: Marks
    has_answer: Marks
    has_mood: Marks
    is_lost: Marks
    late_days: Floats  # days between the day and its arrival
    is_partial: Marks  # came first without its evening
    is_enrolled: Marks


def make_life(
    rng: Rng, course: Course, *, staggered: int, change: int, missing_logit: float, swap_share: float
) -> Life:
    """Circumstances of everybody.

    Parameters
    ----------
    staggered : int
        Enrolment is spread over this many first days.
    change : int
        Day from which the two that follow hold.
    missing_logit : float
        How much less (logit) is worn and answered from then on.
    swap_share : float
        People whose wearable is replaced within 28 days of then.
    """
    shape = people, days = course.hazard.shape
    column = np.arange(days)
    ill = _spells(rng, shape, 0.006, 2, 6)
    away, travel_noted = _travel(rng, shape)
    begin = rng.integers(0, max(1, staggered), people)
    device = np.minimum(np.cumsum(rng.random(shape) < _SWAP_RATE, axis=1), DEVICES - 2)
    swapped = change + rng.integers(0, 28, people)
    device = device + ((rng.random(people) < swap_share)[:, None] & (column >= swapped[:, None]))
    biases = {
        name: np.take_along_axis(rng.normal(0, sd, (people, DEVICES)), device, axis=1)
        for name, sd in _BIAS_SD.items()
    }
    bad = 0.6 * (course.flare_day > 0) + 0.2 * course.vulnerability + 0.5 * ill
    bad = bad + missing_logit * (column >= change)
    worn = _kept(rng, rng.uniform(0.45, 0.95, people), bad, stop_rate=0.0005)
    answered = _kept(rng, rng.uniform(0.40, 0.95, people), bad, stop_rate=0.0010)
    outage = _spells(rng, shape, 0.008, 1, 8)
    loses = rng.random(shape) < 0.5
    first = outage & ~np.pad(outage, ((0, 0), (1, 0)))[:, :-1]
    spell = np.maximum.accumulate(np.where(first, column, 0), axis=1)
    loses = np.take_along_axis(loses, spell, axis=1)
    medicated = (rng.random(people) < 1 / 12)[:, None] & (column >= rng.integers(0, days, people)[:, None])
    return Life(
        is_ill=ill,
        is_illness_noted=ill & (rng.random(people) < 0.5)[:, None],
        away_h=away,
        is_travel_noted=travel_noted,
        has_medication=medicated,
        device=device.astype(np.float64),
        bias=biases,
        is_worn=worn,
        is_short=rng.random(shape) < 0.1,
        has_hrv=rng.random(shape) < 0.85,
        has_answer=answered,
        has_mood=rng.random(shape) < 0.9,
        is_lost=outage & loses,
        late_days=np.where(outage & ~loses, _days_to_end(outage), 0.0),
        is_partial=rng.random(shape) < 0.02,
        is_enrolled=column >= begin[:, None],
    )


def _spells(rng: Rng, shape: tuple[int, int], rate: float, shortest: int, longest: int) -> Marks:
    """Spells that begin on a share of days."""
    begins = rng.random(shape) < rate
    length = rng.integers(shortest, longest + 1, shape)
    found = np.zeros(shape, np.bool_)
    for lag in range(min(longest, shape[1])):
        found[:, lag:] |= (begins & (length > lag))[:, : shape[1] - lag]
    return found


def _days_to_end(outage: Marks) -> Floats:
    """Days until an outage is over, 0 where there is none."""
    left = np.zeros(outage.shape)
    for day in range(outage.shape[1] - 1, -1, -1):
        after = left[:, day + 1] if day + 1 < outage.shape[1] else 0.0
        left[:, day] = np.where(outage[:, day], after + 1, 0.0)
    return left


def _travel(rng: Rng, shape: tuple[int, int]) -> tuple[Floats, Marks]:
    people, days = shape
    column = np.arange(days)
    start = rng.integers(0, max(days, 365), people)[:, None]
    length = rng.integers(4, 13, people)[:, None]
    goes = (rng.random(people) < 1 / 3)[:, None] & (column >= start) & (column < start + length)
    shift = rng.integers(2, 10, people) * rng.choice([-1, 1], people)
    return np.where(goes, shift[:, None], 0.0), goes & (rng.random(people) < 0.5)[:, None]


def _kept(rng: Rng, share: Floats, bad: Floats, *, stop_rate: float) -> Marks:
    """Days on which somebody keeps it up, less often when things are bad, until they stop."""
    logit = np.log(share / (1 - share))[:, None] - bad
    kept = rng.random(bad.shape) < 1 / (1 + np.exp(-logit))
    stopped = np.maximum.accumulate(rng.random(bad.shape) < stop_rate, axis=1)
    return kept & ~stopped
