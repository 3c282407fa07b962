"""Take a patient's rows out of the lake: landing and compacted files, quarantine, batches, raw messages.

What is left is written as a new file and takes the place of the old one; an emptied file is
deleted. Messages that could not be read, and messages as they came, cannot be told apart by
patient: those of the patient's gateways go, of the time the patient had them.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from devices.durable import sync_folder
from devices.observations import KINDS
from devices.tables import UTC
from ingest.lake.compaction import count_samples
from ingest.lake.enrolment import EnrolmentRow
from ingest.lake.files import BATCHES, RAW_MESSAGES, REFUSED, WRITER_OPTIONS, Lake
from ingest.lake.manifest import read_manifest, write_manifest

FOREVER = 2**62
Mask = Callable[[pa.Table], pa.Array]


@dataclass(frozen=True)
class Worn:
    """A device, or a gateway, and the time in which what it sent is the patient's."""

    name: str
    from_utc: int
    to_utc: int = FOREVER


def devices_of(rows: Iterable[EnrolmentRow]) -> list[Worn]:
    """The patient's devices, each while it was the patient's."""
    return [Worn(row.device, row.valid_from_utc, row.valid_to_utc or FOREVER) for row in rows]


def gateways_of(rows: Iterable[EnrolmentRow], everybody: Sequence[EnrolmentRow]) -> list[Worn]:
    """The patient's gateways, each until somebody else had it: what waits in a spool arrives late."""
    found: list[Worn] = []
    for row in rows:
        later = [
            other.valid_from_utc
            for other in everybody
            if other.gateway == row.gateway
            and other.patient != row.patient
            and other.valid_from_utc >= (row.valid_to_utc or FOREVER)
        ]
        found.append(Worn(row.gateway, row.valid_from_utc, min(later, default=FOREVER)))
    return found


def erase(lake: Lake, devices: Sequence[Worn], gateways: Sequence[Worn]) -> dict[str, int]:
    """Take the rows out; returns rows by where they were. The same again finds nothing.

    Call it where nobody compacts (:meth:`Lake.alone`).
    """
    counts: dict[str, int] = {}
    for kind in KINDS:
        counts[kind] = _erase_compacted(lake, kind, devices)
        landing = sorted((lake.root / "landing" / kind).glob("dt=*/*.parquet"))
        counts[kind] += _erase_files(landing, kind, lambda rows: _sent(rows, "device", "start_utc", devices))
    refused = lake.quarantine_files()
    counts[REFUSED] = _erase_files(
        refused, REFUSED, lambda rows: _sent(rows, "gateway", "received_utc", gateways)
    )
    counts[BATCHES] = _erase_files(
        lake.batch_files(), BATCHES, lambda rows: _sent(rows, "gateway", "received_utc", gateways)
    )
    raw = sorted((lake.root / RAW_MESSAGES).glob("dt=*/*.parquet"))
    counts[RAW_MESSAGES] = _erase_files(raw, RAW_MESSAGES, lambda rows: _came_on(rows, gateways))
    return {where: rows for where, rows in counts.items() if rows}


def left(lake: Lake, devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[Path]:
    """Files below the lake, retired and orphaned ones too, in which there is still a row."""
    found: list[Path] = []
    for path in sorted(lake.root.rglob("*.parquet")):
        rows = pq.read_table(path)
        has_device = {"device", "start_utc"} <= set(rows.column_names)
        if has_device:
            mask = _sent(rows, "device", "start_utc", devices)
        elif "topic" in rows.column_names:
            mask = _came_on(rows, gateways)
        else:
            mask = _sent(rows, "gateway", "received_utc", gateways)
        if pc.any(mask).as_py():  # pyright: ignore
            found.append(path)
    return found


def _sent(rows: pa.Table, column: str, instant: str, worn: Sequence[Worn]) -> pa.Array:
    names = rows[column].combine_chunks()
    at = rows[instant].combine_chunks().cast(UTC).cast(pa.int64())
    mask = pa.repeat(False, rows.num_rows)
    for one in worn:
        within = pc.and_(pc.greater_equal(at, one.from_utc), pc.less(at, one.to_utc))  # pyright: ignore
        mask = pc.or_(mask, pc.and_(pc.equal(names, one.name), within))  # pyright: ignore
    return pc.fill_null(mask, False)  # pyright: ignore


def _came_on(rows: pa.Table, gateways: Sequence[Worn]) -> pa.Array:
    levels = pc.split_pattern(rows["topic"].combine_chunks(), "/")  # pyright: ignore
    senders = pa.array([words[3] if len(words) > 3 else "" for words in levels.to_pylist()], pa.string())
    return _sent(rows.append_column("sender", senders), "sender", "arrived_utc", gateways)


def _erase_files(paths: Iterable[Path], kind: str, of_patient: Mask) -> int:
    erased = 0
    for path in paths:
        rows = pq.read_table(path)
        mask = of_patient(rows)
        count = int(pc.sum(mask).as_py() or 0)  # pyright: ignore
        if count:
            erased += count
            _replace(path, rows.filter(pc.invert(mask)), kind)  # pyright: ignore
    return erased


def _replace(path: Path, rows: pa.Table, kind: str) -> None:
    if not rows.num_rows:
        path.unlink()
    else:
        staged = path.with_name(f".{path.name}.partial")
        _write(staged, rows, kind)
        staged.replace(path)
    sync_folder(path.parent)


def _write(path: Path, rows: pa.Table, kind: str) -> None:
    with path.open("wb") as stream:
        pq.write_table(rows, stream, **WRITER_OPTIONS[kind])
        stream.flush()
        os.fsync(stream.fileno())


def _erase_compacted(lake: Lake, kind: str, devices: Sequence[Worn]) -> int:
    manifest = read_manifest(lake.root, kind)
    erased, doomed = 0, list[Path]()
    for name, part in list(manifest.parts.items()):
        path = lake.root / part.path
        rows = pq.read_table(path)
        mask = _sent(rows, "device", "start_utc", devices)
        count = int(pc.sum(mask).as_py() or 0)  # pyright: ignore
        if not count:
            continue
        erased += count
        doomed.append(path)
        del manifest.parts[name]
        kept = rows.filter(pc.invert(mask))  # pyright: ignore
        if kept.num_rows:
            staged = path.with_name(f".{path.name}.partial")
            _write(staged, kept, kind)
            content = hashlib.sha256(staged.read_bytes()).hexdigest()
            target = path.with_name(f"part-{content[:24]}.parquet")
            starts = kept["start_utc"].combine_chunks().cast(UTC).cast(pa.int64()).to_numpy()
            fresh = msgspec.structs.replace(
                part,
                path=target.relative_to(lake.root).as_posix(),
                rows=kept.num_rows,
                samples=count_samples(kept, kind),
                size=staged.stat().st_size,
                sha256=content,
                first_utc=int(starts.min()),
                last_utc=int(starts.max()),
            )
            lake.place(staged, target)
            sync_folder(target.parent)
            manifest.parts[fresh.path] = fresh
    if doomed:
        write_manifest(lake.root, manifest)
    # retired files wait for readers that hold their names; an erased patient does not wait
    retired = [lake.root / name for name in manifest.retired if (lake.root / name).exists()]
    doomed += [path for path in retired if _has(path, devices)]
    orphans = set((lake.root / "data" / kind).rglob("part-*.parquet")) - {
        lake.root / part.path for part in manifest.parts.values()
    }
    doomed += [path for path in sorted(orphans) if path not in doomed and _has(path, devices)]
    lake.remove(doomed)
    return erased


def _has(path: Path, devices: Sequence[Worn]) -> bool:
    return bool(pc.any(_sent(pq.read_table(path), "device", "start_utc", devices)).as_py())  # pyright: ignore
