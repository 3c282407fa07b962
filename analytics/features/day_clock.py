"""Hours of steps and times asleep and awake by the local clock, per date: the table day_clock.

What rhythm and regularity over weeks are made of, small enough to be kept: 24 numbers
and the minutes at which sleep and waking begin and end. The hour that spring skips is
unknown; of the hour that autumn has twice, the second time counts for sleep, and both
for steps. A move is the same in large: the date of a move west has some hours twice (from
Berlin to New York six, of 1,800 minutes), that of a move east lacks some (of 1,080).
Each minute is read by the clock of the zone the patient is in, and by that of the date's
zone where the other shows another date.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.features.calendar import Calendar, Stays
from analytics.features.minutes import Minutes
from analytics.features.rhythm import UNKNOWN, clock_minutes, hourly
from analytics.tables import DAY_CLOCK
from devices.clock import DAY, MINUTE, from_utc, offset_minutes

DAY_MIN: Final = 1440
AWAKE: Final = 0
ASLEEP: Final = 1

Array = NDArray[Any]


@dataclass(frozen=True)
class ClockDays:
    """Rows of the table day_clock, without their keys; arrays with one row per patient-day."""

    hourly_steps: Array  # (rows, 24)
    asleep: pa.ListArray
    awake: pa.ListArray


def clock_days(calendar: Calendar, low: int, minutes: Minutes) -> ClockDays:
    """Hours and states of the calendar rows from `low` on."""
    steps = np.where(minutes.is_counted & minutes.is_worn, minutes.steps, np.nan)
    states = np.full(steps.shape, UNKNOWN, np.int8)
    states[minutes.is_worn] = AWAKE
    states[minutes.is_asleep] = ASLEEP
    hours = np.full((len(steps), 24), np.nan)
    by_clock = np.full((len(steps), DAY_MIN), UNKNOWN, np.int8)
    for at, rows in _faces(calendar, low, len(steps)):
        hours[rows] = hourly(steps[rows, : len(at)], at)
        own = states[rows, : len(at)]
        # a skipped hour stays unknown, a repeated one is written twice
        placed = np.full((len(rows), DAY_MIN), UNKNOWN, np.int8)
        placed[:, at] = own
        by_clock[rows] = placed
    return ClockDays(hours, turns(by_clock == ASLEEP), turns(by_clock == AWAKE))


def table(calendar: Calendar, parts: list[ClockDays]) -> pa.Table:
    """Rows of every date of the calendar, from its consecutive parts."""
    if not parts:
        return DAY_CLOCK.empty_table()
    hours = np.concatenate([part.hourly_steps for part in parts])
    flat = pa.array(hours.reshape(-1), from_pandas=True)
    offsets = pa.array(np.arange(len(hours) + 1, dtype=np.int32) * 24)
    return pa.table(
        [
            calendar.rows["patient"],
            calendar.rows["local_date"],
            pa.ListArray.from_arrays(offsets, flat),
            pa.chunked_array([part.asleep for part in parts]),
            pa.chunked_array([part.awake for part in parts]),
        ],
        schema=DAY_CLOCK,
    )


def states(asleep: pa.ListArray, awake: pa.ListArray) -> Array:
    """Sleep states by the clock, int8 (rows, 1440): 1 asleep, 0 awake, -1 unknown."""
    found = np.full((len(asleep), DAY_MIN), UNKNOWN, np.int8)
    for folded, state in ((asleep, ASLEEP), (awake, AWAKE)):
        at = folded.flatten().to_numpy()
        row = np.repeat(np.arange(len(folded)), np.diff(folded.offsets.to_numpy()))
        begins = np.arange(len(at)) % 2 == 0
        marks = np.zeros((len(folded), DAY_MIN + 1), np.int8)
        marks[row[begins], at[begins]] += 1
        marks[row[~begins], at[~begins]] -= 1
        found[np.cumsum(marks[:, :-1], axis=1, dtype=np.int8) > 0] = state
    return found


def turns(is_so: NDArray[np.bool_]) -> pa.ListArray:
    """Minutes at which each row's runs begin and end, in turn."""
    row, at = np.nonzero(np.diff(np.pad(is_so, ((0, 0), (1, 1))).astype(np.int8), axis=1))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(is_so)))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(at, pa.uint16()))


def _faces(calendar: Calendar, low: int, count: int) -> list[tuple[Array, Array]]:
    """Clock minutes of the elapsed minutes, and the rows they hold for: most days share one."""
    rows = calendar.rows.slice(low, count)
    bounds = [rows[name].cast(pa.int64()).to_pylist() for name in ("start_utc", "end_utc")]
    shared: dict[tuple[int, int, int, int], list[int]] = {}
    moved: list[tuple[Array, Array]] = []
    days = zip(*bounds, rows["zone"].to_pylist(), rows["patient"].to_pylist(), strict=True)
    for row, (start, end, zone, patient) in enumerate(days):
        if patient in calendar.moves:
            stays = calendar.zones(low + row)
            if [there for _, there in stays] != [zone]:
                day = rows["local_date"][row].as_py()
                moved.append((_moved_face(start, end, day, zone, stays), np.array([row])))
                continue
        shared.setdefault(_face(start, end, zone), []).append(row)
    return [(clock_minutes(*face), np.array(own)) for face, own in shared.items()] + moved


def _moved_face(start: int, end: int, day: date, zone: str, stays: Stays) -> Array:
    """Clock minutes of the minutes of a date on which the patient is in several zones, or in another one."""
    found = np.empty((end - start) // MINUTE, np.int64)
    since = [instant for instant, _ in stays]
    places = [ZoneInfo(there) for _, there in stays]
    for minute in range(len(found)):
        utc = start + minute * MINUTE
        there = from_utc(utc, places[bisect_right(since, utc) - 1])
        by_date = from_utc(utc, ZoneInfo(zone))
        shown = by_date if there.date() != day and by_date.date() == day else there
        found[minute] = shown.hour * 60 + shown.minute
    return found


@cache
def _face(start: int, end: int, zone: str) -> tuple[int, int, int, int]:
    """Arguments of :func:`clock_minutes` for a local day."""
    place = ZoneInfo(zone)
    offset = offset_minutes(start, place)
    length = (end - start) // MINUTE
    first = (start + offset * MINUTE) % DAY // MINUTE
    change = offset_minutes(end - 1, place) - offset
    if not change:
        return length, 0, 0, first
    before, after = 0, length - 1
    while after - before > 1:
        middle = (before + after) // 2
        if offset_minutes(start + middle * MINUTE, place) == offset:
            before = middle
        else:
            after = middle
    return length, change, after, first
