"""What people noted about a patient's days, as it bears on scoring.

Travel, illness, a stay in hospital or a pause *suspend* scoring: wearable values of those days
are neither judged nor ever anybody's baseline, and no risk is given. A changed device, firmware
algorithm or medication starts a new *segment*: no comparison across it. A beta-blocker, tricyclic,
SNRI or opioid moves heart rate and its variability only.
"""

from datetime import date
from typing import Final

import numpy as np
import pyarrow as pa

from analytics.risk.arrays import EPOCH, STREAMS, Array, Marks
from devices import units
from devices.tables import UTC, field

#: What is noted -> streams it starts a new segment of.
SEGMENTS: Final[dict[str, tuple[str, ...]]] = {
    "device-change": STREAMS,
    "algorithm-change": STREAMS,
    "medication": ("hrv", "pulse"),
}
SUSPENDS: Final = ("travel", "illness", "admitted", "paused")
#: Classes that move heart rate or its variability.
HEART_MEDICATION: Final = frozenset({"beta-blocker", "tca", "snri", "opioid"})

#: One thing that held of a patient's days, local dates inclusive.
CONTEXT: Final = pa.schema(
    [
        field("patient", pa.string(), units.NONE, "patient id"),
        field("about", pa.string(), units.NONE, ", ".join((*SUSPENDS, *SEGMENTS))),
        field("first_date", pa.date32(), units.NONE, "first local date it holds"),
        field("last_date", pa.date32(), units.NONE, "last one; null while it holds", nullable=True),
        field("recorded_utc", UTC, units.NONE, "when it was written down (UTC)"),
    ]
)


def suspensions_of(
    context: pa.Table | None, patients: list[str], first: date, shape: tuple[int, int]
) -> dict[str, Marks]:
    """Reason -> days on which scoring is suspended, (patients, days); no key where never."""
    found: dict[str, Marks] = {}
    for row, about, low, high in _placed(context, patients, first):
        if about in SUSPENDS:
            days = found.setdefault(about, np.zeros(shape, np.bool_))
            days[row, max(0, low) : shape[1] if high is None else max(0, high + 1)] = True
    return found


def breaks_of(
    context: pa.Table | None, patients: list[str], first: date, shape: tuple[int, int]
) -> dict[str, Array]:
    """Stream -> recorded changes up to each day, (patients, days); no key where never.

    What a medication changed changes back when it ends.
    """
    found: dict[str, Array] = {}
    for row, about, low, high in _placed(context, patients, first):
        for stream in SEGMENTS.get(about, ()):
            counts = found.setdefault(stream, np.zeros(shape, np.int32))
            counts[row, max(0, low) :] += 1
            if about == "medication" and high is not None:
                counts[row, max(0, high + 1) :] += 1
    return found


def _placed(
    context: pa.Table | None, patients: list[str], first: date
) -> list[tuple[int, str, int, int | None]]:
    """Row, what, first and last column of every note on these patients, in a fixed order."""
    if context is None:
        return []
    rows = {patient: row for row, patient in enumerate(patients)}
    start = (first - EPOCH).days
    found = [
        (
            rows[note["patient"]],
            note["about"],
            (note["first_date"] - EPOCH).days - start,
            None if note["last_date"] is None else (note["last_date"] - EPOCH).days - start,
        )
        for note in context.to_pylist()
        if note["patient"] in rows
    ]
    return sorted(found, key=lambda one: (one[0], one[1], one[2]))
