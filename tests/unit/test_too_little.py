"""Every public function of numbers on empty, constant, one-value and all-missing input.

It gives null or NaN with its reason, and neither an error nor a warning (warnings are errors here).
"""

from datetime import date, timedelta

import numpy as np
import pytest

from analytics.features import (
    activity,
    artifacts,
    day_clock,
    episodes,
    hrv,
    instruments,
    pulse,
    rhythm,
    sleep,
    spectral,
    wear,
)

SERIES = {
    "empty": np.array([], np.float64),
    "one": np.array([800.0]),
    "constant": np.full(400, 800.0),
    "missing": np.full(400, np.nan),
}
NAN = pytest.approx(np.nan, nan_ok=True)
HALF_HOUR = 1_800_000_000


@pytest.fixture(params=SERIES)
def kind(request):
    return request.param


@pytest.fixture
def series(kind):
    return SERIES[kind].copy()


def ends(series):
    return np.cumsum(np.nan_to_num(series, nan=800.0)).astype(np.int64) * 1000


def breaks(series):
    return np.arange(len(series)) == 0


def test_artifacts(kind, series):
    assert artifacts.classify(series).tolist() == [artifacts.NORMAL] * len(series)
    flagged = hrv.artifacts(series)
    assert flagged.tolist() == [kind == "missing"] * len(series)


def test_time_domain(kind, series):
    for flagged in (None, hrv.artifacts(series)):
        got = hrv.time_domain(series, breaks(series), flagged=flagged)
        if kind == "constant":
            assert (got.mean_nn_ms, got.sdnn_ms, got.rmssd_ms, got.sd1_ms) == (800, 0, 0, 0)
            continue
        assert got.mean_nn_ms == (800 if kind == "one" else NAN)
        assert (got.sdnn_ms, got.rmssd_ms, got.pnn50_pct, got.sd1_ms, got.sd2_ms) == (NAN,) * 5


def test_windows_and_nights(kind, series):
    # a sleep of half an hour, and one of no length
    for length in (HALF_HOUR, 0):
        night = hrv.night(series, ends(series), breaks(series), start_us=0, end_us=length)
        assert night.quality is not None
        assert (night.mean_nn_ms, night.rmssd_ms, night.sdnn_ms, night.pnn50_pct) == (NAN,) * 4
        assert night.resting_hr_bpm == NAN
        found = hrv.windows(series, ends(series), breaks(series), start_us=0, end_us=length)
        unsaid = np.isnan(found.lf_ms2) | np.isnan(found.hf_ms2)
        assert (unsaid == (found.spectral_code > 0)).all()
        assert found.is_kept.sum() == (kind == "constant" and length > 0)
        assert np.isnan(found.rmssd_ms[~found.is_kept]).all()


def test_spectra(kind, series):
    beats = np.array([[0, len(series), 0]], np.int64)
    edges = np.array([[0, 300_000_000]], np.int64)
    flags = hrv.artifacts(series)
    for kept in (True, False):
        powers, codes = spectral.spectra(series, ends(series), flags, beats, edges, np.array([kept]))
        if kept and kind == "constant":
            # 400 beats of 800 ms are longer than five minutes: nothing varies
            assert powers.tolist() == [[0, 0]]
        assert np.isnan(powers).all(axis=1).tolist() == [codes[0] > 0]
        assert (spectral.REASONS[codes[0]] is None) == (kept and kind == "constant")
    nothing = np.zeros((0, 3), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.bool_)
    assert spectral.spectra(series, ends(series), flags, *nothing)[0].shape == (0, 2)


def test_resting_rate(kind, series):
    at = np.arange(len(series), dtype=np.int64) * 6_000_000
    got = pulse.lowest_half_hour(at, series, 0, HALF_HOUR + 300_000_000)
    assert got == (800 if kind == "constant" else NAN)
    assert pulse.lowest_half_hour(at, series, 0, 0) == NAN


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (2, 0), (2, 1), (2, 28)])
@pytest.mark.parametrize("value", [np.nan, 0.0, 5.0])
def test_rhythms(shape, value):
    found = rhythm.rhythms(np.full((*shape, 24), value))
    for row in range(shape[0]):
        assert rhythm.rhythm_quality(found, row) is not None
        assert (found.interdaily_stability[row], found.intradaily_variability[row]) == (NAN, NAN)
        enough = shape[1] == 28 and not np.isnan(value)
        assert found.l5[row] == (value if enough else NAN)
        assert found.relative_amplitude[row] == (0 if enough and value else NAN)


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0), (2, 1), (2, 28)])
@pytest.mark.parametrize("state", [-1, 0, 1])
def test_sleep_regularity(shape, state):
    index, pairs = rhythm.sleep_regularity(np.full((*shape, 1440), state, np.int8))
    for one, count in zip(index, pairs, strict=True):
        stands = shape[1] == 28 and state >= 0
        assert one == (100 if stands else NAN)
        assert (rhythm.regularity_quality(int(count)) is None) == stands


@pytest.mark.parametrize("minutes", [0, 1, 1440])
@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_hours(minutes, value):
    got = rhythm.hourly(np.full((2, minutes), value), rhythm.clock_minutes(minutes, 0, 0))
    assert np.isnan(got).all() == (minutes < 1440 or np.isnan(value))
    assert rhythm.hourly(np.zeros((0, minutes)), rhythm.clock_minutes(minutes, 0, 0)).shape == (0, 24)


def test_clock_times(kind, series):
    middle, spread = sleep.circular_hours(np.mod(series, 24))
    assert (middle, spread) == (
        (NAN, NAN) if kind in ("empty", "missing") else pytest.approx((8, 0), abs=1e-6)
    )
    dates = [date(2026, 1, 1) + timedelta(days=number) for number in range(len(series))]
    for work in (None, [], dates):
        jetlag, reason = sleep.social_jetlag(dates, series, work)
        assert jetlag == NAN
        assert reason is not None


@pytest.mark.parametrize("stage", range(5))
@pytest.mark.parametrize("count", [0, 1, 3])
def test_episodes(count, stage):
    start = np.arange(count, dtype=np.int64) * 60_000_000
    got = episodes.find_episodes(np.zeros(count, np.int64), start, start + 60_000_000, np.full(count, stage))
    assert got.count == (1 if count and stage >= episodes.LIGHT else 0)
    assert got.latency_min.tolist() == [NAN] * got.count


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (2, 0), (2, 1), (2, 1440)])
@pytest.mark.parametrize("value", [False, True])
def test_minutes(shape, value):
    flags = np.full(shape, value)
    assert wear.gaps(flags).shape == shape
    worn, not_worn = wear.judge(flags, flags, flags, flags, flags)
    assert (worn == value).all()
    assert not not_worn.any()
    total, bouts, long_bouts = activity.sedentary_bouts(flags)
    assert total.tolist() == [shape[1] * value] * shape[0]
    assert bouts.tolist() == [value and shape[1] > 0] * shape[0]
    assert long_bouts.tolist() == [value and shape[1] >= 30] * shape[0]
    if shape[1] in (0, 1440):
        turns = day_clock.turns(flags)
        states = day_clock.states(turns, day_clock.turns(np.zeros(shape, np.bool_)))
        assert states.shape == (shape[0], 1440)
        assert (states == (1 if value and shape[1] else -1)).all()


def test_vendor_totals(series):
    difference, is_reported = activity.vendor_disagreement(series, series)
    assert not is_reported.any()
    assert np.isnan(difference).tolist() == np.isnan(series).tolist()


@pytest.mark.parametrize("instrument", instruments.INSTRUMENTS)
@pytest.mark.parametrize("answer", [None, np.nan, np.inf, -np.inf])
def test_scores(instrument, answer):
    items = instruments.INSTRUMENTS[instrument].items
    some = [{}] if answer is None else [dict.fromkeys(items, answer), {items[0]: answer}]
    for answers in some:
        got = instruments.score(instrument, answers)
        assert got.value is None
        assert got.quality
