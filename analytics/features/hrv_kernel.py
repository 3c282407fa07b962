"""One compiled pass over beats: window statistics and resting heart rate.

Arrays in, arrays out; no Python objects, so the interpreter lock is released and
two cores serve two halves of a cohort. :mod:`analytics.features.hrv` has the
definitions; the tests hold a plain-Python twin. Compiled code calls nothing of
another module: numba's cache on disk would not notice a change there.
"""

from typing import Any, Final

import numpy as np

from analytics.compiled import compiled
from analytics.features.artifacts import RR_MAX_MS, RR_MIN_MS

WINDOW_US: Final = 300_000_000
MIN_COVERED_SHARE: Final = 0.8
MAX_FLAGGED_SHARE: Final = 0.2
PNN_MS: Final = 50
HALF_HOUR_WINDOWS: Final = 6
#: mean NN, SDNN, RMSSD, pNN50, SD1, SD2
VALUES: Final = 6

_BINS = RR_MAX_MS - RR_MIN_MS + 1


@compiled
def time_domain(rr: Any, run_break: Any, flagged: Any, low: int, high: int, out: Any) -> int:
    """Time domain of the beats `low` to `high`; returns the count of NN intervals."""
    out[:] = np.nan
    count = 0
    total = 0.0
    pairs = 0
    above = 0
    pair_sum = 0.0
    pair_squares = 0.0
    for i in range(low, high):
        if flagged[i]:
            continue
        count += 1
        total += rr[i]
        if i > low and not run_break[i] and not flagged[i - 1]:
            difference = float(rr[i]) - float(rr[i - 1])
            pairs += 1
            pair_sum += difference
            pair_squares += difference * difference
            above += abs(difference) > PNN_MS
    if count == 0:
        return 0
    mean = total / count
    out[0] = mean
    if count > 1:
        squares = 0.0
        for i in range(low, high):
            if not flagged[i]:
                squares += (rr[i] - mean) ** 2
        out[1] = np.sqrt(squares / (count - 1))
    if pairs > 0:
        out[2] = np.sqrt(pair_squares / pairs)
        out[3] = 100.0 * above / pairs
    if pairs > 1:
        # differences centre on zero: no cancellation to fear here
        spread = max(0.0, (pair_squares - pair_sum * pair_sum / pairs) / (pairs - 1))
        out[4] = np.sqrt(spread / 2)
        out[5] = np.sqrt(max(0.0, 2 * out[1] * out[1] - spread / 2))
    return count


@compiled
def _tally(histogram: Any, rr: Any, flagged: Any, low: int, high: int, step: int) -> int:
    """Add (or with step -1 take away) accepted beats; returns how many."""
    count = 0
    for i in range(low, high):
        # intervals taken as they are may lie outside the histogram
        if not flagged[i] and RR_MIN_MS <= rr[i] <= RR_MAX_MS:
            histogram[int(np.rint(float(rr[i]))) - RR_MIN_MS] += step
            count += 1
    return count


@compiled
def _rank(histogram: Any, position: int) -> int:
    """Value at a 0-based position in the order of the tallied beats, in ms."""
    seen = 0
    for index in range(_BINS):
        seen += histogram[index]
        if seen > position:
            return index + RR_MIN_MS
    return -1


@compiled
def _lowest_rate(rr: Any, flagged: Any, bounds: Any, covered_us: Any) -> float:
    """Lowest 60,000 / median NN over half hours of windows; NaN when none is covered."""
    histogram = np.zeros(_BINS, np.int64)
    lowest = np.nan
    count = 0
    span = 0.0
    for w in range(len(covered_us)):
        count += _tally(histogram, rr, flagged, bounds[w], bounds[w + 1], 1)
        span += covered_us[w]
        if w >= HALF_HOUR_WINDOWS:
            old = w - HALF_HOUR_WINDOWS
            count -= _tally(histogram, rr, flagged, bounds[old], bounds[old + 1], -1)
            span -= covered_us[old]
        if w < HALF_HOUR_WINDOWS - 1 or span < MIN_COVERED_SHARE * HALF_HOUR_WINDOWS * WINDOW_US:
            continue
        middle = (_rank(histogram, (count - 1) // 2) + _rank(histogram, count // 2)) / 2
        if not lowest <= 60_000 / middle:
            lowest = 60_000 / middle
    return lowest


@compiled
def night_windows(
    rr: Any,
    end_us: Any,
    run_break: Any,
    flags: Any,
    beat_slices: Any,
    sleep_us: Any,
    offsets: Any,
    beats: Any,
    starts: Any,
    counts: Any,
    values: Any,
    kept: Any,
    per_night: Any,
) -> None:
    """Fill the windows of every night (see :func:`analytics.features.hrv.nights`).

    `flags` has the nights side by side. `beats` gets the first beat and the end of
    each window and what to add to a beat's number to find its flag; `values`
    coverage (%) and the time domain, `per_night` the beats in the sleep, their
    coverage (%) and the resting heart rate.
    """
    judged = 0
    for n in range(len(beat_slices)):
        first, last = beat_slices[n]
        night_rr, night_end = rr[first:last], end_us[first:last]
        night_break = run_break[first:last]
        flagged = flags[judged : judged + last - first]
        shift = judged - first
        judged += last - first
        per_night[n, 0], per_night[n, 1] = _sleep_coverage(night_rr, night_end, flagged, sleep_us[n])
        size = offsets[n + 1] - offsets[n]
        begin = -(-sleep_us[n, 0] // WINDOW_US) * WINDOW_US
        bounds = np.empty(size + 1, np.int64)
        covered = np.zeros(size, np.float64)
        beat = 0
        # a beat belongs to the window in which it ends: (start, end] of the wall clock
        while beat < len(night_rr) and night_end[beat] <= begin:
            beat += 1
        for w in range(size):
            bounds[w] = beat
            row = offsets[n] + w
            starts[row] = begin + w * WINDOW_US
            nn_count = 0
            while beat < len(night_rr) and night_end[beat] <= starts[row] + WINDOW_US:
                if not flagged[beat]:
                    nn_count += 1
                    covered[w] += min(1000.0 * night_rr[beat], night_end[beat] - starts[row])
                beat += 1
            beats[row, 0], beats[row, 1], beats[row, 2] = first + bounds[w], first + beat, shift
            rr_count = beat - bounds[w]
            counts[row, 0], counts[row, 1] = rr_count, nn_count
            values[row, 0] = 100.0 * covered[w] / WINDOW_US
            kept[row] = (
                covered[w] >= MIN_COVERED_SHARE * WINDOW_US
                and rr_count - nn_count <= MAX_FLAGGED_SHARE * rr_count
            )
            if kept[row]:
                time_domain(night_rr, night_break, flagged, bounds[w], beat, values[row, 1:])
        bounds[size] = beat
        per_night[n, 2] = _lowest_rate(night_rr, flagged, bounds, covered)


@compiled
def _sleep_coverage(rr: Any, end_us: Any, flagged: Any, sleep_us: Any) -> tuple[int, float]:
    """Beats that end in the sleep, and the share (%) of it their NN intervals cover."""
    count = 0
    covered = 0.0
    for i in range(len(rr)):
        if sleep_us[0] < end_us[i] <= sleep_us[1]:
            count += 1
            if not flagged[i]:
                covered += min(1000.0 * rr[i], end_us[i] - sleep_us[0])
    length = sleep_us[1] - sleep_us[0]
    return count, (100.0 * covered / length if length > 0 else 0.0)


@compiled
def place_beats(
    rr: Any, row_offsets: Any, row_start_us: Any, is_new_group: Any, is_joined: Any, ends: Any, breaks: Any
) -> int:
    """Put the beats of runs on the time line, in place; returns how many remain.

    `rr`, `ends` and `breaks` are compacted: a beat that ends no later than one
    before it (the same seconds, twice, over two connections) is dropped, and
    `row_offsets` moves along. Runs come sorted by group and start; `is_joined`
    says that a run follows the one before it without a gap.
    """
    kept = 0
    last = np.int64(-1)
    for row in range(len(row_start_us)):
        if is_new_group[row]:
            last = np.int64(-1)
        at = row_start_us[row]
        is_break = not is_joined[row]
        low, high = row_offsets[row], row_offsets[row + 1]
        row_offsets[row] = kept
        for i in range(low, high):
            at += np.int64(rr[i]) * 1000
            if at <= last and not is_joined[row]:
                is_break = True
                continue
            last = max(at, last)
            rr[kept], ends[kept], breaks[kept] = rr[i], last, is_break
            is_break = False
            kept += 1
    row_offsets[len(row_start_us)] = kept
    return kept
