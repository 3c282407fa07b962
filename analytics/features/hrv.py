"""Heart-rate variability of RR intervals: artifacts, five-minute windows, nights.

The definitions, in the order they are applied:

1. RR outside 300-2000 ms is flagged (a missed beat, noise, a pause of the radio).
2. Of the rest, a beat is flagged that is more than 20 % off the median of the 11
   beats around it, or has a class of Lipponen & Tarvainen (:mod:`.artifacts`).
3. Flagged beats are deleted, never interpolated. A successive difference exists
   only between two accepted beats that follow each other without a gap.
4. Windows are 300 s of the wall clock (multiples of 300 s UTC) wholly inside the
   main sleep. A beat belongs to the window in which it ends. A window counts when
   NN intervals cover at least 80 % of it and at most 20 % of its beats are flagged.
5. SDNN ddof 1; pNN50 strictly above 50 ms, per difference; SD1 = sqrt(var(d)/2),
   ddof 1; SD2 = sqrt(2 SDNN^2 - SD1^2).
6. A night's value is the median over at least 6 counting windows.
7. LF and HF (:mod:`.spectral`) only where at most 5 % are flagged and no gap is
   longer than 5 s; exploratory.
8. Resting heart rate: 60,000 / median NN of the half hour (six windows, 80 %
   covered) where that is lowest.

The same compiled kernel serves one bare array and a cohort of nights.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.errors import SignalError
from analytics.features import artifacts as judged
from analytics.features import hrv_kernel, spectral
from analytics.features.hrv_kernel import (
    HALF_HOUR_WINDOWS,
    MAX_FLAGGED_SHARE,
    MIN_COVERED_SHARE,
    WINDOW_US,
)

#: Half an hour of windows: fewer say more about the minutes they fell on than about the night.
MIN_WINDOWS: Final = 6

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]
Marks = NDArray[np.bool_]
Numbers = NDArray[Any]


@dataclass(frozen=True)
class TimeDomain:
    """Time-domain values of one series; NaN where there is too little of it."""

    nn_count: int
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50_pct: float
    sd1_ms: float
    sd2_ms: float


@dataclass(frozen=True)
class Windows:
    """Windows of the wall clock in time order; arrays of equal length.

    `is_kept` says which windows count; the values of the others are NaN. LF and HF are
    NaN in more windows: `spectral_code` says why.
    """

    start_us: Instants
    rr_count: NDArray[np.int32]
    nn_count: NDArray[np.int32]
    coverage_pct: Floats
    is_kept: Marks
    mean_nn_ms: Floats
    sdnn_ms: Floats
    rmssd_ms: Floats
    pnn50_pct: Floats
    sd1_ms: Floats
    sd2_ms: Floats
    lf_ms2: Floats
    hf_ms2: Floats
    #: index into :data:`analytics.features.spectral.REASONS`
    spectral_code: NDArray[np.int8]


@dataclass(frozen=True)
class Night:
    """Nightly medians; NaN with a reason in `quality` where there are fewer than 6 windows."""

    window_count: int
    coverage_pct: float
    mean_nn_ms: float
    rmssd_ms: float
    sdnn_ms: float
    pnn50_pct: float
    resting_hr_bpm: float
    quality: str | None


@dataclass(frozen=True)
class NightBatch:
    """Windows of many nights, and where each night's begin."""

    windows: Windows
    offsets: Instants  # (nights + 1,)
    rr_count: NDArray[np.int64]  # beats inside the sleep window
    coverage_pct: Floats
    resting_hr_bpm: Floats


def artifacts(rr_ms: Numbers) -> Marks:
    """Flag the beats that rules 1 and 2 delete.

    Parameters
    ----------
    rr_ms : array (beats,), ms
        RR intervals in the order they happened.
    """
    flagged = np.zeros(len(rr_ms), np.bool_)
    judged.mark(np.ascontiguousarray(rr_ms), np.array([[0, len(rr_ms)]], np.int64), flagged)
    return flagged


def time_domain(
    rr_ms: Numbers, run_break: Marks | None = None, *, flagged: Marks | None = None
) -> TimeDomain:
    """Time domain of a whole series.

    Parameters
    ----------
    rr_ms : array (beats,), ms
    run_break : array of bool (beats,), optional
        True where a beat does not follow the one before it.
    flagged : array of bool (beats,), optional
        Beats to delete; none when omitted (the intervals are taken as they are). What is
        missing (NaN) is always deleted.
    """
    none = np.zeros(len(rr_ms), np.bool_)
    if rr_ms.dtype.kind == "f" and (missing := np.isnan(rr_ms)).any():
        flagged = missing if flagged is None else flagged | missing
    values = np.empty(hrv_kernel.VALUES)
    count = hrv_kernel.time_domain(
        np.ascontiguousarray(rr_ms),
        none if run_break is None else run_break,
        none if flagged is None else flagged,
        0,
        len(rr_ms),
        values,
    )
    return TimeDomain(int(count), *(float(value) for value in values))


def windows(
    rr_ms: Numbers,
    beat_end_us: Instants,
    run_break: Marks,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    flagged: Marks | None = None,
) -> Windows:
    """Five-minute windows of one series of beats.

    Parameters
    ----------
    rr_ms : array (beats,), ms
        RR intervals in time order, artifacts and all.
    beat_end_us : array of int64 (beats,), microseconds UTC
        When each interval ended, not decreasing.
    run_break : array of bool (beats,)
        True where a beat does not follow the one before it (the first always does not).
    start_us, end_us : int, optional, microseconds UTC
        The sleep; windows lie wholly inside. Default: from the first beat to the last.
    flagged : array of bool (beats,), optional
        Beats to delete, instead of those that rules 1 and 2 find.

    Raises
    ------
    SignalError
        When lengths differ or time runs backwards.
    """
    return _one_night(rr_ms, beat_end_us, run_break, start_us, end_us, flagged).windows


def night(rr_ms: Numbers, beat_end_us: Instants, run_break: Marks, *, start_us: int, end_us: int) -> Night:
    """Nightly values of one series of beats; arguments as of :func:`windows`."""
    batch = _one_night(rr_ms, beat_end_us, run_break, start_us, end_us)
    return nightly(batch)[0]


def nights(
    rr_ms: Numbers,
    beat_end_us: Instants,
    run_break: Marks,
    beat_slices: NDArray[np.int64],
    sleep_us: NDArray[np.int64],
    flags: Marks | None = None,
) -> NightBatch:
    """Windows of many nights at once.

    Parameters
    ----------
    beat_slices : array (nights, 2)
        First beat and end (exclusive) of each night's sequence. Artifacts are
        judged within it.
    sleep_us : array (nights, 2), microseconds UTC
        Sleep of each night.
    flags : array of bool (beats of all nights,), optional
        Beats to delete, nights side by side, instead of those that rules 1 and 2 find.
    """
    first = -(-sleep_us[:, 0] // WINDOW_US)
    last = sleep_us[:, 1] // WINDOW_US
    offsets = np.concatenate([[0], np.cumsum(np.maximum(last - first, 0))]).astype(np.int64)
    total = int(offsets[-1])
    counts = np.zeros((total, 2), np.int32)
    values = np.full((total, hrv_kernel.VALUES + 1), np.nan)
    starts = np.zeros(total, np.int64)
    kept = np.zeros(total, np.bool_)
    per_night = np.zeros((len(sleep_us), 3))
    beats = np.zeros((total, 3), np.int64)
    if flags is None:
        flags = np.zeros(int(np.sum(beat_slices[:, 1] - beat_slices[:, 0])), np.bool_)
        judged.mark(rr_ms, beat_slices, flags)
    hrv_kernel.night_windows(
        rr_ms,
        beat_end_us,
        run_break,
        flags,
        beat_slices,
        sleep_us,
        offsets,
        beats,
        starts,
        counts,
        values,
        kept,
        per_night,
    )
    edges = np.stack([starts, starts + WINDOW_US], axis=1)
    powers, codes = spectral.spectra(rr_ms, beat_end_us, flags, beats, edges, kept)
    found = Windows(
        starts,
        counts[:, 0],
        counts[:, 1],
        values[:, 0],
        kept,
        *values[:, 1:].T,
        lf_ms2=powers[:, 0],
        hf_ms2=powers[:, 1],
        spectral_code=codes,
    )
    return NightBatch(found, offsets, per_night[:, 0].astype(np.int64), per_night[:, 1], per_night[:, 2])


def nightly(batch: NightBatch) -> list[Night]:
    """Medians over the counting windows of each night."""
    found = batch.windows
    result: list[Night] = []
    for number, (low, high) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:], strict=True)):
        kept = np.flatnonzero(found.is_kept[low:high]) + low
        coverage = float(batch.coverage_pct[number])
        resting = float(batch.resting_hr_bpm[number])
        reason = _reason(int(batch.rr_count[number]), len(kept), int(high - low))
        medians = [np.nan] * 4
        if reason is None:
            columns = (found.mean_nn_ms, found.rmssd_ms, found.sdnn_ms, found.pnn50_pct)
            medians = [float(np.median(column[kept])) for column in columns]
        result.append(Night(len(kept), coverage, *medians, resting_hr_bpm=resting, quality=reason))
    return result


def _reason(rr_count: int, kept: int, possible: int) -> str | None:
    if rr_count == 0:
        return "no RR intervals in the sleep window"
    if kept < MIN_WINDOWS:
        return f"{kept} of {possible} five-minute windows count, at least {MIN_WINDOWS} needed"
    return None


def _one_night(
    rr_ms: Numbers,
    beat_end_us: Instants,
    run_break: Marks,
    start_us: int | None,
    end_us: int | None,
    flagged: Marks | None = None,
) -> NightBatch:
    if not len(rr_ms) == len(beat_end_us) == len(run_break):
        raise SignalError("rr_ms, beat_end_us and run_break differ in length")
    if len(beat_end_us) and np.any(np.diff(beat_end_us) < 0):
        raise SignalError("beat_end_us is not in time order")
    if start_us is None:
        start_us = int(beat_end_us[0]) - 1000 * int(rr_ms[0]) if len(rr_ms) else 0
    if end_us is None:
        end_us = int(beat_end_us[-1]) if len(rr_ms) else 0
    return nights(
        np.ascontiguousarray(rr_ms),
        np.ascontiguousarray(beat_end_us, np.int64),
        np.ascontiguousarray(run_break, np.bool_),
        np.array([[0, len(rr_ms)]], np.int64),
        np.array([[start_us, end_us]], np.int64),
        flagged,
    )


__all__ = [
    "HALF_HOUR_WINDOWS",
    "MAX_FLAGGED_SHARE",
    "MIN_COVERED_SHARE",
    "MIN_WINDOWS",
    "WINDOW_US",
    "Night",
    "NightBatch",
    "TimeDomain",
    "Windows",
    "artifacts",
    "night",
    "nightly",
    "nights",
    "time_domain",
    "windows",
]
