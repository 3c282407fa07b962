"""Power of RR variability in the LF and HF bands, by Welch's method.

NN intervals over their end times, a natural cubic spline, 4 Hz, segments of 1,024
points (256 s) at least half overlapping, mean removed, Hann window, one-sided
density, summed over 0.04-0.15 and 0.15-0.4 Hz (upper ends excluded). Segments are
spread from the first point to the last, so nothing is left out at the end; a
shorter series is one segment, padded with zeros. LF/HF is exploratory: it is no
measure of sympathetic balance.

Two segments travel through one complex transform as its real and imaginary part;
only the sum of their powers is wanted, and that needs no taking apart. Of its 1,024
frequencies the bands hold 92: the transform is sixteen of 64 points side by side, put
together at those only.
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
_ANGLES: Final = -2 * np.pi * np.arange(POINTS) / POINTS
_COSINE: Final = np.cos(_ANGLES)
_SINE: Final = np.sin(_ANGLES)
#: Points of the small transforms, and how many there are: every sixteenth point belongs to one.
_SMALL: Final = 64
_LANES: Final = POINTS // _SMALL
_HZ: Final = RATE_HZ / POINTS
_LF_FIRST: Final = int(np.ceil(LF_HZ[0] / _HZ))
_HF_FIRST: Final = int(np.ceil(HF_HZ[0] / _HZ))
_HF_END: Final = int(np.ceil(HF_HZ[1] / _HZ))
#: exp(-2 pi i k r / 1024) of every frequency k of the bands and small transform r
_TURNS: Final = np.outer(np.arange(_LF_FIRST, _HF_END), np.arange(_LANES)) * (-2 * np.pi / POINTS)
_TURN_COSINE: Final = np.cos(_TURNS)
_TURN_SINE: Final = np.sin(_TURNS)

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
    curvature = _curvature(times, values)
    count = int((times[-1] - times[0]) * RATE_HZ) + 1
    points = np.empty(count)
    i = 0
    for k in range(len(times) - 1):
        width = times[k + 1] - times[k]
        first, second, third = _cubic(width, values[k], values[k + 1], curvature[k], curvature[k + 1])
        stop = count
        if k < len(times) - 2:
            stop = min(count, int((times[k + 1] - times[0]) * RATE_HZ) + 1)
        while i < stop:
            since = times[0] - times[k] + i / RATE_HZ
            points[i] = values[k] + since * (first + since * (second + since * third))
            i += 1
    return points


@compiled
def _cubic(width: float, left: float, right: float, bend: float, next_bend: float) -> tuple[float, ...]:
    """Coefficients of a spline's piece, of the first, second and third power of the time in it."""
    return (
        (right - left) / width - width * (2 * bend + next_bend) / 6,
        bend / 2,
        (next_bend - bend) / (6 * width),
    )


@compiled
def _curvature(times: Any, values: Any) -> Any:
    """Second derivative at every knot, zero at both ends (a tridiagonal system)."""
    count = len(times)
    curvature = np.zeros(count)
    upper = np.zeros(count)
    width = times[1] - times[0]
    slope = (values[1] - values[0]) / width
    for i in range(1, count - 1):
        after = times[i + 1] - times[i]
        slope_after = (values[i + 1] - values[i]) / after
        share = 1 / (2 * (width + after) - width * upper[i - 1])
        upper[i] = after * share
        curvature[i] = (6 * (slope_after - slope) - width * curvature[i - 1]) * share
        width, slope = after, slope_after
    for i in range(count - 2, 0, -1):
        curvature[i] -= upper[i] * curvature[i + 1]
    return curvature


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
            mean = 0.0
            for i in range(length):
                mean += points[first + i]
            mean /= length
            for i in range(length):
                work[part, i] = (points[first + i] - mean) * window[i]
        lf_part, hf_part = _power(work)
        lf += lf_part
        hf += hf_part
    squares = 0.0
    for i in range(length):
        squares += window[i] * window[i]
    scale = 2 * _HZ / (RATE_HZ * squares * segments)
    return lf * scale, hf * scale


@compiled
def _hann(length: int) -> Any:
    window = np.empty(length)
    for i in range(length):
        window[i] = 0.5 - 0.5 * math.cos(2 * math.pi * i / length)
    return window


@compiled
def _power(work: Any) -> tuple[float, float]:
    """Sum of squared magnitudes over the bands, of the real and the imaginary series together."""
    real, imaginary = _transform(work)
    parts = np.empty((4, _LANES))
    lf = hf = 0.0
    for k in range(_LF_FIRST, _HF_END):
        # frequency k and its mirror image, from the small transforms' frequencies
        at, mirror = (k % _SMALL) * _LANES, (-k % _SMALL) * _LANES
        for r in range(_LANES):
            cosine, sine = _TURN_COSINE[k - _LF_FIRST, r], _TURN_SINE[k - _LF_FIRST, r]
            parts[0, r] = real[at + r] * cosine - imaginary[at + r] * sine
            parts[1, r] = real[at + r] * sine + imaginary[at + r] * cosine
            parts[2, r] = real[mirror + r] * cosine + imaginary[mirror + r] * sine
            parts[3, r] = imaginary[mirror + r] * cosine - real[mirror + r] * sine
        # halves added to halves: an order of its own, the same for every compiler, that vectors can follow
        width = _LANES
        while width > 1:
            width //= 2
            for part in range(4):
                for r in range(width):
                    parts[part, r] += parts[part, r + width]
        both = parts[0, 0] ** 2 + parts[1, 0] ** 2 + parts[2, 0] ** 2 + parts[3, 0] ** 2
        if k < _HF_FIRST:
            lf += both / 2
        else:
            hf += both / 2
    return lf, hf


@compiled
def _transform(work: Any) -> tuple[Any, Any]:
    """Sixteen Fourier transforms of 64 points side by side (Stockham, radix 4: in order).

    `work` has real and imaginary part and room for as much; point n belongs to transform
    n mod 16. Frequency k of transform r comes at 16 k + r.
    """
    real, imaginary, to_real, to_imaginary = work[0], work[1], work[2], work[3]
    size = _LANES
    while size < POINTS:
        groups = _QUARTER // size
        for j in range(groups):
            # angles of the 64 points are every sixteenth of the table
            at = j * size
            cosine, sine = _COSINE[at], _SINE[at]
            cosine_2, sine_2 = _COSINE[2 * at], _SINE[2 * at]
            cosine_3, sine_3 = _COSINE[3 * at], _SINE[3 * at]
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
        real, imaginary, to_real, to_imaginary = to_real, to_imaginary, real, imaginary
        size *= 4
    return real, imaginary
