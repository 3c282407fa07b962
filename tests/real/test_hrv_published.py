"""HRV values other people published, through the kernel that serves the nights."""

import json

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analytics.features import artifacts, hrv, spectral
from flows import cli


@pytest.fixture(scope="module")
def anchors(real_data):
    return json.loads((real_data / "anchors" / "anchors.json").read_text())


def short_series(real_data, name):
    rows = pq.read_table(real_data / "anchors" / "short_series.parquet")
    return rows.filter(pc.equal(rows["series"], name))["rr_ms"].to_numpy()


def test_welltory_all_recordings(real_data):
    rows = pq.read_table(real_data / "rr" / "welltory.parquet")
    published = {name: rows[f"published_{name}"].to_numpy() for name in ("meanrr", "sdnn", "rmssd", "pnn50")}
    found = [hrv.time_domain(recording.values.to_numpy()) for recording in rows["rr_ms"]]
    assert len(found) == 3245
    ours = {
        "meanrr": [values.mean_nn_ms for values in found],
        "sdnn": [values.sdnn_ms for values in found],
        "rmssd": [values.rmssd_ms for values in found],
        "pnn50": [values.pnn50_pct for values in found],
    }
    # half a unit of the last published digit
    rounding = {"meanrr": 0.0005, "sdnn": 0.0005, "rmssd": 0.0005, "pnn50": 0.005}
    for name, values in ours.items():
        assert np.abs(np.array(values) - published[name]).max() <= rounding[name] + 1e-9, name


def test_the_command_on_the_same_file(real_data, tmp_path):
    file, out = real_data / "rr" / "welltory.parquet", tmp_path / "out.parquet"
    command = ["hrv", str(file), "--raw", "--window", "whole", "--recording", "recording", "--out", str(out)]
    assert cli.main(command) == 0
    published = {row["recording"]: row for row in pq.read_table(file).to_pylist()}
    found = pq.read_table(out).to_pylist()
    assert len(found) == len(published) == 3245
    for row in found:
        theirs = published[row["recording"]]
        assert abs(row["mean_nn_ms"] - theirs["published_meanrr"]) <= 0.0005 + 1e-9
        assert abs(row["sdnn_ms"] - theirs["published_sdnn"]) <= 0.0005 + 1e-9
        assert abs(row["rmssd_ms"] - theirs["published_rmssd"]) <= 0.0005 + 1e-9
        assert abs(row["pnn50_pct"] - theirs["published_pnn50"]) <= 0.005 + 1e-9


def test_kubios(real_data, anchors):
    published = anchors["kubios22_systole_rr"]
    values = hrv.time_domain(short_series(real_data, "systole_rr"))
    assert values.nn_count == published["n"]
    assert values.mean_nn_ms == pytest.approx(published["mean_rr"], rel=1e-4)
    assert values.rmssd_ms == pytest.approx(published["rmssd"], rel=1e-4)
    assert values.sdnn_ms == pytest.approx(published["sdnn"], rel=1e-4)
    assert values.pnn50_pct == pytest.approx(published["pnn50"], abs=0.005)
    assert values.sd1_ms == pytest.approx(published["sd1"], abs=0.05)
    assert values.sd2_ms == pytest.approx(published["sd2"], abs=0.05)


def test_kubios_spectrum(real_data, anchors):
    published = anchors["kubios22_systole_rr"]
    rr = short_series(real_data, "systole_rr")
    ends = np.cumsum(rr * 1000).astype(np.int64)
    powers, codes = spectral.spectra(
        rr,
        ends,
        np.zeros(len(rr), bool),
        np.array([[0, len(rr), 0]]),
        np.array([[0, ends[-1]]]),
        np.array([True]),
    )
    assert codes[0] == 0
    lf, hf = powers[0]
    assert lf == pytest.approx(published["lf"], rel=0.01)
    assert hf == pytest.approx(published["hf"], rel=0.01)
    assert lf / hf == pytest.approx(published["lfhf"], rel=0.01)


@pytest.mark.parametrize("name", [f"nsr00{number}" for number in range(1, 6)])
def test_lipponen_tarvainen_classes(real_data, anchors, name):
    rows = pq.read_table(real_data / "rr" / "nsr2db_16.parquet", filters=[("rec", "==", name)])
    rr = rows.sort_by("beat")["rr_ms"].to_numpy().astype(np.float64)
    peaks = np.concatenate([[0], np.round(1000 * np.cumsum(np.round(rr * 0.128) / 128))])
    counts = np.bincount(artifacts.classify(np.diff(peaks)), minlength=5)
    order = (artifacts.ECTOPIC, artifacts.MISSED, artifacts.EXTRA, artifacts.LONG_OR_SHORT)
    assert [int(counts[number]) for number in order] == anchors["lt2019_nk_0.2.13_counts"][name]


def test_hrvanalysis(real_data, anchors):
    published = anchors["hrvanalysis_test"]
    values = hrv.time_domain(short_series(real_data, "hrvanalysis_test"))
    assert values.nn_count == published["n"]
    assert values.mean_nn_ms == pytest.approx(published["mean"], rel=1e-14)
    assert values.sdnn_ms == pytest.approx(published["sdnn"], rel=1e-14)
    assert values.rmssd_ms == pytest.approx(published["rmssd"], rel=1e-14)
    assert values.pnn50_pct == pytest.approx(published["pnn50"], rel=1e-14)
    assert values.sd1_ms == pytest.approx(published["sd1"], rel=1e-14)
    assert values.sd2_ms == pytest.approx(published["sd2"], rel=1e-14)


def test_pyhrv(real_data, anchors):
    published = anchors["pyhrv_sample_long"]
    values = hrv.time_domain(
        pq.read_table(real_data / "anchors" / "pyhrv_sample_long.parquet")["nn_ms"].to_numpy()
    )
    assert values.nn_count == published["n"]
    assert values.mean_nn_ms == pytest.approx(published["mean"], abs=0.0005)
    assert values.sdnn_ms == pytest.approx(published["sdnn"], abs=0.0005)
    assert values.rmssd_ms == pytest.approx(published["rmssd"], abs=0.0005)
    # its pNN50 of 28.571 divides by the beats (or rounds down); the count is the same
    assert round(values.pnn50_pct * (published["n"] - 1) / 100) == published["nn50"]


def test_rhrv_unfiltered(real_data, anchors):
    published = anchors["rhrv_example_beats"]
    times = pq.read_table(real_data / "anchors" / "rhrv_example_beats.parquet")["beat_time_s"].to_numpy()
    rr = 1000 * np.diff(times)
    # that package gives the first beat the interval of the second
    values = hrv.time_domain(np.concatenate([rr[:1], rr]))
    assert values.nn_count == published["n_raw"]
    assert values.sdnn_ms == pytest.approx(published["unfiltered"]["sdnn"], rel=1e-9)
    assert values.rmssd_ms == pytest.approx(published["unfiltered"]["rmssd"], rel=1e-9)


def rhrv_accepts(hr):
    """The package's own filter with its defaults, which is not ours: True for beats it keeps.

    Every beat against its neighbours and a running mean that includes it; the limit
    follows the spread of every fiftieth stretch, in whole percent.
    """
    keeps = np.zeros(len(hr), bool)
    keeps[0] = True
    limit, mean_limit, mean = 13, 19, hr[0]
    ring = np.zeros(50)
    ring[0] = hr[0]
    for i in range(1, len(hr) - 1):
        mean = (mean * i + hr[i]) / (i + 1) if i < 50 else mean + (hr[i] - ring[i % 50]) / 50
        ring[i % 50] = hr[i]
        off = [100 * abs(hr[i] / other - 1) for other in (hr[i - 1], hr[i + 1], mean)]
        keeps[i] = (off[0] < limit or off[1] < limit or off[2] < mean_limit) and 25 < hr[i] < 200
        if i >= 50 and i % 50 == 0:
            limit = int(min(20, max(12, 10 + np.sqrt(np.mean((ring - mean) ** 2)))))
            mean_limit = int(1.5 * limit)
    return keeps


def test_rhrv_filtered(real_data, anchors):
    published = anchors["rhrv_example_beats"]
    times = pq.read_table(real_data / "anchors" / "rhrv_example_beats.parquet")["beat_time_s"].to_numpy()
    rr = 1000 * np.diff(times)
    rr = np.concatenate([rr[:1], rr])
    keeps = rhrv_accepts(60_000 / rr)
    nn, ends = rr[keeps], times[keeps]
    # that package differences what remains side by side, over the beats it took out too
    values = hrv.time_domain(nn)
    assert values.nn_count == published["n_after_FilterNIHR"]
    assert values.sdnn_ms == pytest.approx(published["sdnn"], rel=1e-9)
    assert values.rmssd_ms == pytest.approx(published["rmssd"], rel=1e-9)
    assert values.pnn50_pct == pytest.approx(published["pnn50"], rel=1e-9)
    pieces = [
        hrv.time_domain(nn[(ends >= low) & (ends < low + 300)]) for low in np.arange(0, ends[-1] - 300, 300)
    ]
    means = [piece.mean_nn_ms for piece in pieces]
    assert np.std(means, ddof=1) == pytest.approx(published["sdann"], rel=1e-9)
    assert np.mean([piece.sdnn_ms for piece in pieces]) == pytest.approx(published["sdnnidx"], rel=1e-9)


def test_nsr_recordings_have_windows(real_data):
    rows = pq.read_table(real_data / "rr" / "nsr2db_16.parquet")
    beats = 0
    for name in pc.unique(rows["rec"]).to_pylist():
        rr = rows.filter(pc.equal(rows["rec"], name))["rr_ms"].to_numpy()
        ends = np.cumsum(rr.astype(np.int64)) * 1000
        found = hrv.windows(rr, ends, np.arange(len(rr)) == 0)
        beats += int(found.rr_count.sum())
        assert found.is_kept.mean() > 0.5
        kept = found.rmssd_ms[found.is_kept]
        assert 5 < np.median(kept) < 100
    assert beats > 1_600_000
