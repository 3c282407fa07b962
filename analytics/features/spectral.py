"""Power of RR variability in the LF and HF bands, by Welch's method.

NN intervals over their end times, a natural cubic spline, 4 Hz, segments of 1,024
points (256 s) at least half overlapping, mean removed, Hann window, one-sided
density, summed over 0.04-0.15 and 0.15-0.4 Hz (upper ends excluded). Segments are
spread from the first point to the last, so nothing is left out at the end; a
shorter series is one segment, padded with zeros. LF/HF is exploratory: it is no
measure of sympathetic balance.

Two segments travel through one complex transform as its real and imaginary part;
only the sum of their powers is wanted, and that needs no taking apart. Of its 1,024
frequencies the bands hold 92: its last step is done for those only.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.compiled import compiled

RATE_HZ: Final = 4
POINTS: Final = 1024
LF_HZ: Final = (0.04, 0.15)
HF_HZ: Final = (0.15, 0.4)
MAX_FLAGGED_SHARE: Final = 0.05
MAX_GAP_US: Final = 5_000_000
#: LF needs two minutes (Task Force 1996).
MIN_SPAN_US: Final = 120_000_000

#: Codes the kernel gives, and what they say.
REASONS: Final = (
    None,
    "no LF and HF: the window does not count",
    "no LF and HF: more than 5 % of the beats flagged",
    "no LF and HF: a gap of more than 5 s",
    "no LF and HF: less than 2 minutes",
)
_STANDS: Final = 0
_NOT_KEPT: Final = 1
_TOO_MANY_FLAGGED: Final = 2
_GAP: Final = 3
_TOO_SHORT: Final = 4

_HALF: Final = POINTS // 2
_QUARTER: Final = POINTS // 4
_HANN: Final = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(POINTS) / POINTS)
#: exp(-2 pi i n j / 1024) of every point j of a quarter and n = 1, 2, 3, a table each: the first step
#: takes them one after the other.
_ANGLES: Final = -2 * np.pi * np.arange(_QUARTER) / POINTS
_COSINE, _COSINE_2, _COSINE_3 = np.cos(_ANGLES), np.cos(2 * _ANGLES), np.cos(3 * _ANGLES)
_SINE, _SINE_2, _SINE_3 = np.sin(_ANGLES), np.sin(2 * _ANGLES), np.sin(3 * _ANGLES)
_HZ: Final = RATE_HZ / POINTS
_LF_FIRST: Final = int(np.ceil(LF_HZ[0] / _HZ))
_HF_FIRST: Final = int(np.ceil(HF_HZ[0] / _HZ))
_HF_END: Final = int(np.ceil(HF_HZ[1] / _HZ))
#: Points that are computed together from one piece of the spline; most pieces hold as many.
_AT_ONCE: Final = 4

Numbers = NDArray[Any]


def spectra(
    rr_ms: Numbers,
    end_us: NDArray[np.int64],
    flags: NDArray[np.bool_],
    beats: NDArray[np.int64],
    edges_us: NDArray[np.int64],
    is_kept: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """LF and HF (ms^2) of many windows, and the code of the reason where they are NaN.

    Parameters
    ----------
    rr_ms, end_us : arrays (beats,), ms and microseconds
    flags : array of bool
        Deleted beats.
    beats : array (windows, 3)
        First beat and end (exclusive) of each window, and what to add to a beat's
        number to find its flag.
    edges_us : array (windows, 2), microseconds
        Start and end: time without a beat before the first and after the last is a gap too.
    is_kept : array of bool (windows,)
    """
    powers = np.full((len(beats), 2), np.nan)
    codes = np.zeros(len(beats), np.int8)
    _spectra(rr_ms, end_us, flags, beats, edges_us, is_kept, powers, codes)
    return powers, codes


@compiled
def _spectra(
    rr: Any, end_us: Any, flags: Any, beats: Any, edges_us: Any, is_kept: Any, powers: Any, codes: Any
) -> None:
    work = np.empty((4, POINTS))
    for w in range(len(beats)):
        first, last, shift = beats[w]
        own = flags[first + shift : last + shift]
        codes[w] = _gate(rr[first:last], end_us[first:last], own, edges_us[w], is_kept[w])
        if codes[w] == _STANDS:
            times = np.empty(last - first)
            values = np.empty(last - first)
            count = 0
            level = float(rr[first])
            for i in range(first, last):
                time = 1e-6 * (end_us[i] - edges_us[w, 0])
                # the spline needs times that increase
                if not flags[i + shift] and (count == 0 or time > times[count - 1]):
                    # off a level of their own: a constant series is exactly zero
                    times[count], values[count] = time, rr[i] - level
                    count += 1
            points = _resample(times[:count], values[:count])
            powers[w, 0], powers[w, 1] = _welch(points, work)


@compiled
def _gate(rr: Any, end_us: Any, flags: Any, edges_us: Any, is_kept: Any) -> int:
    if not is_kept:
        return _NOT_KEPT
    flagged = 0
    widest = 0.0
    accepted_us = edges_us[0]
    begin = edges_us[1]
    for i in range(len(rr)):
        if flags[i]:
            flagged += 1
            continue
        widest = max(widest, end_us[i] - 1000.0 * rr[i] - accepted_us)
        begin = min(begin, end_us[i])
        accepted_us = end_us[i]
    if flagged > MAX_FLAGGED_SHARE * len(rr):
        return _TOO_MANY_FLAGGED
    if max(widest, edges_us[1] - accepted_us) > MAX_GAP_US:
        return _GAP
    return _TOO_SHORT if accepted_us - begin < MIN_SPAN_US else _STANDS


@compiled
def _resample(times: Any, values: Any) -> Any:
    """Natural cubic spline through the values, every quarter of a second from the first on."""
    widths = times[1:] - times[:-1]
    slopes = (values[1:] - values[:-1]) / widths
    bends = _curvature(widths, slopes)
    begin = times[0]
    count = int((times[-1] - begin) * RATE_HZ) + 1
    points = np.empty(count + _AT_ONCE)
    i = 0
    for k in range(len(widths)):
        # of the first, second and third power of the time since the knot
        first = slopes[k] - widths[k] * (2 * bends[k] + bends[k + 1]) / 6
        second = bends[k] / 2
        third = (bends[k + 1] - bends[k]) / (6 * widths[k])
        stop = count
        if k < len(widths) - 1:
            stop = min(count, int((times[k + 1] - begin) * RATE_HZ) + 1)
        while i < stop:
            # as many at once as a vector holds: what lies beyond this piece, the next writes again
            since_knot, piece = begin - times[k] + i / RATE_HZ, points[i:]
            for n in range(_AT_ONCE):
                since = since_knot + n / RATE_HZ
                piece[n] = values[k] + since * (first + since * (second + since * third))
            i += _AT_ONCE
        i = stop
    return points[:count]


@compiled
def _curvature(widths: Any, slopes: Any) -> Any:
    """Second derivative at every knot, zero at both ends.

    A tridiagonal system, eliminated from both ends to the middle and solved back from there: in each
    direction a knot waits for the one before, so the two keep the processor twice as busy as one.
    """
    last = len(widths)
    bends = np.zeros(last + 1)
    if last < 2:
        return bends
    # on both sides: bend = bends[i] - shares[i] * bend of the neighbour towards the middle
    shares = np.zeros(last + 1)
    middle = last // 2
    left = left_share = right = right_share = 0.0
    for i in range(1, middle + 1):
        before, after = widths[i - 1], widths[i]
        scale = 1 / (2 * (before + after) - before * left_share)
        left = (6 * (slopes[i] - slopes[i - 1]) - before * left) * scale
        left_share = after * scale
        bends[i], shares[i] = left, left_share
        j = last - i
        if j > middle:
            before, after = widths[j - 1], widths[j]
            scale = 1 / (2 * (before + after) - after * right_share)
            right = (6 * (slopes[j] - slopes[j - 1]) - after * right) * scale
            right_share = before * scale
            bends[j], shares[j] = right, right_share
    left = (left - left_share * right) / (1 - left_share * right_share)
    bends[middle] = right = left
    for i in range(1, middle + 1):
        if i < middle:
            left = bends[middle - i] - shares[middle - i] * left
            bends[middle - i] = left
        if middle + i < last:
            right = bends[middle + i] - shares[middle + i] * right
            bends[middle + i] = right
    return bends


@compiled
def _welch(points: Any, work: Any) -> tuple[float, float]:
    """LF and HF of evenly spaced points."""
    count = len(points)
    length = min(count, POINTS)
    # at least half overlapping, the last one ending at the last point
    segments = 1 + (count - length + _HALF - 1) // _HALF
    window = _HANN if length == POINTS else _hann(length)
    lf = hf = 0.0
    for s in range(0, segments, 2):
        for part in range(2):
            work[part, length if s + part < segments else 0 :] = 0
        for part in range(min(2, segments - s)):
            first = (s + part) * (count - length) // max(segments - 1, 1)
            segment, windowed = points[first : first + length], work[part]
            mean = _sum(segment) / length
            for i in range(length):
                windowed[i] = (segment[i] - mean) * window[i]
        lf_part, hf_part = _power(work)
        lf += lf_part
        hf += hf_part
    scale = 2 * _HZ / (RATE_HZ * _sum(window * window) * segments)
    return lf * scale, hf * scale


@compiled
def _sum(values: Any) -> float:
    """Eight sums side by side, then those: an order of its own that vectors can follow."""
    parts = np.zeros(8)
    whole = len(values) // 8 * 8
    for i in range(0, whole, 8):
        eight = values[i : i + 8]
        for n in range(8):
            parts[n] += eight[n]
    total = 0.0
    for n in range(8):
        total += parts[n]
    for i in range(whole, len(values)):
        total += values[i]
    return total


@compiled
def _hann(length: int) -> Any:
    window = np.empty(length)
    for i in range(length):
        window[i] = 0.5 - 0.5 * math.cos(2 * math.pi * i / length)
    return window


@compiled
def _power(work: Any) -> tuple[float, float]:
    """Sum of squared magnitudes over the bands, of the real and the imaginary series together.

    A Fourier transform of 1,024 points (Stockham, radix 4: in order); `work` has real and
    imaginary part and room for as much.
    """
    real, imaginary, to_real, to_imaginary = work[0], work[1], work[2], work[3]
    # sizes as constants: of loops known that well the compiler makes vectors
    _step(real, imaginary, to_real, to_imaginary, 1)
    _step(to_real, to_imaginary, real, imaginary, 4)
    _step(real, imaginary, to_real, to_imaginary, 16)
    _step(to_real, to_imaginary, real, imaginary, 64)
    lf = hf = 0.0
    for k in range(_LF_FIRST, _HF_END):
        both = _last_step(real, imaginary, k)
        if k < _HF_FIRST:
            lf += both / 2
        else:
            hf += both / 2
    return lf, hf


@compiled
def _step(real: Any, imaginary: Any, to_real: Any, to_imaginary: Any, size: int) -> None:
    """From transforms of a quarter of the points, `size` of them side by side, to four times as many."""
    for j in range(_QUARTER // size):
        at = j * size
        cosine, sine = _COSINE[at], _SINE[at]
        cosine_2, sine_2 = _COSINE_2[at], _SINE_2[at]
        cosine_3, sine_3 = _COSINE_3[at], _SINE_3[at]
        for k in range(size):
            a = at + k
            b, c, d = a + _QUARTER, a + 2 * _QUARTER, a + 3 * _QUARTER
            sum_real, sum_imaginary = real[a] + real[c], imaginary[a] + imaginary[c]
            off_real, off_imaginary = real[a] - real[c], imaginary[a] - imaginary[c]
            odd_real, odd_imaginary = real[b] + real[d], imaginary[b] + imaginary[d]
            turned_real, turned_imaginary = imaginary[b] - imaginary[d], real[d] - real[b]
            to = 4 * at + k
            to_real[to] = sum_real + odd_real
            to_imaginary[to] = sum_imaginary + odd_imaginary
            x, y = off_real + turned_real, off_imaginary + turned_imaginary
            to_real[to + size] = x * cosine - y * sine
            to_imaginary[to + size] = x * sine + y * cosine
            x, y = sum_real - odd_real, sum_imaginary - odd_imaginary
            to_real[to + 2 * size] = x * cosine_2 - y * sine_2
            to_imaginary[to + 2 * size] = x * sine_2 + y * cosine_2
            x, y = off_real - turned_real, off_imaginary - turned_imaginary
            to_real[to + 3 * size] = x * cosine_3 - y * sine_3
            to_imaginary[to + 3 * size] = x * sine_3 + y * cosine_3


@compiled
def _last_step(real: Any, imaginary: Any, k: int) -> float:
    """Squared magnitudes at a frequency of the first quarter and at its mirror image together."""
    b, c, d = k + _QUARTER, k + 2 * _QUARTER, k + 3 * _QUARTER
    x = real[k] + real[c] + (real[b] + real[d])
    y = imaginary[k] + imaginary[c] + (imaginary[b] + imaginary[d])
    a = _QUARTER - k
    b, c, d = a + _QUARTER, a + 2 * _QUARTER, a + 3 * _QUARTER
    mirror_x = real[a] - real[c] - (imaginary[b] - imaginary[d])
    mirror_y = imaginary[a] - imaginary[c] - (real[d] - real[b])
    return x * x + y * y + mirror_x * mirror_x + mirror_y * mirror_y
