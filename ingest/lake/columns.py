"""Observations as Arrow tables: blobs become columns without a Python object per sample."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from devices.clock import SECOND
from devices.observations import HeartRate, Observation, RrInterval, SleepStage, StepCount
from devices.tables import TABLES
from devices.units import RR_MAX_MS
from ingest.errors import LakeError
from ingest.lake.manifest import check_version


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """An observation and the message it came in; in no cycle, so that no collector of them looks at it."""

    observation: Any
    gateway: str
    sequence: int


#: Kind -> (field of the samples, their type, field of their spacing in seconds, column).
SLOTS: Final = {
    StepCount.kind: ("counts", np.dtype("<u2"), "period_s", "steps"),
    HeartRate.kind: ("bpm", np.dtype("u1"), "period_s", "bpm"),
    SleepStage.kind: ("stages", np.dtype("u1"), "epoch_s", "stage"),
}


def to_table(kind: str, arrived: Sequence[Arrived], received_utc: int) -> pa.Table:
    """Table of the kind's schema; rows in order of arrival.

    Parameters
    ----------
    kind : str
        Observation kind of all of `arrived`.
    received_utc : int
        When they are stored, microseconds UTC.
    """
    columns: dict[str, Any] = {
        "gateway": [one.gateway for one in arrived],
        "sequence": np.array([one.sequence for one in arrived], dtype=np.uint64),
        "received_utc": np.full(len(arrived), received_utc, dtype=np.int64),
    }
    observations: list[Observation] = [one.observation for one in arrived]
    if kind in SLOTS:
        return _slots(kind, observations, columns)
    if kind == RrInterval.kind:
        columns["rr_ms"], columns["end_utc"] = _beats(observations)
    return _table(kind, observations, columns)


def _table(kind: str, observations: Sequence[Observation], columns: dict[str, Any]) -> pa.Table:
    """Columns given, and the rest read from the observations' own fields."""
    schema = TABLES[kind]
    arrays: list[pa.Array] = []
    for field in schema:
        name = field.name
        values = columns.get(name)
        if values is None:
            values = list(map(attrgetter(name), observations))
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, type=field.type))
    return pa.table(arrays, schema=schema)


def _beats(observations: Sequence[Any]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """RR lists and ends of runs."""
    values = np.frombuffer(b"".join(run.rr_ms for run in observations), dtype="<u2").astype(
        np.uint16, copy=False
    )
    offsets = np.zeros(len(observations) + 1, dtype=np.int64)
    np.cumsum([len(run.rr_ms) // 2 for run in observations], out=offsets[1:])
    # in 32 bits ten times faster than in 64, and wide enough for all runs but those of weeks
    longest_ms = RR_MAX_MS * int(np.diff(offsets).max())
    width = np.uint32 if longest_ms < 2**32 else np.uint64
    length_ms = np.add.reduceat(values, offsets[:-1], dtype=width).astype(np.int64)
    starts = np.array([run.start_utc for run in observations], dtype=np.int64)
    list_type: Any = TABLES[RrInterval.kind].field("rr_ms").type
    lists = pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), pa.array(values), type=list_type)
    return lists, starts + 1000 * length_ms


def _slots(kind: str, observations: Sequence[Any], columns: dict[str, Any]) -> pa.Table:
    """One row per slot; a heart rate of 0 is a slot without a reading and makes no row."""
    name, dtype, spacing, column = SLOTS[kind]
    blobs: list[bytes] = [getattr(observation, name) for observation in observations]
    values = np.frombuffer(b"".join(blobs), dtype=dtype)
    lengths = np.array([len(blob) // dtype.itemsize for blob in blobs], dtype=np.int64)
    owner = np.repeat(np.arange(len(blobs)), lengths)
    index = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    if kind == HeartRate.kind:
        has_reading = values > 0
        values, owner, index = values[has_reading], owner[has_reading], index[has_reading]
    period = np.array([getattr(one, spacing) for one in observations], dtype=np.int64) * SECOND
    starts = np.array([one.start_utc for one in observations], dtype=np.int64)[owner] + index * period[owner]
    rows = pa.array(owner)
    expanded: dict[str, Any] = {
        column: values,
        "start_utc": starts,
        "end_utc": starts + period[owner],
        "sequence": columns["sequence"][owner],
        "received_utc": columns["received_utc"][owner],
        "gateway": pa.array(columns["gateway"], type=pa.string()).take(rows),
    }
    for text in ("device", "source"):
        words = pa.array([getattr(one, text) for one in observations], type=pa.string())
        expanded[text] = words.take(rows)
    return _table(kind, observations, expanded)


def read_rows(path: Path, kind: str, *, as_codes: bool = False) -> pa.Table:
    """Rows of a lake file in the schema of today; a younger column is null in an older file.

    Parameters
    ----------
    path : Path
        Parquet file.
    kind : str
        Observation kind it must be of.
    as_codes : bool
        Strings as dictionaries: as wide as a number, however often a name repeats.

    Raises
    ------
    LakeError
        When it is no Parquet file, of another kind, of a later schema, or lacks a column.
    """
    schema = TABLES[kind]
    words = [field.name for field in schema if pa.types.is_string(field.type)] if as_codes else []
    try:
        with pq.ParquetFile(path, read_dictionary=words) as file:
            _check_file(path, kind, file.schema_arrow)
            table = file.read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise LakeError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names)


def read_kept(path: Path, schema: pa.Schema) -> pa.Table:
    """Rows of a file beside the samples (quarantine, batches, messages) in the schema of today.

    Raises
    ------
    LakeError
        When it is no Parquet file or of a later schema.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            check_version(path, int(metadata.get(b"flarecast.schema_version", b"1")))
        return pq.read_table(path, schema=schema, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise LakeError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _check_file(path: Path, kind: str, stored: pa.Schema) -> None:
    metadata = stored.metadata or {}
    check_version(path, int(metadata.get(b"flarecast.schema_version", b"1")))
    found = metadata.get(b"flarecast.kind", b"").decode()
    if found != kind:
        raise LakeError(f"{path}: holds {found or 'something unknown'}, not {kind}")
    missing = [f.name for f in TABLES[kind] if f.name not in stored.names and not f.nullable]
    if missing:
        raise LakeError(f"{path}: lacks the column {', '.join(missing)}")
