"""What a night's rules are told of the patients beside their numbers: states as written down, and sites."""

import json
from collections.abc import Callable
from datetime import date

from alerts.engine.night import Surroundings
from alerts.rules.pack import RulePack
from flows.clinic import Clinic
from flows.night.heard import GATEWAY_SILENT, behind_silent_gateways
from flows.night.homes import Homes
from ingest.lake.enrolment import read_enrolment_leniently
from ingest.lake.records import latest_versions, read_records

#: What a patient is of whom nothing else is written down.
ACTIVE = "active"
#: Nothing is judged of whoever has left.
WITHDRAWN = "withdrawn"


def statuses_now(clinic: Clinic, now: int) -> dict[str, str]:
    """Patient -> status at an instant, of those who are not simply active; of several the one begun last."""
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    found: dict[str, str] = {}
    for one in sorted(latest_versions(records, now), key=lambda one: one.valid_from_utc):
        is_now = one.valid_from_utc <= now and (one.valid_to_utc is None or now < one.valid_to_utc)
        if one.kind == "status" and is_now:
            found[one.patient] = json.loads(one.payload)["status"]
    return {patient: status for patient, status in found.items() if status != ACTIVE}


def surroundings_by_night(
    clinic: Clinic, known_utc: int, pack: RulePack | None = None
) -> Callable[[date], Surroundings]:
    """Local date -> states and sites of the patients, of what was known at an instant.

    A state holds on every date it touches by the clock of the patient's home; of several the one that
    began last. A patient who is away for part of a day owes nothing for it, nor does one whose gateway
    is silent by the rule of `pack` that watches for that.
    """
    if not clinic.enrolment_path.exists():
        return lambda _: Surroundings()
    rows = read_enrolment_leniently(clinic.enrolment_path)[0].rows
    homes = Homes(rows)
    sites: dict[str, str] = {row.patient: row.site for row in rows}
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    spans: list[tuple[str, date, date, str]] = []
    for one in sorted(latest_versions(records, known_utc), key=lambda one: one.valid_from_utc):
        if one.kind == "status" and one.patient in homes:
            end = date.max if one.valid_to_utc is None else homes.date(one.patient, one.valid_to_utc - 1)
            status = json.loads(one.payload)["status"]
            spans.append((one.patient, homes.date(one.patient, one.valid_from_utc), end, status))

    def of_night(day: date) -> Surroundings:
        held = {patient: status for patient, first, last, status in spans if first <= day <= last}
        away = {patient: status for patient, status in held.items() if status != ACTIVE}
        silent = behind_silent_gateways(clinic, pack, day, known_utc) if pack is not None else ()
        return Surroundings(statuses=dict.fromkeys(silent, GATEWAY_SILENT) | away, sites=sites)

    return of_night
