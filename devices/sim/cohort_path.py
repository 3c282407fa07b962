"""SYNTHETIC latent course of a person: load, flares, illness, outages, travel.

The course is drawn in blocks of :data:`BLOCK_DAYS` days counted from a fixed
day, each from its own random numbers: it is the same whatever range of dates is
asked for. Nothing carries over from one block to the next (an episode running
at the seam ends there).

Assumptions. "SD" is the within-person scale of the quantity (design note on
flares, `sd_k`): ln steps .46, TST 55 min, WASO 15 min, RR level 30 ms (1.8
beats per minute), ln RMSSD .18.

* Load: AR(1), decay .6, SD 1. It moves sleep, RR, RMSSD and mood by .15-.3 SD
  and, in predictable people only, the log-odds of tomorrow's onset by .45.
* Flares: a personal hazard, mean .035 per day. 1 day 21 %, 2-3 days 58 %, 4-9
  days 21 %. Steps fall by 12-21 %; pain rises by 1.6-3.4 points.
* Of flares in predictable people, 30 % are announced by two nights of worse
  sleep (-30 min, +8 min WASO), 25 % by lower HRV (-.11 ln RMSSD, -18 ms RR),
  20 % by two days of 25 % more steps, 25 % by nothing.
* 10 % of flares are severe: 4-7 days or more, steps -22 to -35 %, TST -55 min, WASO +18
  min, ln RMSSD -.24, RR -45 ms, pain one point more.
* Illness, once in 150 days, 3-6 days: steps -55 %, TST -45 min, ln RMSSD -.32,
  RR -110 ms (3-4 SD). Not a flare, but a clear deviation.
* Outages, once in 80 days, 2-5 days: nothing of strap and band survives.
* A traveller spends 9 of every 75 days five hours further east.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from devices.sim.people import Person
from devices.sim.physiology import Rng, rng_of

BLOCK_DAYS = 128
_PATH = 3  # stream of random numbers

LOAD_AR = 0.6
LOAD_LOG_ODDS = 0.45
FLARE_DAYS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
FLARE_DAYS_P = (0.21, 0.31, 0.27, 0.07, 0.05, 0.04, 0.02, 0.02, 0.01)
SEVERE_SHARE = 0.10
PRODROMES = ("sleep", "hrv", "boom", "none")
PRODROMES_P = (0.30, 0.25, 0.20, 0.25)
ILLNESS_HAZARD = 1 / 150
OUTAGE_HAZARD = 1 / 80
TRAVEL_EVERY_DAYS, TRAVEL_DAYS = 75, 9
TRAVEL_SHIFT_MIN = -300

Days = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class LatentDay:
    """What a day brings, as shifts on the person's medians."""

    day: date
    flare: str  # "" | "ordinary" | "severe"
    prodrome: str  # "" or what this day's prodrome shows in
    is_ill: bool
    is_outage: bool
    is_travelling: bool
    load: float
    pain: float  # NRS points
    mood: float  # points of low mood
    ln_steps: float
    tst_min: float
    waso_min: float
    rr_ms: float
    ln_rmssd: float


class _Block:
    """One block of days under construction; arrays of shape (BLOCK_DAYS,)."""

    def __init__(self, load: Days, pain: Days) -> None:
        self.load = load
        self.pain = pain
        self.flare = [""] * BLOCK_DAYS
        self.prodrome = [""] * BLOCK_DAYS
        self.is_ill: Marks = np.zeros(BLOCK_DAYS, np.bool_)
        self.is_outage: Marks = np.zeros(BLOCK_DAYS, np.bool_)
        self.mood: Days = 0.35 * load + 0.4 * pain
        self.ln_steps: Days = -0.05 * load
        self.tst_min: Days = -9.0 * load
        self.waso_min: Days = 3.0 * load
        self.rr_ms: Days = -8.0 * load
        self.ln_rmssd: Days = -0.045 * load


class Course:
    """The latent course of one person; days are drawn when first asked for."""

    def __init__(self, person: Person, *, seed: int) -> None:
        self._person = person
        self._seed = seed
        self._blocks: dict[int, _Block] = {}

    def day(self, day: date) -> LatentDay:
        """Latent state of a local date."""
        number, i = divmod(day.toordinal(), BLOCK_DAYS)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = _draw(
                self._person, rng_of(self._seed, _PATH, self._person.number, number)
            )
        return LatentDay(
            day=day,
            flare=block.flare[i],
            prodrome=block.prodrome[i],
            is_ill=bool(block.is_ill[i]),
            is_outage=bool(block.is_outage[i]),
            is_travelling=self._person.is_traveller and day.toordinal() % TRAVEL_EVERY_DAYS < TRAVEL_DAYS,
            load=float(block.load[i]),
            pain=float(block.pain[i]),
            mood=float(block.mood[i]),
            ln_steps=float(block.ln_steps[i]),
            tst_min=float(block.tst_min[i]),
            waso_min=float(block.waso_min[i]),
            rr_ms=float(block.rr_ms[i]),
            ln_rmssd=float(block.ln_rmssd[i]),
        )


def _draw(person: Person, rng: Rng) -> _Block:
    block = _Block(load=_slow(rng, LOAD_AR), pain=0.5 * _slow(rng, 0.8))
    for start, days in _onsets(rng, person, block.load):
        _add_flare(block, rng, person, start, days)
    for start, days in _episodes(rng, ILLNESS_HAZARD, 3, 6):
        _add_illness(block, slice(start, start + days))
    for start, days in _episodes(rng, OUTAGE_HAZARD, 2, 5):
        block.is_outage[start : start + days] = True
    return block


def _slow(rng: Rng, decay: float) -> Days:
    """AR(1) of variance 1 from its stationary start."""
    values = rng.standard_normal(BLOCK_DAYS)
    values[1:] *= np.sqrt(1 - decay**2)
    for i in range(1, BLOCK_DAYS):
        values[i] += decay * values[i - 1]
    return values


def _onsets(rng: Rng, person: Person, load: Days) -> list[tuple[int, int]]:
    """Start and length of each flare: a hazard per day out of flare, three quiet days between."""
    slope = LOAD_LOG_ODDS if person.is_predictable else 0.0
    chance = person.flare_hazard * np.exp(slope * np.roll(load, 1) - slope**2 / 2)
    chance[0] = person.flare_hazard
    starts = np.flatnonzero(rng.random(BLOCK_DAYS) < chance)
    found: list[tuple[int, int]] = []
    free_from = 0
    for start in starts.tolist():
        if start >= free_from:
            days = int(rng.choice(FLARE_DAYS, p=FLARE_DAYS_P))
            found.append((start, days))
            free_from = start + days + 3
    return found


def _episodes(rng: Rng, hazard: float, shortest: int, longest: int) -> list[tuple[int, int]]:
    starts = np.flatnonzero(rng.random(BLOCK_DAYS) < hazard).tolist()
    return [(start, int(rng.integers(shortest, longest + 1))) for start in starts]


def _add_flare(block: _Block, rng: Rng, person: Person, start: int, days: int) -> None:
    is_severe = rng.random() < SEVERE_SHARE
    if is_severe:
        days = max(days, int(rng.integers(4, 8)))
    span = slice(start, start + days)
    bump = rng.uniform(1.6, 3.4) + is_severe
    fall = rng.uniform(0.22, 0.35) if is_severe else rng.uniform(0.12, 0.21)
    for i in range(start, min(start + days, BLOCK_DAYS)):
        block.flare[i] = "severe" if is_severe else "ordinary"
    block.pain[span] += bump
    block.mood[span] += 0.4 * bump
    block.ln_steps[span] += np.log(1 - fall)
    if is_severe:
        block.tst_min[span] -= 55
        block.waso_min[span] += 18
        block.rr_ms[span] -= 45
        block.ln_rmssd[span] -= 0.24
    sign = str(rng.choice(PRODROMES, p=PRODROMES_P))
    if person.is_predictable and sign != "none":
        _add_prodrome(block, sign, slice(max(0, start - 2), start))


def _add_prodrome(block: _Block, sign: str, span: slice) -> None:
    for i in range(span.start, span.stop):
        block.prodrome[i] = sign
    if sign == "sleep":
        block.tst_min[span] -= 30
        block.waso_min[span] += 8
    elif sign == "hrv":
        block.ln_rmssd[span] -= 0.11
        block.rr_ms[span] -= 18
    else:
        block.ln_steps[span] += np.log(1.25)


def _add_illness(block: _Block, span: slice) -> None:
    block.is_ill[span] = True
    block.pain[span] += 0.5
    block.mood[span] += 1.0
    block.ln_steps[span] += np.log(0.45)
    block.tst_min[span] -= 45
    block.waso_min[span] += 12
    block.rr_ms[span] -= 110
    block.ln_rmssd[span] -= 0.32
