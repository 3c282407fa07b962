"""The same engine on PostgreSQL: a real server, two workers at once."""

import json
import os
import pwd
import threading
from datetime import timedelta

import pytest

from alerts.engine.journal import Journal
from alerts.errors import JournalError
from flows.cli import main
from flows.clinic import SYNTHETIC
from flows.doctor.command import examine
from flows.night.nightly import run
from tests.fixtures_alerts import Hands
from tests.fixtures_engine import at_hour, deliver, desk, hire, judge, night, run_tick
from tests.fixtures_night import LAST, make_clinic, now
from tests.fixtures_postgres import new_database

LOW = (-1.4, 2.0, 4000.0)


@pytest.fixture
def server(postgres):
    """URL of an empty database."""
    return new_database(postgres)


def test_a_breach_is_told_acknowledged_and_audited(server):
    clock = Hands(at_hour(0, 9))
    with Journal(server, clock) as journal:
        hire(journal)
        people = dict.fromkeys([f"p-{number}" for number in range(12)], LOW)
        for index in (0, 1):
            judge(journal, night(index), people)
        told = []
        with Journal(server, clock) as other:
            workers = [threading.Thread(target=lambda j=j: told.append(deliver(j))) for j in (journal, other)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        assert sorted(told[0] + told[1]) == [("open", "nurse-1")] * 12
        one = journal.active()[0]
        desk(journal).acknowledge(one.alert, one.version)
        clock.forward(3 * 3_600_000_000)
        run_tick(journal)
        assert journal.outbox.counts() == {"sent": 12, "queued": 11}
        assert journal.first_audit_fault() is None
    with Journal(server, clock) as again:
        assert len(again.active()) == 12


@pytest.fixture
def clinic(server, tmp_path, monkeypatch):
    """A clinic whose alerts are set to be in a database of their own."""
    monkeypatch.setenv("FLARECAST_ALERT_STORE", server)
    return make_clinic(tmp_path / "home")


def test_a_clinic_keeps_its_alerts_there_by_setting(clinic, tmp_path, capsys):
    report = run(clinic, LAST - timedelta(days=1), LAST, clock=now)
    assert report.alerts_opened > 0
    assert not clinic.journal_path.exists()
    home = ["--home", str(clinic.home)]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert main(["alerts", "staff", "add", "nurse-1", "--os-user", user, "--role", "nurse", *home]) == 0
    assert main(["alerts", "list", "--json", *home]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    with Journal(clinic.alert_store, now) as journal:
        active = {one.alert for one in journal.active()}
    assert {row["alert"] for row in listed} == active
    assert len(active) == report.alerts_opened
    assert main(["alerts", "audit", "verify", *home]) == 0
    assert not [words for where, words in examine(clinic, "127.0.0.1", 1, clock=now) if where == "alerts"]
    # a demo beside it writes nothing into the clinic's database
    (clinic.home / SYNTHETIC).touch()
    assert clinic.alert_store == clinic.journal_path


def test_a_wrong_setting_is_one_line_without_the_password(tmp_path, monkeypatch, capsys):
    for url, words in (
        ("mysql://a:geheim@host/name", "FLARECAST_ALERT_STORE is not postgresql+psycopg://"),
        ("postgresql+psycopg://a:geheim@127.0.0.1:1/name", "the configured database cannot be opened"),
    ):
        monkeypatch.setenv("FLARECAST_ALERT_STORE", url)
        assert main(["alerts", "load", "--home", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert "geheim" not in said


def test_no_server_is_one_line():
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal("postgresql+psycopg://flarecast@127.0.0.1:1/postgres", Hands(0))
