"""Patient-days as matrices: patients down, consecutive dates across."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.metrics import METRICS, Metric
from analytics.risk.arrays import EPOCH, STREAMS, Array, Floats, Marks, cut
from analytics.risk.context import breaks_of, suspensions_of

#: Columns of patient_day that a panel is made of: a look-back is long, and the rest of the table wide.
COLUMNS: Final = (
    *("patient", "local_date", "day_minutes", "quality", "is_flare_reported", "device_segment"),
    *("practice_min", *METRICS),
)
#: Sums over the date: one that a move between zones made longer or shorter is compared with no other.
DAY_TOTALS: Final = ("steps",)
#: A clock that is set forward or back makes no other day of it: 23 and 25 hours are compared.
CLOCK_CHANGE_MIN: Final = 60
USUAL_MINUTES: Final = 1440


@dataclass(frozen=True)
class Panel:
    """Values of one cohort over consecutive dates; all matrices are (patients, days).

    Parameters
    ----------
    is_present : matrix of bool
        The patient-day has a row.
    values : dict of str to matrix
        Metric id -> value in the metric's unit, NaN where null.
    segments : dict of str to matrix of int
        Stream -> number of the segment (device, its algorithm, what the patient takes),
        -1 on days without a value of that stream. Another number is another baseline.
    is_flare_reported : matrix of bool
        The patient (or caregiver) tapped.
    suspended : dict of str to matrix of bool
        Why scoring is suspended -> days on which it is.
    is_practised : matrix of bool
        Home practice was logged; empty where nobody asks.
    quality : matrix of int
        Index into `qualities` of why there are no steps, -1 where they stand; empty where
        nobody asks.
    is_moved : matrix of bool
        The date was made longer or shorter by a move between zones; empty where nobody asks.
    """

    patients: list[str]
    first: date
    is_present: Marks
    values: dict[str, Floats]
    segments: dict[str, Array]
    is_flare_reported: Marks
    suspended: dict[str, Marks] = field(default_factory=dict[str, Marks])
    is_practised: Marks = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    quality: Array = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    qualities: tuple[str, ...] = ()
    is_moved: Marks = field(default_factory=lambda: np.zeros((0, 0), np.bool_))

    @property
    def shape(self) -> tuple[int, int]:
        """Patients and days."""
        return self.is_present.shape[0], self.is_present.shape[1]

    def column(self, day: date) -> int:
        """Column of a date (negative before the first)."""
        return (day - self.first).days

    def day(self, column: int) -> date:
        """Date of a column."""
        return self.first + timedelta(days=column)

    def key(self, rows: Array, columns: Array) -> list[pa.Array]:
        """The columns patient and local_date of some cells."""
        days = (columns + (self.first - EPOCH).days).astype(np.int32)
        names = pa.array(self.patients, pa.string()).take(pa.array(rows))
        return [names, pa.array(days).cast(pa.date32())]

    def rows(self, start: int, stop: int) -> "Panel":
        """The patients `start` to `stop` (exclusive) alone."""
        part = cut(self, slice(start, stop), slice(None))
        return replace(part, patients=self.patients[start:stop])

    def since(self, column: int) -> "Panel":
        """The days from `column` on alone."""
        return replace(cut(self, slice(None), slice(column, None)), first=self.day(column))

    def is_observed(self) -> Marks:
        """Days of which the patient said how they were; a tap alone does not count."""
        return ~np.isnan(self.values["nrs"]) | ~np.isnan(self.values["mood"])

    def is_suspended(self) -> Marks:
        """Days on which scoring is suspended, whatever the reason."""
        found = np.zeros(self.shape, np.bool_)
        for days in self.suspended.values():
            found |= days
        return found

    def comparable(self) -> dict[str, Floats]:
        """Values on the scale on which days are compared; wearables' without suspended days.

        What the patient says about pain and mood stands on every day; a sum over a date of another length
        stands on none.
        """
        away = self.is_suspended() if self.suspended else None
        found: dict[str, Floats] = {}
        for name, metric in METRICS.items():
            values = on_scale(self.values[name], metric)
            if away is not None and metric.stream:
                values = np.where(away, np.nan, values)
            if name in DAY_TOTALS and self.is_moved.size:
                values = np.where(self.is_moved, np.nan, values)
            found[name] = values
        return found


def on_scale(values: Floats, metric: Metric) -> Floats:
    """Values on the scale on which the patient's days are compared."""
    return np.log(np.maximum(values, metric.scale_floor)) if metric.scale == "ln" else values


def carried(segment: Array) -> Array:
    """The segment of the last day that has one (-1 before the first)."""
    columns = np.where(segment >= 0, np.arange(segment.shape[1], dtype=np.int32), np.int32(-1))
    last = np.maximum.accumulate(columns, axis=1)
    return np.where(last >= 0, np.take_along_axis(segment, np.maximum(last, 0), axis=1), -1)


def make_panel(patient_days: pa.Table, last: date, context: pa.Table | None = None) -> Panel:
    """Matrices of the rows up to `last`; what comes later is not looked at.

    Parameters
    ----------
    patient_days : Table
        Rows of :data:`analytics.tables.PATIENT_DAY`.
    context : Table, optional
        What suspends or segments scoring (:data:`analytics.risk.context.CONTEXT`).
    """
    rows = _up_to(patient_days, last)
    numbers = rows["local_date"].cast(pa.int32()).to_numpy()
    end = (last - EPOCH).days
    start = int(numbers.min()) if len(numbers) else end + 1
    key = rows["patient"].combine_chunks().dictionary_encode()
    names = key.dictionary.to_pylist()
    order = np.argsort(np.array(names, np.object_)) if names else np.empty(0, np.int64)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    shape = len(names), end + 1 - start
    at = place[key.indices.to_numpy()] * shape[1] + (numbers - start)

    def spread(values: Array, empty: Any, dtype: Any) -> Array:
        matrix = np.full(shape, empty, dtype)
        matrix.reshape(-1)[at] = values
        return matrix

    segments = {
        stream: spread(codes, -1, np.int32) for stream, codes in _streams(rows["device_segment"]).items()
    }
    patients = [names[number] for number in order]
    first = EPOCH + timedelta(days=start)
    practice = _column(rows, "practice_min", pa.float64())
    minutes = _column(rows, "day_minutes", pa.int32()).fill_null(USUAL_MINUTES).to_numpy()
    reasons = _column(rows, "quality", pa.string()).combine_chunks().dictionary_encode()
    breaks = breaks_of(context, patients, first, shape)
    return Panel(
        patients=patients,
        first=first,
        is_present=spread(np.ones(rows.num_rows, np.bool_), False, np.bool_),
        values={
            metric: spread(rows[metric].to_numpy().astype(np.float64), np.nan, np.float64)
            for metric in METRICS
        },
        segments=_numbered(segments, breaks),
        is_flare_reported=spread(
            rows["is_flare_reported"].combine_chunks().fill_null(False).to_numpy(zero_copy_only=False),
            False,
            np.bool_,
        ),
        suspended=suspensions_of(context, patients, first, shape),
        is_practised=spread(practice.to_numpy() > 0, False, np.bool_),
        quality=spread(reasons.indices.fill_null(-1).to_numpy(), -1, np.int32),
        qualities=tuple(reasons.dictionary.to_pylist()),
        is_moved=spread(np.abs(minutes - USUAL_MINUTES) > CLOCK_CHANGE_MIN, False, np.bool_),
    )


def _up_to(rows: pa.Table, last: date) -> pa.Table:
    """Rows of the dates up to `last`; as they are where there are no others."""
    newest = pc.max(rows["local_date"]).as_py()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    if newest is None or newest <= last:
        return rows
    return rows.filter(pc.less_equal(rows["local_date"], pa.scalar(last)))  # pyright: ignore


def _column(rows: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column that only tells how things were; nulls where the caller left it out."""
    if name in rows.column_names:
        return rows[name]
    return pa.chunked_array([pa.nulls(rows.num_rows, kind)])


def _numbered(devices: Mapping[str, Array], breaks: Mapping[str, Array]) -> dict[str, Array]:
    """Number of the segment: the device, and how many recorded changes the patient has had."""
    count = 1 + max((int(codes.max(initial=-1)) for codes in devices.values()), default=-1)
    return {
        stream: np.where(codes >= 0, codes + count * breaks[stream], -1).astype(np.int32)
        if stream in breaks
        else codes
        for stream, codes in devices.items()
    }


def _streams(column: pa.ChunkedArray) -> dict[str, Array]:
    """Device number per row and stream, from texts such as ``steps=band-1 hrv=strap-1/ecg``."""
    encoded = column.combine_chunks().dictionary_encode()
    indices = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    texts: Sequence[str] = [*encoded.dictionary.to_pylist(), ""]
    devices: dict[str, int] = {}
    tables = {stream: np.full(len(texts), -1, np.int32) for stream in STREAMS}
    for number, text in enumerate(texts):
        for part in text.split():
            stream, _, device = part.partition("=")
            tables[stream][number] = devices.setdefault(device, len(devices))
    return {stream: table[indices] for stream, table in tables.items()}
