"""HRV by hand: closed forms, gaps, gates, and a plain-Python reading of the definitions."""

import math
from itertools import pairwise
from statistics import median, stdev

import numpy as np
import pytest

from analytics.errors import SignalError
from analytics.features import artifacts, hrv

START = 1_780_000_200_000_000  # a multiple of 300 s
WINDOW = 300_000_000


def placed(rr, start=START):
    """Beat ends and breaks of one gap-free run."""
    ends = start + np.cumsum(np.asarray(rr, np.int64)) * 1000
    breaks = np.zeros(len(rr), bool)
    breaks[:1] = True
    return np.asarray(rr, np.uint16), ends, breaks


def around(values, i, half):
    return sorted(values[max(0, i - half) : i + half + 1])


def quantile(ordered, share):
    position = (len(ordered) - 1) * share
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def scaled(values):
    """Values over 5.2 quartile deviations of the 91 around, and those thresholds."""
    sizes = [abs(value) for value in values]
    limits = []
    for i in range(len(values)):
        near = around(sizes, i, 45)
        limits.append(5.2 * (quantile(near, 0.75) - quantile(near, 0.25)) / 2)
    return [v / limit if limit > 0 else 0 for v, limit in zip(values, limits, strict=True)], limits


def oracle_classes(rr_ms):
    """Lipponen & Tarvainen, figure 1; one beat after the other."""
    rr = [sum(rr_ms) / len(rr_ms) / 1000] + [value / 1000 for value in rr_ms]
    d = [0.0] + [b - a for a, b in pairwise(rr)]
    d[0] = sum(d[1:]) / (len(d) - 1)
    d, _ = scaled(d)
    at = dict(enumerate(d)) | {-1: d[1], len(d): d[-2]}
    mid = [median(around(rr, i, 5)) for i in range(len(rr))]
    m, limit = scaled([(a - b) * (2 if a < b else 1) for a, b in zip(rr, mid, strict=True)])
    found = ["normal"] * len(rr)
    i = 0
    while i < len(rr) - 2:
        if abs(d[i]) <= 1:
            i += 1
            continue
        beside, sign = (at[i - 1], at[i + 1]), 1 if d[i] > 0 else -1
        if max(sign * b for b in beside) < -0.13 * abs(d[i]) - 0.17:
            found[i] = "ectopic"
            i += 1
            continue
        for j in (i, i + 1) if abs(d[i + 1]) < abs(d[i + 2]) else (i,):
            is_long = d[j] > 1 and min(at[j + 1], at.get(j + 2, d[-3])) < -1
            is_short = d[j] < -1 and max(at[j + 1], at.get(j + 2, d[-3])) > 1
            if is_short and abs(rr[j] + rr[j + 1] - mid[j]) < limit[j]:
                found[j] = "extra"
            elif is_long and abs(rr[j] / 2 - mid[j]) < limit[j]:
                found[j] = "missed"
            elif is_long or is_short or abs(m[j]) > 3:
                found[j] = "long or short"
            i += 1
    return found[1:]


def oracle_flags(rr):
    """Bounds; then 20 % off the median of the 11 beats around, or a class (of those within bounds)."""
    within = [i for i, value in enumerate(rr) if 300 <= value <= 2000]
    flagged = [True] * len(rr)
    beats = [int(rr[i]) for i in within]
    classes = oracle_classes(beats)
    for at, i in enumerate(within):
        middle = median(around(beats, at, 5))
        flagged[i] = abs(beats[at] - middle) > 0.2 * middle or classes[at] != "normal"
    return flagged


def oracle_window(rr, ends, breaks, flagged, start):
    """Count, covered share, values of the window that begins at `start`; one beat after the other."""
    inside = [i for i in range(len(rr)) if start < ends[i] <= start + WINDOW]
    kept = [i for i in inside if not flagged[i]]
    covered = sum(min(1000 * int(rr[i]), int(ends[i]) - start) for i in kept) / WINDOW
    is_kept = covered >= 0.8 and len(inside) - len(kept) <= 0.2 * len(inside)
    nn = [int(rr[i]) for i in kept]
    steps = [int(rr[i]) - int(rr[i - 1]) for i in kept if i - 1 in set(kept) and not breaks[i]]
    if not is_kept:
        return len(inside), len(kept), 100 * covered, None
    sdnn, sd1 = stdev(nn), stdev(steps) / math.sqrt(2)
    values = {
        "mean_nn_ms": sum(nn) / len(nn),
        "sdnn_ms": sdnn,
        "rmssd_ms": math.sqrt(sum(step**2 for step in steps) / len(steps)),
        "pnn50_pct": 100 * sum(abs(step) > 50 for step in steps) / len(steps),
        "sd1_ms": sd1,
        "sd2_ms": math.sqrt(2 * sdnn**2 - sd1**2),
    }
    return len(inside), len(kept), 100 * covered, values


def spoilt(seed, beats=4000):
    """A random walk of RR with missed, extra and absurd beats, and gaps."""
    rng = np.random.default_rng(seed)
    rr = (900 + np.cumsum(rng.normal(0, 4, beats)) + rng.normal(0, 25, beats)).round().astype(int)
    rr[rng.random(beats) < 0.02] *= 2
    rr[rng.random(beats) < 0.02] //= 2
    rr[rng.random(beats) < 0.005] = 7427
    breaks = rng.random(beats) < 0.003
    breaks[0] = True
    ends = START + np.cumsum(rr * 1000 + breaks * rng.integers(1_000_000, 90_000_000, beats))
    return rr.astype(np.uint16), ends, breaks


@pytest.mark.parametrize("seed", range(5))
def test_windows_are_those_of_the_plain_reading(seed):
    rr, ends, breaks = spoilt(seed)
    flagged = oracle_flags(rr)
    assert hrv.artifacts(rr).tolist() == flagged
    found = hrv.windows(rr, ends, breaks)
    assert len(found.start_us) >= 10
    assert 0 < found.is_kept.sum() < len(found.is_kept)
    for at, start in enumerate(found.start_us.tolist()):
        rr_count, nn_count, covered, values = oracle_window(rr, ends, breaks, flagged, start)
        assert (found.rr_count[at], found.nn_count[at]) == (rr_count, nn_count)
        assert found.coverage_pct[at] == pytest.approx(covered, abs=1e-9)
        assert bool(found.is_kept[at]) == (values is not None)
        for name in ("mean_nn_ms", "sdnn_ms", "rmssd_ms", "pnn50_pct", "sd1_ms", "sd2_ms"):
            value = getattr(found, name)[at]
            assert math.isnan(value) if values is None else value == pytest.approx(values[name], rel=1e-9)


def test_classes_are_those_of_the_plain_reading():
    rr = spoilt(7, 3000)[0]
    # a beat too many cuts an interval in two
    level = rr[199:-1:150]
    rr[200::150], rr[201::150] = level // 2 - 10, level // 2 + 10
    names = ["normal", "ectopic", "missed", "extra", "long or short"]
    found = [names[number] for number in artifacts.classify(rr)]
    assert set(found) == set(names)
    assert found == oracle_classes(rr.tolist())


def test_a_sensor_of_coarse_steps_keeps_its_beats():
    # most neighbours are equal, the threshold is zero: 46 ms off are no artifact
    rr = np.full(400, 1000, np.uint16)
    rr[::30] = 1046
    assert not hrv.artifacts(rr).any()


def test_time_domain_in_closed_form():
    values = hrv.time_domain(np.array([800, 860, 800, 860, 800], np.uint16))
    assert values.nn_count == 5
    assert values.mean_nn_ms == 824
    assert values.sdnn_ms == pytest.approx(math.sqrt(4320 / 4))
    assert values.rmssd_ms == 60
    assert values.pnn50_pct == 100
    assert values.sd1_ms == pytest.approx(math.sqrt(4800 / 2))


def test_fifty_milliseconds_are_not_above_fifty():
    assert hrv.time_domain(np.array([800, 850, 901], np.uint16)).pnn50_pct == 50


@pytest.mark.parametrize("rr", [[], [800], [800] * 50])
def test_too_little_gives_nan_and_constant_gives_zero(rr):
    values = hrv.time_domain(np.array(rr, np.uint16))
    expected = {0: [math.nan] * 3, 1: [800, math.nan, math.nan], 50: [800, 0, 0]}[len(rr)]
    got = [values.mean_nn_ms, values.sdnn_ms, values.rmssd_ms]
    assert got == pytest.approx(expected, nan_ok=True)


def test_twenty_percent_off_the_median_is_still_a_beat():
    for odd, is_flagged in [(1200, False), (1201, True), (800, False), (799, True), (300, True)]:
        assert hrv.artifacts(np.array([1000] * 8 + [odd] + [1000] * 8, np.uint16))[8] == is_flagged


def test_bounds_belong_to_the_range():
    # a level of its own on either side, so that only the bounds can object
    for level in (300, 2000):
        assert not hrv.artifacts(np.full(20, level, np.uint16)).any()
    for level in (299, 2001):
        assert hrv.artifacts(np.full(20, level, np.uint16)).all()


def test_no_difference_across_a_gap_or_a_removed_beat():
    rr = np.array([800, 900, 810, 910, 820], np.uint16)
    breaks = np.array([True, False, True, False, False])
    flagged = np.array([False, False, False, True, False])
    # 800->900 remains; 900->810 crosses the gap, 810->910->820 the removed beat
    assert hrv.time_domain(rr, breaks, flagged=flagged).rmssd_ms == 100


def test_nothing_at_all():
    empty = hrv.windows(np.array([], np.uint16), np.array([], np.int64), np.array([], bool))
    assert len(empty.start_us) == 0
    night = hrv.night(*placed([]), start_us=START, end_us=START + 20 * WINDOW)
    assert night.quality == "no RR intervals in the sleep window"
    assert math.isnan(night.rmssd_ms)
    assert math.isnan(night.resting_hr_bpm)


def test_every_beat_out_of_bounds():
    night = hrv.night(*placed([7000] * 900), start_us=START, end_us=START + 20 * WINDOW)
    assert night.window_count == 0
    assert "at least 6" in night.quality
    assert night.coverage_pct == 0


def test_windows_are_multiples_of_300_s_inside_the_sleep():
    found = hrv.windows(*placed([1000] * 2000), start_us=START + 1, end_us=START + 4 * WINDOW - 1)
    assert found.start_us.tolist() == [START + WINDOW, START + 2 * WINDOW]
    assert found.rr_count.tolist() == [300, 300]
    assert found.coverage_pct.tolist() == [100, 100]


def test_six_windows_make_a_night_and_five_do_not():
    beats = placed([1000] * 3000)
    six = hrv.night(*beats, start_us=START, end_us=START + 6 * WINDOW)
    five = hrv.night(*beats, start_us=START, end_us=START + 6 * WINDOW - 1)
    assert (six.window_count, six.quality, six.mean_nn_ms) == (6, None, 1000)
    assert (five.window_count, math.isnan(five.rmssd_ms)) == (5, True)
    assert five.quality == "5 of 5 five-minute windows count, at least 6 needed"


def test_resting_rate_is_that_of_the_slowest_half_hour():
    # an hour at 75, half an hour at 50, an hour at 60 per minute
    rr = [800] * 4500 + [1200] * 1500 + [1000] * 3600
    night = hrv.night(*placed(rr), start_us=START, end_us=START + 30 * WINDOW)
    assert night.resting_hr_bpm == pytest.approx(50)


def test_arrays_that_do_not_belong_together_are_refused():
    rr, ends, breaks = placed([800, 900])
    with pytest.raises(SignalError, match="length"):
        hrv.windows(rr[:1], ends, breaks)
    with pytest.raises(SignalError, match="time order"):
        hrv.windows(rr, ends[::-1], breaks)
