"""Patient-days as matrices: patients down, consecutive dates across."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analytics.metrics import METRICS

Array = NDArray[Any]
Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Panel:
    """Values of one cohort over consecutive dates; all matrices are (patients, days)."""

    patients: list[str]
    first: date
    is_present: Marks  # a row exists
    values: dict[str, Floats]  # metric -> raw value, NaN where null
    segments: dict[str, Array]  # stream -> device number, -1 where no device spoke
    is_flare_reported: Marks

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


def make_panel(patient_days: pa.Table, last: date) -> Panel:
    """Matrices of the rows up to `last`; what comes later is not looked at."""
    rows = patient_days.filter(pc.less_equal(patient_days["local_date"], pa.scalar(last)))  # pyright: ignore
    numbers = rows["local_date"].cast(pa.int32()).to_numpy()
    end = (last - _EPOCH).days
    start = int(numbers.min()) if len(numbers) else end + 1
    key = rows["patient"].combine_chunks().dictionary_encode()
    names = key.dictionary.to_pylist()
    order = np.argsort(np.array(names, np.object_)) if names else np.empty(0, np.int64)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    at = place[key.indices.to_numpy()], numbers - start
    shape = len(names), end + 1 - start

    def spread(values: Array, empty: Any, dtype: Any) -> Array:
        matrix = np.full(shape, empty, dtype)
        matrix[at] = values
        return matrix

    return Panel(
        patients=[names[number] for number in order],
        first=_EPOCH + timedelta(days=start),
        is_present=spread(np.ones(rows.num_rows, np.bool_), False, np.bool_),
        values={
            metric: spread(rows[metric].to_numpy().astype(np.float64), np.nan, np.float64)
            for metric in METRICS
        },
        segments={
            stream: spread(codes, -1, np.int32) for stream, codes in _streams(rows["device_segment"]).items()
        },
        is_flare_reported=spread(
            rows["is_flare_reported"].combine_chunks().fill_null(False).to_numpy(zero_copy_only=False),
            False,
            np.bool_,
        ),
    )


def _streams(column: pa.ChunkedArray) -> dict[str, Array]:
    """Device number per row and stream, from texts such as ``steps=band-1 hrv=strap-1``."""
    encoded = column.combine_chunks().dictionary_encode()
    indices = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    texts: Sequence[str] = [*encoded.dictionary.to_pylist(), ""]
    devices: dict[str, int] = {}
    streams = sorted({metric.stream for metric in METRICS.values() if metric.stream})
    tables = {stream: np.full(len(texts), -1, np.int32) for stream in streams}
    for number, text in enumerate(texts):
        for part in text.split():
            stream, _, device = part.partition("=")
            tables[stream][number] = devices.setdefault(device, len(devices))
    return {stream: table[indices] for stream, table in tables.items()}
