"""Patient records: what a clinic knows about a patient, when it held and when it was written down.

A table that only grows. A row says what holds from `valid_from_utc` to
`valid_to_utc`; a later row with the same `record` replaces it for whoever asks
afterwards, and a question can be put as of any earlier moment. The payload is one
JSON object whose fields depend on the kind.
"""

import csv
import io
from collections.abc import Iterable
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

import msgspec

from devices.clock import from_utc
from devices.durable import replace_file
from devices.errors import IdError
from devices.ids import check_id
from ingest.errors import EnrolmentError
from ingest.lake.enrolment import read_instant

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field that is not known is a mistake."""


#: What a note is about, as far as it bears on scoring (travel and illness suspend it, changes begin
#: a new segment); medication has a kind of its own.
About = Literal["travel", "illness", "device-change", "algorithm-change", "other"]


class ContextNote(_Payload, frozen=True, omit_defaults=True):
    """Something that explains the numbers: a journey, an illness, a move, a heat wave."""

    text: Text
    about: About = "other"


class Status(_Payload, frozen=True):
    """Whether the patient is monitored, and whether data can be expected."""

    status: Literal["active", "paused", "admitted", "on-holiday", "device-in-post", "withdrawn"]


class Consent(_Payload, frozen=True):
    """Consent to one use."""

    scope: Word
    is_given: bool


class Goal(_Payload, frozen=True):
    """What the patient wants to reach, in steps."""

    text: Text
    milestones: list[Text] = []


class Plan(_Payload, frozen=True):
    """A module of the programme and its dose."""

    module: Word
    dose: Word


class MedicationClass(_Payload, frozen=True):
    """Class of a medication that moves the numbers."""

    medication_class: Word


class Contraindication(_Payload, frozen=True):
    """Something the programme must not ask for; unknown is not no."""

    what: Word
    answer: Literal["yes", "no", "unknown"]


class Contact(_Payload, frozen=True):
    """A contact or visit."""

    mode: Literal["visit", "phone", "video", "message"]
    text: str = ""


class DeviceLoan(_Payload, frozen=True):
    """A device lent out."""

    device: Word
    due: date
    returned: date | None = None


class Language(_Payload, frozen=True):
    """Language (BCP 47) and what makes screens readable."""

    language: Word
    accessibility: list[Word] = []


class Demographics(_Payload, frozen=True):
    """What a de-identified extract gives in bands."""

    birth_year: Annotated[int, msgspec.Meta(ge=1900, le=2100)]
    sex: Literal["female", "male", "other", "unknown"] = "unknown"


class WorkDays(_Payload, frozen=True):
    """The days of the week the patient works, whoever does not work on fixed days has none written down."""

    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]]


class CareTeam(_Payload, frozen=True):
    """Membership of the care team."""

    member: Word
    role: Word


RECORD_KINDS: Final[dict[str, type[_Payload]]] = {
    "context_note": ContextNote,
    "status": Status,
    "consent": Consent,
    "goal": Goal,
    "plan": Plan,
    "medication_class": MedicationClass,
    "contraindication": Contraindication,
    "contact": Contact,
    "device_loan": DeviceLoan,
    "language": Language,
    "demographics": Demographics,
    "work_days": WorkDays,
    "care_team": CareTeam,
}


class PatientRecord(msgspec.Struct, frozen=True):
    """One row; instants in microseconds UTC, `payload` as canonical JSON."""

    record: str
    patient: str
    kind: str
    valid_from_utc: int
    valid_to_utc: int | None
    recorded_utc: int
    author: str
    payload: str


COLUMNS: Final = PatientRecord.__struct_fields__


def latest_versions(records: Iterable[PatientRecord], known_utc: int) -> list[PatientRecord]:
    """Of each record the last row written down by an instant."""
    latest: dict[str, PatientRecord] = {}
    for one in sorted(records, key=lambda one: one.recorded_utc):
        if one.recorded_utc <= known_utc:
            latest[one.record] = one
    return list(latest.values())


def as_of(records: Iterable[PatientRecord], *, valid_utc: int, known_utc: int) -> list[PatientRecord]:
    """What was known at one instant to hold at another."""
    return [
        one
        for one in latest_versions(records, known_utc)
        if one.valid_from_utc <= valid_utc and (one.valid_to_utc is None or valid_utc < one.valid_to_utc)
    ]


def read_records(path: Path) -> list[PatientRecord]:
    """Rows of a CSV file.

    Raises
    ------
    EnrolmentError
        With the line and the column of the first mistake.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, strict=True)
            header = next(lines, [])
            if header != list(COLUMNS):
                raise EnrolmentError(f"{path}:1: the columns are {','.join(header)}, not {','.join(COLUMNS)}")
            return [_record(cells, f"{path}:{lines.line_num}") for cells in lines if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EnrolmentError(f"{path}: not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise EnrolmentError(f"{path}: {error.strerror}") from None


def merge(before: Iterable[PatientRecord], new: Iterable[PatientRecord]) -> list[PatientRecord]:
    """Rows of both, each once; a row written down is never changed.

    Raises
    ------
    EnrolmentError
        When a row contradicts one with the same record and recorded_utc.
    """
    merged = {(one.record, one.recorded_utc): one for one in before}
    for one in new:
        if merged.setdefault((one.record, one.recorded_utc), one) != one:
            raise EnrolmentError(f"record {one.record} was written down differently at that instant")
    return list(merged.values())


def write_record_rows(stream: TextIO, records: Iterable[PatientRecord]) -> None:
    """Rows as CSV, as `read_records` reads them."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in records:
        cells: dict[str, Any] = msgspec.structs.asdict(one)
        for name in ("valid_from_utc", "valid_to_utc", "recorded_utc"):
            cells[name] = "" if cells[name] is None else from_utc(cells[name]).isoformat()
        writer.writerow(cells.values())


def write_records(path: Path, records: Iterable[PatientRecord]) -> None:
    """Replace the CSV file in one step.

    Raises
    ------
    EnrolmentError
        When a row could not be read again; the file stays as it was.
    """
    text = io.StringIO()
    write_record_rows(text, records)
    text.seek(0)
    # one row that cannot be read would keep everybody else's from being read
    for cells in islice(csv.reader(text, strict=True), 1, None):
        _record(cells, "not written")
    replace_file(path, text.getvalue())


def _record(cells: list[str], place: str) -> PatientRecord:
    if len(cells) != len(COLUMNS):
        raise EnrolmentError(f"{place}: {len(cells)} columns, not {len(COLUMNS)}")
    row = dict(zip(COLUMNS, cells, strict=True))
    if row["kind"] not in RECORD_KINDS:
        raise EnrolmentError(f"{place}: kind: {row['kind']!r} is not one of {', '.join(RECORD_KINDS)}")
    try:
        for name in ("record", "patient", "author"):
            check_id(row[name], name)
        payload = msgspec.json.decode(row["payload"], type=RECORD_KINDS[row["kind"]])
    except IdError as error:
        raise EnrolmentError(f"{place}: {error}") from None
    except msgspec.DecodeError as error:
        raise EnrolmentError(f"{place}: payload: {error}") from None
    start = read_instant(row["valid_from_utc"], f"{place}: valid_from_utc")
    end = read_instant(row["valid_to_utc"], f"{place}: valid_to_utc") if row["valid_to_utc"] else None
    if end is not None and end <= start:
        raise EnrolmentError(f"{place}: valid_to_utc: not after valid_from_utc")
    return PatientRecord(
        record=row["record"],
        patient=row["patient"],
        kind=row["kind"],
        valid_from_utc=start,
        valid_to_utc=end,
        recorded_utc=read_instant(row["recorded_utc"], f"{place}: recorded_utc"),
        author=row["author"],
        payload=msgspec.json.encode(payload).decode(),
    )
