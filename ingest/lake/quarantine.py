"""Quarantine: what could not be stored is kept, with the reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from devices.tables import QUARANTINE

UNKNOWN_DEVICE: Final = "device is not enrolled at that time"
OTHER_GATEWAY: Final = "device is enrolled with another gateway"


@dataclass(frozen=True)
class Refused:
    """A message, or one observation of it as a batch of its own, and why it was refused.

    `sample_count` is 1 for what could not be read.
    """

    gateway: str
    kind: str
    reason: str
    sample_count: int
    payload: bytes


def refused_table(refused: Sequence[Refused], received_utc: int) -> pa.Table:
    """Refused samples as rows of :data:`devices.tables.QUARANTINE`."""
    columns = {
        "received_utc": [received_utc] * len(refused),
        "gateway": [one.gateway for one in refused],
        "kind": [one.kind for one in refused],
        "reason": [one.reason for one in refused],
        "sample_count": [one.sample_count for one in refused],
        "payload": [one.payload for one in refused],
    }
    return pa.table(
        [pa.array(columns[field.name], type=field.type) for field in QUARANTINE], schema=QUARANTINE
    )
