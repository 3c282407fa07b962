"""What the patient record says that may explain an alert: notes, medication, states."""

import json
from collections.abc import Iterator
from typing import Final

from devices.clock import DAY, from_utc
from flows.clinic import Clinic
from ingest.lake.records import latest_versions, read_records

#: Kind of a record -> fields of its payload that are told, and what goes before them.
_TOLD: Final = {
    "context_note": ("", ("about", "text")),
    "medication_class": ("medication: ", ("medication_class",)),
    "status": ("status: ", ("status",)),
    "contact": ("contact: ", ("mode", "text")),
    "plan": ("plan: ", ("module", "dose")),
}


def notes_of(clinic: Clinic, patient: str, now: int, days: int) -> Iterator[str]:
    """Notes of a patient that held on one of the last `days`, oldest first."""
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    own = [
        one
        for one in latest_versions(records, now)
        if one.patient == patient
        and one.kind in _TOLD
        and one.valid_from_utc <= now
        and (one.valid_to_utc is None or one.valid_to_utc > now - days * DAY)
    ]
    for one in sorted(own, key=lambda one: one.valid_from_utc):
        lead, fields = _TOLD[one.kind]
        said = json.loads(one.payload)
        words = ": ".join(said[field] for field in fields if said.get(field))
        until = "" if one.valid_to_utc is None else f" to {from_utc(one.valid_to_utc - 1).date()}"
        yield f"{from_utc(one.valid_from_utc).date()}{until} {lead}{words}"
