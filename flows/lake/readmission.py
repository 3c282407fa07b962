"""Rows that would bring an erased patient back: refused, or taken by somebody's word, which is kept."""

from collections.abc import Iterable, Sequence
from typing import Final

from alerts.engine.journal import Journal
from alerts.store import audit
from devices.clock import system_clock
from devices.errors import IdError
from devices.ids import check_id
from flows.clinic import Clinic
from flows.errors import UserError
from ingest.lake.enrolment import EnrolmentRow
from ingest.lake.erased import ErasedRegister
from ingest.lake.records import PatientRecord

#: Rows that are named one by one in a refusal.
_NAMED: Final = 5


class Readmission:
    """What a change of the registry would bring back.

    Parameters
    ----------
    author : str, optional
        By whose word erased patients come back; without one they are refused.

    Raises
    ------
    UserError
        An author who is no id.
    """

    def __init__(self, clinic: Clinic, author: str | None) -> None:
        try:
            self._author = None if author is None else check_id(author, "--author")
        except IdError as error:
            raise UserError(str(error)) from None
        self._clinic = clinic
        self._register = ErasedRegister(clinic.home)
        self._rows: list[EnrolmentRow] = []
        #: Patient -> erasures that are undone.
        self._undone: dict[str, set[str]] = {}

    def check(self, asked: Iterable[tuple[str, EnrolmentRow]]) -> None:
        """Look at rows of the enrolment, each with its place.

        Raises
        ------
        UserError
            When one is of an erased patient, or gives somebody a device while it was an erased patient's.
        """
        found: list[tuple[str, str, str, str]] = []
        for place, row in asked:
            if (reference := self._register.reference_of(row.patient)) is not None:
                found.append((place, row.patient, reference, f"{row.patient} was erased"))
            elif (reference := self._register.reference_of_row(row)) is not None:
                words = f"{row.device} was with an erased patient then"
                found.append((place, row.patient, reference, words))
            else:
                continue
            self._rows.append(row)
        self._take(found)

    def check_records(self, asked: Iterable[PatientRecord]) -> None:
        """Look at patient records.

        Raises
        ------
        UserError
            When one is of an erased patient.
        """
        found: list[tuple[str, str, str, str]] = []
        for one in asked:
            if (reference := self._register.reference_of(one.patient)) is not None:
                found.append((one.record, one.patient, reference, f"{one.patient} was erased"))
        self._take(found)

    def note(self) -> None:
        """Write into the audit who takes whom back, before it is done."""
        if not self._undone or self._author is None:
            return
        now = system_clock()
        with Journal(self._clinic.alert_store, system_clock) as journal, journal.transaction() as con:
            for patient, references in sorted(self._undone.items()):
                subject = ("patient", patient)
                undone = sorted(references)
                audit.append(con, now, self._author, "again-after-erasure", subject=subject, erasures=undone)

    def done(self) -> None:
        """Forget that they were erased, after it is done."""
        if self._undone:
            self._register.take_back(sorted(self._undone), self._rows)

    def _take(self, found: Sequence[tuple[str, str, str, str]]) -> None:
        if found and self._author is None:
            shown = [f"{place}: {words} ({reference})" for place, _, reference, words in found[:_NAMED]]
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            raise UserError(
                f"{'; '.join(shown)}{more}: nothing was changed; leave it out, or give "
                "--again-after-erasure --author WHO"
            )
        for _, patient, reference, _ in found:
            self._undone.setdefault(patient, set()).add(reference)
