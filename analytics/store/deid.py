"""De-identified tables for a study: pseudonyms, shifted dates, local clock times, no free text.

What is done to each column, and why:

* ``patient`` becomes ``subject``, a keyed digest: the same person has the same subject within
  one study and another in every other, and without the study's key nobody can tell who.
* Dates and instants of a subject move together by a whole number of weeks, never none
  (Hripcsak et al. 2016, "shift and truncate", with the weekday kept because rhythms need it).
* Instants become the patient's clock time. An instant in UTC beside a local date tells the zone.
* Zones, places, sentences, reasons, devices and whatever this module has no rule for are left out.
* A word (a status, a reason's code) that fewer than `min_cell` subjects have is suppressed, and so
  are age band and sex where fewer than `min_cell` subjects share them.
"""

import hashlib
import hmac
from base64 import b32encode
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa

from analytics.errors import StudyError
from devices.tables import field

#: Stands where too few subjects share a word.
SUPPRESSED: Final = "(suppressed)"
#: Farthest a subject's dates are moved, weeks: half a year either way.
MAX_SHIFT_WEEKS: Final = 26
#: Columns of text that are words of a small fixed set. Every other text is left out.
#: A reason may hold numbers of its own: then few share it, and it is suppressed.
WORDS: Final = frozenset(
    {
        *("sleep_source", "sensor", "metric", "status", "instrument", "version", "model_version"),
        *(
            "rule",
            "severity",
            "quality",
            "sleep_quality",
            "hrv_quality",
            "spectral_quality",
            "cadence_quality",
        ),
    }
)
#: Columns of text whose values are told apart per subject but not named (1, 2, ...).
NUMBERED: Final = frozenset({"device", "device_segment"})

SUBJECTS: Final = pa.schema(
    [
        field("subject", pa.string(), "", "pseudonym within this study"),
        field("age_band", pa.string(), "", "age at the first day, in bands of the study", nullable=True),
        field("sex", pa.string(), "", "as recorded at the clinic", nullable=True),
        field("first_date", pa.date32(), "", "first day of data, shifted"),
        field("day_count", pa.int32(), "", "days with a row in patient_day"),
    ]
)


@dataclass(frozen=True)
class Person:
    """Who takes part, from when consent holds, and what is known of them."""

    patient: str
    consented_from: date
    birth_year: int | None = None
    sex: str | None = None


@dataclass(frozen=True)
class Disguise:
    """How the people of one study are disguised.

    Attributes
    ----------
    key : bytes
        Secret of the study; whoever has it and a patient id can find the subject.
    min_cell : int
        Fewest subjects that may share a word or an attribute.
    age_bands : sequence of int, years
        Lower ends of the age bands, rising.
    """

    key: bytes
    min_cell: int
    age_bands: Sequence[int]

    def subject(self, patient: str) -> str:
        """Pseudonym of a patient within the study."""
        return "S-" + b32encode(self._digest("subject", patient)[:10]).decode()

    def shift(self, patient: str) -> timedelta:
        """How far the patient's dates are moved: whole weeks, never none."""
        number = int.from_bytes(self._digest("shift", patient)[:8]) % (2 * MAX_SHIFT_WEEKS)
        weeks = number - MAX_SHIFT_WEEKS
        return timedelta(weeks=weeks + 1 if weeks >= 0 else weeks)

    def age_band(self, birth_year: int | None, on: date) -> str | None:
        """Band of the age reached in that year; None below the lowest and where the year is unknown."""
        if birth_year is None:
            return None
        ends = [*self.age_bands[1:], None]
        for low, high in zip(self.age_bands, ends, strict=True):
            if on.year - birth_year >= low and (high is None or on.year - birth_year < high):
                return f"{low}+" if high is None else f"{low}-{high - 1}"
        return None

    def _digest(self, what: str, patient: str) -> bytes:
        return hmac.digest(self.key, f"{what}|{patient}".encode(), hashlib.sha256)


def extract(
    tables: Mapping[str, pa.Table], people: Iterable[Person], disguise: Disguise
) -> dict[str, pa.Table]:
    """De-identified copies of tables, and the table ``subjects``.

    Parameters
    ----------
    tables : mapping of str to Table
        Tables of a snapshot with the columns `patient` and `local_date`; `patient_day`
        is among them (it has the zone of each date).
    people : iterable of Person
        Who takes part. Everybody else's rows are left out, and rows before the consent.
    disguise : Disguise
        Key and limits of the study.

    Raises
    ------
    StudyError
        When fewer than `min_cell` people with data take part, or two would share a pseudonym.
    """
    by_patient = {person.patient: person for person in people}
    zones: dict[tuple[str, date], str] = {}
    days: dict[str, list[date]] = {}
    for row in tables["patient_day"].select(["patient", "local_date", "zone"]).to_pylist():
        person = by_patient.get(row["patient"])
        if person is not None and row["local_date"] >= person.consented_from:
            zones[row["patient"], row["local_date"]] = row["zone"]
            days.setdefault(row["patient"], []).append(row["local_date"])
    if len(days) < disguise.min_cell:
        raise StudyError(
            f"{len(days)} consenting patients with data; fewer than {disguise.min_cell} are not given out"
        )
    subjects = {patient: disguise.subject(patient) for patient in days}
    if len(set(subjects.values())) < len(subjects):
        raise StudyError("two patients would share a pseudonym: give the study a new key")
    found = {name: _table(rows, subjects, zones, disguise) for name, rows in tables.items()}
    return {"subjects": _subjects(days, by_patient, subjects, disguise)} | found


def _table(
    rows: pa.Table, subjects: Mapping[str, str], zones: Mapping[tuple[str, date], str], disguise: Disguise
) -> pa.Table:
    """Disguised copy of one table, in an order that says nothing about the original one."""
    # a row belongs to a date of the patient's: one without a known zone cannot be put on the clock
    kept = [row for row in rows.to_pylist() if (row["patient"], row["local_date"]) in zones]
    owners = [row["patient"] for row in kept]
    columns: dict[str, tuple[pa.Field, list[Any]]] = {
        "subject": (SUBJECTS.field("subject"), [subjects[patient] for patient in owners])
    }
    for column in rows.schema:
        if column.name == "patient":
            continue
        values = [row[column.name] for row in kept]
        if pa.types.is_date(column.type):
            moved = [
                None if day is None else day + disguise.shift(patient)
                for patient, day in zip(owners, values, strict=True)
            ]
            columns[column.name] = (column, moved)
        elif pa.types.is_timestamp(column.type):
            name = column.name.removesuffix("_utc") + "_local"
            here = [
                None
                if instant is None
                else instant.astimezone(ZoneInfo(zones[row["patient"], row["local_date"]])).replace(
                    tzinfo=None
                )
                + disguise.shift(row["patient"])
                for row, instant in zip(kept, values, strict=True)
            ]
            columns[name] = (_local(column, name), here)
        elif pa.types.is_string(column.type):
            if column.name in WORDS:
                columns[column.name] = (
                    column.with_nullable(True),
                    suppress(values, owners, disguise.min_cell),
                )
            elif column.name in NUMBERED:
                numbered = column.with_type(pa.int32()).with_nullable(True)
                columns[column.name] = (numbered, _numbered(values, owners))
        elif (
            pa.types.is_floating(column.type)
            or pa.types.is_integer(column.type)
            or pa.types.is_boolean(column.type)
        ):
            columns[column.name] = (column, values)
    schema = pa.schema([one for one, _ in columns.values()])
    found = pa.Table.from_arrays(
        [pa.array(values, type=one.type) for one, values in columns.values()], schema=schema
    )
    order = [
        name
        for name in found.column_names
        if name in ("subject", "local_date", "metric", "window_start_local", "instrument")
    ]
    return found.sort_by([(name, "ascending") for name in order])


def _local(column: pa.Field, name: str) -> pa.Field:
    metadata = dict(column.metadata or {})
    metadata[b"doc"] = metadata.get(b"doc", b"").replace(b"(UTC)", b"(clock time of the patient, shifted)")
    return pa.field(name, pa.timestamp("us"), column.nullable, metadata)


def suppress(values: Sequence[str | None], owners: Sequence[str], min_cell: int) -> list[str | None]:
    """Words with those replaced that fewer than `min_cell` owners have."""
    holders: dict[str, set[str]] = {}
    for value, owner in zip(values, owners, strict=True):
        if value is not None:
            holders.setdefault(value, set()).add(owner)
    rare = {value for value, who in holders.items() if len(who) < min_cell}
    return [SUPPRESSED if value in rare else value for value in values]


def _numbered(values: Sequence[str | None], owners: Sequence[str]) -> list[int | None]:
    """Values as numbers per owner, in order of appearance."""
    seen: dict[str, dict[str, int]] = {}
    numbers: list[int | None] = []
    for value, owner in zip(values, owners, strict=True):
        own = seen.setdefault(owner, {})
        numbers.append(None if value is None else own.setdefault(value, len(own) + 1))
    return numbers


def _subjects(
    days: Mapping[str, Sequence[date]],
    people: Mapping[str, Person],
    subjects: Mapping[str, str],
    disguise: Disguise,
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for patient, dates in days.items():
        first = min(dates)
        rows.append(
            {
                "subject": subjects[patient],
                "age_band": disguise.age_band(people[patient].birth_year, first),
                "sex": people[patient].sex,
                "first_date": first + disguise.shift(patient),
                "day_count": len(dates),
            }
        )
    # the sex goes first, then the age: what is left of either is shared by enough
    for hidden in (("sex",), ("age_band", "sex")):
        shared = Counter((row["age_band"], row["sex"]) for row in rows)
        rare = {cell for cell, count in shared.items() if count < disguise.min_cell}
        for row in rows:
            if (row["age_band"], row["sex"]) in rare:
                row.update(dict.fromkeys(hidden))
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["subject"]), schema=SUBJECTS)


def texts_without_rule(schemas: Collection[pa.Schema]) -> set[str]:
    """Text columns that an extract leaves out: shown to whoever writes a study."""
    return {
        column.name
        for schema in schemas
        for column in schema
        if pa.types.is_string(column.type) and column.name not in WORDS | NUMBERED | {"patient"}
    }
