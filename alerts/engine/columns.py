"""The tables of one night as the rules name them: `table.column`, or `table.column.metric`, per patient."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alerts.engine.evaluate import Floats, Marks
from alerts.rules.pack import BY_METRIC, READABLE


class NightColumns:
    """Columns of one night, a value per patient.

    Parameters
    ----------
    tables : mapping
        Tables by name (:data:`alerts.rules.pack.READABLE`); rows of other nights are left alone.
    day : date
        Local date of the night.
    statuses : mapping
        Patient -> status: they are judged whether they have a row or not, except the withdrawn.
    """

    def __init__(self, tables: Mapping[str, pa.Table], day: date, statuses: Mapping[str, str]) -> None:
        of_day = {name: _of_day(tables[name], day) for name in READABLE if name in tables}
        found = set(statuses).union(*(pc.unique(one["patient"]).to_pylist() for one in of_day.values()))  # pyright: ignore[reportAttributeAccessIssue]
        self.patients: list[str] = sorted(one for one in found if statuses.get(one) != "withdrawn")
        #: Patient -> place in every column.
        self.place: dict[str, int] = {patient: place for place, patient in enumerate(self.patients)}
        self._names = pa.array(self.patients, pa.string())
        self._tables = of_day
        self._numbers: dict[str, Floats] = {}
        self._placed: dict[str, tuple[dict[str, Any], NDArray[np.int64]]] = {}

    def numbers(self, name: str) -> Floats:
        """A numeric column; NaN where there is none."""
        if name not in self._numbers:
            found = np.full(len(self.patients), np.nan)
            column, rows = self._column(name)
            if column is not None:
                values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
                found[rows >= 0] = values[rows[rows >= 0]]
            self._numbers[name] = found
        return self._numbers[name]

    def is_there(self, name: str) -> Marks:
        """Where any column, numeric or not, has a value."""
        found = np.zeros(len(self.patients), np.bool_)
        column, rows = self._column(name)
        if column is not None:
            found[rows >= 0] = column.is_valid().to_numpy(zero_copy_only=False)[rows[rows >= 0]]
        return found

    def value(self, name: str, place: int) -> Any:
        """One patient's value as it stands in the table; None where there is none."""
        column, rows = self._column(name)
        return None if column is None or rows[place] < 0 else column[int(rows[place])].as_py()

    def _column(self, name: str) -> tuple[Any, NDArray[np.int64]]:
        """The column and each patient's row in it (-1: none)."""
        table, _, rest = name.partition(".")
        column, _, metric = rest.partition(".")
        if table not in self._tables:
            return None, np.zeros(0, np.int64)
        own, rows = self._of(table, metric)
        return own.get(column), rows

    def _of(self, table: str, metric: str) -> tuple[dict[str, Any], NDArray[np.int64]]:
        key = f"{table}.{metric}"
        if key not in self._placed:
            own = self._tables[table]
            if table in BY_METRIC:
                own = own.filter(pc.field("metric") == metric)
            rows = np.full(len(self.patients), -1, np.int64)
            places = pc.fill_null(pc.index_in(own["patient"], self._names), -1).to_numpy()  # pyright: ignore
            is_known = places >= 0
            rows[places[is_known]] = np.flatnonzero(is_known)
            columns = {column: own[column].combine_chunks() for column in own.column_names}
            self._placed[key] = columns, rows
        return self._placed[key]


def _of_day(table: pa.Table, day: date) -> pa.Table:
    is_own = pc.equal(table["local_date"], day)  # pyright: ignore
    # most often the whole table is of the night: nothing to copy
    return table if pc.all(is_own, min_count=0).as_py() else table.filter(is_own)  # pyright: ignore
