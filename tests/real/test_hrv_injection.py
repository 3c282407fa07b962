"""Missed, extra and early beats put into clean stretches of real recordings, and taken out again."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from analytics.features import artifacts, hrv

WINDOW_MS = 300_000


@pytest.fixture(scope="module")
def clean(real_data):
    """Five-minute stretches without a Lipponen-Tarvainen flag."""
    rows = pq.read_table(real_data / "rr" / "nsr2db_16.parquet").sort_by(
        [("rec", "ascending"), ("beat", "ascending")]
    )
    names, first = np.unique(rows["rec"].to_numpy(), return_index=True)
    found = []
    for recording in np.split(rows["rr_ms"].to_numpy().astype(np.float64), first[1:]):
        classes = artifacts.classify(recording)
        window = np.cumsum(recording) // WINDOW_MS
        for cut in np.split(np.arange(len(recording)), np.flatnonzero(np.diff(window)) + 1):
            rr = recording[cut]
            is_full = 0.98 * WINDOW_MS < rr.sum() < 1.02 * WINDOW_MS
            if is_full and not classes[cut].any() and rr.min() >= 300 and rr.max() <= 2000:
                found.append(rr)
    assert len(names) == 16
    assert len(found) >= 190
    return found


def spoil(rr, rate, rng):
    """Miss a share of beats, see as many that are not there, and 30 % of that too early."""
    beats = np.cumsum(rr)
    kind = rng.random(len(beats))
    early = (kind >= rate) & (kind < 1.3 * rate)
    early[[0, -1]] = False
    # an early beat comes after 60 to 80 % of its interval
    beats = beats - early * rr * rng.uniform(0.2, 0.4, len(rr))
    is_missed = kind < rate
    is_missed[[0, -1]] = False
    extra = np.flatnonzero(rng.random(len(rr)) < rate)
    extra = extra[extra > 0]
    added = beats[extra] - rr[extra] * rng.uniform(0.3, 0.7, len(extra))
    beats = np.sort(np.concatenate([beats[~is_missed], added]))
    return np.diff(np.concatenate([[0], beats]))


def errors_pct(clean, rate):
    rng = np.random.default_rng(2019)
    found = []
    for rr in clean:
        true = hrv.time_domain(rr).rmssd_ms
        spoilt = spoil(rr, rate, rng)
        got = hrv.time_domain(spoilt, flagged=hrv.artifacts(spoilt)).rmssd_ms
        found.append(100 * (got / true - 1))
    return np.array(found)


@pytest.mark.parametrize(
    ("rate", "median_pct", "p90_pct"), [(0.005, 1, None), (0.02, 1, 10), (0.05, 2, None)]
)
def test_rmssd_survives(clean, rate, median_pct, p90_pct, capsys):
    errors = errors_pct(clean, rate)
    assert not np.isnan(errors).any()
    with capsys.disabled():
        spread = np.quantile(np.abs(errors), 0.9)
        print(
            f"\n{rate:.1%} of beats missed, as many extra: RMSSD of {len(clean)} stretches off by "
            f"{np.median(errors):+.2f} % (median), 90 % of them by at most {spread:.1f} %"
        )
    assert abs(np.median(errors)) <= median_pct
    if p90_pct is not None:
        assert np.quantile(np.abs(errors), 0.9) <= p90_pct


def test_nothing_done_would_fail(clean):
    rng = np.random.default_rng(2019)
    ratio = [hrv.time_domain(spoil(rr, 0.02, rng)).rmssd_ms / hrv.time_domain(rr).rmssd_ms for rr in clean]
    assert np.median(ratio) > 4
