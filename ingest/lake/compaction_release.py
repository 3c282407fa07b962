"""Release: what waits in quarantine for an enrolment goes to the lake once its device is enrolled."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from devices.clock import Clock, to_utc
from devices.tables import QUARANTINE
from ingest.errors import MessageError
from ingest.lake.columns import Arrived, read_kept, to_table
from ingest.lake.enrolment import Enrolment
from ingest.lake.files import REFUSED, Lake
from ingest.lake.quarantine import AHEAD_OF_ARRIVAL, OTHER_GATEWAY, UNKNOWN_DEVICE
from ingest.wire.messages import decode_batch

WRITER: Final = "release"


def release(lake: Lake, enrolment: Enrolment, *, clock: Clock, has_ahead: bool = False) -> int:
    """Store what the enrolment now knows and take it out of quarantine; returns samples released.

    With `has_ahead` also what was refused as ahead of its arrival and is past by now: whoever asks for
    it knows that the collector's clock was wrong, and not the sample's.

    A run killed between the two stores it twice; readers and compaction count it once.
    """
    released = 0
    with lake.alone("a release"):
        lake.sweep(WRITER)
        for path in lake.quarantine_files():
            rows: list[dict[str, Any]] = read_kept(path, QUARANTINE).to_pylist()
            arrived: dict[tuple[str, int], list[Arrived]] = defaultdict(list)
            kept: list[dict[str, Any]] = []
            for row in rows:
                good = _known(row, enrolment, clock() if has_ahead else None)
                if not good:
                    kept.append(row)
                    continue
                released += int(row["sample_count"])
                arrived[row["kind"], to_utc(row["received_utc"])] += good
            if len(kept) < len(rows):
                _store(lake, arrived, clock())
                _replace(lake, path, kept)
    return released


def _known(row: dict[str, Any], enrolment: Enrolment, now: int | None) -> list[Arrived]:
    """Observations of a refused row when all of them are enrolled, and before `now` where that is asked."""
    is_ahead = row["reason"] == AHEAD_OF_ARRIVAL
    if row["reason"] not in (UNKNOWN_DEVICE, OTHER_GATEWAY) and not (is_ahead and now is not None):
        return []
    try:
        decoded = decode_batch(row["payload"], row["kind"])
    except MessageError:
        return []
    arrived: list[Arrived] = []
    for observation in decoded.batch.observations:
        owner = enrolment.lookup(observation.device, observation.start_utc)
        # an import need not know the gateway
        if owner is None or row["gateway"] not in ("", owner.gateway):
            return []
        if is_ahead and now is not None and observation.start_utc > now:
            return []
        arrived.append(Arrived(observation, owner.gateway, decoded.batch.sequence))
    return arrived


def _store(lake: Lake, arrived: dict[tuple[str, int], list[Arrived]], now: int) -> None:
    tables: dict[str, list[pa.Table]] = defaultdict(list)
    for (kind, received_utc), rows in arrived.items():
        # it was received when it was refused: what came later stays the later
        tables[kind].append(to_table(kind, rows, received_utc))
    joined = {kind: pa.concat_tables(parts) for kind, parts in tables.items()}
    lake.commit(joined, writer=WRITER, now=now)


def _replace(lake: Lake, path: Path, kept: list[dict[str, Any]]) -> None:
    if kept:
        table = pa.Table.from_pylist(kept, schema=QUARANTINE)
        lake.replace_files(REFUSED, table, [path], writer=WRITER)
    else:
        lake.remove([path])
