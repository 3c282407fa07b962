"""Take a patient's rows out of the lake: landing and compacted files, quarantine, batches, raw messages.

What is left is written as a new file and takes the place of the old one; an emptied file is
deleted. Messages that could not be read, and messages as they came, cannot be told apart by
patient: those of the patient's gateways go, of the time the patient had them. What an import refused
names no gateway: it goes by the device it names.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from devices.durable import sync_folder
from devices.observations import KINDS
from devices.tables import UTC
from ingest.errors import MessageError
from ingest.lake.compaction import count_samples
from ingest.lake.enrolment import EnrolmentRow
from ingest.lake.files import BATCHES, RAW_MESSAGES, REFUSED, WRITER_OPTIONS, Lake
from ingest.lake.manifest import Manifest
from ingest.wire.messages import decode_batch

if TYPE_CHECKING:
    from ingest.lake.object_versions import Old
    from ingest.lake.objects import Objects

WRITER: Final = "erasure"
FOREVER: Final = 2**62
_BY_ARRIVAL: Final = (REFUSED, BATCHES, RAW_MESSAGES)
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


def until_given(worn: Iterable[Worn], given: Iterable[tuple[str, int]], *, after_utc: int = 0) -> list[Worn]:
    """Each until somebody else got it: what it sends from then on is theirs.

    Parameters
    ----------
    given : iterable of (str, int)
        Names as they are enrolled now, and from when (microseconds UTC).
    after_utc : int
        Enrolled before, it was shared with the patient.
    """
    starts = list(given)
    found: list[Worn] = []
    for one in worn:
        first = max(one.from_utc, after_utc)
        ends = [at for name, at in starts if name == one.name and at >= first]
        found.append(replace(one, to_utc=min([*ends, one.to_utc])))
    return found


@dataclass
class Erased:
    """Rows taken out by where they were, and the files that what is left of others was written to."""

    rows: dict[str, int] = field(default_factory=dict[str, int])
    written: set[str] = field(default_factory=set[str])

    def add(self, where: str, rows: int) -> None:
        """Count rows."""
        if rows:
            self.rows[where] = self.rows.get(where, 0) + rows


def erase(lake: Lake, devices: Sequence[Worn], gateways: Sequence[Worn]) -> Erased:
    """Take the rows out. The same again finds nothing.

    Call it where nobody compacts (:meth:`Lake.alone`).
    """
    done = Erased()
    lake.sweep(WRITER)
    for kind in KINDS:
        manifest = lake.manifest(kind)
        _erase_compacted(lake, manifest, devices, done)

        def of_device(rows: pa.Table) -> pa.Array:
            return _sent(rows, "device", "start_utc", devices)

        landed = lake.landed(kind, manifest)
        _erase_files(lake, landed, kind, of_device, done)
        # retired files wait for readers that hold their names; an erased patient does not wait
        known = {lake.root / name for name in manifest.parts} | set(landed)
        others = [*lake.everything(f"data/{kind}"), *lake.everything(f"landing/{kind}")]
        lake.remove([path for path in others if path not in known and _has(path, of_device)])

    def of_gateway(rows: pa.Table) -> pa.Array:
        return _sent(rows, "gateway", "received_utc", gateways)

    def refused(rows: pa.Table) -> pa.Array:
        return pc.or_(of_gateway(rows), _imported(rows, devices))  # pyright: ignore

    _erase_files(lake, lake.quarantine_files(), REFUSED, refused, done)
    _erase_files(lake, lake.batch_files(), BATCHES, of_gateway, done)
    _erase_files(lake, lake.raw_files(), RAW_MESSAGES, lambda rows: _came_on(rows, gateways), done)
    return done


def erase_versions(objects: "Objects", devices: Sequence[Worn], gateways: Sequence[Worn]) -> int:
    """Delete the old versions of objects in which there is a row; returns how many.

    Raises
    ------
    StoreUnreachableError
        When the store does not say which versions it keeps.
    """
    found = [old for old in objects.old_versions() if _is_old_of(objects, old, devices, gateways)]
    for old in found:
        objects.delete_old(old)
    return len(found)


def versions_left(objects: "Objects", devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[str]:
    """Old versions in which there is still a row, or which cannot be read."""
    return [
        f"{old.key}?versionId={old.version}"
        for old in objects.old_versions()
        if _is_old_of(objects, old, devices, gateways) is not False
    ]


def _is_old_of(
    objects: "Objects", old: "Old", devices: Sequence[Worn], gateways: Sequence[Worn]
) -> bool | None:
    """Whether an old version has a row; None where it cannot be read."""
    if old.is_mark or not old.key.endswith(".parquet"):
        return False
    rows = _read(pa.BufferReader(objects.read_old(old)))
    return None if rows is None else _is_in(rows, devices, gateways)


def left(lake: Lake, devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[Path]:
    """Files of the lake in which there is still a row, or which cannot be read; retired and orphaned too."""
    folders = (*(f"{place}/{kind}" for place in ("data", "landing") for kind in KINDS), *_BY_ARRIVAL)
    paths = [path for folder in folders for path in lake.everything(folder)]
    paths += sorted((lake.root / "staging").rglob("*.parquet"))
    return [path for path in paths if (rows := _read(path)) is None or _is_in(rows, devices, gateways)]


def _is_in(rows: pa.Table, devices: Sequence[Worn], gateways: Sequence[Worn]) -> bool:
    if {"device", "start_utc"} <= set(rows.column_names):
        mask = _sent(rows, "device", "start_utc", devices)
    elif "topic" in rows.column_names:
        mask = _came_on(rows, gateways)
    else:
        mask = _sent(rows, "gateway", "received_utc", gateways)
        if "payload" in rows.column_names:
            mask = pc.or_(mask, _imported(rows, devices))  # pyright: ignore
    return bool(pc.any(mask).as_py())  # pyright: ignore


def _imported(rows: pa.Table, devices: Sequence[Worn]) -> pa.Array:
    """Refused rows of no gateway that name one of the devices, in its time where that can be read."""
    found = [
        not gateway and _is_about(payload, kind, devices)
        for gateway, kind, payload in zip(
            *(rows[name].to_pylist() for name in ("gateway", "kind", "payload")), strict=True
        )
    ]
    return pa.array(found, pa.bool_())


def _is_about(payload: bytes, kind: str, devices: Sequence[Worn]) -> bool:
    named = [one for one in devices if one.name.encode() in payload]
    if not named:
        return False
    try:
        sent = decode_batch(payload, kind).batch.observations
    except MessageError:
        sent = []
    if not sent:
        return any(one.name in _texts(payload) for one in named)
    return any(
        one.name == observation.device and one.from_utc <= observation.start_utc < one.to_utc
        for one in named
        for observation in sent
    )


def _texts(payload: bytes) -> set[str]:
    """Every text in a payload that is no observation: a row as JSON, or a batch with a mistake."""
    found: set[str] = set()
    for decoder in (msgspec.json.decode, msgspec.msgpack.decode):
        try:
            left: list[Any] = [decoder(payload)]
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        while left:
            one = left.pop()
            if isinstance(one, str):
                found.add(one)
            elif isinstance(one, dict | list):
                left += list(one.values()) if isinstance(one, dict) else one  # pyright: ignore
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


def _erase_files(lake: Lake, paths: Iterable[Path], kind: str, of_patient: Mask, done: Erased) -> None:
    for path in paths:
        rows = _read(path)
        if rows is None:
            continue
        mask = of_patient(rows)
        count = int(pc.sum(mask).as_py() or 0)  # pyright: ignore
        if not count:
            continue
        done.add(kind, count)
        kept = rows.filter(pc.invert(mask))  # pyright: ignore
        if kept.num_rows:
            # under a new name: an object is never another one, and a copy of it elsewhere is known by it
            written = lake.replace_files(kind, kept, [path], writer=WRITER)
            done.written.add(written.relative_to(lake.root).as_posix())
        else:
            lake.remove([path])


def _erase_compacted(lake: Lake, manifest: Manifest, devices: Sequence[Worn], done: Erased) -> None:
    kind, doomed = manifest.kind, list[Path]()
    for name, part in list(manifest.parts.items()):
        path = lake.root / part.path
        rows = _read(path)
        if rows is None:
            continue
        mask = _sent(rows, "device", "start_utc", devices)
        count = int(pc.sum(mask).as_py() or 0)  # pyright: ignore
        if not count:
            continue
        done.add(kind, count)
        doomed.append(path)
        del manifest.parts[name]
        kept = rows.filter(pc.invert(mask))  # pyright: ignore
        if kept.num_rows:
            staged = lake.folder(lake.staging(WRITER)) / path.name
            with staged.open("wb") as stream:
                pq.write_table(kept, stream, **WRITER_OPTIONS[kind])
                stream.flush()
                os.fsync(stream.fileno())
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
        lake.publish(manifest)
    lake.remove(doomed)


def _has(path: Path, of_patient: Mask) -> bool:
    rows = _read(path)
    return rows is not None and bool(pc.any(of_patient(rows)).as_py())  # pyright: ignore


def _read(path: Path | pa.BufferReader) -> pa.Table | None:
    """Rows of a file; None where it cannot be read: whose it is is not known, and :func:`left` names it."""
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError):
        return None
