"""Rest-activity rhythm and sleep regularity over many days.

IS, IV, L5, M10 and RA of hourly values by the local clock (van Someren 1999, as GGIR
computes them), SRI of minutes by the local clock (Phillips 2017). All are functions of
arrays with one row per patient; what is not known is NaN or -1 and is left out, never
filled in.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOURS: Final = 24
#: An hour needs so many of its minutes.
MIN_HOUR_MIN: Final = 30
#: A day counts with so many of its hours, a rhythm with so many such days.
MIN_DAY_HOURS: Final = 20
MIN_RHYTHM_DAYS: Final = 5
#: Sleep regularity needs so many pairs of consecutive days, each with so many comparable minutes.
MIN_PAIRS: Final = 5
MIN_PAIR_MIN: Final = 960
UNKNOWN: Final = -1

Floats = NDArray[np.float64]
States = NDArray[np.int8]


@dataclass(frozen=True)
class Rhythm:
    """Values per patient, NaN where too little is known.

    Parameters
    ----------
    interdaily_stability, intradaily_variability, relative_amplitude : arrays (patients,)
    l5, m10 : arrays (patients,)
        Mean of the 5 least and the 10 most active consecutive hours of the average day.
    l5_start_h, m10_start_h : arrays (patients,), local clock hour
    day_count : array (patients,)
        Days that count.
    """

    interdaily_stability: Floats
    intradaily_variability: Floats
    relative_amplitude: Floats
    l5: Floats
    m10: Floats
    l5_start_h: Floats
    m10_start_h: Floats
    day_count: NDArray[np.int64]


def clock_minutes(
    day_minutes: int, offset_change_min: int, change_minute: int, first_minute: int = 0
) -> NDArray[np.int64]:
    """Clock minute (0-1439) of each elapsed minute of a local day.

    Parameters
    ----------
    day_minutes : int
        1380, 1440 or 1500.
    offset_change_min : int
        60 in spring, -60 in autumn, 0 otherwise.
    change_minute : int
        Elapsed minute at which the clock changes.
    first_minute : int
        Clock minute of the first; not 0 where midnight itself is skipped.

    Notes
    -----
    The hour skipped in spring stays unknown; that of autumn comes twice.
    """
    minute = np.arange(day_minutes)
    return first_minute + minute + np.where(minute >= change_minute, offset_change_min, 0)


def hourly(steps: Floats, clock_minute: NDArray[np.int64]) -> Floats:
    """Steps per hour by the clock, from minutes that are NaN where not known (days, minutes).

    An hour of the clock with at least 30 known minutes is their mean times 60; other
    hours are NaN.
    """
    hour = clock_minute // 60
    known = ~np.isnan(steps)
    total, count = np.zeros((len(steps), HOURS)), np.zeros((len(steps), HOURS))
    for one in range(HOURS):
        own = hour == one
        # laid out row by row: the order of a sum must not depend on how many rows there are
        total[:, one] = np.ascontiguousarray(np.where(known[:, own], steps[:, own], 0.0)).sum(axis=1)
        count[:, one] = known[:, own].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= MIN_HOUR_MIN, 60 * total / count, np.nan)


def rhythms(values: Floats) -> Rhythm:
    """IS, IV, RA, L5 and M10 of hourly values (patients, days, 24).

    Days with fewer than 20 hours are left out; below 5 days everything is NaN. A series
    without variance has no IS and no IV, one without activity no RA.

    Notes
    -----
    IS = n sum_h (mean_h - mean)^2 / (p sum (x - mean)^2) and
    IV = n sum (x_i - x_i-1)^2 / (m sum (x - mean)^2), where n is the number of hours,
    p of clock hours and m of pairs of hours that follow each other (n - 1 without a gap).
    Deviation: with hours missing, sum_h is weighted by the hours behind each mean, which
    is the formula itself when none is missing.
    """
    is_day = (~np.isnan(values)).sum(axis=2) >= MIN_DAY_HOURS
    x = np.where(is_day[:, :, None], values, np.nan)
    known = ~np.isnan(x)
    n = known.sum(axis=(1, 2))
    filled = np.where(known, x, 0.0)
    by_hour = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=(1, 2)) / n
        profile = filled.sum(axis=1) / by_hour
        spread = np.where(known, x - mean[:, None, None], 0.0)
        total = (spread**2).sum(axis=(1, 2))
        # what is left of rounding is no variance
        total = np.where(total > 1e-18 * (filled**2).sum(axis=(1, 2)), total, np.nan)
        between = np.where(by_hour > 0, by_hour * (profile - mean[:, None]) ** 2, 0.0).sum(axis=1)
        flat = x.reshape(len(x), x.shape[1] * HOURS)
        step = np.diff(flat, axis=1)
        pairs = (~np.isnan(step)).sum(axis=1)
        stability = between / total
        variability = n * np.nansum(step**2, axis=1) / (pairs * total)
        low, low_at = _consecutive(profile, 5, least=True)
        high, high_at = _consecutive(profile, 10, least=False)
        amplitude = (high - low) / (high + low)
    days = is_day.sum(axis=1)
    enough = days >= MIN_RHYTHM_DAYS
    found = [
        np.where(enough, one, np.nan)
        for one in (stability, variability, amplitude, low, high, low_at, high_at)
    ]
    return Rhythm(*found, day_count=days)


def _consecutive(profile: Floats, hours: int, *, least: bool) -> tuple[Floats, Floats]:
    """Mean and first hour of the least or most active consecutive hours, around the clock."""
    around = np.concatenate([profile, profile[:, : hours - 1]], axis=1)
    sums = np.zeros(profile.shape)
    for hour in range(hours):
        sums += around[:, hour : hour + HOURS]
    sums /= hours
    is_whole = ~np.isnan(sums).any(axis=1)
    at = np.where(np.isnan(sums), np.inf if least else -np.inf, sums)
    start = at.argmin(axis=1) if least else at.argmax(axis=1)
    value = sums[np.arange(len(sums)), start]
    return np.where(is_whole, value, np.nan), np.where(is_whole, start.astype(np.float64), np.nan)


def sleep_regularity(states: States) -> tuple[Floats, NDArray[np.int64]]:
    """Sleep Regularity Index, -100 to 100, and the pairs of days behind it.

    Parameters
    ----------
    states : array of int8 (patients, days, minutes by the clock)
        1 asleep, 0 awake, -1 unknown.

    Returns
    -------
    index : array (patients,)
        200 x (share of minutes in the same state 24 h later) - 100; NaN below 5 pairs of
        consecutive days with 960 comparable minutes each.
    pair_count : array of int (patients,)
    """
    index = np.full(len(states), np.nan)
    pairs = np.zeros(len(states), np.int64)
    for number, own in enumerate(states):
        found, count = regularity(*alike(own[None]))
        index[number], pairs[number] = found[0], count[0]
    return index, pairs


def alike(states: States) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Minutes in the same state 24 h later, and comparable minutes: (patients, days - 1) each."""
    both = (states[:, 1:] >= 0) & (states[:, :-1] >= 0)
    same = (both & (states[:, 1:] == states[:, :-1])).sum(axis=2)
    return same.astype(np.int64), both.sum(axis=2).astype(np.int64)


def regularity(same: NDArray[np.int64], comparable: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Sleep regularity index and its pairs of days, from what :func:`alike` counts."""
    counts = comparable >= MIN_PAIR_MIN
    pairs = counts.sum(axis=1).astype(np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = 200 * (same * counts).sum(axis=1) / (comparable * counts).sum(axis=1) - 100
    return np.where(pairs >= MIN_PAIRS, index, np.nan), pairs


def rhythm_quality(found: Rhythm, row: int) -> str | None:
    """Why IS, IV, RA, L5 or M10 of a patient is null; None where all stand."""
    days = int(found.day_count[row])
    if days < MIN_RHYTHM_DAYS:
        return f"{days} days of {MIN_DAY_HOURS} h, at least {MIN_RHYTHM_DAYS} needed"
    if np.isnan(found.l5[row]):
        return "no L5, M10 and RA: an hour of the clock was never known"
    if np.isnan(found.relative_amplitude[row]):
        return "no IS, IV and RA: no steps at all"
    if np.isnan(found.interdaily_stability[row]):
        return "no IS and IV: the hours do not vary"
    return None


def regularity_quality(pair_count: int) -> str | None:
    """Why there is no sleep regularity index; None where it stands."""
    if pair_count >= MIN_PAIRS:
        return None
    return f"{pair_count} pairs of days, at least {MIN_PAIRS} needed"
