"""Artifacts of RR intervals: the classes of Lipponen & Tarvainen, and 20 % of a running median.

A beat is deleted when it lies outside 300-2000 ms, or (judged among those inside)
is off the median of 11 beats by more than 20 %, or has a class of Lipponen &
Tarvainen (J Med Eng Technol 43:173, 2019). The two rules miss different beats:
the classes lose their threshold where artifacts are dense, the median does not
see an early beat of 15 %.

The classification is one pass, as NeuroKit2 0.2.13 has it, with one deviation: a
threshold of zero (more than half of the steps around are equal, which a sensor
of coarse resolution does) finds nothing instead of everything.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.compiled import compiled

RR_MIN_MS: Final = 300
RR_MAX_MS: Final = 2000
MEDIAN_BEATS: Final = 11
MEDIAN_TOLERANCE: Final = 0.2
QUARTILE_BEATS: Final = 91
NORMAL: Final = 0
ECTOPIC: Final = 1
MISSED: Final = 2
EXTRA: Final = 3
LONG_OR_SHORT: Final = 4

# names and values of the paper
_ALPHA: Final = 5.2
_C1: Final = 0.13
_C2: Final = 0.17
_OFF_MEDIAN: Final = 3.0

#: Ordered windows of 91 with a place that never moves at either end, whole vector registers long.
_ROOM: Final = 98
#: Series of one sequence that are held at once. Their memory is taken once for all sequences: taken and given
#: back for each, its pages cost a third of the time.
_SERIES: Final = 8

Numbers = NDArray[Any]


def classify(rr_ms: Numbers) -> NDArray[np.int8]:
    """Class of every beat: NORMAL, ECTOPIC, MISSED, EXTRA or LONG_OR_SHORT.

    Parameters
    ----------
    rr_ms : array (beats,), ms
        RR intervals in the order they happened, taken as they are (no bounds).
        The first and the last are never anything but normal.
    """
    intervals = np.ascontiguousarray(rr_ms, np.float64)
    classes = np.zeros(len(rr_ms), np.int8)
    room = np.empty((_SERIES, len(rr_ms) + 1))
    medians = room[7, : len(rr_ms)]
    _medians(intervals, medians)
    _classify(intervals, medians, classes, room)
    return classes


def mark(rr_ms: Numbers, slices: NDArray[np.int64], flags: NDArray[np.bool_]) -> None:
    """Write the flags of the beats to delete, for many sequences one after the other.

    Parameters
    ----------
    rr_ms : array (beats,), ms
    slices : array (sequences, 2)
        First beat and end (exclusive) of each; each is judged by itself.
    flags : array of bool (beats of all sequences,)
        Sequences side by side, in the order of `slices`.
    """
    _mark_all(rr_ms, slices, flags)


@compiled
def _replace(ordered: Any, spare: Any, gone: float, came: float) -> None:
    """`ordered` with one `gone` replaced by `came`, in order, into `spare`.

    Every place is worked out from its neighbours alone, without a branch: the
    loop becomes a few vector instructions. Both ends hold what never moves.
    """
    for k in range(1, len(ordered) - 1):
        before, here, after = ordered[k - 1], ordered[k], ordered[k + 1]
        # without the one that goes, what stands before this place and at it
        low = before if before < gone else here
        high = here if here < gone else after
        raised = low if low > came else came
        spare[k] = raised if raised < high else high


@compiled
def _quartile(ordered: Any, size: int, share: float) -> float:
    """Quantile of the first `size` values, linear between ranks."""
    position = (size - 1) * share
    low = int(position)
    value = ordered[low + 1]
    part = position - low
    return value + part * (ordered[low + 2] - value) if part > 0 else value


@compiled
def _limit(ordered: Any, size: int) -> float:
    return _ALPHA * (_quartile(ordered, size, 0.75) - _quartile(ordered, size, 0.25)) / 2


@compiled
def _thresholds(steps: Any, off: Any, of_steps: Any, of_off: Any) -> None:
    """5.2 times half the interquartile range of |values| over 91 beats, shorter at the ends.

    Of two series of equal length in turn: the one's window waits for its last
    replacement to reach memory while the processor works on the other's.
    """
    half = QUARTILE_BEATS // 2
    count = len(steps)
    # infinities hold the free places
    ordered = np.full(_ROOM, np.inf)
    ordered[0] = -np.inf
    spare, other, other_spare = ordered.copy(), ordered.copy(), ordered.copy()
    size = 0
    for i in range(-half, count):
        came = gone = other_came = other_gone = np.inf
        if i + half < count:
            came, other_came = abs(steps[i + half]), abs(off[i + half])
            size += 1
        if i > half:
            gone, other_gone = abs(steps[i - half - 1]), abs(off[i - half - 1])
            size -= 1
        _replace(ordered, spare, gone, came)
        _replace(other, other_spare, other_gone, other_came)
        ordered, spare = spare, ordered
        other, other_spare = other_spare, other
        if i >= 0:
            of_steps[i] = _limit(ordered, size)
            of_off[i] = _limit(other, size)


@compiled
def _medians(values: Any, out: Any) -> None:
    """Median of the 11 beats around each, of fewer at the ends."""
    half = MEDIAN_BEATS // 2
    count = len(values)
    inner = out[half:]
    for i in range(count - 2 * half):
        inner[i] = _middle_of_11(
            values[i],
            values[i + 1],
            values[i + 2],
            values[i + 3],
            values[i + 4],
            values[i + 5],
            values[i + 6],
            values[i + 7],
            values[i + 8],
            values[i + 9],
            values[i + 10],
        )
    for i in range(count):
        if i < half or i >= count - half:
            out[i] = _median_near(values, i)


@compiled
def _median_near(values: Any, i: int) -> float:
    """Median of the 11 beats around one, of fewer at the ends."""
    half = MEDIAN_BEATS // 2
    ordered = np.sort(values[max(0, i - half) : i + half + 1])
    return (float(ordered[(len(ordered) - 1) // 2]) + float(ordered[len(ordered) // 2])) / 2


@compiled
def _middle_of_11(
    a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, j: Any, k: Any
) -> Any:
    """Median of eleven values, without a branch: the compiler follows many windows at once.

    Of more than half of the values neither the smallest nor the largest can be the
    median: both are set aside and the next value joins.
    """
    (a, g), (b, f), (c, e) = _sorted(a, g), _sorted(b, f), _sorted(c, e)
    (a, b), (f, g) = _sorted(a, b), _sorted(f, g)
    (a, c), (e, g) = _sorted(a, c), _sorted(e, g)
    (a, d) = _sorted(a, d)
    (d, g) = _sorted(d, g)
    # without a and g
    (b, h), (c, f), (d, e) = _sorted(b, h), _sorted(c, f), _sorted(d, e)
    (b, c), (f, h) = _sorted(b, c), _sorted(f, h)
    (b, d), (e, h) = _sorted(b, d), _sorted(e, h)
    # without b and h
    (c, i), (d, f) = _sorted(c, i), _sorted(d, f)
    (c, d), (f, i) = _sorted(c, d), _sorted(f, i)
    (c, e) = _sorted(c, e)
    (e, i) = _sorted(e, i)
    # without c and i
    (d, j), (e, f) = _sorted(d, j), _sorted(e, f)
    (d, e), (f, j) = _sorted(d, e), _sorted(f, j)
    # without d and j
    (e, k) = _sorted(e, k)
    (e, f) = _sorted(e, f)
    (f, k) = _sorted(f, k)
    return f


@compiled
def _sorted(a: Any, b: Any) -> tuple[Any, Any]:
    return (a if a < b else b), (b if a < b else a)


@compiled
def _per_threshold(values: Any, threshold: Any) -> None:
    for i in range(len(values)):
        values[i] = values[i] / threshold[i] if threshold[i] > 0 else 0.0


@compiled
def _classify(intervals: Any, medians: Any, classes: Any, room: Any) -> None:
    """Classes of the intervals; figure 1 of the paper. The first six rows of `room` are written over."""
    count = len(intervals) + 1
    if count < 4:
        return
    # the paper's series begins with a beat of no known interval: the mean stands for it.
    # Seconds, as the published counts were made: whole milliseconds often meet a threshold
    # exactly, and rounding then decides as it did there.
    rr, steps, median, off = room[0, :count], room[1, :count], room[2, :count], room[3, :count]
    of_steps, threshold = room[4, :count], room[5, :count]
    for i in range(1, count):
        rr[i] = intervals[i - 1] / 1000
    rr[0] = _mean_of_rest(rr)
    for i in range(1, count):
        steps[i] = rr[i] - rr[i - 1]
    steps[0] = _mean_of_rest(steps)
    half = MEDIAN_BEATS // 2
    for i in range(count):
        # dividing keeps the order: of eleven intervals the middle one in seconds is the middle one
        has_eleven = half < i < count - half
        median[i] = medians[i - 1] / 1000 if has_eleven else _median_near(rr, i)
        off[i] = rr[i] - median[i]
        off[i] = 2 * off[i] if off[i] < 0 else off[i]
    _thresholds(steps, off, of_steps, threshold)
    _per_threshold(steps, of_steps)
    _per_threshold(off, threshold)
    i = 0
    while i < count - 2:
        if abs(steps[i]) <= 1:
            i += 1
        elif _is_ectopic(steps, i):
            if i > 0:
                classes[i - 1] = ECTOPIC
            i += 1
        else:
            # a beat and, where the step after it is smaller than the next, the following one
            candidates = 2 if abs(steps[i + 1]) < abs(steps[i + 2]) else 1
            for j in range(i, i + candidates):
                if j > 0:
                    classes[j - 1] = _long_or_short(rr, steps, off, median, threshold, j)
            i += candidates


@compiled
def _mean_of_rest(values: Any) -> float:
    """Mean of all but the first."""
    total = 0.0
    for i in range(1, len(values)):
        total += values[i]
    return total / (len(values) - 1)


@compiled
def _step(steps: Any, i: int) -> float:
    """Step `i`, mirrored at both ends."""
    if i < 0:
        return steps[-i]
    last = len(steps) - 1
    return steps[2 * last - i] if i > last else steps[i]


@compiled
def _is_ectopic(steps: Any, i: int) -> bool:
    """A step answered by an opposite one beside it (figure 2a)."""
    step, before, after = steps[i], _step(steps, i - 1), _step(steps, i + 1)
    if step > 1:
        return max(before, after) < -_C1 * step - _C2
    return step < -1 and min(before, after) > -_C1 * step + _C2


@compiled
def _long_or_short(rr: Any, steps: Any, off: Any, median: Any, threshold: Any, j: int) -> int:
    """Missed, extra, long or short, or normal after all (figures 1 and 2b)."""
    step, after, later = steps[j], _step(steps, j + 1), _step(steps, j + 2)
    is_long = step > 1 and min(after, later) < -1
    is_short = step < -1 and max(after, later) > 1
    if not (is_long or is_short or abs(off[j]) > _OFF_MEDIAN):
        return NORMAL
    if is_short and abs(rr[j] + rr[j + 1] - median[j]) < threshold[j]:
        return EXTRA
    if is_long and abs(rr[j] / 2 - median[j]) < threshold[j]:
        return MISSED
    return LONG_OR_SHORT


@compiled
def _mark_all(rr: Any, slices: Any, flags: Any) -> None:
    at = 0
    longest = 0
    for n in range(len(slices)):
        longest = max(longest, slices[n, 1] - slices[n, 0])
    room = np.empty((_SERIES, longest + 1))
    for n in range(len(slices)):
        first, last = slices[n]
        own = flags[at : at + last - first]
        at += last - first
        within = room[6]
        size = 0
        for i in range(last - first):
            # a missing value (NaN) is in no range
            own[i] = not (RR_MIN_MS <= rr[first + i] <= RR_MAX_MS)
            if not own[i]:
                within[size] = rr[first + i]
                size += 1
        _mark_within(within[:size], own, room)


@compiled
def _mark_within(within: Any, flags: Any, room: Any) -> None:
    """Flags of the beats in bounds: `within` has them, the others are flagged already."""
    median = room[7, : len(within)]
    _medians(within, median)
    classes = np.zeros(len(within), np.int8)
    _classify(within, median, classes, room)
    k = 0
    for i in range(len(flags)):
        if not flags[i]:
            is_off = abs(within[k] - median[k]) > MEDIAN_TOLERANCE * median[k]
            flags[i] = is_off or classes[k] != NORMAL
            k += 1
