"""What a rule would have alerted: by what had arrived before each night, never by what came later."""

import json
from datetime import date, timedelta

import pytest

from devices.tables import ENROLMENT
from flows.backtest import nights, replay
from flows.cli import main
from flows.clinic import Clinic
from flows.site_rules import site_pack
from tests.fixtures_analytics import utc, write

FIRST = date(2026, 5, 1)
DAYS = 40
FLARE = 30


def at(day, hour):
    return utc(f"{FIRST + timedelta(days=day)}T{hour:02d}:00")


def clinic_of(folder, late_days):
    """A patient who answers every evening and taps on one; everything is received `late_days` later."""
    folder.mkdir()
    (folder / "enrolment.csv").write_text(
        ",".join(ENROLMENT.names) + "\np-1,site-1,Europe/Berlin,gw-1,diary-1,2026-01-01T00:00:00+00:00,\n"
    )
    common = {"device": "diary-1", "respondent": "patient"}
    answers = [
        common
        | {
            "start_utc": at(day, 18),
            "received_utc": at(day + late_days, 19),
            "answer_id": f"a-{day}",
            "instrument": "nrs",
            "item": "nrs",
            "value": 4.0,
            "form_version": "1",
            "language": "en",
            "mode": "app",
        }
        for day in range(DAYS)
    ]
    tap = common | {"start_utc": at(FLARE, 17), "received_utc": at(FLARE + late_days, 19), "report_id": "r-1"}
    for kind, rows in (("pro_answer", answers), ("flare_report", [tap])):
        place = folder / "lake" / "landing" / kind / "dt=2026-06-01"
        place.mkdir(parents=True)
        write(place, kind, rows)
    return Clinic(folder)


def rule(clinic):
    return next(one for one in site_pack(clinic).rule if one.id == "flare-reported")


def day(number):
    return FIRST + timedelta(days=number)


@pytest.mark.parametrize(("late_days", "alerts"), [(0, [FLARE]), (5, [])])
def test_a_tap_alerts_on_its_night_when_it_was_there_and_not_when_it_came_five_days_late(
    tmp_path, late_days, alerts
):
    clinic = clinic_of(tmp_path / "home", late_days)
    found = replay(clinic, day(25), day(38), rule=rule(clinic))
    assert [25 + column for column in found.alerts[0].nonzero()[0]] == alerts


def test_a_night_knows_the_history_that_had_arrived_and_no_more(tmp_path):
    clinic = clinic_of(tmp_path / "home", 5)
    for night, known in nights(clinic, day(20), day(34)):
        said = [row["local_date"] for row in known.to_pylist() if row["nrs"] is not None]
        assert max(said) == night - timedelta(days=5)
        assert len(said) == (night - FIRST).days - 4
        tapped = [row["local_date"] for row in known.to_pylist() if row["is_flare_reported"]]
        assert not tapped


def test_late_history_is_in_the_nights_after_its_arrival(tmp_path):
    clinic = clinic_of(tmp_path / "home", 5)
    *_, (_, known) = nights(clinic, day(33), day(36))
    assert [row["local_date"] for row in known.to_pylist() if row["is_flare_reported"]] == [day(FLARE)]


def test_the_command_prints_figures_and_says_what_is_wrong_in_one_line(tmp_path, capsys):
    clinic = clinic_of(tmp_path / "home", 0)
    words = ["--from", str(day(25)), "--to", str(day(38)), "--home", str(clinic.home), "--draws", "20"]
    assert main(["backtest", "--rule", "nothing", *words]) == 2
    assert "no rule nothing; there are" in capsys.readouterr().err
    assert main(["nightly", "--from", str(day(0)), "--to", str(day(38)), "--home", str(clinic.home)]) == 0
    capsys.readouterr()
    assert main(["backtest", "--rule", "flare-reported", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rule"]["alerts"] == 1
    assert found["rule"]["per_100_weeks"]["value"] == 50
    assert found["rule"]["sensitivity"]["value"] in (0, None), "it is heard on the day itself, not before"
