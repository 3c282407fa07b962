"""SYNTHETIC courses: how vulnerable a person is from day to day, and when flares begin.

Assumptions

* Vulnerability u is an AR(1) of unit variance (.90 from day to day). Streams load on it with
  .10-.35 within-person SD (:data:`LOADINGS`), the rest of a day is its own AR(1) (.35).
* The hazard of a day out of flare is the person's rate (Gamma of shape 2, mean 3 %) times a mixture over
  kinds: *sudden* (nothing announces it), *building* (exp 1.2 u), *overexertion* (exp .8 of the highest step z
  of three days), *sleep* (exp .8 of three short nights). In a share of people everything is sudden.
* A flare lasts Geometric(.4) days, at most 21: 78 % are over within three (Jacquemin 2017: 79 %); three
  quiet days follow.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from devices.sim.physiology import Rng

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]
Counts = NDArray[np.int8]

#: Within-person SD by which a stream moves with one SD of vulnerability; the sign is the direction.
LOADINGS: Final = {
    "nrs": 0.35,
    "mood": 0.30,
    "resting_hr_bpm": 0.25,
    "rmssd_ms": -0.20,
    "tst_min": -0.25,
    "waso_min": 0.20,
    "steps": -0.15,
    "midpoint_h": 0.10,
}
KINDS: Final = ("sudden", "building", "overexertion", "sleep")
_SHARES: Final = (0.10, 0.60, 0.15, 0.15)
_MEMORY, _OWN_MEMORY = 0.90, 0.35
MEAN_RATE, RATE_SHAPE, HIGHEST_RATE, HIGHEST_HAZARD = 0.03, 2.0, 0.12, 0.5
_ENDS, LONGEST_FLARE, QUIET_AFTER = 0.4, 21, 3


@dataclass(frozen=True)
class Course:
    """The truth; matrices (people, days)."""

    vulnerability: Floats
    #: Stream -> own deviation of the day in within-person SD, before flares and all else.
    deviation: dict[str, Floats]
    #: Chance that a flare begins, were the person out of flare.
    hazard: Floats
    #: Day of the flare from 1; 0 out of flare.
    flare_day: Counts
    is_onset: Marks
    #: Index into KINDS, -1 out of flare.
    kind: Counts
    rate: Floats  # (people,)
    is_predictable: Marks  # (people,)


def make_course(
    rng: Rng, people: int, days: int, *, predictable_share: float, has_equal_rates: bool
) -> Course:
    """Courses of everybody.

    Parameters
    ----------
    predictable_share : float
        People in whom something announces nine in ten flares; 0 is the null.
    has_equal_rates : bool
        Everybody has the mean rate.
    """
    shape = people, days
    u = ar1(rng.standard_normal(shape), _MEMORY)
    deviation = {
        name: loading * u + np.sqrt(1 - loading**2) * ar1(rng.standard_normal(shape), _OWN_MEMORY)
        for name, loading in LOADINGS.items()
    }
    rate = MEAN_RATE * (np.ones(people) if has_equal_rates else rng.gamma(RATE_SHAPE, 1 / RATE_SHAPE, people))
    rate = np.minimum(rate, HIGHEST_RATE)
    predictable = rng.random(people) < predictable_share
    parts = np.stack(_parts(u, deviation))
    parts[1:, ~predictable] = 0
    parts[0, ~predictable] = 1
    hazard = np.minimum(rate[:, None] * parts.sum(axis=0), HIGHEST_HAZARD)
    flare_day, onset, kind = _flares(rng, hazard, parts)
    return Course(u, deviation, hazard, flare_day, onset, kind, rate, predictable)


def ar1(noise: Floats, memory: float) -> Floats:
    """Stationary AR(1) along the days, unit variance, of unit white noise; in place."""
    fresh = np.sqrt(1 - memory**2)
    for day in range(1, noise.shape[1]):
        noise[:, day] *= fresh
        noise[:, day] += memory * noise[:, day - 1]
    return noise


def _parts(u: Floats, deviation: dict[str, Floats]) -> tuple[Floats, ...]:
    """Relative hazard by kind; each averages its share."""
    # what announces a flare of tomorrow has been seen today: yesterday's values, as everywhere below
    steps, sleep = _earlier(deviation["steps"]), _earlier(deviation["tst_min"])
    boom = np.maximum.reduce([steps, _earlier(steps), _earlier(_earlier(steps))])
    short = -(sleep + _earlier(sleep) + _earlier(_earlier(sleep))) / 3
    raised = (np.exp(1.2 * _earlier(u)), np.exp(0.8 * boom), np.exp(0.8 * short))
    even = np.full(u.shape, _SHARES[0])
    return even, *(share * own / own.mean() for share, own in zip(_SHARES[1:], raised, strict=True))


def _earlier(values: Floats) -> Floats:
    moved = np.zeros_like(values)
    moved[:, 1:] = values[:, :-1]
    return moved


def _flares(rng: Rng, hazard: Floats, parts: Floats) -> tuple[Counts, Marks, Counts]:
    people, days = hazard.shape
    flare_day, kind = np.zeros(hazard.shape, np.int8), np.full(hazard.shape, -1, np.int8)
    onset = np.zeros(hazard.shape, np.bool_)
    left, quiet = np.zeros(people, np.int64), np.zeros(people, np.int64)
    day_of, kind_of = np.zeros(people, np.int8), np.full(people, -1, np.int8)
    share = np.cumsum(parts / parts.sum(axis=0), axis=0)
    for day in range(days):
        begins = (left == 0) & (quiet == 0) & (rng.random(people) < hazard[:, day])
        onset[:, day] = begins
        length = np.minimum(rng.geometric(_ENDS, people), LONGEST_FLARE)
        drawn = (rng.random(people) > share[:, :, day]).sum(axis=0)
        left = np.where(begins, length, left)
        day_of = np.where(begins, 1, day_of + 1).astype(np.int8)
        kind_of = np.where(begins, np.minimum(drawn, len(KINDS) - 1), kind_of).astype(np.int8)
        is_in = left > 0
        flare_day[:, day] = np.where(is_in, day_of, 0)
        kind[:, day] = np.where(is_in, kind_of, -1)
        quiet = np.where(left == 1, QUIET_AFTER, np.maximum(quiet - 1, 0))
        left = np.maximum(left - 1, 0)
    return flare_day, onset, kind
