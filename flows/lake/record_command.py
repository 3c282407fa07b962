"""`flarecast record`: answers and reports into the lake, notes into the patient records.

An answer goes the way of an import: the same checks, the same files. It is filed under a device
of the patient, as everything is; who wrote it down stands in it, when in `received_utc`.
"""

import argparse
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from devices.clock import MINUTE, from_utc, system_clock, to_utc
from devices.errors import IdError
from devices.ids import check_id
from flows.arguments import is_utf8
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.homes import Homes
from ingest.lake.enrolment import EnrolmentRow
from ingest.lake.importing import store_rows
from ingest.lake.manifest import only_one
from ingest.lake.records import (
    ContextNote,
    MedicationClass,
    PatientRecord,
    merge,
    read_records,
    write_records,
)

SOURCE: Final = "record/1"
#: Version of the questions as the command asks them.
FORM: Final = "record-1"
_INSTRUMENTS: Final = {"pain": "nrs", "mood": "mood"}


def run_record(home: Path, arguments: argparse.Namespace) -> int:
    """Write one thing down; returns the exit code."""
    clinic, now = Clinic(home), system_clock()
    try:
        check_id(arguments.author, "--author")
    except IdError as error:
        raise UserError(str(error)) from None
    rows = [row for row in clinic.enrolment().rows if row.patient == arguments.patient]
    if not rows:
        raise UserError(f"unknown patient {arguments.patient}: not in {clinic.enrolment_path}")
    at = _instant(arguments.at, rows, "--from" if arguments.what == "context" else "--at", now)
    if arguments.what == "context":
        _note(clinic, arguments, at, rows, now)
    else:
        _observe(clinic, arguments, at, rows, now)
    return 0


def _observe(
    clinic: Clinic, arguments: argparse.Namespace, at: int, rows: list[EnrolmentRow], now: int
) -> None:
    if arguments.what == "practice":
        try:
            check_id(arguments.practice, "practice")
        except IdError as error:
            raise UserError(f"{error}: write it like cold-pack") from None
    if at > now:
        raise UserError(f"{from_utc(at).isoformat()} has not been yet")
    device = arguments.device or _diary(rows, at)
    name = f"record-{secrets.token_hex(8)}"
    kind, own = _row(arguments, at, name)
    common = {"device": device, "start_utc": from_utc(at), "source": SOURCE, "author": arguments.author}
    with clinic.lake.alone("a record"):
        stored = store_rows(clinic.lake, clinic.enrolment(), iter([common | own]), kind, now)
    if stored.refused:
        raise UserError(f"refused, and kept in quarantine: {stored.reason}")
    print(f"{kind} {name} recorded for {from_utc(at, Homes(rows).zone(rows[0].patient, at)).isoformat()}")


def _row(arguments: argparse.Namespace, at: int, name: str) -> tuple[str, dict[str, Any]]:
    """Kind, and the columns that are its own."""
    if arguments.what == "flare":
        items = {"is_harder_to_tolerate": arguments.harder, "has_stopped_activities": arguments.stopped}
        return "flare_report", {"report_id": name, "respondent": arguments.respondent} | items
    if arguments.what == "practice":
        end = from_utc(at + arguments.minutes * MINUTE)
        own = {"log_id": name, "practice": arguments.practice, "end_utc": end}
        return "practice_log", own | {"intensity": arguments.intensity, "respondent": arguments.respondent}
    asked = {"form_version": FORM, "language": "en", "mode": "record", "respondent": arguments.respondent}
    instrument = {"instrument": _INSTRUMENTS[arguments.what], "item": "now"}
    return "pro_answer", {"answer_id": name, "value": arguments.value} | instrument | asked


def _note(clinic: Clinic, arguments: argparse.Namespace, at: int, rows: list[EnrolmentRow], now: int) -> None:
    end = None if arguments.end is None else _instant(arguments.end, rows, "--to", now, is_end=True)
    if end is not None and end <= at:
        raise UserError("--to is not after --from")
    kind, payload = _payload(arguments)
    if not is_utf8(arguments.text or ""):
        raise UserError("--text is not UTF-8")
    note = PatientRecord(
        record=arguments.replaces or f"note-{secrets.token_hex(8)}",
        patient=arguments.patient,
        kind=kind,
        valid_from_utc=at,
        valid_to_utc=end,
        recorded_utc=now,
        author=arguments.author,
        payload=msgspec.json.encode(payload).decode(),
    )
    path = clinic.records_path
    with only_one(clinic.home / "enrolment.lock", "the enrolment"):
        before = read_records(path) if path.exists() else []
        known = {one.record for one in before if one.patient == arguments.patient}
        if arguments.replaces and arguments.replaces not in known:
            raise UserError(f"no note {arguments.replaces} of {arguments.patient}")
        write_records(path, merge(before, [note]))
    print(f"{kind} {note.record} recorded")


def _payload(arguments: argparse.Namespace) -> tuple[str, Any]:
    if arguments.about == "medication":
        if not arguments.medication_class:
            raise UserError("medication needs its --class: beta-blocker, tca, snri, opioid or another")
        return "medication_class", MedicationClass(arguments.medication_class)
    text = arguments.text or arguments.about
    return "context_note", ContextNote(text=text, about=arguments.about)


def _diary(rows: list[EnrolmentRow], at: int) -> str:
    """The patient's diary at an instant, else the first of the devices enrolled then."""
    there = sorted(row.device for row in rows if row.holds(at))
    if not there:
        raise UserError(
            f"nothing is enrolled for that patient at {from_utc(at).isoformat()}: enrol a diary first"
        )
    return next((device for device in there if device.startswith("diary")), there[0])


def _instant(
    text: str | None, rows: list[EnrolmentRow], option: str, now: int, *, is_end: bool = False
) -> int:
    """Instant of an option; the end of a date is the end of that day."""
    if text is None:
        return now
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{option} {text!r} is not ISO 8601 (2026-11-24T08:00)") from None
    if not 1970 <= found.year < 9999:
        raise UserError(f"{option} {text!r} is before 1970 or after 9998")
    if is_end and len(text) == len("2026-11-24"):
        found += timedelta(days=1)
    if found.tzinfo is None:
        return Homes(rows).instant(rows[0].patient, found)
    return to_utc(found)
