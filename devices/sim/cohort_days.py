"""SYNTHETIC days: what one person did, slept and wore on one local date.

A date owns the night that ends on it and its own 23, 24 or 25 hours. Everything
depends on (seed, person, date) and the latent course alone.

Assumptions

* Day-to-day scatter, on top of the latent course: ln steps .38 (and .12 less at
  the weekend), TST 48 min, WASO 35 %, onset 38 min (30 later before Saturday
  and Sunday), RR level 24 ms, ln RMSSD .15.
* The band is off on a personal 10-21 % of days: half of them all day, half but
  for 2-8 hours; outages come on top. On a worn day it charges for 30-80 min.
  It is worn in 92 % of nights after a worn day, 30 % of the others.
* The strap goes on 5-35 min before sleep and off 2-25 min after, later when the
  night would not reach :data:`LEAST_BEATS` beats (people are asked for a whole
  night). It is worn in a personal 80-94 % of nights.
* Evening answers: NRS and low mood, rounded, noise .7 and .9. They are missed
  on a personal 5-22 % of days, 6 points more in a flare, 10 more when ill.
* Flare taps: on a personal 40-75 % of flare days, on 1.2 % of the others and on
  10 % of the days just after a flare.
* Travel shifts sleep by five hours against the home clock; the zone on record
  stays the enrolled one. Clock changes shift nobody's sleep but by the hour on
  the clock (onset counts from local midnight in elapsed time).
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from devices.clock import MINUTE, SECOND, at_local, day_bounds
from devices.sim.cohort_path import TRAVEL_SHIFT_MIN, LatentDay
from devices.sim.people import Person
from devices.sim.physiology import AWAKE, Counts, Minutes, hypnogram, minute_steps, rng_of

#: Nights with a strap carry at least 20,000 RR; the margin covers missed beats.
LEAST_BEATS = 20_300
_NIGHT, _DAY, _WALK, _STAGES, _DIARY = 4, 5, 6, 7, 8  # streams of random numbers

Worn = NDArray[np.bool_]


@dataclass(frozen=True)
class NightPlan:
    """The night that ends on a date; times are whole minutes (UTC microseconds)."""

    start_utc: int  # sleep onset
    tst_min: int
    waso_min: int
    rr_ms: float
    rmssd_ms: float
    has_band: bool
    has_strap: bool
    strap_start_utc: int
    strap_minutes: int

    @property
    def minutes(self) -> int:
        """Length of the sleep episode, onset to final awakening."""
        return self.tst_min + self.waso_min

    @property
    def end_utc(self) -> int:
        """Final awakening."""
        return self.start_utc + self.minutes * MINUTE


@dataclass(frozen=True)
class Answers:
    """What the patient said on a day; ``None`` where nothing was said."""

    nrs: int | None
    mood: int | None
    has_tapped: bool
    is_harder_to_tolerate: bool | None
    has_stopped_activities: bool | None
    evening_min: int  # minutes after local midnight
    tap_min: int


def plan_night(person: Person, latent: LatentDay, zone: ZoneInfo, *, seed: int) -> NightPlan:
    """Plan the night that ends on the date of `latent`."""
    rng = rng_of(seed, _NIGHT, person.number, latent.day.toordinal())
    is_free = latent.day.weekday() >= 5
    onset = person.onset_min + rng.normal(0, 38) + (30 if is_free else 0)
    onset += TRAVEL_SHIFT_MIN if latent.is_travelling else 0
    tst = int(np.clip(person.tst_min + latent.tst_min + rng.normal(0, 48), 200, 640))
    waso = int(np.clip((person.waso_min + latent.waso_min) * np.exp(rng.normal(0, 0.35)), 3, 200))
    rr = person.rr_ms + latent.rr_ms + rng.normal(0, 24)
    rmssd = person.rmssd_ms * np.exp(latent.ln_rmssd + rng.normal(0, 0.15))
    start = at_local(latent.day, 0, zone) + round(onset) * MINUTE
    before, after = int(rng.integers(5, 36)), int(rng.integers(2, 26))
    # circadian and stage shifts raise the mean RR by a few ms at most: 30 ms are on the safe side
    least = int(np.ceil(LEAST_BEATS * (rr + 30) / 60_000))
    has_day = not _is_off(person, latent, seed)
    return NightPlan(
        start_utc=start,
        tst_min=tst,
        waso_min=waso,
        rr_ms=float(rr),
        rmssd_ms=float(rmssd),
        has_band=not latent.is_outage and bool(rng.random() < (0.92 if has_day else 0.30)),
        has_strap=not latent.is_outage and bool(rng.random() < person.strap_pct / 100),
        strap_start_utc=start - before * MINUTE + int(rng.integers(0, 60)) * SECOND,
        strap_minutes=max(before + tst + waso + after, least),
    )


def night_stages(person: Person, day: date, plan: NightPlan, *, seed: int) -> Minutes:
    """Stage per minute of the sleep episode."""
    rng = rng_of(seed, _STAGES, person.number, day.toordinal())
    return hypnogram(rng, tst_min=plan.tst_min, waso_min=plan.waso_min)


def strap_stages(plan: NightPlan, stages: Minutes) -> Minutes:
    """Stage per minute while the strap is on: awake before onset and after the last awakening."""
    worn = np.full(plan.strap_minutes, AWAKE, np.uint8)
    first = (plan.start_utc - plan.strap_start_utc) // MINUTE
    worn[first : first + len(stages)] = stages[: plan.strap_minutes - first]
    return worn


def steps_total(person: Person, latent: LatentDay, *, seed: int) -> int:
    """Steps walked on the day, worn or not."""
    rng = rng_of(seed, _DAY, person.number, latent.day.toordinal())
    weekend = -0.12 if latent.day.weekday() >= 5 else 0.0
    ln = np.log(person.steps) + latent.ln_steps + weekend + rng.normal(0, 0.38)
    return int(np.clip(np.exp(ln), 120, 26_000))


def day_steps(
    person: Person, day: date, zone: ZoneInfo, total: int, *, nights: list[NightPlan], seed: int
) -> Counts:
    """Steps per minute of the local day, nought while asleep; they add up to `total`."""
    start, end = day_bounds(day, zone)
    is_awake = np.ones((end - start) // MINUTE, np.bool_)
    for night in nights:
        is_awake[_within(start, end, night)] = False
    return minute_steps(rng_of(seed, _WALK, person.number, day.toordinal()), is_awake, total)


def band_worn(
    person: Person, latent: LatentDay, zone: ZoneInfo, nights: list[NightPlan], *, seed: int
) -> Worn:
    """Minutes of the local day with the band on the wrist."""
    start, end = day_bounds(latent.day, zone)
    rng = rng_of(seed, _DAY, person.number, latent.day.toordinal(), 1)
    minutes = (end - start) // MINUTE
    worn = np.zeros(minutes, np.bool_)
    if latent.is_outage:
        return worn
    first, last, is_partial = int(rng.integers(480, 900)), int(rng.integers(120, 480)), rng.random() < 0.5
    if not _is_off(person, latent, seed):
        worn[:] = True
        worn[first : first + int(rng.integers(30, 81))] = False
    elif is_partial:
        worn[first : first + last] = True
    for night in nights:
        worn[_within(start, end, night)] = night.has_band
    return worn


def _within(start: int, end: int, night: NightPlan) -> slice:
    """Minutes of the day [start, end) that fall into the night's sleep episode."""
    first, last = (night.start_utc - start) // MINUTE, (night.end_utc - start) // MINUTE
    return slice(max(0, first), max(0, min(last, (end - start) // MINUTE)))


def _is_off(person: Person, latent: LatentDay, seed: int) -> bool:
    """True on days with the band off for most or all of the day."""
    rng = rng_of(seed, _DAY, person.number, latent.day.toordinal(), 2)
    return bool(rng.random() < person.off_pct / 100)


def answers(person: Person, latent: LatentDay, yesterday: LatentDay, *, seed: int) -> Answers:
    """What the patient says on the day."""
    rng = rng_of(seed, _DIARY, person.number, latent.day.toordinal())
    in_flare, just_after = bool(latent.flare), bool(yesterday.flare) and not latent.flare
    nrs = round(float(np.clip(person.nrs + latent.pain + rng.normal(0, 0.7), 0, 10)))
    mood = round(float(np.clip(person.mood + latent.mood + rng.normal(0, 0.9), 0, 10)))
    missed = person.missed_pct / 100 + 0.06 * in_flare + 0.10 * latent.is_ill
    has_answered, has_mood = rng.random() >= missed, rng.random() >= 0.03
    tap = person.tap_recall_pct / 100 if in_flare else 0.10 if just_after else 0.012
    says_yes = 0.85 if in_flare else 0.4
    items = [None if rng.random() < 0.15 else bool(rng.random() < says_yes) for _ in range(2)]
    return Answers(
        nrs=nrs if has_answered else None,
        mood=mood if has_answered and has_mood else None,
        has_tapped=bool(rng.random() < tap),
        is_harder_to_tolerate=items[0],
        has_stopped_activities=items[1],
        evening_min=int(rng.integers(18 * 60, 21 * 60)),
        tap_min=int(rng.integers(8 * 60, 18 * 60)),
    )
