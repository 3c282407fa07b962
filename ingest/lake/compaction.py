"""Compaction: many landing files become one file per site and day, each sample once.

A run takes landing files in batches that fit in memory, joins them with the parts
of the days they touch, keeps of every sample the copy received last, sorts by
gateway and time, writes new parts and then replaces the manifest. Until that moment
nothing has happened for a reader; a run killed anywhere is simply repeated. What a
batch replaced is deleted `keep_us` later, for readers that hold its names, and never
while a snapshot on disk names it.
"""

import hashlib
import logging
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from devices.clock import DAY, Clock, from_utc
from devices.durable import sync_folder
from devices.observations import KINDS, RrInterval
from devices.tables import LONG_SAMPLES, SAMPLE_KEYS, SCHEMA_VERSION, TABLES
from ingest.errors import LakeError, StoreUnreachableError
from ingest.lake.columns import read_rows
from ingest.lake.enrolment import Enrolment
from ingest.lake.files import WRITER_OPTIONS, Lake
from ingest.lake.manifest import Manifest, Part, manifest_path

logger = logging.getLogger(__name__)

WRITER: Final = "compaction"
#: Site of samples whose device is enrolled with nobody any more; no id can be spelt so.
NO_SITE: Final = "_none"
#: Rows of a row group: 8 thousand runs of beats, or samples of as many bytes.
BLOCK_ROWS: Final = 8_192
SAMPLE_ROWS: Final = 131_072
#: Landing files of one batch, bytes in memory (estimated).
BATCH_BYTES: Final = 384 * 2**20
KEEP_US: Final = 7 * DAY

Numbers = npt.NDArray[Any]


@dataclass
class Compacted:
    """What a run did with one kind."""

    kind: str
    landing_files: int = 0
    rows: int = 0
    duplicates: int = 0
    parts_written: int = 0
    files_deleted: int = 0
    #: days that had been compacted before and changed: (site, date)
    reopened: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    #: landing files that could not be used, and why
    unreadable: list[str] = field(default_factory=list[str])


def compact(
    lake: Lake,
    enrolment: Enrolment,
    *,
    clock: Clock,
    kinds: Iterable[str] = KINDS,
    keep_us: int = KEEP_US,
    held: Container[Path] = frozenset(),
    batch_bytes: int = BATCH_BYTES,
) -> list[Compacted]:
    """Compact the landing files of the lake.

    Parameters
    ----------
    lake : Lake
        Where.
    enrolment : Enrolment
        Which site a device belonged to.
    clock : Clock
        Microseconds UTC.
    kinds : iterable of str
        Kinds to compact.
    keep_us : int
        How long replaced files stay for readers that hold their names, microseconds.
    held : container of Path
        Files that stay however old they are: published snapshots name them (resolved paths).
    batch_bytes : int
        Memory of one batch of landing files, bytes.

    Raises
    ------
    LakeError
        When another run is busy, or a file cannot be used.
    """
    with lake.alone("compaction"):
        lake.sweep(WRITER)
        return [_compact_kind(lake, enrolment, kind, clock, keep_us, held, batch_bytes) for kind in kinds]


def _compact_kind(
    lake: Lake,
    enrolment: Enrolment,
    kind: str,
    clock: Clock,
    keep_us: int,
    held: Container[Path],
    batch_bytes: int,
) -> Compacted:
    done = Compacted(kind)
    manifest = lake.manifest(kind)
    done.files_deleted = _delete_old(lake, manifest, clock() - keep_us, held)
    for paths in _batches(lake.landed(kind, manifest), batch_bytes):
        tables = {path: table for path in paths if (table := _read(path, kind, done)) is not None}
        if not tables:
            continue
        _compact_batch(lake, enrolment, manifest, list(tables.values()), done, clock())
        for path in tables:
            manifest.retired[path.relative_to(lake.root).as_posix()] = clock()
        lake.publish(manifest)
        done.landing_files += len(tables)
        logger.info("compacted kind=%s files=%d generation=%d", kind, len(tables), manifest.generation)
    return done


def _read(path: Path, kind: str, done: Compacted) -> pa.Table | None:
    """Rows of a landing file; one that cannot be used stays where it is, and stops nobody else's."""
    try:
        return read_rows(path, kind, as_codes=True)
    except StoreUnreachableError:
        raise
    except LakeError as error:
        done.unreadable.append(str(error))
        return None


def _delete_old(lake: Lake, manifest: Manifest, before_utc: int, held: Container[Path]) -> int:
    """Delete what readers no longer hold, and parts that a killed run left without a manifest."""
    root = lake.root.resolve()
    old = [
        path for path, since in manifest.retired.items() if since <= before_utc and root / path not in held
    ]
    orphans = [path for path in orphan_parts(lake, manifest) if path.resolve() not in held]
    doomed = [lake.root / path for path in old] + orphans
    lake.remove(doomed)
    if old:
        for path in old:
            del manifest.retired[path]
        lake.publish(manifest)
    return len(doomed)


def orphan_parts(lake: Lake, manifest: Manifest) -> list[Path]:
    """Compacted files that no manifest names: of a run killed before it could say so."""
    found = manifest_path(lake.root, manifest.kind).parent.glob("site=*/date=*/*.parquet")
    known = manifest.parts.keys() | manifest.retired.keys()
    return [path for path in found if path.relative_to(lake.root).as_posix() not in known]


def _batches(paths: Sequence[Path], batch_bytes: int) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in paths:
        # beats take twice their bytes on disk, other samples about a hundred bytes of columns and sorting
        needed = 4 * path.stat().st_size + 100 * _row_count(path)
        if batch and size + needed > batch_bytes:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += needed
    if batch:
        yield batch


def _row_count(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError):
        return 0  # whoever reads it says so


def _compact_batch(
    lake: Lake, enrolment: Enrolment, manifest: Manifest, tables: list[pa.Table], done: Compacted, now: int
) -> None:
    """Write the parts of the days `tables` touch and enter them in `manifest`."""
    kind = manifest.kind
    fresh = _join(tables)
    done.rows += fresh.num_rows
    sites = sorted({NO_SITE, *(row.site for row in enrolment.rows)})
    place = _places(fresh, enrolment, sites)
    days = _instants(fresh) // DAY
    touched = {(sites[site], _iso(day)) for site, day in set(zip(place.tolist(), days.tolist(), strict=True))}
    before = {(p.site, p.date): p for p in manifest.parts.values() if (p.site, p.date) in touched}
    for part in before.values():
        tables = [*tables, read_rows(lake.root / part.path, kind, as_codes=True)]
        place = np.concatenate([place, np.full(part.rows, sites.index(part.site))])
    rows = _join(tables)
    kept = _last_received(rows, kind)
    done.duplicates += rows.num_rows - len(kept)
    for site, date, table in _by_day(rows, kept, place, sites):
        old = before.get((site, date))
        part = _write_part(lake, kind, site, date, table, old, now)
        if old is not None and part.path == old.path:
            continue
        done.parts_written += 1
        if old is not None:
            done.reopened.append((site, date))
            del manifest.parts[old.path]
            manifest.retired[old.path] = now
        manifest.retired.pop(part.path, None)
        manifest.parts[part.path] = part


def _join(tables: list[pa.Table]) -> pa.Table:
    """One table whose strings share one dictionary per column."""
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().combine_chunks()


def _instants(rows: pa.Table, column: str = "start_utc") -> Numbers:
    return rows[column].cast(pa.int64()).to_numpy()


def _ranks(rows: pa.Table, column: str) -> tuple[Numbers, list[str]]:
    """Strings as numbers in alphabetical order, and the strings."""
    if not rows.num_rows:
        return np.zeros(0, dtype=np.int64), []
    codes = cast(Any, rows[column].chunk(0))
    words: list[str] = codes.dictionary.to_pylist()
    order = sorted(range(len(words)), key=words.__getitem__)
    rank = np.empty(len(words), dtype=np.int64)
    rank[order] = np.arange(len(words))
    return rank[codes.indices.to_numpy()], [words[index] for index in order]


def _places(rows: pa.Table, enrolment: Enrolment, sites: Sequence[str]) -> Numbers:
    """Index of each row's site, by its device and instant."""
    codes, devices = _ranks(rows, "device")
    starts = _instants(rows)
    place = np.full(len(starts), sites.index(NO_SITE), dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(devices)), side="right").tolist()
    for device, first, last in zip(devices, [0, *ends[:-1]], ends, strict=True):
        own = order[first:last]
        for row in enrolment.of_device(device):
            end = 2**62 if row.valid_to_utc is None else row.valid_to_utc
            held = (starts[own] >= row.valid_from_utc) & (starts[own] < end)
            place[own[held]] = sites.index(row.site)
    return place


def _last_received(rows: pa.Table, kind: str) -> Numbers:
    """Index of the copy to keep of every sample, in order of the sample's key."""
    keys = [_comparable(rows, column) for column in SAMPLE_KEYS[kind]]
    if kind in LONG_SAMPLES:
        is_long = _instants(rows, "end_utc") - _instants(rows) > LONG_SAMPLES[kind]
        keys.append(is_long.astype(np.int64))
    order = np.lexsort(keys[::-1])
    is_new = np.zeros(len(order), dtype=bool)
    is_new[:1] = True
    for key in keys:
        is_new[1:] |= np.diff(key[order]) != 0
    if is_new.all():
        return order
    # the few samples with several copies: latest arrival, then what the warehouse's views prefer
    sample = np.cumsum(is_new)
    several = np.bincount(sample)[sample] > 1
    rivals = order[several]
    merits = [_comparable(rows, name)[rivals] for name in ("received_utc", "sequence", "gateway")]
    if "end_utc" in rows.column_names:
        merits.append(_comparable(rows, "end_utc")[rivals])
    ranked = np.lexsort([*merits[::-1], sample[several]])
    is_best = np.append(np.diff(sample[several][ranked]) != 0, True)
    return np.concatenate([order[~several], rivals[ranked][is_best]])


def _comparable(rows: pa.Table, column: str) -> Numbers:
    kind = rows.schema.field(column).type
    if pa.types.is_dictionary(kind):
        return _ranks(rows, column)[0]
    # numbers are far below 2^63: differences of unsigned ones would wrap
    return rows[column].cast(pa.int64()).to_numpy()


def _by_day(
    rows: pa.Table, kept: Numbers, place: Numbers, sites: Sequence[str]
) -> Iterator[tuple[str, str, pa.Table]]:
    """Kept rows of every site and date, by gateway, time and device."""
    starts = _instants(rows)
    days = starts[kept] // DAY
    order = np.lexsort(
        [
            _ranks(rows, "device")[0][kept],
            starts[kept],
            _ranks(rows, "gateway")[0][kept],
            days,
            place[kept],
        ]
    )
    kept, days = kept[order], days[order]
    where = place[kept]
    edges = np.flatnonzero((np.diff(where) != 0) | (np.diff(days) != 0)) + 1
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(kept)], strict=True):
        yield sites[int(where[first])], _iso(int(days[first])), rows.take(pa.array(kept[first:last]))


def _iso(day: int) -> str:
    return from_utc(day * DAY).date().isoformat()


class _Hashed:
    """Binary file that knows the SHA-256 of what was written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.closed = False

    def write(self, block: Any) -> int:
        self.digest.update(block)
        return self._stream.write(block)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self.closed = True


def _write_part(
    lake: Lake, kind: str, site: str, date: str, table: pa.Table, old: Part | None, now: int
) -> Part:
    """Write one file under a name made of its content: the same rows are the same file."""
    table = table.cast(TABLES[kind])
    staged = lake.folder(lake.staging(WRITER)) / f"{kind}-{site}-{date}.parquet"
    with staged.open("wb") as stream:
        hashed = _Hashed(stream)
        size = BLOCK_ROWS if kind == RrInterval.kind else SAMPLE_ROWS
        pq.write_table(table, hashed, row_group_size=size, **WRITER_OPTIONS[kind])
        stream.flush()
        os.fsync(stream.fileno())
    checksum = hashed.digest.hexdigest()
    folder = lake.folder(lake.root / "data" / kind / f"site={site}" / f"date={date}")
    target = folder / f"part-{checksum[:24]}.parquet"
    path = target.relative_to(lake.root).as_posix()
    if old is not None and old.path == path:
        staged.unlink()
        return old
    starts = _instants(table)
    part = Part(
        path=path,
        site=site,
        date=date,
        rows=table.num_rows,
        samples=count_samples(table, kind),
        size=staged.stat().st_size,
        sha256=checksum,
        schema_version=SCHEMA_VERSION,
        first_utc=int(starts.min()),
        last_utc=int(starts.max()),
        revision=1 if old is None else old.revision + 1,
        written_utc=now,
    )
    lake.place(staged, target)
    sync_folder(folder)
    return part


def count_samples(table: pa.Table, kind: str) -> int:
    """Beats of RR runs; rows of everything else."""
    if kind != RrInterval.kind:
        return table.num_rows
    lists = table["rr_ms"].combine_chunks()
    return len(cast(Any, lists).flatten())
