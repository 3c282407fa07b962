"""The patients' own work days, as the clinic's patient records say them."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from analytics.features.four_weeks import WorkDays
from devices.clock import HOUR, from_utc
from flows.clinic import Clinic
from ingest.lake import records
from ingest.lake.records import PatientRecord, read_records

#: As a record names them.
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

ByPatient = Mapping[str, Sequence[WorkDays]]


def by_patient(clinic: Clinic) -> ByPatient:
    """Work days of those patients of whom somebody wrote them down; the record written last holds."""
    found: dict[str, list[WorkDays]] = {}
    for one in _records(clinic):
        said = msgspec.json.decode(one.payload, type=records.WorkDays)
        days = frozenset(WEEKDAYS.index(name) for name in said.weekdays)
        end = None if one.valid_to_utc is None else _date(one.valid_to_utc)
        found.setdefault(one.patient, []).append(WorkDays(_date(one.valid_from_utc), end, days))
    return found


def _records(clinic: Clinic) -> list[PatientRecord]:
    """The row of each record that was written down last, in an order that does not depend on the file."""
    path = clinic.records_path
    rows = [one for one in (read_records(path) if path.exists() else []) if one.kind == "work_days"]
    latest = {one.record: one for one in sorted(rows, key=lambda one: one.recorded_utc)}
    return sorted(latest.values(), key=lambda one: (one.patient, -one.recorded_utc, one.record))


def _date(utc: int) -> date:
    """The date that begins nearest: midnight of a home lies up to twelve hours from that of UTC."""
    return from_utc(utc + 12 * HOUR).date()
