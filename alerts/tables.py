"""Schema of the published `alerts` view: one row per alert, from the journal."""

import pyarrow as pa

from devices import units
from devices.tables import UTC, field

#: Bumped with every change of the schema below.
SCHEMA_VERSION = 1

ALERTS = pa.schema(
    [
        field(
            "alert", pa.string(), units.NONE, "random reference of the alert; says nothing about the patient"
        ),
        field("patient", pa.string(), units.NONE, "patient id"),
        field("rule", pa.string(), units.NONE, "id of the rule that opened it"),
        field("rule_version", pa.int32(), units.NONE, "version of that rule"),
        field("severity", pa.string(), units.NONE, "low, medium, high or critical"),
        field("status", pa.string(), units.NONE, "open, acked or resolved"),
        field("local_date", pa.date32(), units.NONE, "night (local date) on which the breach began"),
        field("zone", pa.string(), units.NONE, "IANA zone of that date", nullable=True),
        field("value", pa.float64(), units.NONE, "value that opened it, in the rule's column", nullable=True),
        field("sentence", pa.string(), units.NONE, "the reason in one sentence"),
        field("opened_utc", UTC, units.NONE, "when the nightly run opened it (UTC)"),
        field("delivered_utc", UTC, units.NONE, "first time a recipient was told (UTC)", nullable=True),
        field("acked_utc", UTC, units.NONE, "when it was acknowledged (UTC)", nullable=True),
        field("resolved_utc", UTC, units.NONE, "when it was resolved (UTC)", nullable=True),
        field("resolved_date", pa.date32(), units.NONE, "night on which the condition ended", nullable=True),
        field(
            "closed_by", pa.string(), units.NONE, "what resolved it; null while it is active", nullable=True
        ),
    ],
    metadata={"flarecast.schema_version": str(SCHEMA_VERSION)},
)

#: Table name -> schema, as published beside the tables of analytics.
TABLES: dict[str, pa.Schema] = {"alerts": ALERTS}
