"""Which gateways were last heard when, and whose data are missing for that."""

from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from alerts.engine.technical import watching
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from devices.clock import to_utc
from flows.clinic import Clinic
from ingest.lake.enrolment import EnrolmentRow, read_enrolment_leniently
from ingest.lake.presence import read_presence

#: State of a patient nothing of whose home arrives: what is silent is the gateway, not the patient.
GATEWAY_SILENT: Final = "gateway-silent"


def heard_gateways(clinic: Clinic, statuses: Mapping[str, str], now: int) -> dict[str, tuple[str, int]]:
    """Gateway -> its site, and when something of it last came; of those from which something must come.

    One that was never heard is not set up yet, and one whose patients are all away (`statuses`) may be
    unplugged: neither is expected.
    """
    homes: dict[str, list[EnrolmentRow]] = {}
    for row in _rows(clinic):
        if row.holds(now) and row.patient not in statuses:
            homes.setdefault(row.gateway, []).append(row)
    heard = _heard(clinic)
    return {name: (rows[0].site, heard[name]) for name, rows in homes.items() if name in heard}


def has_patients(clinic: Clinic, left: Collection[str], now: int) -> bool:
    """Whether anybody is enrolled at an instant who has not `left`."""
    return any(row.holds(now) and row.patient not in left for row in _rows(clinic))


def behind_silent_gateways(clinic: Clinic, pack: RulePack, day: date, now: int) -> frozenset[str]:
    """Patients every gateway of whom was silent at the end of a local date, and has been since."""
    rule = watching(pack, "gateway")
    if rule is None:
        return frozenset()
    after, heard = parse_duration(rule.after), _heard(clinic)
    if not heard:
        return frozenset()
    ends: dict[str, int] = {}
    silent: dict[str, bool] = {}
    for row in _rows(clinic):
        if row.zone not in ends:
            ends[row.zone] = to_utc(datetime.combine(day + timedelta(days=1), time(0), ZoneInfo(row.zone)))
        until = min(now, ends[row.zone])
        if row.holds(until - 1):
            last = heard.get(row.gateway)
            is_silent = last is not None and last + after <= until
            silent[row.patient] = silent.get(row.patient, True) and is_silent
    return frozenset(patient for patient, is_silent in silent.items() if is_silent)


def _rows(clinic: Clinic) -> list[EnrolmentRow]:
    return read_enrolment_leniently(clinic.enrolment_path)[0].rows if clinic.enrolment_path.exists() else []


def _heard(clinic: Clinic) -> dict[str, int]:
    found = read_presence(clinic.lake.root)
    return {name: one.heard_utc for name, one in found.items() if one.heard_utc is not None}
