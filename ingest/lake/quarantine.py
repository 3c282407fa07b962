"""Quarantine: what could not be stored is kept, with the reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from devices.clock import DAY
from devices.tables import QUARANTINE

#: Farther ahead of its arrival than any zone that was set wrong, a sample has no date yet, and would
#: change one that has not come: it waits until somebody has looked at the clocks.
FAR_AHEAD: Final = DAY
AHEAD_OF_ARRIVAL: Final = "starts more than a day after it arrived: a clock is wrong"
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


def is_far_ahead(start_utc: int, arrived_utc: int) -> bool:
    """Whether a sample lies so far ahead of its arrival (microseconds UTC) that it must wait."""
    return start_utc - arrived_utc > FAR_AHEAD


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
