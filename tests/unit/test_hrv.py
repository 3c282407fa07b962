"""HRV by hand: closed forms, gaps, gates, and a plain-Python reading of the definitions."""

import math
from statistics import median, stdev

import numpy as np
import pytest

from analytics.errors import SignalError
from analytics.features import hrv

START = 1_780_000_200_000_000  # a multiple of 300 s
WINDOW = 300_000_000


def placed(rr, start=START):
    """Beat ends and breaks of one gap-free run."""
    ends = start + np.cumsum(np.asarray(rr, np.int64)) * 1000
    breaks = np.zeros(len(rr), bool)
    breaks[:1] = True
    return np.asarray(rr, np.uint16), ends, breaks


def oracle_flags(rr):
    """Bounds, then 20 % off the median of the 11 beats around (of those within bounds)."""
    within = [i for i, value in enumerate(rr) if 300 <= value <= 2000]
    flagged = [True] * len(rr)
    for at, i in enumerate(within):
        middle = median(int(rr[j]) for j in within[max(0, at - 5) : at + 6])
        flagged[i] = abs(int(rr[i]) - middle) > 0.2 * middle
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
