"""Derived tables on disk: one Parquet file per table and local date, replaced whole.

A dated file is replaced only when its content differs, so that a rerun over
unchanged input writes nothing.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.tables import TABLES


@dataclass(frozen=True)
class DerivedStore:
    """Folder of derived tables: ``<root>/<table>/date=YYYY-MM-DD.parquet``."""

    root: Path

    def path(self, table: str, day: date) -> Path:
        """File of one table and local date."""
        return self.root / table / f"date={day.isoformat()}.parquet"

    def read(self, table: str, first: date, last: date) -> pa.Table:
        """Rows of the local dates `first` to `last` (inclusive); empty when nothing is stored."""
        schema = TABLES[table]
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        paths = [path for path in (self.path(table, day) for day in days) if path.exists()]
        parts = [pq.read_table(path, schema=schema) for path in paths]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def files(self, table: str) -> list[Path]:
        """Every file of the table, by date."""
        return sorted((self.root / table).glob("date=*.parquet"))

    def replace(
        self,
        tables: Mapping[str, pa.Table],
        first: date,
        last: date,
        *,
        patients: Iterable[str] | None = None,
    ) -> int:
        """Replace the dated files `first` to `last` where their rows changed.

        Parameters
        ----------
        tables : mapping of str to Table
            Table name -> rows in the schema of :data:`analytics.tables.TABLES`.
        patients : iterable of str, optional
            The rows are of these patients only; everybody else's stay.

        Returns
        -------
        int
            Files written.
        """
        only = None if patients is None else set(patients)
        written = 0
        for name, rows in tables.items():
            order = [(column, "ascending") for column in _key(name)]
            for day, part in _by_day(rows.select(TABLES[name].names).cast(TABLES[name]), first, last):
                if only is not None:
                    kept = self.read(name, day, day)
                    part = pa.concat_tables([of_patients(kept, only, are_wanted=False), part])
                written += self._write(name, day, part.sort_by(order).combine_chunks())
        return written

    def _write(self, name: str, day: date, rows: pa.Table) -> int:
        path = self.path(name, day)
        if path.exists() and pq.read_table(path, schema=TABLES[name]).equals(rows):
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with staged.open("wb") as stream:
            pq.write_table(rows, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(path)
        return 1


def of_patients(rows: pa.Table, patients: Collection[str], *, are_wanted: bool = True) -> pa.Table:
    """Rows of these patients, or of everybody else."""
    mask = [(patient in patients) == are_wanted for patient in rows["patient"].to_pylist()]
    return rows.filter(pa.array(mask, pa.bool_()))


def _key(name: str) -> list[str]:
    wanted = ("patient", "local_date", "device", "window_start_utc", "metric")
    return [column for column in wanted if column in TABLES[name].names]


def _by_day(rows: pa.Table, first: date, last: date) -> Iterable[tuple[date, pa.Table]]:
    ordered = rows.sort_by("local_date")
    column = ordered["local_date"].combine_chunks() if ordered.num_rows else pa.array([], pa.date32())
    numbers = column.cast(pa.int32()).to_numpy(zero_copy_only=False)
    epoch = date(1970, 1, 1)
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        number = (day - epoch).days
        start, stop = numbers.searchsorted(number), numbers.searchsorted(number, side="right")
        yield day, ordered.slice(int(start), int(stop - start))
