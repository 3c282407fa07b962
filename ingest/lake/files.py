"""The lake on disk: files appear whole, under a name no reader has seen before.

``landing/<kind>/dt=YYYY-MM-DD/<ns>-<pid>-<n>.parquet`` (day of arrival, UTC),
``quarantine/dt=YYYY-MM-DD/...`` likewise, ``staging/<writer>/`` for files not yet
whole. A file is written to staging, synced, renamed, and its folder synced: then it
is there after a power cut, and only then is anything acknowledged.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from devices.clock import from_utc
from devices.tables import QUARANTINE, TABLES, UTC

_COUNTER = count()
#: Kind of the table of refused samples, beside the observation kinds.
REFUSED: Final = "quarantine"


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Encodings: strings repeat, instants and beats rise or change little, zstd does the rest."""
    encodings = {f.name: "DELTA_BINARY_PACKED" for f in schema if f.type == UTC}
    encodings |= {f"{f.name}.list.element": "DELTA_BINARY_PACKED" for f in schema if pa.types.is_list(f.type)}
    words = [f.name for f in schema if pa.types.is_string(f.type)]
    return {"compression": "zstd", "use_dictionary": words, "column_encoding": encodings}


_OPTIONS: Final = {kind: _writer_options(schema) for kind, schema in TABLES.items()} | {
    REFUSED: _writer_options(QUARANTINE)
}


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Lake:
    """Observations as Parquet under `root`."""

    root: Path

    def files(self, kind: str) -> list[Path]:
        """Every file of one kind, oldest first within a day."""
        return sorted((self.root / "landing" / kind).glob("dt=*/*.parquet"))

    def quarantine_files(self) -> list[Path]:
        """Every file of refused samples."""
        return sorted((self.root / REFUSED).glob("dt=*/*.parquet"))

    def quarantined(self) -> dict[str, int]:
        """Samples in quarantine by reason."""
        counts: Counter[str] = Counter()
        for path in self.quarantine_files():
            table = pq.read_table(path, columns=["reason", "sample_count"])
            for reason, samples in zip(
                *(table[name].to_pylist() for name in table.column_names), strict=True
            ):
                counts[reason] += samples
        return dict(counts)

    def commit(self, tables: Mapping[str, pa.Table], *, writer: str, now: int) -> list[Path]:
        """Store tables by kind (or :data:`REFUSED`); they are durable when this returns.

        Parameters
        ----------
        tables
            Table of the kind's schema each; empty ones are left out.
        writer
            Name of the collector, for its staging folder.
        now : int
            Microseconds UTC; names files and their day.
        """
        moves = [
            (self._stage(kind, table, writer), self._target(kind, now))
            for kind, table in tables.items()
            if table.num_rows
        ]
        for staged, target in moves:
            staged.rename(target)
        for folder in {target.parent for _, target in moves}:
            sync_folder(folder)
        return [target for _, target in moves]

    def sweep(self, writer: str) -> int:
        """Remove what `writer` left half-written when it died; returns files removed."""
        orphans = list(self._staging(writer).glob("*"))
        for orphan in orphans:
            orphan.unlink()
        return len(orphans)

    def write_status(self, writer: str, status: Mapping[str, Any]) -> None:
        """Replace the status file of one collector."""
        folder = self._folder(self.root / "status")
        staged = folder / f".{writer}.tmp"
        staged.write_text(json.dumps(status))
        staged.replace(folder / f"{writer}.json")

    def _staging(self, writer: str) -> Path:
        return self.root / "staging" / writer

    def _stage(self, kind: str, table: pa.Table, writer: str) -> Path:
        path = self._folder(self._staging(writer)) / f"{kind}-{next(_COUNTER)}.parquet"
        with path.open("wb") as stream:
            pq.write_table(table, stream, **_OPTIONS[kind])
            stream.flush()
            os.fsync(stream.fileno())
        return path

    def _target(self, kind: str, now: int) -> Path:
        parent = self.root / REFUSED if kind == REFUSED else self.root / "landing" / kind
        folder = self._folder(parent / f"dt={from_utc(now).date().isoformat()}")
        while True:
            path = folder / f"{now * 1000}-{os.getpid()}-{next(_COUNTER)}.parquet"
            if not path.exists():
                return path

    def _folder(self, folder: Path) -> Path:
        """The folder, made durably when it was not there."""
        if not folder.is_dir():
            if not folder.parent.is_dir():
                self._folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        return folder
