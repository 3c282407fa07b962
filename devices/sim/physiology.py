"""SYNTHETIC bodies: beats, sleep stages and steps as numpy arrays.

Assumptions, chosen to look like sleep RR, not to be a model of the heart:

* An RR interval is a level (stage, hour of the night) + respiratory sinus
  arrhythmia (a sine at the breathing rate) + an AR(1) term + white noise. The
  three moving parts carry fixed shares of the squared successive difference
  (:data:`RSA_SHARE`, :data:`SLOW_SHARE`, rest white), so the RMSSD asked for is
  the RMSSD made, and a 5-minute SDNN of about 1.6 times it.
* Artifacts: per 1,000 beats 1.0 missed, 0.6 extra and 1.4 early beats. All of
  them keep the clock: their intervals add up to those they replace.
* Sleep: cycles of about 90 minutes, deep sleep early, REM late, wake bouts
  thrown in between; whole minutes, begins and ends asleep.
* Steps: bouts of walking over the waking day, the rest of the minutes 0.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from devices.observations import STAGES

Rng: TypeAlias = np.random.Generator
Floats: TypeAlias = NDArray[np.float32]
Minutes: TypeAlias = NDArray[np.uint8]
Counts: TypeAlias = NDArray[np.uint16]

AWAKE, LIGHT, DEEP, REM = (STAGES.index(name) for name in ("awake", "light", "deep", "rem"))

RSA_SHARE, SLOW_SHARE, WHITE_SHARE = 0.65, 0.15, 0.20
SLOW_AR = 0.95
#: 0.95**128 is 0.0014: the AR(1) sum is cut there.
_AR_TAPS = 128

MISSED_RATE, EXTRA_RATE, EARLY_RATE = 0.0010, 0.0006, 0.0014

#: RR level and RMSSD of a stage relative to the night's, indexed by stage code.
_STAGE_LEVEL_MS = np.array([0, -70, 0, 15, -25], np.float32)
_STAGE_RMSSD = np.array([1.0, 0.85, 1.0, 1.08, 0.85], np.float32)
#: RR rises by this much towards the middle of the night and falls again.
_CIRCADIAN_MS = 40.0
_SHORTEST_MS, _LONGEST_MS = 420.0, 1800.0

#: Steps per minute of a walking minute, before the day's total is met exactly.
_CADENCE_SPM, _CADENCE_SD_SPM = 62.0, 22.0
_BOUT_MIN = 4.0


def rng_of(seed: int, stream: int, *numbers: int) -> Rng:
    """Random numbers that depend on exactly these numbers: no order, no history."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, stream, *numbers))))


def ar1(noise: Floats, decay: float) -> Floats:
    """AR(1) of white `noise`, in place: y[i] = decay * y[i-1] + noise[i], over 128 taps.

    Doubling the reach seven times replaces the loop over beats.
    """
    reach, factor = 1, np.float32(decay)
    while reach < min(_AR_TAPS, len(noise)):
        noise[reach:] += factor * noise[:-reach]
        factor = np.float32(factor * factor)
        reach *= 2
    return noise


def beats(rng: Rng, stages: Minutes, *, rr_ms: float, rmssd_ms: float, breath_hz: float) -> Counts:
    """RR intervals (ms) covering `stages`, one stage code per minute.

    Parameters
    ----------
    stages : uint8, (minutes,)
        Codes of :data:`devices.observations.STAGES`.
    rr_ms, rmssd_ms : float
        Level in light sleep and RMSSD of the night, milliseconds.
    breath_hz : float
        Breathing rate, Hz.
    """
    minutes = len(stages)
    arc = np.sin(np.linspace(0, np.pi, minutes, dtype=np.float32))
    level = rr_ms + _STAGE_LEVEL_MS[stages] + _CIRCADIAN_MS * (arc - 0.64)
    level = np.convolve(np.pad(level, 1, mode="edge"), np.full(3, 1 / 3, np.float32), mode="valid")
    # how many beats fit into each minute; the remainder is carried, not dropped
    edges = np.rint(np.cumsum(60_000 / level)).astype(np.int64)
    per_minute = np.diff(edges, prepend=0)
    breath = breath_hz * (1 + 0.06 * rng.standard_normal(minutes, dtype=np.float32))
    step = breath * level / 1000  # breaths per beat
    rmssd = rmssd_ms * _STAGE_RMSSD[stages]
    swing = rmssd * np.sqrt(2 * RSA_SHARE) / (2 * np.sin(np.pi * step))
    count = int(edges[-1])
    rr = ar1(rng.standard_normal(count, dtype=np.float32), SLOW_AR)
    rr *= np.float32(rmssd_ms * np.sqrt(SLOW_SHARE * (1 + SLOW_AR) / 2))
    rr += np.float32(rmssd_ms * np.sqrt(WHITE_SHARE / 2)) * rng.standard_normal(count, dtype=np.float32)
    phase = np.cumsum(np.repeat((2 * np.pi * step).astype(np.float32), per_minute))
    rr += np.repeat(swing.astype(np.float32), per_minute) * np.sin(phase)
    rr += np.repeat(level.astype(np.float32), per_minute)
    np.clip(rr, _SHORTEST_MS, _LONGEST_MS, out=rr)
    return _with_artifacts(rng, np.rint(rr).astype(np.uint16))


def _with_artifacts(rng: Rng, rr: Counts) -> Counts:
    """Missed, extra and early beats; the sum of all intervals stays what it was."""
    count = len(rr)
    early = _places(rng, count, EARLY_RATE)
    shift = (rr[early] * np.float32(0.35)).astype(np.uint16)
    rr[early] -= shift
    rr[early + 1] += shift
    missed = _places(rng, count, MISSED_RATE)
    rr[missed] += rr[missed + 1]
    rr = np.delete(rr, missed + 1)
    extra = _places(rng, len(rr), EXTRA_RATE)
    head = (rr[extra] * rng.uniform(0.3, 0.7, len(extra))).astype(np.uint16)
    rr[extra] -= head
    return np.insert(rr, extra, head)


def _places(rng: Rng, count: int, rate: float) -> NDArray[np.int64]:
    """Random places at least four beats apart, none of them near either end."""
    drawn = rng.poisson(rate * count)
    return np.unique(rng.integers(1, max(2, count // 4 - 1), drawn)) * 4


def hypnogram(rng: Rng, *, tst_min: int, waso_min: int) -> Minutes:
    """Stage codes per minute of one sleep episode: exactly `tst_min` asleep, `waso_min` awake."""
    cycle_min = rng.uniform(82, 102)
    at = np.arange(tst_min) / cycle_min
    cycle, within = np.floor(at), at % 1.0
    deep = np.clip(0.42 - 0.11 * cycle, 0.0, 1.0)
    rem = np.clip(0.08 + 0.07 * cycle, 0.0, 0.35)
    asleep = np.full(tst_min, LIGHT, np.uint8)
    asleep[(within > 0.2) & (within < 0.2 + deep)] = DEEP
    asleep[within > 1.0 - rem] = REM
    if not waso_min:
        return asleep
    bouts = int(rng.integers(2, 3 + waso_min // 4))
    where = rng.choice(rng.integers(5, tst_min - 1, bouts), waso_min)
    return np.insert(asleep, where, AWAKE)


def minute_steps(rng: Rng, is_awake: NDArray[np.bool_], total: int) -> Counts:
    """Steps in every minute of a day: `total` exactly, all in waking minutes.

    Parameters
    ----------
    is_awake : bool, (minutes,)
        1,380, 1,440 or 1,500 minutes of one local day.
    total : int
        Steps of the day; 0 on a day without a waking minute.
    """
    awake = np.flatnonzero(is_awake)
    walked = np.zeros(len(is_awake), np.uint16)
    if not len(awake) or total <= 0:
        return walked
    bouts = int(rng.poisson(total / (_CADENCE_SPM * _BOUT_MIN))) + 3
    # two soft peaks over the waking day, fewer bouts at its ends
    where = (rng.beta(1.3, 1.6, bouts) * len(awake)).astype(np.int64)
    length = rng.geometric(1 / _BOUT_MIN, bouts)
    cadence = np.clip(rng.normal(_CADENCE_SPM, _CADENCE_SD_SPM, bouts), 8, 125)
    rise = np.bincount(where, cadence, len(awake) + 1)
    fall = np.bincount(np.minimum(where + length, len(awake)), cadence, len(awake) + 1)
    pace = np.clip(np.cumsum(rise - fall)[:-1], 0.0, 130.0)
    pace[pace < 1.0] = 0.0  # what is left of cancelled floats is not a step
    # few bouts for many steps: the rest is spread thin, so that no pace is more than doubled
    pace += max(0.0, total - 2 * pace.sum()) / len(awake)
    reached = np.rint(np.cumsum(pace) * (total / pace.sum()))
    walked[awake] = np.diff(reached, prepend=0.0)
    return walked
