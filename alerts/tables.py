"""Schema of the published `alerts` view."""

import pyarrow as pa

from devices import units
from devices.tables import UTC, field

ALERTS = pa.schema(
    [
        field(
            "reference",
            pa.string(),
            units.NONE,
            "random reference of the alert; the only name it has outside",
        ),
        field("patient", pa.string(), units.NONE, "patient id"),
        field("rule", pa.string(), units.NONE, "rule that opened it"),
        field("rule_version", pa.int32(), units.NONE, "version of the rule"),
        field("severity", pa.string(), units.NONE, "low, medium, high or critical"),
        field("state", pa.string(), units.NONE, "open, acked or resolved"),
        field("opened_date", pa.date32(), units.NONE, "local date of the night that opened it"),
        field(
            "resolved_date",
            pa.date32(),
            units.NONE,
            "local date of the night that resolved it",
            nullable=True,
        ),
        field("opened_utc", UTC, units.NONE, "when it was opened (UTC)"),
        field("resolved_utc", UTC, units.NONE, "when it was resolved (UTC)", nullable=True),
        field("delivered_utc", UTC, units.NONE, "when the first recipient had it (UTC)", nullable=True),
        field("sentence", pa.string(), units.NONE, "the reason in one sentence"),
    ]
)
