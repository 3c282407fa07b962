"""Work days as somebody wrote them down: whose, from when, and which nights are computed again for them."""

from datetime import date, timedelta
from pathlib import Path

from analytics.features.four_weeks import WorkDays
from devices.clock import to_utc
from flows.clinic import Clinic
from flows.night import work_days
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_analytics import utc

DAYS = [date(2026, 5, 1) + timedelta(days=n) for n in range(5)]


def record(
    name: str, start: str, end: str | None = None, *, recorded: str = "2026-05-01T09:00", days: str = '"mon"'
):
    return PatientRecord(
        record=name,
        patient="p-1",
        kind="work_days",
        valid_from_utc=to_utc(utc(start)),
        valid_to_utc=None if end is None else to_utc(utc(end)),
        recorded_utc=to_utc(utc(recorded)),
        author="dr-1",
        payload=f'{{"weekdays":[{days}]}}',
    )


def test_nothing_written_down_is_nothing_known(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    assert work_days.by_patient(clinic) == {}


def test_midnight_of_the_home_begins_the_date(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    # midnight in Berlin, then in Auckland
    rows = [record("r-1", "2026-05-01T22:00", "2026-05-03T12:00", days='"mon","sat"')]
    write_records(clinic.records_path, rows)
    own = WorkDays(date(2026, 5, 2), date(2026, 5, 4), frozenset({0, 5}))
    assert work_days.by_patient(clinic) == {"p-1": [own]}
    assert [own.covers(day) for day in DAYS] == [False, True, True, False, False]


def test_what_was_written_last_holds(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    old = record("r-1", "2026-05-01T00:00")
    better = record("r-1", "2026-05-03T00:00", recorded="2026-05-20T09:00", days='"fri"')
    write_records(clinic.records_path, [better, old])
    assert work_days.by_patient(clinic) == {"p-1": [WorkDays(date(2026, 5, 3), None, frozenset({4}))]}
    # of two records that both hold, the one written down later speaks first
    write_records(clinic.records_path, [old, record("r-2", "2026-05-02T00:00", recorded="2026-05-09T09:00")])
    assert [one.first.day for one in work_days.by_patient(clinic)["p-1"]] == [2, 1]
