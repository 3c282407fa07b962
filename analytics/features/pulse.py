"""Resting heart rate from heart-rate samples, for nights without RR intervals."""

from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.features.calendar import Calendar
from analytics.features.hrv import HALF_HOUR_WINDOWS, WINDOW_US
from analytics.features.statements import select
from devices.tables import UTC

#: Of the six five-minute pieces of a half hour, so many must hold a sample.
MIN_PIECES: Final = 5


def lowest_half_hour(start_us: NDArray[np.int64], bpm: NDArray[Any], first_us: int, last_us: int) -> float:
    """Lowest median over half hours of the wall clock, in steps of five minutes.

    Parameters
    ----------
    start_us : array (samples,), microseconds UTC, in time order
    bpm : array (samples,), beats per minute
    first_us, last_us : int, microseconds UTC
        The sleep; half hours lie wholly inside.

    Returns
    -------
    float
        NaN when no half hour has samples in at least 5 of its 6 pieces.
    """
    edges = np.arange(-(-first_us // WINDOW_US), last_us // WINDOW_US + 1) * WINDOW_US
    bounds = np.searchsorted(start_us, edges)
    has_sample = np.diff(bounds) > 0
    lowest = np.nan
    for piece in range(len(edges) - HALF_HOUR_WINDOWS):
        if has_sample[piece : piece + HALF_HOUR_WINDOWS].sum() >= MIN_PIECES:
            middle = float(np.median(bpm[bounds[piece] : bounds[piece + HALF_HOUR_WINDOWS]]))
            lowest = middle if np.isnan(lowest) else min(lowest, middle)
    return lowest


def resting_rates(
    con: duckdb.DuckDBPyConnection, calendar: Calendar, rows: NDArray[np.int64], sleep_us: NDArray[np.int64]
) -> dict[int, tuple[float, str]]:
    """Calendar row -> resting heart rate and its device, of those `rows` that have one.

    Parameters
    ----------
    rows : array (nights,)
        Calendar rows wanted.
    sleep_us : array (patient-days, 2), microseconds UTC
        Sleep per calendar row.
    """
    windows = calendar.rows.select(["patient", "local_date"]).take(pa.array(rows))
    for name, column in (("start_utc", 0), ("end_utc", 1)):
        windows = windows.append_column(name, pa.array(sleep_us[rows, column], pa.int64()).cast(UTC))
    con.register("sleep_window", windows)
    try:
        samples = select(con, "select_pulse", {})
    finally:
        con.unregister("sleep_window")
    if not samples.num_rows:
        return {}
    number = {
        key: row
        for row, key in zip(
            rows.tolist(),
            zip(windows["patient"].to_pylist(), windows["local_date"].to_pylist(), strict=True),
            strict=True,
        )
    }
    start, bpm = samples["start_us"].to_numpy(), samples["bpm"].to_numpy()
    found: dict[int, tuple[float, str]] = {}
    for (patient, day, device), low, high in _groups(samples):
        row = number[patient, day]
        first, last = sleep_us[row]
        rate = lowest_half_hour(start[low:high], bpm[low:high], int(first), int(last))
        # several devices: the first by name that has enough, not the lowest of all
        if not np.isnan(rate) and row not in found:
            found[row] = rate, device
    return found


def _groups(samples: Any) -> list[tuple[tuple[Any, Any, str], int, int]]:
    keys = [
        samples[name].combine_chunks().dictionary_encode() for name in ("patient", "local_date", "device")
    ]
    codes = np.stack([key.indices.to_numpy() for key in keys])
    starts = np.flatnonzero(np.concatenate([[True], np.any(codes[:, 1:] != codes[:, :-1], axis=0)]))
    stops = np.append(starts[1:], codes.shape[1])
    return [
        (
            tuple(key.dictionary[int(code[low])].as_py() for key, code in zip(keys, codes, strict=True)),
            low,
            high,
        )
        for low, high in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
