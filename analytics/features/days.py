"""Features of local dates: the tables hrv_window, night, patient_day and day_clock."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.features import pulse, sleep
from analytics.features.activity import Activity, daily_activity
from analytics.features.calendar import Calendar, calendar
from analytics.features.nights import CohortNights, cohort_nights
from analytics.features.questionnaires import Answers, daily_answers
from analytics.features.sleep import Sleep, main_sleep
from analytics.tables import HRV_WINDOW, NIGHT, PATIENT_DAY
from devices.clock import MINUTE

Array = NDArray[Any]


def compute(
    con: duckdb.DuckDBPyConnection, first: date, last: date, *, patients: Sequence[str] | None = None
) -> dict[str, pa.Table]:
    """Features of everybody enrolled on the local dates `first` to `last`.

    Parameters
    ----------
    con : DuckDBPyConnection
        From :func:`analytics.store.warehouse.connect`.
    first, last : date
        Local dates, inclusive. A night belongs to the date it ends on.
    patients : sequence of str, optional
        These only.

    Returns
    -------
    dict of str to Table
        "hrv_window", "night", "patient_day" and "day_clock" in the schemas of
        :mod:`analytics.tables`. Everybody enrolled has a row per date: nulls with a reason
        where nothing came.
    """
    days = calendar(con, first, last, patients)
    con.register("local_day", days.rows)
    try:
        activity, answers = daily_activity(con, days), daily_answers(con, days)
        slept = main_sleep(con, days)
        start = np.where(slept.is_recorded, slept.start_us, days.column("start_utc"))
        end = np.where(slept.is_recorded, slept.end_us, days.column("assumed_end_utc"))
        # sleep past noon is not cut: its night reaches as far as the sleep
        found = cohort_nights(con, days.reaching(start, end), start, end)
        night, segments = _nights(con, days, slept, found, np.stack([start, end], axis=1))
    finally:
        con.unregister("local_day")
    windows = pa.concat_tables([HRV_WINDOW.empty_table(), *found.windows])
    return {
        "hrv_window": windows.sort_by([(name, "ascending") for name in _WINDOW_KEY]),
        "night": night,
        "patient_day": _patient_days(days, activity, answers, night, segments),
        "day_clock": activity.by_clock,
    }


_WINDOW_KEY = ("patient", "local_date", "device", "window_start_utc")


def _nights(
    con: duckdb.DuckDBPyConnection, days: Calendar, slept: Sleep, found: CohortNights, sleep_us: Array
) -> tuple[pa.Table, list[list[str]]]:
    """The table night, and per row which devices its sleep, HRV and resting heart rate came from."""
    without = np.array([row for row in range(days.count) if _resting(found, row) is None], np.int64)
    by_pulse = pulse.resting_rates(con, days, without, sleep_us)
    columns: dict[str, list[Any]] = {
        name: [] for name in NIGHT.names if name not in ("patient", "local_date")
    }
    segments: list[list[str]] = []
    for row in range(days.count):
        values = _sleep_values(slept, found, row, sleep_us, row in by_pulse) | _hrv_values(slept, found, row)
        streams = [("sleep", slept.device[row] if slept.quality[row] is None else None)]
        own = found.by_row.get(row)
        # another kind of sensor is another method, whoever made both
        heard = f"{own.device}/{own.sensor}" if own and values["rmssd_ms"] is not None else None
        streams.append(("hrv", heard))
        rate, device = _resting(found, row) or by_pulse.get(row, (None, None))
        values["resting_hr_bpm"] = rate
        streams.append(("pulse", device))
        segments.append([f"{stream}={name}" for stream, name in streams if name])
        for name, column in columns.items():
            column.append(values[name])
    rows = pa.table(
        [
            days.rows["patient"],
            days.rows["local_date"],
            *(pa.array(column, NIGHT.field(name).type) for name, column in columns.items()),
        ],
        schema=NIGHT,
    )
    return rows, segments


def _resting(found: CohortNights, row: int) -> tuple[float, str] | None:
    own = found.by_row.get(row)
    if own is None or np.isnan(own.values.resting_hr_bpm):
        return None
    return own.values.resting_hr_bpm, own.device


def _sleep_values(
    slept: Sleep, found: CohortNights, row: int, sleep_us: Array, has_pulse: bool
) -> dict[str, Any]:
    source = "recorded" if slept.is_recorded[row] else None
    if source is None and (row in found.by_row or has_pulse):
        source = "assumed_night"
    return {
        "sleep_source": source,
        "sleep_start_utc": int(sleep_us[row, 0]) if source else None,
        "sleep_end_utc": int(sleep_us[row, 1]) if source else None,
        **{name: _number(slept.values[name][row]) for name in sleep.VALUES if name != "awakening_count"},
        "awakening_count": _whole(slept.values["awakening_count"][row]),
        "nap_count": _whole(slept.nap_count[row]),
        "nap_min": _number(slept.nap_min[row]),
        "sleep_quality": slept.quality[row],
    }


def _hrv_values(slept: Sleep, found: CohortNights, row: int) -> dict[str, Any]:
    own = found.by_row.get(row)
    if own is None:
        nothing = dict.fromkeys(
            ("coverage_pct", "mean_nn_ms", "rmssd_ms", "ln_rmssd", "sdnn_ms", "pnn50_pct", "sensor")
        )
        return {"rr_count": 0, "window_count": 0, "hrv_quality": "no RR intervals", **nothing}
    values = own.values
    reason = values.quality
    # a nap of ten windows is no night: a recorded sleep that is too short takes its HRV with it
    if reason is None and slept.is_recorded[row]:
        reason = slept.quality[row]
    stands = reason is None
    rmssd = values.rmssd_ms if stands else np.nan
    return {
        "rr_count": own.rr_count,
        "window_count": values.window_count,
        "coverage_pct": values.coverage_pct,
        "mean_nn_ms": _number(values.mean_nn_ms if stands else np.nan),
        "rmssd_ms": _number(rmssd),
        "ln_rmssd": float(np.log(rmssd)) if rmssd > 0 else None,
        "sdnn_ms": _number(values.sdnn_ms if stands else np.nan),
        "pnn50_pct": _number(values.pnn50_pct if stands else np.nan),
        "sensor": own.sensor,
        "hrv_quality": reason,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _whole(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


def _patient_days(
    days: Calendar, activity: Activity, answers: Answers, night: pa.Table, segments: list[list[str]]
) -> pa.Table:
    minutes = (days.column("end_utc") - days.column("start_utc")) // MINUTE
    for row, device in enumerate(activity.device):
        if device is not None and activity.quality[row] is None:
            segments[row].insert(0, f"steps={device}")
    columns: Mapping[str, Any] = {
        "patient": days.rows["patient"],
        "local_date": days.rows["local_date"],
        "zone": days.rows["zone"],
        "day_minutes": pa.array(minutes, pa.int32()),
        "steps": pa.array(activity.steps, from_pandas=True),
        "wear_min": pa.array(activity.wear_min),
        "is_valid_day": pa.array(activity.is_valid_day),
        "quality": pa.array(activity.quality, pa.string()),
        "nrs": pa.array(answers.nrs, from_pandas=True),
        "mood": pa.array(answers.mood, from_pandas=True),
        "is_flare_reported": pa.array(answers.is_flare_reported),
        "practice_min": pa.array(answers.practice_min, from_pandas=True),
        **answers.flare_items,
        **{name: night[name] for name in ("tst_min", "waso_min", "midpoint_h", "resting_hr_bpm", "rmssd_ms")},
        "not_worn_min": pa.array(activity.not_worn_min),
        **{
            name: pa.array(values, PATIENT_DAY.field(name).type, from_pandas=True)
            for name, values in activity.values.items()
        },
        "vendor_difference_steps": pa.array(activity.vendor_difference, from_pandas=True),
        "cadence_quality": pa.array(activity.cadence_quality, pa.string()),
        "device_segment": pa.array([" ".join(parts) or None for parts in segments], pa.string()),
    }
    return pa.table([columns[name] for name in PATIENT_DAY.names], schema=PATIENT_DAY)
