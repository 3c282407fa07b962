"""What a rule would have alerted: by what had arrived before each night, never by what came later."""

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from alerts.rules.pack import read_text
from analytics.risk import scores
from analytics.risk.model import SHIPPED
from devices.clock import to_utc
from devices.tables import ENROLMENT
from flows.care.rules_in_force import rules_now
from flows.cli import main
from flows.clinic import Clinic
from flows.risk.backtest import nights, replay_model, replay_rule
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_analytics import utc, write
from tests.unit.test_backtest_as_run import OWN

FIRST = date(2026, 5, 1)
DAYS = 40
FLARE = 30
#: Worse and worse from day 20 on, never by as much as a flare.
PAIN = [3 + day % 2 for day in range(20)] + [4, 4, 4, 5, 5] + [3 + day % 2 for day in range(25, DAYS)]


def at(day, hour):
    return utc(f"{FIRST + timedelta(days=day)}T{hour:02d}:00")


def clinic_of(folder, late_days, outage=()):
    """A patient who answers every evening and taps on one; everything is received `late_days` later.

    What is of the days `outage` is received five days after the last of them, all at once.
    """

    def received(day):
        return at(max(outage) + 5 if day in outage else day + late_days, 19)

    folder.mkdir()
    (folder / "enrolment.csv").write_text(
        ",".join(ENROLMENT.names) + "\np-1,site-1,Europe/Berlin,gw-1,diary-1,2026-01-01T00:00:00+00:00,\n"
    )
    common = {"device": "diary-1", "respondent": "patient"}
    answers = [
        common
        | {
            "start_utc": at(day, 18),
            "received_utc": received(day),
            "answer_id": f"a-{day}",
            "instrument": "nrs",
            "item": "nrs",
            "value": float(PAIN[day]),
            "form_version": "1",
            "language": "en",
            "mode": "app",
        }
        for day in range(DAYS)
    ]
    tap = common | {"start_utc": at(FLARE, 17), "received_utc": received(FLARE), "report_id": "r-1"}
    for kind, rows in (("pro_answer", answers), ("flare_report", [tap])):
        place = folder / "lake" / "landing" / kind / "dt=2026-06-01"
        place.mkdir(parents=True)
        write(place, kind, rows)
    return Clinic(folder)


def alerts_of(clinic, first, last, name, pack=None, **how):
    """Nights in whose run the rule opened an alert of the one patient."""
    pack = pack or rules_now(clinic)
    rule = next(one for one in pack.rule if one.id == name)
    found = replay_rule(clinic, day(first), day(last), rule, pack, **how)
    return [first + int(column) for column in found.alerts[0].nonzero()[0]]


def day(number):
    return FIRST + timedelta(days=number)


@pytest.mark.parametrize(("late_days", "alerts"), [(0, [FLARE]), (5, [FLARE + 5])])
def test_a_tap_alerts_in_the_run_that_first_knows_it_also_five_days_late(tmp_path, late_days, alerts):
    clinic = clinic_of(tmp_path / "home", late_days)
    assert alerts_of(clinic, 29, 36, "flare-reported") == alerts


def test_what_held_before_the_first_night_is_no_new_alert(tmp_path):
    clinic = clinic_of(tmp_path / "home", 0)
    assert alerts_of(clinic, FLARE, FLARE + 1, "flare-reported") == [FLARE]
    assert alerts_of(clinic, FLARE + 1, FLARE + 2, "flare-reported") == []


def test_a_night_knows_the_history_that_had_arrived_and_no_more(tmp_path):
    clinic = clinic_of(tmp_path / "home", 5)
    for night, _, known in nights(clinic, day(20), day(34)):
        said = [row["local_date"] for row in known.to_pylist() if row["nrs"] is not None]
        assert max(said) == night - timedelta(days=5)
        assert len(said) == (night - FIRST).days - 4
        tapped = [row["local_date"] for row in known.to_pylist() if row["is_flare_reported"]]
        assert not tapped


def test_nights_by_which_nothing_had_arrived_are_said_and_not_counted_as_silent(tmp_path, capsys):
    clinic = clinic_of(tmp_path / "home", 5)
    place = ["--home", str(clinic.home), "--draws", "20"]
    words = ["backtest", "--rule", "flare-reported", *place, "--from", str(day(0)), "--to"]
    assert main([*words, str(day(4))]) == 2
    found = capsys.readouterr()
    assert "nothing had arrived by the nights 2026-05-01 to 2026-05-05" in found.err
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert main(["nightly", "--from", str(day(0)), "--to", str(day(8)), "--home", str(clinic.home)]) == 0
    capsys.readouterr()
    assert main([*words, str(day(8))]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "1 patient; every night" in said[0]
    assert said[1] == "  nothing had arrived by 5 nights of these: none could alert"


def test_late_history_is_in_the_nights_after_its_arrival(tmp_path):
    clinic = clinic_of(tmp_path / "home", 5)
    *_, (_, _, known) = nights(clinic, day(33), day(36))
    assert [row["local_date"] for row in known.to_pylist() if row["is_flare_reported"]] == [day(FLARE)]


def risks(clinic, first, last, theta=0.0):
    found = replay_model(clinic, day(first), day(last), replace(SHIPPED, theta=theta))
    return found.risk[0], [first + int(column) for column in found.alerts[0].nonzero()[0]]


@pytest.fixture(scope="module")
def prompt(tmp_path_factory):
    """Risks of the nights 18 to 33, and on which of them an alert, where everything came at once."""
    return risks(clinic_of(tmp_path_factory.mktemp("prompt") / "home", 0), 18, 33)


def test_a_model_alerts_by_its_threshold_a_week_apart_and_not_in_a_flare(prompt, tmp_path):
    score, alerts = prompt
    # a week apart from the fourteenth day on, also from those before the first night asked for
    assert alerts == [20, 27]
    assert np.flatnonzero(np.isnan(score)).tolist() == [FLARE + lag - 18 for lag in range(3)]
    clinic = clinic_of(tmp_path / "home", 0)
    whole, _ = risks(clinic, 13, 24)
    top = int(whole.argmax())
    assert risks(clinic, 18, 24, theta=float(np.sort(whole)[-2]))[1] == [13 + top]
    assert risks(clinic, 18, 24, theta=float(whole.max()))[1] == []
    assert risks(clinic, 18, 24, theta=None)[1] == []


def test_a_model_judges_a_night_by_what_had_arrived_five_days_late_or_not(prompt, tmp_path):
    late = clinic_of(tmp_path / "late", 0, outage=range(20, 25))
    known, then = prompt[0], risks(late, 18, 33)[0]
    differ = ~((known == then) | (np.isnan(known) & np.isnan(then)))
    # the evenings of days 20 to 24 came on day 29: from its night on nothing is missing
    assert (np.flatnonzero(differ) + 18).tolist() == [*range(20, 29)]
    assert np.isnan(then[23 - 18 : 25 - 18]).all(), "four days without a word are too little"
    ((_, _, rows),) = nights(late, day(27), day(27))
    alone = scores.compute(rows, day(27), day(27))["flare_risk"]
    assert then[27 - 18] == alone["risk_7d"].to_pylist()[0]
    # everything five days late: on no night is anything recent known
    assert np.isnan(risks(clinic_of(tmp_path / "all", 5), 24, 27)[0]).all()


def test_the_risk_rule_goes_by_an_approved_version_and_its_budget(prompt, tmp_path):
    clinic = clinic_of(tmp_path / "home", 0)
    risk = prompt[0][:5]
    middle = float(np.sort(risk)[2])
    # as counted where it was fitted: a threshold at the middle of these nights gives two alerts, a lower nine
    loads = {"7d": ((0.0, 9.0), (middle, 2.0))}
    fitted = replace(SHIPPED, version="site-1", standing="fitted", loads=loads)

    def alerts(standing):
        return alerts_of(clinic, 18, 22, "flare-risk", model=replace(fitted, standing=standing))

    before = replay_model(clinic, day(17), day(17), SHIPPED).risk[0]
    told = np.flatnonzero(np.diff((np.append(before, risk) > middle).astype(int)) == 1) + 18
    assert told.size
    assert alerts("approved") == told.tolist()
    assert alerts("fitted") == []


def test_a_note_bears_on_the_nights_after_it_was_written_down(tmp_path):
    clinic = clinic_of(tmp_path / "home", 0)
    note = PatientRecord(
        record="note-1",
        patient="p-1",
        kind="context_note",
        valid_from_utc=to_utc(at(22, 0)),
        valid_to_utc=to_utc(at(27, 0)),
        recorded_utc=to_utc(at(25, 9)),
        author="nurse-1",
        payload='{"text":"a journey","about":"travel"}',
    )
    write_records(clinic.records_path, [note])
    score, _ = risks(clinic, 20, 28)
    # written down on the morning of day 25: the run of the night of day 24 knows it, at noon of that day
    assert (np.flatnonzero(np.isnan(score)) + 20).tolist() == [24, 25, 26, 27]


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
    assert (found["under_way"]["ppv"]["value"], found["under_way"]["sensitivity"]["value"]) == (1, 1)
    assert 0 < found["under_way"]["by_chance"] < 1
    few = [*words, "--to", str(day(27)), "--json"]
    assert main(["backtest", "--rule", "model:prior-1", "--theta", "0.001", *few]) == 0
    assert json.loads(capsys.readouterr().out)["rule"]["alerts"] == 1
    for rule, reason in (
        ("model:site-9", "no model site-9"),
        ("flare-risk", "needs an active approved model"),
    ):
        assert main(["backtest", "--rule", rule, *words]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1


def test_a_rule_of_arriving_values_is_refused(tmp_path, capsys):
    clinic = clinic_of(tmp_path / "home", 0)
    pack = tmp_path / "live.toml"
    own = OWN.replace("kind =", 'cadence = "live"\nkind =').replace(
        "patient_day.nrs", "pro_answer.value.nrs.now"
    )
    pack.write_text(read_text(None)[1] + own)
    words = ["--from", str(day(25)), "--to", str(day(30)), "--home", str(clinic.home)]
    assert main(["backtest", "--rule", "pain-high", "--pack", str(pack), *words]) == 2
    assert "rule pain-high is judged as values arrive" in capsys.readouterr().err
