"""One compiled pass per patient: rolling median and MAD of the own earlier days.

Arrays in, arrays out. The sorted window moves with the day, one value in and one
out, so a day costs tens of nanoseconds instead of a sort; each patient is worked
through alone, so nobody's numbers depend on who else is computed. Compiled code
calls nothing of another module: numba's cache on disk would not notice a change
there. :mod:`analytics.risk.baseline` has the definitions, the tests a plain twin.
"""

from typing import Any, Final

import numpy as np

from analytics.compiled import compiled

LONGEST: Final = 35
GAP, SHORT_GAP = 8, 2
#: Baseline days that are enough; with fewer the younger days help out; with fewer than LEAST there is none.
ENOUGH, LEAST = 7, 5
#: Days of prior knowledge in the spread.
PRIOR_DAYS: Final = 7
MAD_TO_SD: Final = 1.4826
#: Variance of a median: its share of the spread of a day that is predicted by it.
MEDIAN_VARIANCE: Final = 1.57


@compiled
def _insert(window: Any, count: int, value: float) -> int:
    at = count
    while at > 0 and window[at - 1] > value:
        window[at] = window[at - 1]
        at -= 1
    window[at] = value
    return count + 1


@compiled
def _remove(window: Any, count: int, value: float) -> int:
    at = 0
    while window[at] != value:
        at += 1
    for i in range(at, count - 1):
        window[i] = window[i + 1]
    return count - 1


@compiled
def _fill(window: Any, values: Any, segments: Any, low: int, high: int, segment: int) -> int:
    """Sorted values of the days `low` to `high` (exclusive) in one segment; returns how many."""
    count = 0
    for day in range(low, high):
        if segments[day] == segment and not np.isnan(values[day]):
            count = _insert(window, count, values[day])
    return count


@compiled
def _median(window: Any, count: int) -> float:
    return (window[(count - 1) // 2] + window[count // 2]) / 2


@compiled
def _mad(window: Any, count: int, center: float) -> float:
    """Median distance from the center: both ends of a sorted window close in on it."""
    low, high = 0, count - 1
    want_low, want_high = (count - 1) // 2, count // 2
    upper = lower = 0.0
    # the largest distances are at the ends: taken from the outside, rank count-1 first
    for rank in range(count - 1, want_low - 1, -1):
        left, right = center - window[low], window[high] - center
        if left > right:
            distance = left
            low += 1
        else:
            distance = right
            high -= 1
        if rank == want_high:
            upper = distance
        if rank == want_low:
            lower = distance
    return (lower + upper) / 2


@compiled
def rolling_baseline(
    values: Any, segments: Any, within_sd: float, first: int, center: Any, scale: Any, count: Any
) -> None:
    """Baseline of the columns from `first` on; the outputs (patients, days) come filled with NaN and 0."""
    window, short = np.empty(LONGEST + 1), np.empty(LONGEST + 1)
    for row in range(values.shape[0]):
        own, parts = values[row], segments[row]
        n = 0
        is_fresh = True
        for day in range(first, values.shape[1]):
            segment = parts[day]
            if is_fresh or segment != parts[day - 1]:
                n = _fill(window, own, parts, max(0, day - LONGEST), max(0, day - GAP + 1), segment)
                is_fresh = False
            else:
                leaving, entering = day - LONGEST - 1, day - GAP
                if leaving >= 0 and parts[leaving] == segment and not np.isnan(own[leaving]):
                    n = _remove(window, n, own[leaving])
                if entering >= 0 and parts[entering] == segment and not np.isnan(own[entering]):
                    n = _insert(window, n, own[entering])
            used, there = window, n
            if n < ENOUGH:
                low, high = max(0, day - LONGEST), max(0, day - SHORT_GAP + 1)
                there = _fill(short, own, parts, low, high, segment)
                used = short
            count[row, day] = there
            if there >= LEAST:
                middle = _median(used, there)
                spread = MAD_TO_SD * _mad(used, there, middle)
                shrunk = (there * spread * spread + PRIOR_DAYS * within_sd * within_sd) / (there + PRIOR_DAYS)
                center[row, day] = middle
                scale[row, day] = np.sqrt(shrunk) * np.sqrt(1 + MEDIAN_VARIANCE / there)
