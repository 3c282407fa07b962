"""`flarecast alerts preview`: the last nights judged by both packs, in a store of their own."""

import os
import pwd
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest

from alerts.engine.journal import Journal
from alerts.rules.pack import load_pack, read_text
from alerts.store import audit
from analytics.tables import PATIENT_DAY
from devices.clock import system_clock, to_utc
from flows.care import preview_command
from flows.care.rehearsal import rehearse, staying
from flows.cli import main
from flows.night.nightly import run
from ingest.lake.records import PatientRecord, read_records, write_records
from tests.fixtures_night import LAST, make_clinic, now

PAIN = """
[[rule]]
id = "pain-high"
version = 1
kind = "threshold"
title = "Pain of 8 and more"
column = "patient_day.nrs"
against = "population"
enter = ">= 8"
exit = "< 6"
severity = "low"
route = "pain-team"
[[rule.example]]
name = "at the bound"
nights = [{ "patient_day.nrs" = 7 }, { "patient_day.nrs" = 8 }]
want = ["stay", "enter"]
"""


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    clinic = make_clinic(tmp_path_factory.mktemp("clinic"))
    run(clinic, LAST - timedelta(days=1), LAST, clock=now)
    hire(clinic.home)
    return clinic


def hire(home):
    user = pwd.getpwuid(os.getuid()).pw_name
    add = ["alerts", "staff", "add", "anna", "--os-user", user, "--role", "nurse"]
    assert main([*add, "--home", str(home)]) == 0


def preview(clinic, capsys, text):
    file = clinic.home / "proposed.toml"
    file.write_text(text)
    assert main(["alerts", "preview", str(file), "--days", "2", "--home", str(clinic.home)]) == 0
    return capsys.readouterr().out.splitlines()


def test_load_before_and_after_and_who_would_newly_alert(clinic, capsys):
    with Journal(clinic.journal_path, system_clock) as journal:
        before = journal.to_table()
    found = preview(clinic, capsys, read_text(None)[1] + PAIN)
    # p-000 and p-003 have reported a flare and have more pain than usual, which is one episode, and pain of
    # 8 and more, which is a rule of its own: 6 people, 2 of 7 days
    assert found == [
        "now   116.7 alerts per 100 patients and week, over the budget of 15 (flare-reported 2)",
        "after 233.3 alerts per 100 patients and week, over the budget of 15 (flare-reported 2, pain-high 2)",
        "would newly alert: p-000 (pain-high)",
        "would newly alert: p-003 (pain-high)",
    ]
    with Journal(clinic.journal_path, system_clock) as journal:
        assert journal.to_table() == before
        with journal.transaction() as con:
            assert [one.actor for one in audit.read(con, audit.audit.c.action == "preview")] == ["anna"]


def test_who_would_alert_no_longer_or_another_number_of_times():
    def one(patient):
        return SimpleNamespace(subject=patient, rule="low")

    old = [one("p-1")] * 2 + [one("p-2")] * 3 + [one("p-3")]
    new = [one("p-1")] * 3 + [one("p-2")]
    assert preview_command._changed(old, new) == [
        "would alert more often: p-1 (low): 3 instead of 2",
        "would alert less often: p-2 (low): 1 instead of 3",
        "would no longer alert: p-3 (low)",
        "nobody would newly alert",
    ]


def test_an_unchanged_pack_changes_nothing(clinic, capsys):
    now_, after, last = preview(clinic, capsys, read_text(None)[1])
    assert now_.split()[1:] == after.split()[1:]
    assert last == "nobody would newly alert"


def test_what_is_judged_live_is_named_as_not_counted(clinic, capsys):
    live = PAIN.replace("patient_day.nrs", "pro_answer.value.nrs.now").replace(
        'kind = "threshold"', 'kind = "threshold"\ncadence = "live"'
    )
    *_, last = preview(clinic, capsys, read_text(None)[1] + live)
    assert last == "not counted, because judged as values arrive: pain-high"


def test_before_the_first_night_there_is_nothing_to_judge(tmp_path, capsys):
    (tmp_path / "proposed.toml").write_text(read_text(None)[1])
    hire(tmp_path)
    assert main(["alerts", "preview", str(tmp_path / "proposed.toml"), "--home", str(tmp_path)]) == 2
    assert "no night has been judged" in capsys.readouterr().err


def test_who_has_left_is_not_silent():
    first, days = date(2026, 3, 1), 60
    last = first + timedelta(days=days - 1)
    rows = [
        {"patient": who, "local_date": first + timedelta(days=day), "zone": "UTC", "steps": 5000.0}
        for who in ("p-1", "p-2")
        for day in range(25)
    ]
    tables = {"patient_day": pa.Table.from_pylist(rows, schema=PATIENT_DAY)}
    stays = {"p-1": (first, first + timedelta(days=24)), "p-2": (first, last)}
    found = rehearse(tables, load_pack(), first, last, staying(stays))
    assert [(one.subject, one.rule) for one in found] == [("p-2", "vanished")]


def test_a_patient_is_judged_in_the_state_written_down_for_each_night(tmp_path, capsys):
    clinic = make_clinic(tmp_path / "clinic")
    run(clinic, LAST - timedelta(days=1), LAST, clock=now)
    hire(clinic.home)
    capsys.readouterr()
    whole = preview(clinic, capsys, read_text(None)[1])[0]
    assert "flare-reported 2" in whole
    record(clinic, "p-000", "withdrawn", LAST - timedelta(days=20))
    record(clinic, "p-003", "paused", LAST - timedelta(days=20))
    left = preview(clinic, capsys, read_text(None)[1])[0]
    # five of six are patients; a pause excuses from data, a report is heard all the same
    assert left.startswith(f"now   {100 * 1 / (5 * 2 / 7):.1f} alerts")
    assert "flare-reported 1" in left


def record(clinic, patient, status, since):
    begin = to_utc(datetime(since.year, since.month, since.day, tzinfo=UTC))
    row = PatientRecord(
        f"{patient}-{status}", patient, "status", begin, None, begin, "nurse-1", f'{{"status":"{status}"}}'
    )
    before = read_records(clinic.records_path) if clinic.records_path.exists() else []
    write_records(clinic.records_path, [*before, row])
