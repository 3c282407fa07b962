"""Rolling baseline against its plain twin, and what must hold of any past."""

import math
from statistics import median

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics.risk.arrays import mean, sum_and_count
from analytics.risk.baseline_kernel import rolling_baseline
from analytics.risk.pacing import pacing
from analytics.risk.shift import pettitt

DAYS = 60
#: Ties are what breaks a sorted window: few distinct values, many of them missing.
VALUES = st.lists(st.sampled_from([math.nan, 0.0, 1.0, 1.0, 2.5, -3.0, 7.25]), min_size=1, max_size=DAYS)
SEGMENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=8)


def segments_of(runs, length):
    codes = [code for code, days in runs for _ in range(days)]
    return (codes + [codes[-1]] * length)[:length]


def plain(values, segments, t, within_sd):
    def window(newest):
        days = [d for d in range(max(0, t - 35), t - newest + 1) if segments[d] == segments[t]]
        return [values[d] for d in days if not math.isnan(values[d])]

    found = window(8)
    if len(found) < 7:
        found = window(2)
    n = len(found)
    if n < 5:
        return n, math.nan, math.nan
    center = median(found)
    spread = 1.4826 * median(abs(v - center) for v in found)
    return n, center, math.sqrt((n * spread**2 + 7 * within_sd**2) / (n + 7)) * math.sqrt(1 + 1.57 / n)


@given(VALUES, SEGMENTS, st.integers(0, DAYS - 1))
def test_the_moving_window_is_the_sorted_one(values, runs, first):
    first = min(first, len(values) - 1)
    segments = segments_of(runs, len(values))
    shape = 1, len(values)
    center, scale, count = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.int32)
    rolling_baseline(np.array([values]), np.array([segments], np.int32), 0.5, first, center, scale, count)
    for t in range(first, len(values)):
        n, middle, spread = plain(values, segments, t, 0.5)
        assert count[0, t] == n
        np.testing.assert_equal(center[0, t], middle)
        np.testing.assert_allclose(scale[0, t], spread, rtol=1e-12)


@given(VALUES, st.integers(0, 40), st.integers(1, 14))
def test_a_mean_of_days_does_not_know_how_long_the_past_is(values, more, days):
    short = np.array([values])
    long = np.concatenate([np.full((1, more), np.nan), short], axis=1)
    np.testing.assert_array_equal(mean(long, days)[:, more:], mean(short, days))
    total, count = sum_and_count(short, 2, 5)
    for t in range(len(values)):
        there = [v for v in reversed(values[max(0, t - 5) : max(0, t - 1)]) if not math.isnan(v)]
        assert (total[0, t], count[0, t]) == (sum(there), len(there))
    tail = min(3, len(values) - 1)
    np.testing.assert_array_equal(sum_and_count(short, 2, 5, first=tail)[0], total[:, tail:])
    np.testing.assert_array_equal(sum_and_count(short, 2, 5, first=tail)[1], count[:, tail:])


WINDOW = st.lists(st.sampled_from([math.nan, 7.0, 8.0, 8.5, 9.0]), min_size=56, max_size=56)


@given(WINDOW)
def test_a_shift_is_looked_for_from_both_ends_or_from_none(values):
    there, back = pettitt(np.array([values])), pettitt(np.array([values[::-1]]))
    assert math.isnan(there.p_value[0]) == math.isnan(back.p_value[0])
    if not math.isnan(there.p_value[0]):
        assert 0 <= there.p_value[0] <= 1


@given(WINDOW, st.lists(st.sampled_from([math.nan, 0.0, 3.0, 5.0, 10.0]), min_size=56, max_size=56))
def test_what_followed_is_never_more_than_the_days_there_were(steps, pain):
    found = pacing(np.array([steps]), np.full((1, 84), np.nan), np.array([pain]), np.arange(56) % 7, 0.46)
    assert 0 <= found.followed[0] <= found.high_days[0] <= 56
    assert -1e-9 <= found.by_chance[0] <= found.high_days[0] + 1e-9
    for slope in (found.good, found.bad):
        if not math.isnan(slope.pct[0]):
            assert slope.low_pct[0] <= slope.pct[0] <= slope.high_pct[0]
