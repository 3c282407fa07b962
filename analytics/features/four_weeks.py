"""Rhythm, sleep regularity and social jetlag of the 28 dates that end on a date: the table rhythm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analytics.features import day_clock
from analytics.features.rhythm import (
    HOURS,
    UNKNOWN,
    alike,
    regularity,
    regularity_quality,
    rhythm_quality,
    rhythms,
)
from analytics.features.sleep import social_jetlag
from analytics.tables import RHYTHM

DAYS: Final = 28
#: Patients whose minutes are unfolded at once: a month of each takes 40 kB per day of the range.
_SHARE: Final = 256
_EPOCH: Final = date(1970, 1, 1)

Array = NDArray[Any]


@dataclass(frozen=True)
class WorkDays:
    """The weekdays a patient works, from a date until another (exclusive; None: until now)."""

    first: date
    end: date | None
    weekdays: frozenset[int]  # Monday 0

    def covers(self, day: date) -> bool:
        """Whether it says anything of the date."""
        return self.first <= day and (self.end is None or day < self.end)


def compute(
    clock_days: pa.Table,
    nights: pa.Table,
    work_days: Mapping[str, Sequence[WorkDays]],
    first: date,
    last: date,
) -> pa.Table:
    """Rows of the table rhythm, one per row of `clock_days` on the dates `first` to `last`.

    Parameters
    ----------
    clock_days, nights : Table
        Rows of :data:`analytics.tables.DAY_CLOCK` and `NIGHT`, 27 days of look-back included.
    work_days : mapping of str to sequence of WorkDays
        Of the patients whose work days somebody wrote down; of the others nothing is assumed.
    first, last : date
        Local dates, inclusive.
    """
    start = first - timedelta(days=DAYS - 1)
    length = (last - start).days + 1
    patients = sorted(set(clock_days["patient"].to_pylist()))
    numbered = [_Rows.of(rows, patients, start) for rows in (clock_days, nights)]
    parts = [RHYTHM.empty_table()]
    for low in range(0, len(patients), _SHARE):
        share = _Share(low, patients[low : low + _SHARE], start, length, *numbered)
        parts += [share.on(column, work_days) for column in range(DAYS - 1, length)]
    return pa.concat_tables(parts).sort_by([("patient", "ascending"), ("local_date", "ascending")])


@dataclass(frozen=True)
class _Rows:
    """Rows of a table, with the number of their patient and of their date."""

    table: pa.Table
    patient: Array
    day: Array

    @classmethod
    def of(cls, rows: pa.Table, patients: list[str], start: date) -> "_Rows":
        numbers = pc.index_in(rows["patient"], pa.array(patients, pa.string())).fill_null(-1)  # pyright: ignore
        days = rows["local_date"].cast(pa.int32()).to_numpy() - (start - _EPOCH).days
        return cls(rows, numbers.to_numpy(), days)

    def within(self, low: int, shape: tuple[int, int]) -> tuple[pa.Table, tuple[Array, Array]]:
        """Rows of a matrix of patients from `low` on and days, and where they belong."""
        row = self.patient - low
        chosen = np.flatnonzero((row >= 0) & (row < shape[0]) & (self.day >= 0) & (self.day < shape[1]))
        return self.table.take(pa.array(chosen)), (row[chosen], self.day[chosen])


class _Share:
    """Matrices (patients, days, ...) of some patients."""

    def __init__(
        self, low: int, patients: list[str], start: date, length: int, clock_days: _Rows, nights: _Rows
    ) -> None:
        self.patients, self.start = patients, start
        shape = len(patients), length
        rows, at = clock_days.within(low, shape)
        self.is_there = np.zeros(shape, np.bool_)
        self.is_there[at] = True
        self.hours = np.full((*shape, HOURS), np.nan)
        hourly, asleep, awake = (
            rows[name].combine_chunks() for name in ("hourly_steps", "asleep_min", "awake_min")
        )
        self.hours[at] = hourly.flatten().to_numpy(zero_copy_only=False).reshape(-1, HOURS)
        states = np.full((*shape, day_clock.DAY_MIN), UNKNOWN, np.int8)
        states[at] = day_clock.states(asleep, awake)
        self.same, self.comparable = alike(states)
        rows, at = nights.within(low, shape)
        self.midpoint = np.full(shape, np.nan)
        self.midpoint[at] = rows["midpoint_h"].to_numpy()

    def on(self, column: int, work_days: Mapping[str, Sequence[WorkDays]]) -> pa.Table:
        """Rows of the date of a column."""
        some = np.flatnonzero(self.is_there[:, column])
        low = column - DAYS + 1
        found = rhythms(np.ascontiguousarray(self.hours[some, low : column + 1]))
        index, pairs = regularity(self.same[some, low:column], self.comparable[some, low:column])
        days = [self.start + timedelta(days=low + n) for n in range(DAYS)]
        jetlag = [
            _jetlag(work_days.get(self.patients[row], ()), days, self.midpoint[row, low : column + 1])
            for row in some.tolist()
        ]
        real: dict[str, Any] = {
            name: getattr(found, name)
            for name in (
                *("interdaily_stability", "intradaily_variability", "relative_amplitude"),
                *("l5", "m10", "l5_start_h", "m10_start_h"),
            )
        }
        real |= {"sleep_regularity": index, "social_jetlag_h": np.array([hours for hours, _ in jetlag])}
        columns: dict[str, Any] = {
            "patient": pa.array([self.patients[row] for row in some.tolist()], pa.string()),
            "local_date": pa.array([days[-1]] * len(some), pa.date32()),
            **{name: pa.array(values, pa.float64(), from_pandas=True) for name, values in real.items()},
            "rhythm_day_count": pa.array(found.day_count, pa.int32()),
            "rhythm_quality": pa.array([rhythm_quality(found, row) for row in range(len(some))], pa.string()),
            "sleep_pair_count": pa.array(pairs, pa.int32()),
            "sleep_regularity_quality": pa.array(
                [regularity_quality(count) for count in pairs.tolist()], pa.string()
            ),
            "social_jetlag_quality": pa.array([reason for _, reason in jetlag], pa.string()),
        }
        return pa.table([columns[name] for name in RHYTHM.names], schema=RHYTHM)


def _jetlag(periods: Sequence[WorkDays], days: Sequence[date], midpoint_h: Array) -> tuple[float, str | None]:
    """Social jetlag over the days on which the patient's work days are known."""
    holding = [next((one for one in periods if one.covers(day)), None) for day in days]
    known = [number for number, one in enumerate(holding) if one is not None]
    works = {
        day
        for day, one in zip(days, holding, strict=True)
        if one is not None and day.weekday() in one.weekdays
    }
    return social_jetlag([days[number] for number in known], midpoint_h[known], works if known else None)
