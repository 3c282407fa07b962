"""Compiled code computes what is written, rounding and all.

Where a compiler may reorder sums, code loaded from numba's cache and code just compiled differ in
the last bit: the same night, computed again, would not be the same night. The Python interpreter
reorders nothing: it is what every compiled result is held against, bit for bit.
"""

import json
import os
import subprocess
import sys

import numpy as np

from analytics.features import artifacts, hrv, hrv_kernel, spectral

KERNELS = (artifacts, hrv_kernel, spectral)


def beats():
    """Forty minutes with missed, extra and early beats, a gap, and a run that comes twice."""
    rng = np.random.default_rng(7)
    count = 2600
    slow = 60 * np.sin(np.arange(count) / 14) + 25 * np.sin(np.arange(count) / 3)
    rr = np.round(920 + slow + rng.normal(0, 30, count)).astype(np.uint16)
    rr[rng.integers(0, count, 12)] *= 2
    rr[rng.integers(0, count, 12)] //= 2
    rr[1200:1240] = 2900
    rr[1240:1242] = 250, 640
    return rr


def computed():
    """Every array the kernels give for them, as text that keeps each bit."""
    rr = beats()
    edges = np.array([0, 700, 1500, 1500, len(rr)])
    starts = 1_780_000_200_000_000 + np.cumsum(
        [0, *(1000 * int(part.sum()) for part in np.split(rr, edges[1:-1])[:-1])]
    )
    starts += np.array([0, 0, 9_000_000, -40_000_000])
    ends, breaks = np.empty(len(rr), np.int64), np.empty(len(rr), bool)
    is_new, is_joined = np.array([True, False, False, False]), np.array([False, True, False, False])
    count = hrv_kernel.place_beats(rr, edges, starts, is_new, is_joined, ends, breaks)
    rr, ends, breaks = rr[:count], ends[:count], breaks[:count]
    slices = np.array([[0, count], [300, 1900]])
    sleep = np.array([[ends[0] - 10_000_000, ends[-1]], [ends[300], ends[1900] - 5_000_000]])
    batch = hrv.nights(rr, ends, breaks, slices, sleep)
    short = np.array([[0, 180]])
    span = np.array([[ends[0] - 900_000, ends[179]]])
    found = dict(vars(batch.windows))
    found |= {"offsets": batch.offsets, "rr_count": batch.rr_count, "coverage": batch.coverage_pct}
    found |= {"resting": batch.resting_hr_bpm, "ends": ends, "flags": hrv.artifacts(rr)}
    beats_of = np.concatenate([short, np.zeros((1, 1), int)], axis=1)
    found["short"] = spectral.spectra(rr, ends, np.zeros(count, bool), beats_of, span, np.array([True]))[0]
    return {name: np.ascontiguousarray(value).tobytes().hex() for name, value in found.items()}


def test_the_compiler_changes_no_bit():
    compiled = computed()
    program = "import json; from tests.unit import test_same_bits as t; print(json.dumps(t.computed()))"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    written = json.loads(done.stdout)
    assert sorted(written) == sorted(compiled)
    assert [name for name in compiled if compiled[name] != written[name]] == []


def test_the_beats_say_something():
    """Every kind of value is there: kept and dropped windows, spectra and reasons for none."""
    windows = hrv.windows(beats(), 1000 * np.cumsum(beats().astype(np.int64)), np.zeros(2600, bool))
    assert windows.is_kept.sum() > 0
    assert 0 < (~np.isnan(windows.lf_ms2)).sum() < len(windows.lf_ms2)
