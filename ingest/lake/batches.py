"""Clocks, zone and firmware of every message, beside its samples: what was wrong can be asked years later."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from devices.clock import MINUTE, from_utc, offset_minutes
from devices.tables import BATCH
from ingest.lake.columns import read_kept
from ingest.lake.enrolment import EnrolmentRow
from ingest.lake.files import BATCHES, Lake
from ingest.wire.messages import Batch, WearableState

WRITER: Final = "batches"
#: No zone changes its offset within a quarter of an hour but at its beginning.
_QUARTER: Final = 15 * MINUTE
_NOTHING_KNOWN: Final = WearableState("")


class BatchRow(msgspec.Struct, frozen=True, gc=False):
    """A wearable in a message; columns of :data:`devices.tables.BATCH` but the arrival."""

    gateway: str
    sequence: int
    kind: str
    device: str
    sealed_utc: int
    device_offset_s: int | None
    device_drift_ms: int | None
    zone: str | None
    utc_offset_min: int | None
    firmware: str | None


def batch_rows(gateway: str, batch: Batch, owners: Sequence[EnrolmentRow | None]) -> list[BatchRow]:
    """One row per wearable of a message, in the order they come in it.

    Parameters
    ----------
    owners
        Whose each observation is.
    """
    states = {one.device: one for one in batch.wearables} if batch.wearables else {}
    rows: dict[str, BatchRow] = {}
    for observation, owner in zip(batch.observations, owners, strict=True):
        device = observation.device
        if device in rows:
            continue
        state = states.get(device, _NOTHING_KNOWN)
        rows[device] = BatchRow(
            gateway,
            batch.sequence,
            batch.kind,
            device,
            batch.sealed_utc,
            state.offset_s,
            state.drift_ms,
            None if owner is None else owner.zone,
            None if owner is None else _offset(owner.zone, observation.start_utc // _QUARTER),
            state.firmware,
        )
    return list(rows.values())


@lru_cache(maxsize=4096)
def _offset(zone: str, quarter: int) -> int:
    return offset_minutes(quarter * _QUARTER, ZoneInfo(zone))


def batch_table(rows: Sequence[BatchRow], received_utc: int) -> pa.Table:
    """Rows as :data:`devices.tables.BATCH`."""
    values = zip(*map(msgspec.structs.astuple, rows), strict=True)
    columns = dict(zip(BatchRow.__struct_fields__, values, strict=True))
    columns["received_utc"] = (received_utc,) * len(rows)
    arrays = [pa.array(columns[field.name], field.type) for field in BATCH]
    return pa.table(arrays, schema=BATCH)


def merge_batches(lake: Lake, now: int) -> int:
    """Make one file of each day that is over; returns files replaced.

    A run that is killed leaves the day's rows twice; the next one keeps each once.
    """
    today = f"dt={from_utc(now).date().isoformat()}"
    replaced = 0
    with lake.alone("the merging of batches"):
        lake.sweep(WRITER)
        days = sorted({path.parent for path in lake.batch_files() if path.parent.name < today})
        for day in days:
            files = sorted(day.glob("*.parquet"))
            if len(files) < 2:
                continue
            rows = pa.concat_tables([read_kept(path, BATCH) for path in files])
            once = rows.group_by(rows.column_names, use_threads=False).aggregate([])
            merged = once.select(BATCH.names).cast(BATCH).sort_by([(n, "ascending") for n in _ORDER])
            lake.replace_files(BATCHES, merged, files, writer=WRITER)
            replaced += len(files)
    return replaced


_ORDER: Final = ("gateway", "sequence", "device", "received_utc")
