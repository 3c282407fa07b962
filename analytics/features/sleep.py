"""Main sleep of each night from stage epochs: TST, WASO, efficiency, midpoint.

``sql/select_sleep.sql`` finds the episode; what is true of it is said here. The
episode runs from sleep onset to the final awakening (IEEE 1752.1). WASO is every
minute of it that was neither asleep nor of unknown stage, minutes without an
epoch included: a device that splits a night saw its wearer get up. Efficiency is
TST over the episode, recomputed always: what vendors call so is something else.
"""

from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.features.calendar import Calendar
from analytics.features.statements import select
from devices.clock import DAY, HOUR, MINUTE, offset_minutes

#: A shorter main sleep is a nap or a piece of a night.
MIN_MAIN_SLEEP_MIN: Final = 180
#: More than this share of unknown stage leaves TST and WASO open.
MAX_UNKNOWN_SHARE: Final = 0.2

NO_RECORD: Final = "no sleep record"

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Sleep:
    """Main sleep per patient-day of a calendar; NaN (0 for instants) where there is none."""

    device: Texts
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    is_recorded: NDArray[np.bool_]
    tst_min: Floats
    waso_min: Floats
    efficiency_pct: Floats
    midpoint_h: Floats
    quality: Texts


def main_sleep(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Sleep:
    """Main sleep of every night of the calendar (table `local_day` of the connection)."""
    rows = select(con, "select_sleep", calendar.night_arguments())
    columns = {name: rows[name].combine_chunks().to_numpy(zero_copy_only=False) for name in rows.column_names}
    is_recorded = ~np.isnan(columns["tst_min"].astype(np.float64))
    start = np.where(is_recorded, columns["onset_us"], 0).astype(np.int64)
    end = np.where(is_recorded, columns["final_us"], 0).astype(np.int64)
    episode = (end - start) / MINUTE
    quality = _quality(is_recorded, episode, columns["unknown_min"])
    stands = np.array([reason is None for reason in quality], np.bool_)
    tst = np.where(stands, columns["tst_min"], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        waso = np.where(stands, episode - columns["tst_min"] - columns["unknown_min"], np.nan)
        efficiency = 100 * tst / episode
    midpoint = np.full(calendar.count, np.nan)
    zones = calendar.column("zone")
    for row in np.flatnonzero(stands):
        midpoint[row] = clock_hour(int(start[row] + end[row]) // 2, zones[row])
    return Sleep(columns["device"], start, end, is_recorded, tst, waso, efficiency, midpoint, quality)


def clock_hour(utc: int, zone: str) -> float:
    """Local clock time in hours after midnight, from -12 (noon before) to 12."""
    hour = (utc + offset_minutes(utc, ZoneInfo(zone)) * MINUTE) % DAY / HOUR
    return hour - 24 if hour >= 12 else hour


def _quality(is_recorded: NDArray[np.bool_], episode_min: Floats, unknown_min: Floats) -> Texts:
    reasons: list[Any] = []
    for recorded, minutes, unknown in zip(is_recorded, episode_min, unknown_min, strict=True):
        if not recorded:
            reasons.append(NO_RECORD)
        elif minutes < MIN_MAIN_SLEEP_MIN:
            reasons.append(f"main sleep of {minutes:.0f} min, at least {MIN_MAIN_SLEEP_MIN} needed")
        elif unknown > MAX_UNKNOWN_SHARE * minutes:
            reasons.append(f"stage unknown in {unknown:.0f} of {minutes:.0f} min")
        else:
            reasons.append(None)
    return np.array(reasons, np.object_)
