"""Who is expected on which local date, and when that date and its night begin and end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa

from devices.clock import MINUTE, at_local, day_bounds, from_utc, night_bounds, to_utc
from devices.tables import UTC

#: Sleep of people whose sleep nobody recorded: from local midnight to this hour.
ASSUMED_NIGHT_END_HOUR: Final = 6
#: Dates before one that can reach into it: midnights of two zones lie up to 26 hours apart.
_LOOK_BACK: Final = 2
_FOREVER: Final = 2**62

#: Since when (microseconds UTC) in which zone.
Stays = tuple[tuple[int, str], ...]
#: Since when and until when (exclusive, microseconds UTC) in which zone.
Stay = tuple[int, int, str]
#: Start and end of a date, of its night, and of a night without a sleep record.
_Bounds = tuple[int, int, int, int, int]
_Day = tuple[str, date, str, _Bounds]

_SCHEMA: Final = pa.schema(
    [
        ("patient", pa.string()),
        ("local_date", pa.date32()),
        ("zone", pa.string()),
        ("start_utc", UTC),
        ("end_utc", UTC),
        ("start_minute", pa.int64()),
        ("end_minute", pa.int64()),
        ("night_start_utc", UTC),
        ("night_end_utc", UTC),
        ("assumed_end_utc", UTC),
    ]
)


def zone_at(stays: Stays, utc: int) -> str:
    """Zone of an instant; before the first stay that of the first."""
    return next((zone for since, zone in reversed(stays) if since <= utc), stays[0][1])


@dataclass(frozen=True)
class Calendar:
    """Patient-days in order of patient and date, one row each.

    `moves` has of patients enrolled in several zones since when they are in which one, in order of time.
    """

    rows: pa.Table
    moves: Mapping[str, Stays]

    @property
    def count(self) -> int:
        """Patient-days."""
        return self.rows.num_rows

    def column(self, name: str) -> "np.ndarray[Any, Any]":
        """One column: instants as int64 microseconds UTC, texts as objects."""
        values = self.rows[name].combine_chunks()
        if values.type == UTC:
            values = values.cast(pa.int64())
        return values.to_numpy(zero_copy_only=False)

    def reaching(self, start_us: "np.ndarray[Any, Any]", end_us: "np.ndarray[Any, Any]") -> "Calendar":
        """The same days, their nights reaching as far as these sleeps (microseconds UTC, one per row)."""
        rows = self.rows
        for name, values in (
            ("night_start_utc", np.minimum(self.column("night_start_utc"), start_us)),
            ("night_end_utc", np.maximum(self.column("night_end_utc"), end_us)),
        ):
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, rows.schema.field(at), pa.array(values, pa.int64()).cast(UTC))
        return replace(self, rows=rows)

    def zones(self, row: int) -> Stays:
        """Zones of a patient during a date: since when (microseconds UTC) each, the first from its start."""
        patient, zone = (self.rows[name][row].as_py() for name in ("patient", "zone"))
        start, end = (to_utc(self.rows[name][row].as_py()) for name in ("start_utc", "end_utc"))
        stays = self.moves.get(patient, ((start, zone),))
        return ((start, zone_at(stays, start)), *(stay for stay in stays if start < stay[0] < end))

    def day_arguments(self) -> dict[str, Any]:
        """First and last instant of the dates, as arguments of a statement."""
        return self._arguments("start_utc", "end_utc")

    def night_arguments(self) -> dict[str, Any]:
        """First and last instant of the nights, as arguments of a statement."""
        return self._arguments("night_start_utc", "night_end_utc")

    def _arguments(self, first: str, last: str) -> dict[str, Any]:
        low = int(self.column(first).min()) if self.count else 0
        high = int(self.column(last).max()) if self.count else 0
        return {"first_utc": from_utc(low), "last_utc": from_utc(high)}


def calendar(
    con: duckdb.DuckDBPyConnection, first: date, last: date, patients: Sequence[str] | None
) -> Calendar:
    """Patient-days of everybody enrolled on the dates `first` to `last`.

    A patient's zone on a date is the one of the latest enrolment row that holds to its end, of the latest
    that holds on it where none does. A date ends at its midnight in that zone and begins where the date
    before ended: the date of a move west is longer, that of a move east shorter, by the hours between the
    two midnights, and no instant is in two dates or in none.
    """
    rows = con.execute(
        "select distinct patient, valid_from_utc, zone, valid_to_utc from enrolment order by all"
    ).fetchall()
    wanted = None if patients is None else set(patients)
    stays: dict[str, list[Stay]] = {}
    for patient, valid_from, zone, valid_to in rows:
        if wanted is None or patient in wanted:
            until = _FOREVER if valid_to is None else to_utc(valid_to)
            stays.setdefault(patient, []).append((to_utc(valid_from), until, zone))
    dates = [first + timedelta(days=n) for n in range(-_LOOK_BACK, (last - first).days + 1)]
    moves: dict[str, Stays] = {}
    days: list[_Day] = []
    for patient, own in stays.items():
        if len({zone for _, _, zone in own}) == 1:
            held = _zones(own, dates[_LOOK_BACK:])
            days += [(patient, day, zone, _bounds(day, zone)) for day, zone in held.items()]
        else:
            moves[patient] = stays_of(own)
            held = _zones(own, dates)
            days += [
                (patient, day, zone, _moved_bounds(day, held, moves[patient]))
                for day, zone in held.items()
                if day >= first
            ]
    return Calendar(_table(sorted(days)), moves)


def _zones(stays: Sequence[Stay], dates: Sequence[date]) -> dict[date, str]:
    """Zone of each of the dates on which one of the stays holds; stays come in order of their start."""
    found: dict[date, str] = {}
    for day in dates:
        whole = False
        for since, until, zone in stays:
            start, end = _bounds(day, zone)[:2]
            holds = since < end and until > start
            if holds and (until >= end or not whole):
                found[day], whole = zone, until >= end
    return found


def stays_of(stays: Sequence[Stay]) -> Stays:
    """Since when somebody is in which zone, of stays in order of their start; between two as in the first."""
    turns = sorted({instant for since, until, _ in stays for instant in (since, until)} - {_FOREVER})
    found: list[tuple[int, str]] = []
    for turn in turns:
        there = [zone for since, until, zone in stays if since <= turn < until]
        if there and (not found or found[-1][1] != there[-1]):
            found.append((turn, there[-1]))
    return tuple(found)


def _moved_bounds(day: date, held: Mapping[date, str], stays: Stays) -> _Bounds:
    """Bounds of a date of somebody who moves.

    Two zones are up to 26 hours apart, so that a date may lie wholly in the two before: it is empty.
    """
    start, end, night_start, night_end, _ = _bounds(day, held[day])
    before = [day - timedelta(days=n) for n in range(1, _LOOK_BACK + 1)]
    ends = [_bounds(other, held[other])[1] for other in before if other in held]
    if before[0] in held:
        start = max(ends)
    elif ends:
        start = max(start, *ends)
    end = max(start, end)
    morning = at_local(day, ASSUMED_NIGHT_END_HOUR, ZoneInfo(zone_at(stays, start)))
    return start, end, night_start, night_end, min(max(morning, start), end)


@cache
def _bounds(day: date, zone: str) -> _Bounds:
    place = ZoneInfo(zone)
    return (
        *day_bounds(day, place),
        *night_bounds(day, place),
        at_local(day, ASSUMED_NIGHT_END_HOUR, place),
    )


def _table(days: list[_Day]) -> pa.Table:
    bounds = np.array([own for *_, own in days], np.int64).reshape(-1, 5).T
    start, end, night_start, night_end, assumed_end = (pa.array(column) for column in bounds)
    return pa.table(
        [
            pa.array([patient for patient, *_ in days], pa.string()),
            pa.array([day for _, day, *_ in days], pa.date32()),
            pa.array([zone for _, _, zone, _ in days], pa.string()),
            start.cast(UTC),
            end.cast(UTC),
            pa.array(bounds[0] // MINUTE),
            pa.array(bounds[1] // MINUTE),
            night_start.cast(UTC),
            night_end.cast(UTC),
            assumed_end.cast(UTC),
        ],
        schema=_SCHEMA,
    )
