"""Steps an alert carries: given once, decided with a reason, never against what is known or unasked."""

import json
import os
import pwd
from importlib.resources import files

import pytest
import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.engine.suggestions import Decision, attach, decide, in_words, steps_of
from alerts.errors import JournalError
from alerts.rules.pathway_lint import load_pathways, read_pathways
from alerts.store import audit
from alerts.store.schema import staff, staff_role
from devices.clock import from_utc, system_clock
from flows.cli import main
from tests.fixtures_alerts import Hands
from tests.fixtures_delivery import queue_alert

USER = pwd.getpwuid(os.getuid()).pw_name
SITE = load_pathways()
CLEAR = {one.code: "no" for one in SITE.contraindication}


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "alerts.sqlite", Hands()) as journal:
        yield journal


@pytest.fixture
def name(journal):
    return queue_alert(journal, channels=("mail",), rule="deviation-3d")


def given(journal, answers=CLEAR):
    return attach(journal, SITE, lambda _: answers, 5)


def say(journal, name, step, *, is_accepted=True, answers=CLEAR, reason="agreed by phone"):
    decide(journal, SITE, answers, name, step, Decision("nurse-1", is_accepted, reason), 9)


def standing(journal, name):
    return {row.step: row.status for row in steps_of(journal, name)}


def test_an_alert_gets_its_steps_once(journal, name):
    other = queue_alert(journal, channels=("mail",), subject="p-2", rule="something-else")
    assert given(journal) == 1
    assert given(journal) == 0
    assert standing(journal, name) == dict.fromkeys(
        ("call", "red-flags", "graded-activity", "cbt-i", "visit"), "suggested"
    )
    assert standing(journal, other) == {}


def test_what_is_unknown_is_asked_and_what_is_known_holds(journal, name):
    given(journal, {"recent-fracture": "yes"})
    found = standing(journal, name)
    assert (found["graded-activity"], found["cbt-i"], found["call"]) == ("held", "ask", "suggested")


def test_who_decided_what_and_why_is_kept_and_audited(journal, name):
    given(journal)
    say(journal, name, "call", reason="spoke for ten minutes")
    (row,) = [row for row in steps_of(journal, name) if row.step == "call"]
    assert (row.status, row.decided_by, row.reason, row.decided_utc) == (
        "accepted", "nurse-1", "spoke for ten minutes", 9,
    )  # fmt: skip
    assert in_words(SITE, CLEAR, row) == "call: accepted by nurse-1: spoke for ten minutes"
    assert journal.first_audit_fault() is None


@pytest.mark.parametrize(
    ("answers", "words"),
    [({"red-flag": "yes"}, "held by red-flag"), ({}, "first ask and record: New weakness")],
)
def test_what_is_held_or_unasked_cannot_be_accepted_but_declined(journal, name, answers, words):
    given(journal)
    say(journal, name, "call")
    say(journal, name, "red-flags")
    with pytest.raises(JournalError, match=words):
        say(journal, name, "graded-activity", answers=answers)
    say(journal, name, "graded-activity", answers=answers, is_accepted=False)
    assert standing(journal, name)["graded-activity"] == "declined"


def test_steps_come_in_their_order(journal, name):
    given(journal)
    with pytest.raises(JournalError, match=r"comes after red-flags \(done\)"):
        say(journal, name, "graded-activity")
    with pytest.raises(JournalError, match=r"comes after graded-activity \(declined\)"):
        say(journal, name, "visit")
    for step in ("call", "red-flags"):
        say(journal, name, step)
    say(journal, name, "graded-activity", is_accepted=False)
    say(journal, name, "visit")


@pytest.mark.parametrize(
    ("step", "reason", "words"), [("call", " ", "say why"), ("dance", "x", "no step 'dance'; it has call")]
)
def test_a_decision_needs_a_step_and_a_reason(journal, name, step, reason, words):
    given(journal)
    with pytest.raises(JournalError, match=words if step == "call" else "no step 'dance'"):
        say(journal, name, step, reason=reason)


def test_a_pathway_replaced_since_accepts_nothing(journal, name):
    given(journal)
    text = (files("alerts.rules") / "pathways" / "placeholder.toml").read_text("utf-8")
    newer = read_pathways(text.replace("version = 2", "version = 3"), "newer.toml")
    with pytest.raises(JournalError, match="version 2 is not in force any more"):
        decide(journal, newer, CLEAR, name, "call", Decision("nurse-1", True, "x"), 9)


RECORD = "record,patient,kind,valid_from_utc,valid_to_utc,recorded_utc,author,payload\n"


def test_the_command_line_shows_asks_and_keeps(tmp_path, capsys):
    home = str(tmp_path)
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
        name = queue_alert(journal, channels=("mail",), rule="deviation-3d")
        attach(journal, SITE, lambda _: {}, 5)
        with journal.transaction() as con:
            con.execute(staff.insert().values(staff="nurse-1", os_user=USER, zone="UTC", since_utc=0))
            con.execute(staff_role.insert().values(staff="nurse-1", role="nurse"))
    assert main(["alerts", "steps", name, "--home", home]) == 0
    assert "cbt-i: [placeholder, not signed by a clinician]" in capsys.readouterr().out
    for step in ("call", "red-flags"):
        assert main(["alerts", "step", name, step, "--accept", "--why", "done", "--home", home]) == 0
    accept = ["alerts", "step", name, "cbt-i", "--accept", "--why", "wants it", "--home", home]
    assert main(accept) == 2
    assert "first ask and record" in capsys.readouterr().err
    start = from_utc(0).isoformat()
    rows = [
        f'r-{number},p-1,contraindication,{start},,{start},nurse-1,"'
        + json.dumps({"what": code, "answer": "no"}).replace('"', '""')
        + '"\n'
        for number, code in enumerate(("untreated-osa", "seizure-disorder", "safety-critical-job"))
    ]
    (tmp_path / "patient_record.csv").write_text(RECORD + "".join(rows))
    assert main(accept) == 0
    assert main(["alerts", "steps", name, "--home", home]) == 0
    assert "cbt-i: accepted by nurse-1: wants it" in capsys.readouterr().out
    assert main(["alerts", "steps", "A-22222", "--home", home]) == 2


def test_who_is_not_of_the_staff_decides_nothing(tmp_path, capsys, monkeypatch):
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
        name = queue_alert(journal, channels=("mail",), rule="deviation-3d")
        attach(journal, SITE, lambda _: {}, 5)
        with journal.transaction() as con:
            assert con.scalar(sa.select(sa.func.count()).select_from(staff)) == 0
    step = ["alerts", "step", name, "call", "--accept", "--why", "x", "--home", str(tmp_path)]
    assert main(step) == 2
    assert "is not registered" in capsys.readouterr().err
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
        con.execute(staff.insert().values(staff="ann", os_user=USER, zone="UTC", since_utc=0))
        con.execute(staff.insert().values(staff="doc-1", os_user="the-doctor", zone="UTC", since_utc=0))
        con.execute(staff_role.insert().values(staff="doc-1", role="clinician"))
    # whoever may only look, and by whatever name they call themselves
    monkeypatch.setenv("LOGNAME", "the-doctor")
    assert main(step) == 2
    assert "ann may look, not change anything" in capsys.readouterr().err
    assert main(["alerts", "steps", name, "--home", str(tmp_path)]) == 0
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
        (looked,) = audit.read(con, audit.audit.c.action == "view steps")
    assert (looked.actor, looked.alert) == ("ann", name)


def test_the_pathways_in_force_are_listed_with_who_signed_them(tmp_path, capsys):
    assert main(["alerts", "pathways", "--home", str(tmp_path)]) == 0
    assert "flare-placeholder version 2: 5 steps, PLACEHOLDER, signed by nobody" in capsys.readouterr().out
