"""The data dictionary, made from the schemas: ``make docs`` writes ``docs/data-dictionary.md``.

Unit and meaning stand on every field of the schemas; this adds what a row is.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pyarrow as pa

import alerts.tables
import analytics.tables
import devices.tables
from ingest.lake.records import RECORD_KINDS

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
        {**analytics.tables.TABLES, "snapshot": analytics.tables.SNAPSHOT},
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
    "snapshot": "One row: about this snapshot.",
    "day_clock": "One row per patient and local date: hours and sleep by the local clock.",
    "rhythm": "One row per patient and local date, about the 28 dates that end on it.",
    "baseline": "One row per patient, local date and metric.",
    "trend": "One row per patient, local date and metric.",
    "flare_risk": "One row per patient and local date.",
    "alerts": "One row per alert.",
}


_RECORDS = """## What the clinic writes down

### patient_record

`patient_record.csv` beside the enrolment; `flarecast enrol import` and `export --records` take it in and out.
A table that only grows: one row per thing that held for a time, as somebody wrote it down at a time. A later
row of the same `record` replaces it for whoever asks afterwards; a question can be put as of any moment."""

_RECORD_COLUMNS = (
    ("`record`", "id", "names the thing that the rows are about"),
    ("`patient`", "id", "patient id"),
    ("`kind`", "word", "one of the kinds below"),
    ("`valid_from_utc`, `valid_to_utc`", "instant", "when it held; no end: it holds"),
    ("`recorded_utc`", "instant", "when it was written down"),
    ("`author`", "id", "who wrote it down"),
    ("`payload`", "JSON object", "what it says"),
)


def page() -> str:
    """Return the data dictionary in Markdown."""
    parts = [_HEAD]
    for title, place, tables in _FAMILIES:
        parts += [f"## {title}", place]
        for name, schema in tables.items():
            parts += [f"### {name}", GRAIN[name], _columns(schema)]
    parts += [_RECORDS, _rows(("column", "type", "meaning"), _RECORD_COLUMNS)]
    parts += ["What `payload` holds, by `kind`; another field, or a word that is not listed, is refused."]
    parts += [_rows(("kind", "what", "fields"), map(_payload, RECORD_KINDS.items()))]
    return "\n\n".join(parts) + "\n"


def _payload(item: tuple[str, type[msgspec.Struct]]) -> tuple[str, str, str]:
    kind, payload = item
    fields = (
        f"`{field.name}`{'' if field.required else ' (may be absent)'}: {_words(field.type)}"
        for field in msgspec.structs.fields(payload)
    )
    return f"`{kind}`", (payload.__doc__ or "").strip(), "; ".join(fields)


def _words(kind: Any) -> str:
    """A field's type as one reads it."""
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(map(str, get_args(kind)))
    parts = [_words(one) for one in get_args(kind) if not isinstance(one, msgspec.Meta)]
    if origin is list:
        return f"list of {parts[0]}"
    if origin is not None:
        return " or ".join(part for part in parts if part != "null")
    return {str: "text", bool: "true or false", type(None): "null"}.get(kind) or kind.__name__


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]
    return "\n".join(lines)


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
