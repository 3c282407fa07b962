"""Main sleep and naps of each local date, from stage epochs.

An episode belongs to the local date on which its last sleep ends, whenever it
began: sleep that runs past local noon is one. The main sleep of a date is the
episode with the most sleep of the device that tells most of it; the other
episodes of that device are naps. An episode of more than 18 h is no record.
Vendors' summaries are never read: what they call efficiency is not TST over time
in bed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.features.calendar import Calendar, zone_at
from analytics.features.episodes import MAX_AWAKE_IN_BED, MAX_BREAK, Episodes, find_episodes
from analytics.features.statements import select
from devices.clock import DAY, HOUR, MINUTE, from_utc, offset_minutes

#: A shorter main sleep is a nap or a piece of a night.
MIN_MAIN_SLEEP_MIN: Final = 180
#: Nobody sleeps longer; a device that says so was left lying.
MAX_SLEEP: Final = 18 * HOUR
#: What lies further from a date than the longest sleep that is believed and the longest time awake in bed
#: around it changes nothing of the date: its numbers do not depend on the dates computed with it.
REACH_BEFORE: Final = MAX_SLEEP + MAX_AWAKE_IN_BED + 2 * MAX_BREAK
REACH_AFTER: Final = MAX_AWAKE_IN_BED + MAX_BREAK + MINUTE
#: More than this share of unknown stage leaves TST and WASO open.
MAX_UNKNOWN_SHARE: Final = 0.2
#: Fewer nights on work days, or on free ones, say nothing about social jetlag.
MIN_JETLAG_NIGHTS: Final = 2

_NO_RECORD: Final = "no sleep record"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
#: Values that stand or fall together.
VALUES: Final = (
    *("tst_min", "waso_min", "efficiency_pct", "midpoint_h", "in_bed_min", "latency_min"),
    *("maintenance_efficiency_pct", "light_min", "deep_min", "rem_min", "awakening_count"),
)


@dataclass(frozen=True)
class Sleep:
    """Main sleep per patient-day of a calendar; NaN (0 for instants) where there is none."""

    device: Texts
    start_us: Ints
    end_us: Ints
    is_recorded: NDArray[np.bool_]
    values: dict[str, Floats]  # by the names of VALUES
    nap_count: Floats
    nap_min: Floats
    quality: Texts


def main_sleep(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Sleep:
    """Main sleep and naps of every date of the calendar (table `local_day` of the connection)."""
    day = calendar.day_arguments()
    epochs = select(
        con,
        "select_sleep",
        {
            "first_utc": from_utc(max(_instant(day["first_utc"]) - REACH_BEFORE, 0)),
            "last_utc": from_utc(_instant(day["last_utc"]) + REACH_AFTER),
        },
    )
    patients, devices = (epochs[name].combine_chunks().dictionary_encode() for name in ("patient", "device"))
    pair = np.stack([part.indices.to_numpy() for part in (patients, devices)])
    is_new = np.ones(epochs.num_rows, np.bool_)
    is_new[1:] = np.any(pair[:, 1:] != pair[:, :-1], axis=0)
    columns = (epochs[name].to_numpy() for name in ("start_us", "end_us", "stage"))
    found = find_episodes(np.cumsum(is_new) - 1, *columns)
    whose = pair[:, is_new]
    names = np.array(devices.dictionary.to_pylist(), np.object_)[whose[1]]
    owners = np.array(patients.dictionary.to_pylist(), np.object_)[whose[0]]
    return _by_date(calendar, found, owners, names)


def _instant(moment: Any) -> int:
    return int(moment.timestamp()) * 1_000_000


def _rows(calendar: Calendar, found: Episodes, owners: Texts) -> Ints:
    """Calendar row of the local date each episode ends on; -1 when that is none of them."""
    patients = calendar.column("patient").astype(str)
    start, end = calendar.column("start_utc"), calendar.column("end_utc")
    row = np.full(found.count, -1, np.int64)
    bounds = np.searchsorted(found.group, np.arange(len(owners) + 1))
    for group, patient in enumerate(owners):
        low, high = np.searchsorted(patients, patient), np.searchsorted(patients, patient, "right")
        last = found.final_us[bounds[group] : bounds[group + 1]] - 1
        at = low + np.searchsorted(start[low:high], last, "right") - 1
        is_there = (at >= low) & (last < end[np.maximum(at, 0)])
        row[bounds[group] : bounds[group + 1]] = np.where(is_there, at, -1)
    return row


def _by_date(calendar: Calendar, found: Episodes, owners: Texts, names: Texts) -> Sleep:
    row = _rows(calendar, found, owners)
    # how long such a record is cannot be told from what was read: it is none
    is_endless = found.final_us - found.onset_us > MAX_SLEEP
    has_endless = np.isin(np.arange(calendar.count), row[is_endless])
    row[is_endless] = -1
    some = np.flatnonzero(row >= 0)
    _, pair = np.unique(np.stack([found.group[some], row[some]]), axis=1, return_inverse=True)
    told = np.bincount(pair, found.tst_min[some])[pair]
    order = np.lexsort(
        (found.onset_us[some], -found.tst_min[some], names[found.group[some]].astype(str), -told, row[some])
    )
    some = some[order]
    main = some[np.unique(row[some], return_index=True)[1]]
    at = np.full(calendar.count, -1, np.int64)
    at[row[main]] = main
    is_recorded = at >= 0
    is_nap = np.zeros(found.count, np.bool_)
    is_nap[some] = found.group[some] == found.group[at[row[some]]]
    is_nap[main] = False
    nap = np.flatnonzero(is_nap)
    counts = np.bincount(row[nap], minlength=calendar.count).astype(np.float64)
    minutes = np.bincount(row[nap], found.tst_min[nap], calendar.count).astype(np.float64)

    def spread(values: NDArray[Any], empty: Any) -> NDArray[Any]:
        return np.where(is_recorded, values[at], empty) if len(values) else np.full(len(at), empty)

    device = np.full(calendar.count, None, np.object_)
    device[is_recorded] = names[found.group[at[is_recorded]]]
    start, end = spread(found.onset_us, 0).astype(np.int64), spread(found.final_us, 0).astype(np.int64)
    told_of = {
        name: spread(getattr(found, name).astype(np.float64), np.nan)
        for name in (
            "tst_min",
            "unknown_min",
            "in_bed_min",
            "latency_min",
            "light_min",
            "deep_min",
            "rem_min",
        )
    }
    told_of["awakening_count"] = spread(found.awakening_count.astype(np.float64), np.nan)
    quality = _quality(is_recorded, has_endless, (end - start) / MINUTE, told_of["unknown_min"])
    values = _values(
        calendar, start, end, told_of, np.array([reason is None for reason in quality], np.bool_)
    )
    empty = np.where(is_recorded, 0.0, np.nan)
    return Sleep(device, start, end, is_recorded, values, counts + empty, minutes + empty, quality)


def _values(
    calendar: Calendar, start: Ints, end: Ints, told: dict[str, Floats], stands: NDArray[np.bool_]
) -> dict[str, Floats]:
    episode = (end - start) / MINUTE
    midpoint = np.full(len(start), np.nan)
    patients, zones = calendar.column("patient"), calendar.column("zone")
    for row in np.flatnonzero(stands):
        middle = int(start[row] + end[row]) // 2
        stays = calendar.moves.get(patients[row])
        midpoint[row] = clock_hour(middle, zone_at(stays, middle) if stays else zones[row])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = told | {
            "waso_min": episode - told["tst_min"] - told["unknown_min"],
            "efficiency_pct": 100 * told["tst_min"] / told["in_bed_min"],
            "maintenance_efficiency_pct": 100 * told["tst_min"] / episode,
            "midpoint_h": midpoint,
        }
    return {name: np.where(stands, values[name], np.nan) for name in VALUES}


def clock_hour(utc: int, zone: str) -> float:
    """Local clock time in hours after midnight, from -12 (noon before) to 12."""
    hour = (utc + offset_minutes(utc, ZoneInfo(zone)) * MINUTE) % DAY / HOUR
    return hour - 24 if hour >= 12 else hour


def circular_hours(hours: Floats) -> tuple[float, float]:
    """Mean (-12 to 12) and standard deviation of clock times, on the circle of 24 hours.

    The deviation is ``sqrt(-2 ln R)`` in hours (Fisher 1993). Without a time both are
    NaN; times that cancel out (R = 0) have no mean.
    """
    angle = hours[~np.isnan(hours)] * (2 * np.pi / 24)
    if not len(angle):
        return np.nan, np.nan
    middle = np.exp(1j * angle).mean()
    length = min(abs(middle), 1.0)
    if length < 1e-12:
        return np.nan, np.nan
    return float(np.angle(middle) * 24 / (2 * np.pi)), float(np.sqrt(-2 * np.log(length)) * 24 / (2 * np.pi))


def social_jetlag(
    dates: Sequence[date], midpoint_h: Floats, work_dates: Collection[date] | None
) -> tuple[float, str | None]:
    """Hours between mid-sleep on free and on work days, and why there is no number.

    Parameters
    ----------
    dates : sequence of date
        Date each sleep ended on.
    midpoint_h : array (dates,), hours after local midnight
        NaN where unknown.
    work_dates : collection of date, optional
        The patient's own work days; a calendar's weekend does not stand in for them.

    Notes
    -----
    Roenneberg 2012 with circular means. NaN below 2 nights of either kind.
    """
    if work_dates is None:
        return np.nan, "work days not known"
    works = np.array([day in work_dates for day in dates], np.bool_)
    known = ~np.isnan(midpoint_h)
    nights = int((works & known).sum()), int((~works & known).sum())
    if min(nights) < MIN_JETLAG_NIGHTS:
        reason = f"{nights[0]} nights before work and {nights[1]} free ones"
        return np.nan, f"{reason}, at least {MIN_JETLAG_NIGHTS} of each needed"
    middle = [circular_hours(midpoint_h[chosen])[0] for chosen in (works, ~works)]
    return float(abs((middle[1] - middle[0] + 12) % 24 - 12)), None


def _quality(
    is_recorded: NDArray[np.bool_], has_endless: NDArray[np.bool_], episode_min: Floats, unknown_min: Floats
) -> Texts:
    reasons: list[Any] = []
    facts = zip(is_recorded, has_endless, episode_min, unknown_min, strict=True)
    for recorded, endless, minutes, unknown in facts:
        if not recorded:
            reasons.append("sleep of more than 18 h is not believed" if endless else _NO_RECORD)
        elif minutes < MIN_MAIN_SLEEP_MIN:
            reasons.append(f"main sleep of {minutes:.0f} min, at least {MIN_MAIN_SLEEP_MIN} needed")
        elif unknown > MAX_UNKNOWN_SHARE * minutes:
            reasons.append(f"stage unknown in {unknown:.0f} of {minutes:.0f} min")
        else:
            reasons.append(None)
    return np.array(reasons, np.object_)
