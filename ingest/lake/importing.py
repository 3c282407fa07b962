"""Import: historical observations from a Parquet or CSV file in the documented columns of their kind.

Every row passes the checks of a message from the wire; what fails goes to quarantine
with the reason. `gateway`, `sequence` and `source` may be left out; `received_utc` is
the import's. A file is recorded by its content: imported again it changes nothing.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from devices.blobs import pack_u16
from devices.clock import SECOND, Clock, to_utc
from devices.durable import replace_file
from devices.errors import ObservationError
from devices.observations import KINDS
from devices.tables import TABLES, UTC
from ingest.errors import LakeError, MessageError
from ingest.lake.columns import SLOTS, Arrived, to_table
from ingest.lake.enrolment import Enrolment
from ingest.lake.files import REFUSED, Lake
from ingest.lake.quarantine import (
    AHEAD_OF_ARRIVAL,
    OTHER_GATEWAY,
    UNKNOWN_DEVICE,
    Refused,
    is_far_ahead,
    refused_table,
)
from ingest.wire.messages import decode_observation, encode_batch, encode_observation

WRITER: Final = "import"
SOURCE: Final = "import/1"
#: Rows checked and stored together.
CHUNK: Final = 50_000
#: Columns a file need not have.
OPTIONAL: Final = frozenset({"gateway", "sequence", "received_utc", "source"})
#: Whether a device was then (microseconds UTC; None: ever) with somebody who was erased since.
IsErased = Callable[[str, int | None], bool]
_SPANS: Final = ("period_s", "epoch_s", "duration_s")


def _nobody(device: str, at: int | None) -> bool:
    del device, at
    return False


@dataclass(frozen=True)
class Imported:
    """What became of rows.

    `samples` are stored, `refused` wait in quarantine, the first for `reason`; `erased` rows are of
    somebody who was erased, and are kept nowhere.
    """

    kind: str
    rows: int = 0
    samples: int = 0
    refused: int = 0
    erased: int = 0
    is_repeated: bool = False
    reason: str | None = None


def import_file(
    lake: Lake, enrolment: Enrolment, path: Path, kind: str, *, clock: Clock, erased: IsErased = _nobody
) -> Imported:
    """Store the observations of a file.

    Parameters
    ----------
    erased : callable
        Whether a device was with somebody at an instant (microseconds UTC) who was erased since.

    Raises
    ------
    LakeError
        When the file cannot be read or its columns are not those of the kind.
    """
    if kind not in KINDS:
        raise LakeError(f"unknown observation kind {kind!r}: {', '.join(KINDS)}")
    if path.exists() and not path.is_file():
        # a pipe could not be read twice, and a device never ends
        raise LakeError(f"{path}: not a file")
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise LakeError(f"{path}: {error.strerror}") from None
    with lake.alone("an import"):
        record = lake.folder(lake.root / "imports") / f"{kind}-{digest}.json"
        if record.exists():
            return replace(Imported(**json.loads(record.read_text())), is_repeated=True)
        lake.sweep(WRITER)
        done = store_rows(lake, enrolment, _read(path, kind), kind, clock(), erased=erased)
        if not done.erased:
            # whoever comes back is imported from the same file
            replace_file(record, json.dumps(asdict(done)))
    return done


def store_rows(
    lake: Lake,
    enrolment: Enrolment,
    rows: Iterator[dict[str, Any]],
    kind: str,
    now: int,
    *,
    erased: IsErased = _nobody,
) -> Imported:
    """Store rows in the columns of their kind; what the checks refuse goes to quarantine."""
    count = samples = lost = forgotten = 0
    reason: str | None = None
    while chunk := list(islice(rows, CHUNK)):
        arrived: list[Arrived] = []
        refused: list[Refused] = []
        for row in chunk:
            if _is_erased(row, enrolment, erased):
                forgotten += 1
                continue
            one = _judge(row, kind, enrolment, now)
            if isinstance(one, Refused):
                refused.append(one)
            else:
                arrived.append(one)
        tables: dict[str, pa.Table] = {kind: to_table(kind, arrived, now)} if arrived else {}
        if refused:
            tables[REFUSED] = refused_table(refused, now)
        lake.commit(tables, writer=WRITER, now=now)
        count += len(chunk)
        samples += sum(one.observation.sample_count for one in arrived)
        lost += sum(one.sample_count for one in refused)
        reason = reason or (refused[0].reason if refused else None)
    return Imported(kind, count, samples, lost, forgotten, reason=reason)


def _is_erased(row: dict[str, Any], enrolment: Enrolment, erased: IsErased) -> bool:
    """Whether a row is of a time in which its device was an erased patient's, and is nobody's now.

    The instant of a row that cannot be read is not known: then any time will do.
    """
    cells = row.get("cells", row)
    device, start = str(cells.get("device") or ""), row.get("start_utc")
    at = to_utc(start) if isinstance(start, datetime) else start
    if not isinstance(at, int):
        return erased(device, None)
    return enrolment.lookup(device, at) is None and erased(device, at)


def _judge(row: dict[str, Any], kind: str, enrolment: Enrolment, now: int) -> Arrived | Refused:
    """The observation of a row, or why it is none."""
    gateway = str(row.get("gateway") or "")
    sequence = 1
    payload = b""
    try:
        sequence = _sequence(row.get("sequence"))
        payload = msgspec.msgpack.encode(_values(row, kind))
        observation = decode_observation(kind, payload)
    except (MessageError, ObservationError, ValueError, OverflowError, TypeError) as error:
        shown = json.dumps(row, default=str).encode()
        kept = encode_batch(sequence, now, kind, [payload]) if payload else shown
        return Refused(gateway, kind, str(error), 1, kept)
    owner = enrolment.lookup(observation.device, observation.start_utc)
    is_ahead = is_far_ahead(observation.start_utc, now)
    if owner is not None and gateway in ("", owner.gateway) and not is_ahead:
        return Arrived(observation, owner.gateway, sequence)
    reason = AHEAD_OF_ARRIVAL if is_ahead else UNKNOWN_DEVICE if owner is None else OTHER_GATEWAY
    alone = encode_batch(sequence, now, kind, [encode_observation(observation)])
    return Refused(gateway, kind, reason, observation.sample_count, alone)


def _sequence(cell: Any) -> int:
    """Number of the message a row came in; 1 where it is not known."""
    if cell in (None, 0):
        return 1
    if not isinstance(cell, int) or not 0 < cell < 2**63:
        raise ObservationError(f"sequence {str(cell)[:40]!r} is not the number of a message")
    return cell


def _values(row: dict[str, Any], kind: str) -> list[Any]:
    """Fields of the kind's struct, in its order, from the columns of its table."""
    if "unreadable" in row:
        raise ObservationError(str(row["unreadable"]))
    known: dict[str, Any] = {
        name: to_utc(cell) if isinstance(cell, datetime) else cell for name, cell in row.items()
    }
    known["source"] = known.get("source") or SOURCE
    if "rr_ms" in known:
        known["rr_ms"] = pack_u16(known["rr_ms"] or [])
    if kind in SLOTS:
        name, dtype, _, column = SLOTS[kind]
        cell = known[column]
        if not isinstance(cell, int):
            raise ObservationError(f"{column} {_shown(cell)} is no whole number")
        known[name] = pack_u16([cell]) if dtype.itemsize == 2 else bytes([cell])
    fields = KINDS[kind].__struct_fields__
    for name in _SPANS:
        if name in fields:
            for edge in ("start_utc", "end_utc"):
                if not isinstance(known[edge], int):
                    raise ObservationError(f"{edge} {_shown(known[edge])} is no instant")
            length_us = known["end_utc"] - known["start_utc"]
            if length_us % SECOND:
                raise ObservationError("end_utc is not a whole number of seconds after start_utc")
            known[name] = length_us // SECOND
    return [known.get(name) for name in fields]


def _shown(cell: Any) -> str:
    return "(empty)" if cell is None else repr(str(cell)[:40])


def _read(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    if path.suffix == ".csv":
        return _read_csv(path, kind)
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LakeError(f"{path}: neither .csv nor Parquet: {str(error).splitlines()[0]}") from None
    _check_columns(path, kind, file.schema_arrow.names)
    for field in file.schema_arrow:
        if TABLES[kind].field(field.name).type == UTC and field.type != UTC:
            raise LakeError(f"{path}: {field.name} is {field.type}, not {UTC}")
    return (row for batch in file.iter_batches(CHUNK) for row in batch.to_pylist())


def _read_csv(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        try:
            lines = csv.DictReader(stream, strict=True)
            _check_columns(path, kind, lines.fieldnames or [])
            for cells in lines:
                yield _parsed(cells, kind)
        except (csv.Error, UnicodeDecodeError) as error:
            raise LakeError(f"{path}: not a CSV file in UTF-8: {error}") from None


def _check_columns(path: Path, kind: str, names: Iterable[str]) -> None:
    there = list(names)
    schema = TABLES[kind]
    strange = [name for name in there if name not in schema.names]
    missing = [f.name for f in schema if f.name not in there and not f.nullable and f.name not in OPTIONAL]
    if kind == "rr_interval" and "end_utc" in missing:
        missing.remove("end_utc")
    if strange or missing:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing)
        faults += [f"has {', '.join(strange)}"] * bool(strange)
        raise LakeError(f"{path}: not the columns of {kind}: {'; '.join(faults)}")


def _parsed(cells: dict[Any, Any], kind: str) -> dict[str, Any]:
    """Cells in the types of the columns; a row that cannot be parsed says why."""
    row: dict[str, Any] = {}
    for name, text in cells.items():
        if name is None or text is None:
            return {"unreadable": "the line has more or fewer cells than the header", "cells": cells}
        try:
            row[name] = _cell(TABLES[kind].field(name).type, text) if text else None
        except ValueError:
            return {"unreadable": f"{name} {text!r} cannot be read", "cells": cells}
    return row


def _cell(kind: pa.DataType, text: str) -> Any:
    if kind == UTC:
        return to_utc(datetime.fromisoformat(text))
    if pa.types.is_list(kind):
        return [int(word) for word in text.split()]
    if pa.types.is_boolean(kind):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if pa.types.is_integer(kind):
        return int(text)
    return float(text) if pa.types.is_floating(kind) else text
