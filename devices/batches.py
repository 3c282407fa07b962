"""The table of batches: by which clocks and in which zone the samples of each message came."""

import pyarrow as pa

from devices import units
from devices.tables import SCHEMA_VERSION, UTC, field

#: One row per message and wearable in it, written with the message's samples.
BATCH = pa.schema(
    [
        field("gateway", pa.string(), units.NONE, "gateway that sent the message"),
        field("sequence", pa.uint64(), units.NONE, "number of the message at that gateway"),
        field("kind", pa.string(), units.NONE, "observation kind"),
        field("device", pa.string(), units.NONE, "wearable"),
        field("sealed_utc", UTC, units.NONE, "when the gateway closed the message, by its own clock (UTC)"),
        field("received_utc", UTC, units.NONE, "when the collector stored it, by its own clock (UTC)"),
        field(
            "device_offset_s",
            pa.int32(),
            units.SECOND,
            "how far the wearable's clock is ahead of UTC as last set; null where it has none",
            nullable=True,
        ),
        field(
            "device_drift_ms",
            pa.int64(),
            units.MILLISECOND,
            "how far it was off that when last read, ahead positive; null where that is not known",
            nullable=True,
        ),
        field("zone", pa.string(), units.NONE, "zone of the patient's home; null if nobody's", nullable=True),
        field(
            "utc_offset_min",
            pa.int16(),
            units.MINUTE,
            "offset of that zone at the wearable's first sample, east positive",
            nullable=True,
        ),
    ],
    metadata={"flarecast.kind": "batch", "flarecast.schema_version": str(SCHEMA_VERSION)},
)
