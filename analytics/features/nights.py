"""HRV of a cohort's nights: RR lists from the warehouse, in chunks, through one kernel.

A night has one sensor: of several devices the one with the most counting windows
speaks for it, values of two devices are never mixed.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analytics.features import hrv, hrv_kernel, spectral
from analytics.features.calendar import Calendar
from analytics.features.hrv import NightBatch
from analytics.features.statements import select
from analytics.tables import HRV_WINDOW
from devices.tables import UTC

#: RR time read at once: 40 million seconds hold about 50 million beats, 100 MB as they lie in the lake. Every
#: chunk scans the files anew, and their rows are not sorted by patient: few large chunks.
CHUNK_S: Final = 40_000_000
#: Beats put on the time line at once: with their instants, breaks and flags they take 60 MB.
PIECE_BEATS: Final = 5_000_000
_THREADS: Final = 2

Array = NDArray[Any]


@dataclass(frozen=True)
class DeviceNight:
    """HRV of one patient-day from one device."""

    row: int  # of the calendar
    device: str
    sensor: str
    rr_count: int
    values: hrv.Night


@dataclass
class CohortNights:
    """HRV of a cohort: the device that speaks for each night, and the windows of all."""

    by_row: dict[int, DeviceNight] = field(default_factory=dict[int, DeviceNight])
    windows: list[pa.Table] = field(default_factory=list[pa.Table])

    def add(self, found: DeviceNight) -> None:
        """Keep the device with more counting windows, then more beats, then the smaller name."""
        held = self.by_row.get(found.row)
        if held is None or _rank(found) > _rank(held):
            self.by_row[found.row] = found


def _rank(found: DeviceNight) -> tuple[int, int]:
    return found.values.window_count, found.rr_count


@dataclass(frozen=True)
class _Beats:
    """Beats of a chunk on the time line, group by group (patient, device, sensor)."""

    rr_ms: Array
    end_us: Array
    is_break: Array
    groups: list[tuple[str, str, str]]
    group_slices: Array  # (groups, 2) into beats


@dataclass(frozen=True)
class _Jobs:
    """Nights of a chunk: which calendar row, which group, which beats, which sleep."""

    row: Array
    group: Array
    beats: Array  # (nights, 2)
    sleep_us: Array  # (nights, 2)


def cohort_nights(
    con: duckdb.DuckDBPyConnection, calendar: Calendar, start_us: Array, end_us: Array
) -> CohortNights:
    """HRV of every night of the calendar that has RR intervals.

    Parameters
    ----------
    start_us, end_us : arrays of int64 (patient-days,), microseconds UTC
        The sleep of each patient-day of the calendar.
    """
    found = CohortNights()

    def read(patients: list[str]) -> None:
        # what was read is gone before more is
        runs = select(con, "select_rr", calendar.night_arguments() | {"patients": patients})
        for low, high in _pieces(runs):
            beats = _place(runs.slice(low, high - low))
            jobs = _plan(calendar, beats, start_us, end_us)
            for part, batch in _compute(beats, jobs):
                _collect(found, calendar, beats, part, batch)

    for patients in _chunks(con, calendar):
        read(patients)
    return found


def _chunks(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Iterator[list[str]]:
    """Patients with RR intervals, as many at a time as memory holds comfortably."""
    load = select(con, "select_rr_load", calendar.night_arguments())
    waiting: list[str] = []
    seconds = 0.0
    for patient, own in zip(load["patient"].to_pylist(), load["seconds"].to_pylist(), strict=True):
        if waiting and seconds + own > CHUNK_S:
            yield waiting
            waiting, seconds = [], 0.0
        waiting.append(patient)
        seconds += own
    if waiting:
        yield waiting


def _pieces(runs: pa.Table) -> Iterator[tuple[int, int]]:
    """First run and end (exclusive) of whole patients, as many beats at a time as `PIECE_BEATS` allows."""
    patients = runs["patient"].combine_chunks().dictionary_encode().indices.to_numpy()
    ends = np.append(np.flatnonzero(np.diff(patients)) + 1, runs.num_rows)
    beats = np.cumsum(pc.list_value_length(runs["rr_ms"]).to_numpy(), dtype=np.int64)  # pyright: ignore
    low = 0
    while low < runs.num_rows:
        before = beats[low - 1] if low else 0
        # the first patient's end after `low`, or the last one within the limit
        within = ends[(ends > low) & (beats[ends - 1] - before <= PIECE_BEATS)]
        high = int(within[-1] if len(within) else ends[ends > low][0])
        yield low, high
        low = high


def _place(runs: pa.Table) -> _Beats:
    lists = runs["rr_ms"].combine_chunks()
    rr = lists.flatten().to_numpy(zero_copy_only=False).copy()
    # flatten() drops what lies before the first list: offsets start at 0 again
    offsets = np.asarray(lists.offsets.to_numpy(), np.int64)
    offsets -= offsets[0]
    keys = [runs[name].combine_chunks().dictionary_encode() for name in ("patient", "device", "sensor")]
    codes = np.stack([key.indices.to_numpy() for key in keys])
    is_new = np.ones(runs.num_rows, np.bool_)
    is_new[1:] = np.any(codes[:, 1:] != codes[:, :-1], axis=0)
    ends = np.empty(len(rr), np.int64)
    breaks = np.empty(len(rr), np.bool_)
    start = runs["start_us"].to_numpy()
    count = hrv_kernel.place_beats(rr, offsets, start, is_new, _joined(runs, offsets, is_new), ends, breaks)
    first_rows = np.flatnonzero(is_new)
    cuts = offsets[np.append(first_rows, runs.num_rows)]
    patients, devices, sensors = (key.dictionary.to_pylist() for key in keys)
    groups = [
        (patients[patient], devices[device], sensors[sensor])
        for patient, device, sensor in codes[:, first_rows].T.tolist()
    ]
    return _Beats(rr[:count], ends[:count], breaks[:count], groups, np.stack([cuts[:-1], cuts[1:]], axis=1))


def _joined(runs: pa.Table, offsets: Array, is_new: Array) -> Array:
    """True where a run goes on without a gap: same connection, next beat, no silence before."""
    connection = runs["connection"].combine_chunks().dictionary_encode().indices.to_numpy()
    first_beat = runs["first_beat"].to_numpy().astype(np.int64)
    gap = runs["gap_before_ms"].combine_chunks().fill_null(1).to_numpy(zero_copy_only=False)
    joined = np.zeros(runs.num_rows, np.bool_)
    follows = first_beat[1:] == first_beat[:-1] + np.diff(offsets)[:-1]
    joined[1:] = ~is_new[1:] & (connection[1:] == connection[:-1]) & follows & (gap[1:] == 0)
    return joined


def _plan(calendar: Calendar, beats: _Beats, start_us: Array, end_us: Array) -> _Jobs:
    patients = calendar.column("patient").astype(str)
    night_start, night_end = calendar.column("night_start_utc"), calendar.column("night_end_utc")
    rows: list[Array] = []
    groups: list[Array] = []
    slices: list[Array] = []
    for number, (patient, _, _) in enumerate(beats.groups):
        low, high = beats.group_slices[number]
        own = np.arange(np.searchsorted(patients, patient), np.searchsorted(patients, patient, "right"))
        ends = beats.end_us[low:high]
        first = low + np.searchsorted(ends, night_start[own], "right")
        last = low + np.searchsorted(ends, night_end[own], "right")
        some = last > first
        rows.append(own[some])
        groups.append(np.full(int(some.sum()), number))
        slices.append(np.stack([first[some], last[some]], axis=1))
    row = np.concatenate(rows) if rows else np.empty(0, np.int64)
    sleep = np.stack([start_us[row], end_us[row]], axis=1)
    return _Jobs(row, np.concatenate(groups), np.concatenate(slices), sleep)


def _compute(beats: _Beats, jobs: _Jobs) -> list[tuple[_Jobs, NightBatch]]:
    """The kernel over the nights, a share per thread."""
    parts = [
        _Jobs(jobs.row[some], jobs.group[some], jobs.beats[some], jobs.sleep_us[some])
        for some in np.array_split(np.arange(len(jobs.row)), _THREADS)
    ]

    def run(part: _Jobs) -> NightBatch:
        return hrv.nights(beats.rr_ms, beats.end_us, beats.is_break, part.beats, part.sleep_us)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(zip(parts, pool.map(run, parts), strict=True))


def _collect(found: CohortNights, calendar: Calendar, beats: _Beats, jobs: _Jobs, batch: NightBatch) -> None:
    for number, values in enumerate(hrv.nightly(batch)):
        _, device, sensor = beats.groups[int(jobs.group[number])]
        count = int(batch.rr_count[number])
        found.add(DeviceNight(int(jobs.row[number]), device, sensor, count, values))
    found.windows.append(_window_table(calendar, beats, jobs, batch))


def _window_table(calendar: Calendar, beats: _Beats, jobs: _Jobs, batch: NightBatch) -> pa.Table:
    """Rows of the table hrv_window; windows without a beat are left out."""
    found = batch.windows
    job = np.repeat(np.arange(len(jobs.row)), np.diff(batch.offsets))
    some = np.flatnonzero(found.rr_count > 0)
    job = job[some]
    group = pa.array(jobs.group[job])
    days = calendar.rows.take(pa.array(jobs.row[job]))
    kept = found.is_kept[some]
    reason = pa.array(
        ["covered or clean too little: at least 80 % covered by NN, at most 20 % flagged", None]
    )
    real = {
        name: pa.array(getattr(found, name)[some], pa.float64(), mask=~kept)
        for name in ("mean_nn_ms", "sdnn_ms", "rmssd_ms", "pnn50_pct", "sd1_ms", "sd2_ms")
    }
    code = found.spectral_code[some]
    lf, hf = found.lf_ms2[some], found.hf_ms2[some]
    # a flat series has no power: no ratio either
    ratio = np.divide(lf, hf, out=np.full(len(lf), np.nan), where=hf > 0)
    real |= {
        name: pa.array(values, pa.float64(), mask=np.isnan(values))
        for name, values in (("lf_ms2", lf), ("hf_ms2", hf), ("lf_hf", ratio))
    }
    columns = {
        "patient": days["patient"],
        "local_date": days["local_date"],
        "device": pa.array([device for _, device, _ in beats.groups], pa.string()).take(group),
        "window_start_utc": pa.array(found.start_us[some]).cast(UTC),
        "rr_count": pa.array(found.rr_count[some]),
        "nn_count": pa.array(found.nn_count[some]),
        "coverage_pct": pa.array(found.coverage_pct[some]),
        **{name: pa.array(values, from_pandas=True) for name, values in real.items()},
        "sensor": pa.array([sensor for _, _, sensor in beats.groups], pa.string()).take(group),
        "quality": reason.take(pa.array(kept.astype(np.int64))),
        "spectral_quality": pa.array(spectral.REASONS, pa.string()).take(pa.array(code)),
    }
    return pa.table([columns[name] for name in HRV_WINDOW.names], schema=HRV_WINDOW)
