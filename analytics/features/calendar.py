"""Who is expected on which local date, and when that date and its night begin and end."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Calendar:
    """Patient-days in order of patient and date, one row each."""

    rows: pa.Table

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
        return Calendar(rows)

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

    A patient's zone on a date is the one of the latest enrolment row that holds on it.
    """
    rows = con.execute(
        "select distinct patient, valid_from_utc, zone, valid_to_utc from enrolment order by all"
    ).fetchall()
    wanted = None if patients is None else set(patients)
    zones: dict[tuple[str, date], str] = {}
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    for patient, valid_from, zone, valid_to in rows:
        if wanted is not None and patient not in wanted:
            continue
        since, until = to_utc(valid_from), None if valid_to is None else to_utc(valid_to)
        for day in dates:
            start, end = _bounds(day, zone)[:2]
            # rows come by patient and start: a later move overwrites
            if since < end and (until is None or until > start):
                zones[patient, day] = zone
    return Calendar(_table(sorted(zones.items())))


@cache
def _bounds(day: date, zone: str) -> tuple[int, int, int, int, int]:
    place = ZoneInfo(zone)
    return (
        *day_bounds(day, place),
        *night_bounds(day, place),
        at_local(day, ASSUMED_NIGHT_END_HOUR, place),
    )


def _table(zones: list[tuple[tuple[str, date], str]]) -> pa.Table:
    bounds = np.array([_bounds(day, zone) for (_, day), zone in zones], np.int64).reshape(-1, 5).T
    start, end, night_start, night_end, assumed_end = (pa.array(column) for column in bounds)
    return pa.table(
        [
            pa.array([patient for (patient, _), _ in zones], pa.string()),
            pa.array([day for (_, day), _ in zones], pa.date32()),
            pa.array([zone for _, zone in zones], pa.string()),
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
