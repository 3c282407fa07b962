"""The whole store into another one, as of one instant: a backup, a restore, a move between databases."""

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from alerts.errors import JournalError
from alerts.store.database import Database
from alerts.store.schema import METADATA, store_version

_ROWS: Final = 2_000


def copy_store(source: Path | str, target: Path | str) -> int:
    """Copy every row of a store into an empty one; returns rows copied.

    Everybody who writes into either waits meanwhile: what is copied belongs together.

    Raises
    ------
    JournalError
        When one cannot be opened, or the target holds anything.
    """
    copied = 0
    with (
        Database(source) as one,
        Database(target) as other,
        one.transaction() as reading,
        other.transaction() as writing,
    ):
        tables = [table for table in METADATA.sorted_tables if table is not store_version]
        for table in tables:
            if writing.execute(sa.select(table).limit(1)).first() is not None:
                raise JournalError(f"the alert store to copy into is not empty: it has rows in {table.name}")
        for table in tables:
            found = reading.execution_options(yield_per=_ROWS).execute(sa.select(table)).mappings()
            for rows in found.partitions(_ROWS):
                writing.execute(table.insert(), [dict(row) for row in rows])
                copied += len(rows)
    return copied
