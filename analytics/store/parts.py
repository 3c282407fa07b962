"""Derived tables on disk: one immutable Parquet file per table, local date and share of the patients.

``<root>/<table>/date=YYYY-MM-DD/part-NN-of-PP.<digest>.parquet``. A file is named after its
content and never changed: equal rows are the same file, a correction is another one, and a
published snapshot goes on naming the files it was made of. Which file holds is said by the
:class:`~analytics.store.ledger.Ledger`, never by a listing.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analytics.errors import PartError
from analytics.store.partitions import Partition
from analytics.tables import TABLES
from devices.durable import sync_folder

_DIGEST: Final = 16


@dataclass(frozen=True, order=True)
class Part:
    """One file: its table, date and share, where it lies below the root, what it must be."""

    table: str
    day: date
    partition: Partition
    path: str
    rows: int
    size: int
    #: Columns; a schema grows at its end only, so that a smaller number says which are missing.
    width: int

    @property
    def digest(self) -> str:
        """Digest of the content, from the name."""
        return self.path.rsplit(".", 2)[1]


@dataclass(frozen=True)
class PartFiles:
    """Files of derived tables below `root`; pure writing and reading, no knowledge of what holds."""

    root: Path

    def write(
        self, tables: Mapping[str, pa.Table], first: date, last: date, partition: Partition
    ) -> list[Part]:
        """Write the rows of a share, a file per table and date `first` to `last`.

        Parameters
        ----------
        tables : mapping of str to Table
            Table name -> rows in the schema of :data:`analytics.tables.TABLES`; dates outside are left out.

        Returns
        -------
        list of Part
            One per table and date, durable; those that were there already are not written again.
        """
        found: list[Part] = []
        for name, rows in tables.items():
            ordered = rows.select(TABLES[name].names).cast(TABLES[name]).sort_by(_order(name))
            for day, own in _by_day(ordered, first, last):
                found.append(self._write(name, day, partition, own.combine_chunks()))
        return found

    def _write(self, name: str, day: date, partition: Partition, rows: pa.Table) -> Part:
        sink = pa.BufferOutputStream()
        # a checksum per page: a flipped bit is an error when the file is read, not another number
        pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
        content = sink.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:_DIGEST]
        path = f"{name}/date={day.isoformat()}/part-{partition}.{digest}.parquet"
        part = Part(name, day, partition, path, rows.num_rows, content.size, rows.num_columns)
        if not self.is_there(part):
            _store(self.root / path, content)
        return part

    def is_there(self, part: Part) -> bool:
        """Whether the file exists and is as long as it must be."""
        try:
            return (self.root / part.path).stat().st_size == part.size
        except FileNotFoundError:
            return False

    def is_damaged(self, part: Part) -> bool:
        """Whether the file cannot be read to its end."""
        try:
            self._read(part, TABLES[part.table])
        except PartError:
            return True
        return False

    def read(self, table: str, parts: Iterable[Part], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of these files in order; a column younger than a file is null there.

        Raises
        ------
        PartError
            With the first file that is missing or damaged.
        """
        whole = TABLES[table]
        schema = whole if columns is None else pa.schema([whole.field(name) for name in columns])
        tables = [self._read(part, schema) for part in sorted(parts)]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _read(self, part: Part, schema: pa.Schema) -> pa.Table:
        try:
            with pq.ParquetFile(self.root / part.path, page_checksum_verification=True) as file:
                stored = set(file.schema_arrow.names)
                there = [name for name in schema.names if name in stored]
                rows = file.read(columns=there, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise PartError(part.path, str(error).splitlines()[0]) from error
        for field in schema:
            if field.name not in there:
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        return rows.select(schema.names).cast(schema)


def _store(path: Path, content: pa.Buffer) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent.parent, path.parent.parent.parent):
            sync_folder(folder)
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with staged.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def days_between(first: date, last: date) -> list[date]:
    """Dates `first` to `last`, inclusive."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def of_patients(rows: pa.Table, patients: Collection[str], *, are_wanted: bool = True) -> pa.Table:
    """Rows of these patients, or of everybody else."""
    is_named = pc.is_in(rows["patient"], value_set=pa.array(sorted(patients), pa.string()))  # pyright: ignore
    mask = is_named if are_wanted else pc.invert(is_named)  # pyright: ignore
    # most often everybody: nothing to copy
    return rows if pc.all(mask, min_count=0).as_py() else rows.filter(mask)  # pyright: ignore


def _order(name: str) -> list[tuple[str, str]]:
    wanted = ("local_date", "patient", "device", "window_start_utc", "metric")
    return [(column, "ascending") for column in wanted if column in TABLES[name].names]


def _by_day(ordered: pa.Table, first: date, last: date) -> Iterator[tuple[date, pa.Table]]:
    column = ordered["local_date"].combine_chunks() if ordered.num_rows else pa.array([], pa.date32())
    numbers = column.cast(pa.int32()).to_numpy(zero_copy_only=False)
    epoch = date(1970, 1, 1)
    for day in days_between(first, last):
        number = (day - epoch).days
        start, stop = numbers.searchsorted(number), numbers.searchsorted(number, side="right")
        yield day, ordered.slice(int(start), int(stop - start))
