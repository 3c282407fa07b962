"""States of the patients as the clinic wrote them down: who owes no data tonight raises no such alert."""

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from alerts.engine import alert as alerts
from alerts.engine.journal import Journal
from analytics.tables import PATIENT_DAY
from devices.clock import DAY, to_utc
from flows.clinic import Clinic
from flows.night.judging import Judge
from flows.night.patient_states import surroundings_by_night
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_ingest import ENROLMENT_HEADER
from tests.fixtures_night import enrolment_row, patient

FIRST = date(2026, 3, 1)
NIGHTS, SILENT_FROM = 60, 25
START = to_utc(datetime(2026, 3, 1, 12, tzinfo=UTC))
SINCE = START + (SILENT_FROM - 2) * DAY


def status(number, word, begin=SINCE, end=None, *, record=None, recorded=0):
    name = record or f"r-{number}-{word}"
    return PatientRecord(
        name, patient(number), "status", begin, end, recorded, "nurse-1", f'{{"status":"{word}"}}'
    )


@pytest.fixture
def clinic(tmp_path):
    (tmp_path / "enrolment.csv").write_text(ENROLMENT_HEADER + "".join(enrolment_row(n) for n in range(8)))
    return Clinic(tmp_path)


def test_who_owes_no_data_raises_no_alert_of_silence(clinic):
    write_records(
        clinic.records_path,
        [
            status(1, "paused"),
            status(2, "admitted"),
            status(3, "on-holiday"),
            status(4, "device-in-post"),
            status(5, "withdrawn"),
            # back since: silence counts again
            *(status(6, "paused"), status(6, "active", SINCE + DAY)),
            # a mistake, corrected later in the same record
            *(status(7, "paused", record="r-7"), status(7, "active", record="r-7", recorded=1)),
        ],
    )
    now = START
    with Journal(clinic.journal_path, lambda: now) as journal:
        now = START + NIGHTS * DAY
        judge = Judge(clinic, journal, lambda: now)
        for night in range(NIGHTS):
            now = START + (night + 1) * DAY
            judge.night(FIRST + timedelta(days=night), {"patient_day": worn(night)})
        with journal.transaction() as con:
            found = alerts.select(con)
    vanished = {one.subject: one.site for one in found if one.rule == "vanished"}
    assert vanished == {patient(0): "north", patient(6): "north", patient(7): "north"}


def worn(night):
    """Everybody's row of a night, with steps until all fall silent."""
    steps = 5000.0 if night < SILENT_FROM else None
    rows = [
        {
            "patient": patient(n),
            "local_date": FIRST + timedelta(days=night),
            "zone": "Europe/Berlin",
            "steps": steps,
        }
        for n in range(8)
    ]
    return pa.Table.from_pylist(rows, schema=PATIENT_DAY)


def test_a_state_holds_on_the_dates_it_touches_by_the_clock_of_the_home(clinic):
    begin = to_utc(datetime(2026, 3, 9, 23, 30, tzinfo=UTC))  # half past midnight of the 10th in Berlin
    end = to_utc(datetime(2026, 3, 11, 23, 0, tzinfo=UTC))  # midnight, the end of the 11th
    write_records(clinic.records_path, [status(1, "admitted", begin, end, recorded=5)])
    of_night = surroundings_by_night(clinic, 5)
    held = [day for day in range(1, 20) if of_night(date(2026, 3, day)).statuses]
    assert held == [10, 11]
    assert not surroundings_by_night(clinic, 4)(date(2026, 3, 10)).statuses


def test_a_state_keeps_its_dates_when_the_patient_moves(clinic):
    """A Berlin midnight is six in the evening of New York: it is still the date she left home on."""
    text = clinic.enrolment_path.read_text()
    (line,) = [one for one in text.splitlines() if one.startswith(patient(1) + ",") and "band" in one]
    moved, there = f"{line}2026-03-20T12:00Z", line.replace("Europe/Berlin", "America/New_York")
    begin = line.split(",")[5]
    clinic.enrolment_path.write_text(
        text.replace(line, moved) + there.replace(begin, "2026-03-20T12:00Z") + "\n"
    )
    first, end = (to_utc(datetime(2026, 3, day, 23, tzinfo=UTC)) for day in (4, 6))
    write_records(clinic.records_path, [status(1, "on-holiday", first, end)])
    of_night = surroundings_by_night(clinic, START + 400 * DAY)
    held = [day for day in range(1, 10) if patient(1) in of_night(date(2026, 3, day)).statuses]
    assert held == [5, 6]
