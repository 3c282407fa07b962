"""The lake on disk: files appear whole, under a name no reader has seen before.

``landing/<kind>/dt=YYYY-MM-DD/<ns>-<pid>-<n>.parquet`` (day of arrival, UTC),
``data/<kind>/site=S/date=D/part-<content>.parquet`` (day of the sample, UTC) once compacted,
``quarantine/dt=YYYY-MM-DD/...``, ``batches/...`` and ``raw/...`` likewise, by arrival,
``staging/<writer>/`` for files not yet whole. A file is written to staging, synced,
renamed, and its folder synced: then it is there after a power cut, and only then is
anything acknowledged.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from devices.clock import from_utc
from devices.durable import replace_file, sync_file, sync_folder
from devices.tables import BATCH, QUARANTINE, RAW, TABLES, UTC
from ingest.lake.manifest import Manifest, only_one, read_manifest, write_manifest

_COUNTER = count()
#: Kinds of the tables of refused samples, of batches and of messages as they came.
REFUSED: Final = "quarantine"
BATCHES: Final = "batches"
RAW_MESSAGES: Final = "raw"


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Encodings: strings repeat, instants and beats rise or change little, zstd does the rest."""
    encodings = {f.name: "DELTA_BINARY_PACKED" for f in schema if f.type == UTC}
    encodings |= {f"{f.name}.list.element": "DELTA_BINARY_PACKED" for f in schema if pa.types.is_list(f.type)}
    words = [f.name for f in schema if pa.types.is_string(f.type)]
    return {"compression": "zstd", "use_dictionary": words, "column_encoding": encodings}


WRITER_OPTIONS: Final = {kind: writer_options(schema) for kind, schema in TABLES.items()} | {
    REFUSED: writer_options(QUARANTINE),
    BATCHES: writer_options(BATCH),
    RAW_MESSAGES: writer_options(RAW),
}


@dataclass(frozen=True)
class Lake:
    """Observations as Parquet under `root`."""

    root: Path

    def files(self, kind: str) -> list[Path]:
        """Every file of one kind that is to be read: compacted ones, then landing files not yet compacted.

        Raises
        ------
        LakeError
            When the manifest cannot be read or names files of a later schema.
        """
        # the manifest first: a file that is retired after this look is still on disk
        manifest = self.manifest(kind)
        return [*(self.root / path for path in sorted(manifest.parts)), *self.landed(kind, manifest)]

    def manifest(self, kind: str) -> Manifest:
        """Manifest of a kind; an empty one before the first compaction.

        Raises
        ------
        LakeError
            As of :func:`ingest.lake.manifest.read_manifest`.
        """
        return read_manifest(self.root, kind)

    def publish(self, manifest: Manifest) -> None:
        """Replace the manifest; from here on readers see its files."""
        write_manifest(self.root, manifest)

    def landed(self, kind: str, manifest: Manifest) -> list[Path]:
        """Landing files the manifest does not know yet, oldest first within a day."""
        found = sorted((self.root / "landing" / kind).glob("dt=*/*.parquet"))
        return [path for path in found if path.relative_to(self.root).as_posix() not in manifest.retired]

    def alone(self, what: str) -> AbstractContextManager[None]:
        """Context in which no other process compacts, releases or imports.

        Raises
        ------
        LakeError
            When one does.
        """
        return only_one(self.root / "lake.lock", what)

    def quarantine_files(self) -> list[Path]:
        """Every file of refused samples."""
        return sorted((self.root / REFUSED).glob("dt=*/*.parquet"))

    def batch_files(self) -> list[Path]:
        """Every file of clocks and zones of messages."""
        return sorted((self.root / BATCHES).glob("dt=*/*.parquet"))

    def raw_files(self) -> list[Path]:
        """Every file of messages as they came."""
        return sorted((self.root / RAW_MESSAGES).glob("dt=*/*.parquet"))

    def names(self, folder: str) -> list[str]:
        """Every Parquet file below a folder of the lake, retired and orphaned ones too, by its path in it."""
        found = (self.root / folder).rglob("*.parquet")
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def everything(self, folder: str) -> list[Path]:
        """The same files, here to be read."""
        return [self.root / name for name in self.names(folder)]

    def replace_files(self, kind: str, table: pa.Table, files: Sequence[Path], *, writer: str) -> Path:
        """Put one file in the place of several of a folder; killed on the way, it leaves both."""
        staged = self._stage(kind, table, writer)
        target = files[0].with_name(f"{files[0].stem}-merged.parquet")
        self.place(staged, target)
        sync_folder(target.parent)
        self.remove(files)
        return target

    def forget_copies(self) -> None:
        """Delete what is here of files that the lake has no more; in a folder there is no such thing."""

    def place(self, staged: Path, target: Path) -> None:
        """Make a staged file visible; its folder is synced by who calls."""
        staged.replace(target)

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete files; those that are not there are no fault."""
        doomed = list(paths)
        for path in doomed:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in doomed if path.parent.is_dir()}:
            sync_folder(folder)

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
        """Store tables by kind (or :data:`REFUSED` and its like); they are durable when this returns.

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
            self.place(staged, target)
        for folder in {target.parent for _, target in moves}:
            sync_folder(folder)
        return [target for _, target in moves]

    def sweep(self, writer: str) -> int:
        """Remove what `writer` left half-written when it died; returns files removed."""
        orphans = list(self.staging(writer).glob("*"))
        for orphan in orphans:
            orphan.unlink()
        return len(orphans)

    def write_status(self, writer: str, status: Mapping[str, Any]) -> None:
        """Replace the status file of one collector."""
        folder = self.folder(self.root / "status")
        replace_file(folder / f"{writer}.json", json.dumps(status))

    def count_up(self, name: str) -> int:
        """Next number of a count, from 1; of a run that must come after the one before."""
        path = self.folder(self.root / "status") / f"{name}.count"
        number = int(path.read_text()) + 1 if path.exists() else 1
        replace_file(path, str(number))
        return number

    def staging(self, writer: str) -> Path:
        """Folder of a writer's files that are not whole yet."""
        return self.root / "staging" / writer

    def _stage(self, kind: str, table: pa.Table, writer: str) -> Path:
        path = self.folder(self.staging(writer)) / f"{kind}-{next(_COUNTER)}.parquet"
        # Arrow's own file: at one of Python's every page would wait for Python's one lock
        with pa.OSFile(str(path), "wb") as stream:
            pq.write_table(table, stream, **WRITER_OPTIONS[kind])
        sync_file(path)
        return path

    def _target(self, kind: str, now: int) -> Path:
        parent = (
            self.root / kind if kind in (REFUSED, BATCHES, RAW_MESSAGES) else self.root / "landing" / kind
        )
        folder = self.folder(parent / f"dt={from_utc(now).date().isoformat()}")
        while True:
            path = folder / f"{now * 1000}-{os.getpid()}-{next(_COUNTER)}.parquet"
            if not path.exists():
                return path

    def folder(self, folder: Path) -> Path:
        """The folder, made durably when it was not there."""
        if not folder.is_dir():
            if not folder.parent.is_dir():
                self.folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        return folder
