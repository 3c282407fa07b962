"""LF and HF against known sines, scipy's Welch and a generalised Lomb-Scargle; and the gate."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.signal import welch

from analytics.features import hrv, spectral

WINDOW = 300_000_000


def beats(seconds=300, lf=20.0, hf=30.0, noise=0.0, seed=1):
    """Intervals with sines of 0.1 and 0.25 Hz of these amplitudes (ms)."""
    rng = np.random.default_rng(seed)
    rr, now = [], 0.0
    while now < seconds - 1.2:
        wave = lf * np.sin(2 * np.pi * 0.1 * now) + hf * np.sin(2 * np.pi * 0.25 * now)
        rr.append(900 + wave + rng.normal(0, noise))
        now += rr[-1] / 1000
    return np.array(rr)


def one(rr, flags=None, gap_at=None, gap_us=0, is_kept=True):
    ends = np.cumsum(rr * 1000).astype(np.int64)
    if gap_at is not None:
        ends[gap_at:] += gap_us
    flags = np.zeros(len(rr), bool) if flags is None else flags
    edges = np.array([[0, ends[-1]]])
    powers, codes = spectral.spectra(rr, ends, flags, np.array([[0, len(rr), 0]]), edges, np.array([is_kept]))
    return powers[0], int(codes[0])


def scipy_bands(rr):
    ends = np.cumsum(rr * 1000).astype(np.int64) / 1e6
    grid = ends[0] + np.arange(int((ends[-1] - ends[0]) * 4) + 1) / 4
    points = CubicSpline(ends, rr, bc_type="natural")(grid)
    length = min(len(points), 1024)
    # of a window longer than one segment, the first and the last
    parts = [points[:1024], points[-1024:]] if len(points) > 1024 else [points]
    density = 0
    for part in parts:
        hz, one_density = welch(part, 4, "hann", nperseg=length, nfft=1024, detrend="constant")
        density = density + one_density / len(parts)
    bands = [(hz >= low) & (hz < high) for low, high in ((0.04, 0.15), (0.15, 0.4))]
    return [density[band].sum() * hz[1] for band in bands]


def lomb_bands(rr):
    """Generalised Lomb-Scargle (floating mean), ms^2/Hz: least squares at every frequency."""
    ends = np.cumsum(rr) / 1000
    step = 1 / (ends[-1] - ends[0])
    hz = np.arange(0.04, 0.4, step)
    residual = ((rr - rr.mean()) ** 2).sum()
    density = []
    for f in hz:
        design = np.stack([np.cos(2 * np.pi * f * ends), np.sin(2 * np.pi * f * ends), np.ones(len(rr))], 1)
        left = rr - design @ np.linalg.lstsq(design, rr)[0]
        # half the squared amplitude a sine of this frequency explains, per bin
        density.append((residual - (left**2).sum()) / len(rr) / step)
    density = np.array(density)
    return density[hz < 0.15].sum() * step, density[hz >= 0.15].sum() * step


@pytest.mark.parametrize(("seconds", "seed"), [(300, 1), (300, 2), (240, 3), (150, 4)])
def test_scipy_agrees(seconds, seed):
    rr = beats(seconds, noise=25, seed=seed)
    powers, code = one(rr)
    assert code == 0
    assert powers == pytest.approx(scipy_bands(rr), rel=1e-9)


def test_a_sine_has_half_its_squared_amplitude():
    powers, _ = one(beats(lf=20, hf=30))
    # the spline takes a few percent of a wave of four seconds
    assert powers == pytest.approx([200, 450], rel=0.06)


def test_lomb_scargle_agrees_without_resampling():
    rr = beats(lf=25, hf=25, noise=3, seed=5)
    assert one(rr)[0] == pytest.approx(lomb_bands(rr), rel=0.12)


def test_long_series_average_their_segments():
    rr = beats(3600, noise=10)
    assert one(rr)[0] == pytest.approx(one(rr[:300])[0], rel=0.1)


def test_at_most_five_percent_flagged():
    rr = beats()[:300]
    for count, code in ((15, 0), (16, 2)):
        flags = np.zeros(300, bool)
        flags[10 : 10 + 17 * count : 17] = True
        powers, found = one(rr, flags)
        assert found == code
        assert np.isnan(powers).all() == (code != 0)


def test_no_gap_of_more_than_five_seconds():
    assert one(beats(), gap_at=100, gap_us=5_000_000)[1] == 0
    assert one(beats(), gap_at=100, gap_us=5_001_000)[1] == 3
    # before the first beat, too
    assert one(beats(), gap_at=0, gap_us=5_001_000)[1] == 3


def test_two_minutes_at_least():
    # from the end of the first interval to the end of the last
    assert one(np.full(121, 1000.0))[1] == 0
    assert one(np.full(120, 1000.0))[1] == 4


def test_a_window_that_does_not_count_has_none():
    assert one(beats(), is_kept=False)[1] == 1


def test_windows_carry_them():
    rr = np.round(beats(1800, noise=5)).astype(np.uint16)
    ends = np.cumsum(rr.astype(np.int64)) * 1000
    found = hrv.windows(rr, ends, np.arange(len(rr)) == 0)
    stands = found.spectral_code == 0
    assert stands.any()
    assert np.isnan(found.lf_ms2[~stands]).all()
    assert found.lf_ms2[stands] == pytest.approx(200, rel=0.3)
    assert found.hf_ms2[stands] == pytest.approx(450, rel=0.3)
