"""What speaks from the first night on, and what waits for a fortnight: through the nightly run."""

import json
from datetime import timedelta

import pytest

from alerts.engine import alert as alerts
from alerts.engine.journal import Journal
from analytics.store import query
from devices.clock import HOUR, to_utc
from devices.observations import FlareReport
from flows.clinic import Clinic
from flows.night.nightly import run
from tests.fixtures_analytics import utc
from tests.fixtures_night import ARRIVED, FIRST, land, make_clinic, now, patient

NIGHTS = 16


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """Two people enrolled on the first night; one of them reports a flare on it."""
    made = make_clinic(tmp_path_factory.mktemp("clinic"), people=2, days=NIGHTS)
    tap = FlareReport(
        device="band-0",
        source="test/1",
        start_utc=to_utc(utc(f"{FIRST}T06:00")) + HOUR,
        report_id="r-first",
        respondent="patient",
        has_stopped_activities=True,
    )
    land(made, [tap], ARRIVED)
    run(made, FIRST, FIRST + timedelta(days=NIGHTS - 1), clock=now)
    return made


def test_a_reported_flare_is_told_on_the_first_night(clinic: Clinic) -> None:
    with Journal(clinic.alert_store, now) as journal, journal.transaction() as con:
        (told,) = [one for one in alerts.select(con) if one.rule == "flare-reported"]
    assert (told.subject, told.night) == (patient(0), FIRST)


def test_the_rest_is_learning_for_a_fortnight_and_then_a_shadow(clinic: Clinic) -> None:
    rows = query.run(clinic.current, "from flare_risk order by local_date").to_pylist()
    of_day = {
        (row["patient"], (row["local_date"] - FIRST).days): row
        for row in rows
        if row["patient"] == patient(1)
    }
    statuses = [of_day[patient(1), number]["status"] for number in range(NIGHTS)]
    assert statuses == ["learning"] * 13 + ["uncalibrated"] * 3
    for (_, number), row in of_day.items():
        assert (row["risk_7d"] is None) == (number < 13)
        assert row["deviation"] is None or number >= 13
        assert row["alert_load_7d"] is None
        assert "risk" not in row["sentence"].lower()
        assert "%" not in row["sentence"]
        assert json.loads(row["parameters"]) is not None
