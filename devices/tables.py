"""One Arrow schema per kind: the Parquet contract of the lake.

Unit and meaning stand on every field; the writer casts to these schemas, the
SQL comments and the data dictionary are made from them. Change rule: append a
nullable column, or write a new version with a decision record
(``docs/adr/0004-schemas.md``).

Rows: one per sample for step_count, heart_rate and sleep_stage; one per
gap-free run for rr_interval (a list of milliseconds); one per event otherwise.
"""

import pyarrow as pa

from devices import units
from devices.clock import HOUR
from devices.observations import KINDS, STAGES

#: Bumped with every change of any schema below; stands in every file's footer.
SCHEMA_VERSION = 1

UTC = pa.timestamp("us", tz="UTC")


def field(name: str, kind: pa.DataType, unit: str, doc: str, *, nullable: bool = False) -> pa.Field:
    """Field with its unit (UCUM, empty when it has none) and meaning as metadata."""
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "doc": doc})


COMMON = (
    field("device", pa.string(), units.NONE, "pseudonymous id of the wearable"),
    field("start_utc", UTC, units.NONE, "start of the sample (UTC)"),
    field("gateway", pa.string(), units.NONE, "gateway that sent it"),
    field(
        "sequence",
        pa.uint64(),
        units.NONE,
        "message number at that gateway; rises by one per message; 1 where they are not numbered",
    ),
    field("received_utc", UTC, units.NONE, "when the collector stored it (UTC)"),
    field("source", pa.string(), units.NONE, "codec and version that read it from the device"),
)

_RR = (
    field("end_utc", UTC, units.NONE, "last beat of the run (UTC), exclusive"),
    field("connection", pa.string(), units.NONE, "Bluetooth connection the run came by"),
    field("first_beat", pa.uint32(), units.COUNT, "number of its first interval in the connection, from 0"),
    field(
        "rr_ms",
        pa.list_(pa.field("element", pa.uint16(), nullable=False)),
        units.MILLISECOND,
        "RR intervals (any beat) in time order",
    ),
    field(
        "gap_before_ms",
        pa.uint32(),
        units.MILLISECOND,
        "silence before the run within its connection; null when not known",
        nullable=True,
    ),
    field("sensor", pa.string(), units.NONE, "ecg, ppg or unknown"),
)

_AUTHOR = field("author", pa.string(), units.NONE, "who wrote it down; null: the respondent", nullable=True)

_INTERVAL_END = field("end_utc", UTC, units.NONE, "end of the sample (UTC), exclusive")

_OWN: dict[str, tuple[pa.Field, ...]] = {
    "rr_interval": _RR,
    "heart_rate": (_INTERVAL_END, field("bpm", pa.uint8(), units.PER_MINUTE, "heart rate")),
    "step_count": (_INTERVAL_END, field("steps", pa.uint16(), units.STEPS, "steps; 0 is worn and still")),
    "sleep_stage": (
        _INTERVAL_END,
        field("stage", pa.uint8(), units.CODE, "; ".join(f"{i} {name}" for i, name in enumerate(STAGES))),
    ),
    "wear": (_INTERVAL_END, field("is_worn", pa.bool_(), units.NONE, "the device's own word on wear")),
    "battery": (field("level_pct", pa.uint8(), units.PERCENT, "battery level"),),
    "device_hrv": (
        _INTERVAL_END,
        field("value_ms", pa.uint16(), units.MILLISECOND, "heart-rate variability computed by the device"),
        field("method", pa.string(), units.NONE, "rmssd, sdnn or vendor (undisclosed); never mixed"),
    ),
    "pro_answer": (
        field("answer_id", pa.string(), units.NONE, "unique id of the answer, given by the form"),
        field("instrument", pa.string(), units.NONE, "questionnaire (nrs, peg, phq-9 ...)"),
        field("item", pa.string(), units.NONE, "item within the questionnaire"),
        field("value", pa.float64(), units.SCORE, "answer as a number"),
        field("form_version", pa.string(), units.NONE, "version of the form shown"),
        field("language", pa.string(), units.NONE, "language shown (BCP 47)"),
        field("mode", pa.string(), units.NONE, "how it was asked (app, phone, paper)"),
        field("respondent", pa.string(), units.NONE, "patient or caregiver"),
        _AUTHOR,
    ),
    "flare_report": (
        field("report_id", pa.string(), units.NONE, "unique id of the report"),
        field("respondent", pa.string(), units.NONE, "patient or caregiver"),
        field(
            "is_harder_to_tolerate", pa.bool_(), units.NONE, "harder to tolerate than usual?", nullable=True
        ),
        field("has_stopped_activities", pa.bool_(), units.NONE, "stopped doing things?", nullable=True),
        _AUTHOR,
    ),
    "sleep_episode": (
        _INTERVAL_END,
        field("duration_s", pa.uint32(), units.SECOND, "sleep onset to final awakening"),
        field("total_sleep_s", pa.uint32(), units.SECOND, "time asleep within it", nullable=True),
        field("wake_after_onset_s", pa.uint32(), units.SECOND, "time awake within it", nullable=True),
        field("awakening_count", pa.uint16(), units.COUNT, "awakenings within it", nullable=True),
        field("is_main_sleep", pa.bool_(), units.NONE, "main sleep, not a nap", nullable=True),
    ),
    "practice_log": (
        _INTERVAL_END,
        field("log_id", pa.string(), units.NONE, "unique id of the entry"),
        field("practice", pa.string(), units.NONE, "what was practised (walking, a module's name)"),
        field("duration_s", pa.uint32(), units.SECOND, "how long"),
        field("intensity", pa.string(), units.NONE, "felt effort: light, moderate, vigorous", nullable=True),
        field("respondent", pa.string(), units.NONE, "patient or caregiver; null when sensed", nullable=True),
        _AUTHOR,
    ),
}


def _schema(kind: str) -> pa.Schema:
    metadata = {"flarecast.kind": kind, "flarecast.schema_version": str(SCHEMA_VERSION)}
    return pa.schema([*COMMON, *_OWN[kind]], metadata=metadata)


#: Kind -> schema of its lake files.
TABLES: dict[str, pa.Schema] = {kind: _schema(kind) for kind in KINDS}

#: What names a sample: two rows of equal key are one sample, and the one received last holds. Two beats
#: of one device never share a connection and a number; of a kind that is not here a device has one sample
#: at a start.
_OWN_KEYS: dict[str, tuple[str, ...]] = {
    "rr_interval": ("device", "start_utc", "connection", "first_beat"),
    "pro_answer": ("device", "start_utc", "answer_id"),
    "flare_report": ("device", "start_utc", "report_id"),
    "practice_log": ("device", "start_utc", "log_id"),
}
SAMPLE_KEYS: dict[str, tuple[str, ...]] = {
    kind: _OWN_KEYS.get(kind, ("device", "start_utc")) for kind in KINDS
}
#: Kinds of which a sample over more than so long (microseconds) is another one than a shorter one that begins
#: with it: a device's total of its day is not the first minute of the day.
LONG_SAMPLES: dict[str, int] = {"step_count": HOUR}

#: Which device (and gateway) belonged to which patient, and when.
ENROLMENT = pa.schema(
    [
        field("patient", pa.string(), units.NONE, "patient id, known at the clinic only"),
        field("site", pa.string(), units.NONE, "clinic or programme"),
        field("zone", pa.string(), units.NONE, "IANA time zone of the patient's home"),
        field("gateway", pa.string(), units.NONE, "gateway in the patient's home"),
        field("device", pa.string(), units.NONE, "wearable"),
        field("valid_from_utc", UTC, units.NONE, "first instant the row holds (UTC)"),
        field("valid_to_utc", UTC, units.NONE, "end (UTC), exclusive; null while it holds", nullable=True),
    ]
)

#: What could not be stored, and why.
QUARANTINE = pa.schema(
    [
        field("received_utc", UTC, units.NONE, "when it was refused (UTC)"),
        field("gateway", pa.string(), units.NONE, "gateway it came from; empty when not known"),
        field("kind", pa.string(), units.NONE, "observation kind; empty when not known"),
        field("reason", pa.string(), units.NONE, "why it was refused, in words"),
        field("sample_count", pa.uint32(), units.COUNT, "samples refused; 1 for an unreadable message"),
        field("payload", pa.binary(), units.NONE, "the refused bytes"),
    ],
    metadata={"flarecast.kind": "quarantine", "flarecast.schema_version": str(SCHEMA_VERSION)},
)

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
        field(
            "firmware",
            pa.string(),
            units.NONE,
            "firmware the wearable states; said when it was read and once a day, null in between",
            nullable=True,
        ),
    ],
    metadata={"flarecast.kind": "batch", "flarecast.schema_version": str(SCHEMA_VERSION)},
)

#: Messages as they came, kept for some days beside what was made of them.
RAW = pa.schema(
    [
        field("arrived_utc", UTC, units.NONE, "when the collector received it, by its own clock (UTC)"),
        field("topic", pa.string(), units.NONE, "topic it came on"),
        field("content_type", pa.string(), units.NONE, "its content type; null where none", nullable=True),
        field("payload", pa.binary(), units.NONE, "the message"),
    ],
    metadata={"flarecast.kind": "raw", "flarecast.schema_version": str(SCHEMA_VERSION)},
)
