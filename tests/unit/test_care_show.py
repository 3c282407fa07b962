"""What a nurse reads before she calls: why, against whose usual, what was noted, what helped before."""

import os
import pwd
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.engine.journal import Journal
from alerts.store import audit
from devices.clock import DAY, system_clock
from flows.cli import main
from flows.night.nightly import run
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_alerts import Hands, open_alert
from tests.fixtures_night import ARRIVED, LAST, make_clinic

USER = pwd.getpwuid(os.getuid()).pw_name


def record(kind, payload, *, age, end=None, patient="p-000"):
    begin = ARRIVED - age * DAY
    name = f"note-{age}"
    return PatientRecord(name, patient, kind, begin, end and ARRIVED - end * DAY, begin, "nurse-1", payload)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    clinic = make_clinic(tmp_path_factory.mktemp("clinic"))
    run(clinic, LAST - timedelta(days=2), LAST, clock=lambda: ARRIVED + DAY)
    notes = [
        record("medication_class", '{"medication_class":"tca"}', age=12),
        record("context_note", '{"about":"illness","text":"a cold"}', age=15, end=12),
        record("context_note", '{"about":"travel","text":"long ago"}', age=80, end=70),
        record("context_note", '{"about":"other","text":"of somebody else"}', age=3, patient="p-001"),
    ]
    write_records(clinic.records_path, notes)
    add = ["alerts", "staff", "add", "anna", "--os-user", USER, "--role", "nurse"]
    assert main([*add, "--home", str(clinic.home)]) == 0
    return clinic.home


@pytest.fixture
def show(home, capsys, monkeypatch):
    monkeypatch.setattr("flows.care.command.system_clock", lambda: ARRIVED + DAY)

    def shown(*words):
        code = main(["alerts", *words, "--home", str(home)])
        out = capsys.readouterr()
        assert code == 0, out.err
        return out.out

    return shown


def named(home, rule):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        return next(one for one in journal.active() if one.patient == "p-000" and one.rule == rule)


def test_an_alert_in_the_patients_own_terms(home, show):
    one = named(home, "flare-reported")
    shown = show("show", one.alert)
    assert "why       The patient reported a flare." in shown
    assert "over      after 7 answers that say no flare, or 7 days after the last report" in shown
    assert "own       Steps per day: " in shown
    assert "on Mon 18 May (usual" in shown
    assert "worn 14.0 h on Mon 18 May; on 18 of 19 days" in shown
    assert "pain 9/10 on Mon 18 May, usually 5.0; answered on 18 of 19 days" in shown
    assert "also      pain-above-usual holds since 2026-05-1" in shown
    assert "2026-05-20 medication: tca" in shown
    assert "2026-05-17 to 2026-05-19 illness: a cold" in shown
    assert "long ago" not in shown
    assert "somebody else" not in shown
    asked = [
        shown.index(f" {step}: [placeholder") for step in ("call", "red-flags", "graded-activity", "visit")
    ]
    assert asked == sorted(asked), "as the pathway has them"


def test_what_it_was_before_and_what_helped(home, show):
    clock = Hands(ARRIVED)
    with Journal(home / "alerts.sqlite", clock) as journal:
        before = open_alert(journal, "p-004")
    show("outcome", before, "true-flare", "--helped", "pacing")
    show("resolve", before, "--reason", "over")
    with Journal(home / "alerts.sqlite", clock) as journal:
        now = open_alert(journal, "p-004")
    shown = show("show", now)
    assert "deviation-3d: true-flare; helped: pacing" in shown
    assert "helped: pacing (1 time)" in shown
    assert "when flare_risk.deviation is > " in shown


def test_an_alert_of_no_patient_has_no_patient_in_it(home, show):
    with Journal(home / "alerts.sqlite", Hands(ARRIVED)) as journal:
        name = open_alert(journal, "nightly", scope="system", night=None)
    shown = show("show", name)
    assert "own" not in shown
    assert "why       Because." in shown


def test_the_worklist_in_the_terminal_and_as_a_page_and_who_looked(home, show):
    one = named(home, "flare-reported")
    text = show("worklist")
    assert f"{one.alert}  Flare reported by the patient; " in text
    assert "Pain 9/10" in text
    path = Path(show("worklist", "--html").strip())
    assert one.alert in path.read_text()
    with Journal(home / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
        looked = [row.detail for row in audit.read(con, audit.audit.c.action == "worklist")]
    assert [one["night"] for one in looked] == ["2026-05-18"] * 2
