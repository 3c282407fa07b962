"""What the patient records say about scoring: notes, medication and states as local dates."""

import json
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from analytics.risk.context import CONTEXT, HEART_MEDICATION, SEGMENTS, SUSPENDS
from devices.clock import from_utc
from flows.clinic import Clinic
from flows.night.homes import Homes
from ingest.lake.records import PatientRecord, latest_versions, read_records

#: State of a patient -> what it is to scoring.
_STATES: Final = {"paused": "paused", "admitted": "admitted", "on-holiday": "travel"}
#: What is known whenever it was written down.
FOREVER: Final = 2**62


def patient_context(clinic: Clinic, *, known_utc: int = FOREVER) -> pa.Table:
    """Rows of :data:`analytics.risk.context.CONTEXT` as they were known at an instant.

    Notes are dated by the clock of the patient's home; of a corrected note the last version
    written down by then holds.
    """
    if not clinic.records_path.exists():
        return CONTEXT.empty_table()
    return context_of(read_records(clinic.records_path), Homes(clinic.enrolment().rows), known_utc)


def context_of(records: Iterable[PatientRecord], homes: Homes, known_utc: int) -> pa.Table:
    """Context of patients who are enrolled; records of others bear on nobody's scores."""
    rows: list[dict[str, Any]] = []
    for one in sorted(latest_versions(records, known_utc), key=lambda one: one.record):
        about = _about(one)
        if about is None or one.patient not in homes:
            continue
        end = one.valid_to_utc
        rows.append(
            {
                "patient": one.patient,
                "about": about,
                "first_date": homes.date(one.patient, one.valid_from_utc),
                "last_date": None if end is None else homes.date(one.patient, end - 1),
                "recorded_utc": from_utc(one.recorded_utc),
            }
        )
    return pa.Table.from_pylist(rows, schema=CONTEXT)


def _about(record: PatientRecord) -> str | None:
    """What a record is to scoring; ``None``: nothing."""
    payload = json.loads(record.payload)
    if record.kind == "status":
        return _STATES.get(payload["status"])
    if record.kind == "medication_class":
        return "medication" if payload["medication_class"] in HEART_MEDICATION else None
    if record.kind == "context_note":
        about = payload.get("about", "other")
        return about if about in SUSPENDS or about in SEGMENTS else None
    return None
