"""Derived tables as they hold now: the files the ledger names, read as one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from analytics.store.ledger import NAME, Ledger
from analytics.store.partitions import Partition
from analytics.store.parts import PartFiles
from analytics.tables import TABLES


@dataclass(frozen=True)
class DerivedStore:
    """Folder of derived tables and of the ledger that says which files hold."""

    root: Path

    @property
    def files(self) -> PartFiles:
        """The files below the folder, whatever holds."""
        return PartFiles(self.root)

    def ledger(self) -> Ledger:
        """The ledger, opened; close it after use."""
        return Ledger(self.root / NAME)

    def read(
        self,
        table: str,
        first: date,
        last: date,
        *,
        partition: Partition | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows of the local dates `first` to `last` (inclusive), by date, share and patient.

        Parameters
        ----------
        partition : Partition, optional
            Patients of this share only, however the dates were cut.
        columns : sequence of str, optional
            These only; `patient` must be among them where a share is asked for.

        Raises
        ------
        PartError
            When a file that should be there is missing or damaged.
        """
        if not (self.root / NAME).exists():
            return (
                TABLES[table].empty_table()
                if columns is None
                else TABLES[table].empty_table().select(columns)
            )
        with self.ledger() as ledger:
            parts = ledger.parts(table, first, last, partition)
        rows = self.files.read(table, parts, columns)
        return rows if partition is None else partition.of(rows)
