"""IS, IV, RA, L5, M10 and SRI: closed forms, plain readings, and nothing where too little is known."""

import numpy as np
import pytest

from analytics.features.rhythm import (
    clock_minutes,
    hourly,
    regularity_quality,
    rhythm_quality,
    rhythms,
    sleep_regularity,
)


def plain(days):
    """IS, IV, RA of complete days, as van Someren writes them."""
    x = [value for day in days for value in day]
    n, p = len(x), 24
    mean = sum(x) / n
    total = sum((value - mean) ** 2 for value in x)
    hours = [sum(day[h] for day in days) / len(days) for h in range(p)]
    stability = n * sum((hour - mean) ** 2 for hour in hours) / (p * total)
    steps = sum((b - a) ** 2 for a, b in zip(x, x[1:], strict=False))  # noqa: RUF007
    low = min(sum(hours[(h + i) % 24] for i in range(5)) / 5 for h in range(24))
    high = max(sum(hours[(h + i) % 24] for i in range(10)) / 10 for h in range(24))
    return stability, n * steps / ((n - 1) * total), (high - low) / (high + low), low, high


def test_a_perfect_square_wave_in_closed_form():
    day = np.array([0.0] * 8 + [600.0] * 16)
    found = rhythms(np.tile(day, (1, 7, 1)))
    assert found.interdaily_stability[0] == pytest.approx(1)
    assert found.relative_amplitude[0] == 1
    assert (found.l5[0], found.m10[0], found.day_count[0]) == (0, 600, 7)
    # 13 jumps of 600 in 167 differences; variance 600^2 * (1/3)(2/3)
    assert found.intradaily_variability[0] == pytest.approx(13 / 167 / (2 / 9))
    assert (found.l5_start_h[0], found.m10_start_h[0]) == (0, 8)


def test_against_plain_reading():
    values = np.random.default_rng(1).gamma(1.0, 300, (30, 9, 24))
    found = rhythms(values)
    names = ("interdaily_stability", "intradaily_variability", "relative_amplitude", "l5", "m10")
    for number, days in enumerate(values):
        ours = [getattr(found, name)[number] for name in names]
        assert ours == pytest.approx(plain(days.tolist()), rel=1e-12)


def test_noise_has_the_stability_of_its_number_of_days():
    # a mean of k independent days keeps 1/k of the variance (signals.md: 0.14 at 7 days)
    found = rhythms(np.random.default_rng(3).normal(500, 50, (400, 7, 24)))
    assert found.interdaily_stability.mean() == pytest.approx(0.14, abs=0.01)
    assert found.intradaily_variability.mean() == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(("days", "hours", "stands"), [(5, 20, True), (4, 24, False), (5, 19, False)])
def test_five_days_of_twenty_hours(days, hours, stands):
    values = np.random.default_rng(1).gamma(1.0, 300, (1, 9, 24))
    values[0, days:] = np.nan
    # each day lacks other hours, so that the average day has all of them
    for day in range(days):
        values[0, day, (np.arange(24 - hours) + 5 * day) % 24] = np.nan
    found = rhythms(values)
    for name in ("interdaily_stability", "intradaily_variability", "relative_amplitude", "l5", "m10"):
        assert np.isfinite(getattr(found, name)[0]) == stands, name
    assert (rhythm_quality(found, 0) is None) == stands


def test_a_difference_across_a_gap_does_not_count():
    values = np.tile(np.array([0.0] * 12 + [100.0] * 12), (1, 6, 1))
    whole = rhythms(values).intradaily_variability[0]
    values[0, 2, 12] = np.nan  # the morning's jump of one day
    n, total = 143, 10_000 * 72 * 71 / 143
    assert rhythms(values).intradaily_variability[0] == pytest.approx(n * 10 * 10_000 / (141 * total))
    assert whole == pytest.approx(144 * 11 / (143 * 36))


@pytest.mark.parametrize(
    "values",
    [np.full((1, 7, 24), np.nan), np.full((1, 7, 24), 300.1), np.zeros((1, 7, 24)), np.zeros((1, 0, 24))],
)
def test_missing_and_constant_series_have_no_rhythm(values):
    found = rhythms(values)
    assert np.isnan(found.interdaily_stability[0])
    assert np.isnan(found.intradaily_variability[0])
    assert rhythms(np.zeros((0, 7, 24))).l5.shape == (0,)


def test_hours_of_a_day_with_and_without_minutes():
    steps = np.full((1, 1440), np.nan)
    steps[0, :30], steps[0, 60:89], steps[0, 120:180] = 2.0, 2.0, 3.0
    found = hourly(steps, clock_minutes(1440, 0, 0))[0]
    assert (found[0], found[2]) == (120, 180)
    assert np.isnan(found[[1, *range(3, 24)]]).all()


@pytest.mark.parametrize(("length", "change", "twice"), [(1380, 60, None), (1500, -60, 2)])
def test_hours_when_the_clocks_change(length, change, twice):
    at = clock_minutes(length, change, 120 if change == 60 else 180)
    assert (at.min(), at.max(), len(at)) == (0, 1439, length)
    found = hourly(np.ones((1, length)), at)[0]
    assert np.isnan(found).sum() == (1 if change == 60 else 0)
    assert np.isnan(found[2]) == (change == 60)
    if twice:
        assert (at // 60 == twice).sum() == 120
    assert np.nanmax(found) == 60


def states(*nights):
    """Clock minutes asleep from 0 to each given minute."""
    found = np.zeros((1, len(nights), 1440), np.int8)
    for day, until in enumerate(nights):
        found[0, day, :until] = 1
    return found


def test_sleep_regularity_in_closed_form():
    assert sleep_regularity(states(*[480] * 6))[0][0] == 100
    opposite = states(*[720] * 6)
    opposite[0, 1::2] = 1 - opposite[0, 1::2]
    assert sleep_regularity(opposite)[0][0] == -100
    # two hours a day differ
    assert sleep_regularity(states(*[480, 360] * 4))[0][0] == pytest.approx(100 - 200 * 120 / 1440)
    chance = np.random.default_rng(1).integers(0, 2, (1, 20, 1440), np.int8)
    assert abs(sleep_regularity(chance)[0][0]) < 2


def test_sleep_regularity_against_plain_reading():
    own = np.random.default_rng(6).choice([-1, 0, 0, 0, 1, 1], (3, 9, 1440)).astype(np.int8)
    own[:, :, :600] = np.abs(own[:, :, :600])  # enough of each day known
    own[:, :, 600:1300] = np.maximum(own[:, :, 600:1300], 0)
    found, pairs = sleep_regularity(own)
    for number, days in enumerate(own.tolist()):
        same = known = 0
        for first, second in zip(days, days[1:], strict=False):  # noqa: RUF007
            both = [(a, b) for a, b in zip(first, second, strict=True) if a >= 0 and b >= 0]
            same, known = same + sum(a == b for a, b in both), known + len(both)
        assert found[number] == pytest.approx(200 * same / known - 100, rel=1e-12)
    assert pairs.tolist() == [8] * 3


@pytest.mark.parametrize(("days", "known", "stands"), [(6, 960, True), (5, 1440, False), (6, 959, False)])
def test_five_pairs_of_days(days, known, stands):
    own = states(*[480] * days)
    own[0, :, known:] = -1
    index, pairs = sleep_regularity(own)
    assert np.isfinite(index[0]) == stands
    assert (regularity_quality(int(pairs[0])) is None) == stands
    assert np.isnan(sleep_regularity(np.full((1, 28, 1440), -1, np.int8))[0][0])
    assert len(sleep_regularity(np.zeros((0, 28, 1440), np.int8))[0]) == 0
