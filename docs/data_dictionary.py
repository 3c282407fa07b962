"""The data dictionary, made from the schemas: ``make docs`` writes ``docs/data-dictionary.md``.

Unit and meaning stand on every field of the schemas; this adds what a row is.
"""

import sys
from pathlib import Path

import pyarrow as pa

import alerts.tables
import analytics.tables
import devices.tables

PAGE = Path(__file__).with_name("data-dictionary.md")

_HEAD = """# Data dictionary

Made by `make docs` from the `tables.py` of `devices/`, `analytics/` and `alerts/`; not edited by hand.

Instants are microseconds UTC and end in `_utc`; intervals are half-open. `null` means not worn, or too little
data, and a `quality` or `reason` column beside it says which; `0` means worn and still. Units are
[UCUM](https://ucum.org) codes; in braces what is counted. How a schema may change:
[decision record 0004](adr/0004-schemas.md). What the words mean: [glossary](glossary.md)."""

#: Title of a family, where it is found, and its tables.
_FAMILIES: tuple[tuple[str, str, dict[str, pa.Schema]], ...] = (
    (
        "What came in",
        "Parquet in the lake, `landing/<kind>/dt=YYYY-MM-DD/` by day of arrival. One sample is known by "
        "(device, kind, start) and may stand there more than once after a redelivery; the snapshot's view "
        "`observations_<kind>` has it once.",
        devices.tables.TABLES,
    ),
    (
        "Beside the lake",
        "`enrolment` is read from `enrolment.csv`; `quarantine` is Parquet in `quarantine/dt=YYYY-MM-DD/`.",
        {
            "enrolment": devices.tables.ENROLMENT,
            "quarantine": devices.tables.QUARANTINE,
            "batch": devices.tables.BATCH,
            "raw": devices.tables.RAW,
        },
    ),
    (
        "What was computed",
        "Tables of the published snapshot, for `flarecast sql`; one Parquet file per local date behind each.",
        analytics.tables.TABLES,
    ),
    ("What was told", "Table of the published snapshot, from the alert journal.", alerts.tables.TABLES),
)

#: What one row is.
GRAIN: dict[str, str] = {
    "rr_interval": "One row per run of RR intervals without a gap, within one connection.",
    "heart_rate": "One row per sample.",
    "step_count": "One row per counted interval, usually a minute.",
    "sleep_stage": "One row per epoch.",
    "wear": "One row per interval in which the device said the same.",
    "battery": "One row per reading.",
    "device_hrv": "One row per value computed by a device.",
    "pro_answer": "One row per answered item.",
    "flare_report": "One row per report.",
    "sleep_episode": "One row per episode that a device or application has summed up.",
    "practice_log": "One row per entry.",
    "enrolment": "One row per device, patient and time in which the one wore the other.",
    "quarantine": "One row per refused message, or per refused part of one.",
    "batch": "One row per message and wearable in it.",
    "raw": "One row per message, as it came; kept for some days.",
    "hrv_window": "One row per patient, device and five-minute window of the night with RR intervals.",
    "night": "One row per patient and night.",
    "patient_day": "One row per patient and local date.",
    "baseline": "One row per patient, local date and metric.",
    "trend": "One row per patient, local date and metric.",
    "flare_risk": "One row per patient and local date.",
    "alerts": "One row per alert.",
}


def page() -> str:
    """Return the data dictionary in Markdown."""
    parts = [_HEAD]
    for title, place, tables in _FAMILIES:
        parts += [f"## {title}", place]
        for name, schema in tables.items():
            parts += [f"### {name}", GRAIN[name], _columns(schema)]
    return "\n\n".join(parts) + "\n"


def _columns(schema: pa.Schema) -> str:
    lines = ["| column | type | unit | null | meaning |", "|---|---|---|---|---|"]
    for column in schema:
        unit = column.metadata[b"unit"].decode()
        cells = (
            f"`{column.name}`",
            _type(column.type),
            f"`{unit}`" if unit else "",
            "yes" if column.nullable else "",
            column.metadata[b"doc"].decode().replace("|", "\\|"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {kind.value_type}"
    return "instant" if kind == devices.tables.UTC else str(kind)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    print(f"written: {PAGE.parent.name}/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
