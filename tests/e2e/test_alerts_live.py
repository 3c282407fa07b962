"""`flarecast alerts live` as it is run: each answer pages once, however late and however often it is sent."""

import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.rules.pack import read_text
from alerts.store.schema import outbox, staff, staff_role
from devices.clock import DAY, MINUTE, system_clock
from devices.observations import HeartRate
from flows.care import live_command
from flows.care.live_command import LiveJudge
from flows.care.rules_in_force import approve, in_force_text, propose
from flows.clinic import Clinic
from ingest.lake.broker import MosquittoBroker
from ingest.lake.live import LiveSubscriber
from tests.e2e.test_live_subscriber import Home, answer
from tests.fixtures_alerts import acknowledge
from tests.fixtures_ingest import PATIENCE_S, wait_until, write_enrolment

STAFFED = '[staffed_response]\nwho = "on-call clinician, day and night"\n'
#: A live rule of another kind of observation than the default pack's.
PULSE = """
[[rule]]
id = "fast-heart"
version = 1
kind = "threshold"
cadence = "live"
title = "Fast heart"
column = "heart_rate.bpm"
against = "population"
enter = ">= 120"
exit = "< 100"
severity = "high"
route = "pain-team"
[[rule.example]]
name = "at once"
nights = [{ "heart_rate.bpm" = 130 }]
want = ["enter"]
"""


def command(home, port):
    return [sys.executable, "-m", "flows.cli", "alerts", "live", "--home", str(home), "--port", str(port)]


@pytest.fixture
def site(tmp_path):
    (tmp_path / "channels.toml").write_text(STAFFED)
    write_enrolment(tmp_path / "enrolment.csv", ["gw-1", "gw-2"])
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
        with journal.transaction() as con:
            con.execute(staff.insert().values(staff="doctor-1", zone="UTC", since_utc=0))
            con.execute(staff_role.insert().values(staff="doctor-1", role="clinician"))
        yield tmp_path, journal


class Live:
    """The command in a process of its own."""

    def __init__(self, home, port):
        self._command, self._log = command(home, port), home / "live.log"
        self.start()

    def start(self):
        # words of an earlier one must not be taken for those of this one
        self._log.write_text("")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log)
        assert wait_until(lambda: "subscribed" in self._log.read_text()), self._log.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self._log.read_text()

    def words(self):
        return self._log.read_text()


def pages(journal):
    """Kind and alert of what was queued, in order."""
    with journal.transaction() as con:
        rows = con.execute(sa.select(outbox.c.kind, outbox.c.alert).order_by(outbox.c.created_utc)).all()
    return [tuple(row) for row in rows]


def test_late_twice_again_after_the_acknowledgement_and_through_a_kill(site, tmp_path):
    home, journal = site
    broker = MosquittoBroker(tmp_path / "broker")
    address = broker.start()
    live = Live(home, address.port)
    ring = Home(address)
    try:
        ring.say(answer(1, value=0.0))
        ring.say(answer(2, value=2.0, start_utc=system_clock() - 3 * DAY))
        assert wait_until(lambda: len(pages(journal)) == 1)
        (alert,) = journal.active()
        assert (alert.patient, alert.rule, alert.severity) == ("p-gw-1", "self-harm", "critical")
        assert "3 days ago: it arrived late" in alert.sentence
        # sent again by its gateway, and while nobody listens
        live.kill()
        ring.say(answer(2, value=2.0, start_utc=system_clock() - 3 * DAY))
        acknowledge(journal, alert.alert, "doctor-1", alert.version)
        ring.say(answer(3, value=1.0))
        live.start()
        assert wait_until(lambda: len(pages(journal)) == 2)
        ring.say(answer(4, value=0.0))
        live.stop()
    finally:
        live.kill()
        ring.close()
        broker.stop()
    assert pages(journal) == [("open", alert.alert), ("event", alert.alert)]
    assert [(one.status, one.alert) for one in journal.active()] == [("open", alert.alert)]
    assert journal.first_audit_fault() is None
    assert "p-gw-1" not in live.words()


def test_without_somebody_who_answers_it_does_not_pretend(site):
    home, _ = site
    (home / "channels.toml").write_text("")
    done = subprocess.run(command(home, 1), capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "[staffed_response]" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def listening(clinic, address, heard):
    """The command's own parts on a thread; `heard` gets the kind of whatever is handed over."""
    with Journal(clinic.alert_store, system_clock) as journal:
        judge = LiveJudge(clinic, journal, system_clock)

        def hear(rows):
            heard.extend(one.observation.kind for one in rows)
            judge(rows)

        live = LiveSubscriber(address, clinic.enrolment, judge.kinds, hear, clock=system_clock)
        thread = threading.Thread(target=live.run)
        thread.start()
        try:
            assert live.is_subscribed.wait(PATIENCE_S)
            yield
        finally:
            live.stop()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def agree(clinic, journal, text):
    change = propose(journal, text, "site.toml", "doctor-1", in_force_text(journal))
    approve(journal, change, "lead-1", clinic.home / "rules.toml")


def test_rules_that_need_another_kind_are_followed_without_a_restart(site, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(live_command, "ASK_S", 0.1)
    caplog.set_level("INFO")
    (home, journal), heard, default = site, [], read_text(None)[1]
    clinic = Clinic(home)
    broker = MosquittoBroker(tmp_path / "broker")
    address = broker.start()
    ring = Home(address)

    def say_pulse(age):
        begin = system_clock() - age * MINUTE
        one = HeartRate(device="ring-1", start_utc=begin, source="colmi/1", period_s=60, bpm=bytes([130]))
        ring.say(one, kind="heart_rate")

    def told():
        return sorted(one.rule for one in journal.active())

    try:
        with listening(clinic, address, heard):
            say_pulse(4)
            ring.say(answer(1))
            assert wait_until(lambda: told() == ["self-harm"])
            assert caplog.text.count("subscribed") == 1
            agree(clinic, journal, default + PULSE)
            assert wait_until(lambda: "live_listens kinds=heart_rate,pro_answer" in caplog.text)
            assert wait_until(lambda: caplog.text.count("subscribed") == 2)
            say_pulse(3)
            assert wait_until(lambda: told() == ["fast-heart", "self-harm"])
            # a connection made later listens to both
            broker.kill()
            broker.start()
            assert wait_until(lambda: caplog.text.count("subscribed") == 3)
            say_pulse(2)
            assert wait_until(lambda: heard.count("heart_rate") == 2)
            agree(clinic, journal, default)
            assert wait_until(lambda: caplog.text.count("live_listens") == 2)
            say_pulse(1)
            ring.say(answer(2))
            assert wait_until(lambda: heard.count("pro_answer") == 2)
    finally:
        ring.close()
        broker.stop()
    assert heard.count("heart_rate") == 2
