"""The care team's commands, run as they stand: who may, what is said, what is on record."""

import os
import pwd

import pytest
import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.rules.pack import read_text
from alerts.store.schema import alert as table
from alerts.store.schema import audit as audit_table
from alerts.store.schema import staff, staff_role
from devices.clock import DAY, system_clock
from flows.cli import main
from tests.fixtures_alerts import NIGHT, open_alert, resolve

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def home(tmp_path, capsys):
    assert (
        main(
            ["alerts", "staff", "add", "anna", "--os-user", USER, "--role", "nurse", "--home", str(tmp_path)]
        )
        == 0
    )
    capsys.readouterr()
    return tmp_path


def said(capsys, home, *words):
    code = main(["alerts", *words, "--home", str(home)])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_list_show_acknowledge_outcome_and_the_record_of_it(home, capsys):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        name = open_alert(journal, "p-7")
    assert said(capsys, home, "list")[1].startswith(f"{name}  v1  medium   {NIGHT}  open  ")
    assert "when flare_risk.deviation is > -0.75" in said(capsys, home, "show", name)[1]
    assert said(capsys, home, "ack", name, "--version", "9") == (
        2,
        f"flarecast: alert {name} is at version 1, not 9: look again\n",
    )
    assert said(capsys, home, "assign", name, "anna")[1] == f"{name}: open, for anna\n"
    said(capsys, home, "staff", "add", "ben", "--role", "nurse")
    words = f"{name}: open, for ben; tell them: this sends no message\n"
    assert said(capsys, home, "assign", name, "ben")[1] == words
    said(capsys, home, "assign", name, "anna")
    assert said(capsys, home, "ack", name) == (0, f"{name}: acknowledged by anna\n")
    assert said(capsys, home, "outcome", name, "not-useful")[1] == f"{name}: acknowledged by anna\n"
    assert said(capsys, home, "outcome", name, "true-flare", "--helped", "pacing")[0] == 0
    shown = said(capsys, home, "show", name)[1]
    for action in ("engine: open", "anna: view", "anna: acknowledge", "anna: outcome"):
        assert action in shown
    assert said(capsys, home, "audit", "verify")[0] == 0


def test_who_is_not_registered_is_told_how(tmp_path, capsys):
    assert said(capsys, tmp_path, "list") == (
        2,
        f"flarecast: {USER} is not registered: flarecast alerts staff add NAME --os-user {USER}\n",
    )


def test_a_changed_pack_takes_two_people(home, capsys, tmp_path):
    code, text = said(capsys, home, "lint")
    assert (code, text) == (0, "default.toml: no fault, every example holds\n")
    pack = tmp_path / "new.toml"
    pack.write_text(read_text(None)[1].replace('enter = "<= -1.5"', 'enter = "<= -1.7"', 1))
    code, text = said(capsys, home, "lint", str(pack))
    assert code == 1
    assert "example 'enters at the bound on the second night, not before it'" in text
    assert "version: the rule has changed, its version 4 has not" in text
    changed = read_text(None)[1].replace('cooldown = "3d"', 'cooldown = "4d"', 1)
    pack.write_text(changed)
    assert "its version 3 has not" in said(capsys, home, "rules", "propose", str(pack))[1]
    pack.write_text(
        changed.replace('id = "pain-above-usual"\nversion = 3', 'id = "pain-above-usual"\nversion = 4')
    )
    change = said(capsys, home, "rules", "propose", str(pack))[1].strip()
    assert "takes two people" in said(capsys, home, "rules", "approve", change)[1]
    assert not (home / "rules.toml").exists()


def test_silence_of_the_nightly_run_is_not_all_quiet(home, capsys):
    assert said(capsys, home, "digest")[1].startswith("the nightly run is missing")


def test_the_handover_names_each_alert_once_and_who_looked(home, capsys):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        fresh, overdue, taken, over, asleep = (
            open_alert(journal, f"p-{number}", **more)
            for number, more in enumerate(({}, {"severity": "high"}, {}, {}, {}))
        )
        with journal.transaction() as con:
            con.execute(table.update().where(table.c.alert == overdue).values(escalation_step=1))
        resolve(journal, over)
    said(capsys, home, "ack", taken)
    said(capsys, home, "snooze", asleep, "--hours", "2", "--reason", "in the theatre")
    lines = said(capsys, home, "digest")[1].splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["overdue", overdue], ["new", fresh]]
    assert lines[1].endswith("p-0: Because.")
    rest = [["silent", asleep], ["taken", "on", taken], ["resolved", over]]
    assert [line[:22].split() for line in lines[2:5]] == rest
    assert "1 overdue, 1 new, 1 silent, 1 taken on, 1 resolved" in lines
    with Journal(home / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
        looked = con.execute(sa.select(audit_table.c.actor).where(audit_table.c.action == "digest")).all()
    assert [row.actor for row in looked] == ["anna"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["staff", "add", "ben", "--role", "nrse"], "--role: 'nrse' is none; there are analyst, clinician"),
        (["staff", "add", "ben", "--zone", "Mars/X"], "--zone: 'Mars/X' is not an IANA zone"),
        (["staff", "add", "bad name!"], "name 'bad name!'"),
        (["staff", "add", "anna"], "'anna' is registered already"),
        (["staff", "add", "ben", "--quiet", "25:00", "07:00"], "--quiet: "),
        (["staff", "add", "ben", "--os-user", USER], f"--os-user: {USER!r} is anna already"),
        (["staff", "add", "ben", "--channel", "pigeon"], "there is no channel 'pigeon' in channels.toml"),
        (["silence", "--severity", "purple", "--reason", "why"], "'purple' is none of low, medium"),
        (["silence", "--site", "nowhere", "--reason", "why"], "--site: 'nowhere' is none"),
        (["silence", "--rule", "nosuch", "--reason", "why"], "no rule 'nosuch' is in force"),
        (["silence", "--subject", "p-9", "--reason", "why"], "'p-9' is no patient, gateway or site"),
        (["silence", "--reason", "why"], "a silence matches at least one of"),
        (["outcome", "A-2", "maybe"], "there is no alert 'A-2'"),
        (["show", "A-2"], "there is no alert 'A-2'"),
    ],
)
def test_a_mistake_is_one_line(home, capsys, words, says):
    code, text = said(capsys, home, *words)
    assert (code, text.count("\n")) == (2, 1)
    assert says in text


def test_who_is_registered_and_that_nothing_waits_is_said(home, capsys):
    assert said(capsys, home, "staff", "add", "ben") == (0, "ben is registered: no role: may look, not act\n")
    words = ("staff", "add", "eve", "--role", "nurse", "--role", "clinician", "--os-user", "eve-u")
    assert (
        said(capsys, home, *words)[1] == "eve is registered: nurse, clinician, operating-system user eve-u\n"
    )
    assert said(capsys, home, "rules", "pending") == (0, "nothing waits\n")


@pytest.mark.parametrize("scope", ["gateway", "site", "system"])
def test_a_technical_alert_is_no_flare(home, capsys, scope):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        name = open_alert(journal, "gw-7", scope=scope, night=None, zone=None)
    code, text = said(capsys, home, "outcome", name, "true-flare")
    assert code == 2
    assert text == f"flarecast: {name} is about a {scope}, not a patient: it can be no true-flare\n"
    assert said(capsys, home, "outcome", name, "other-cause")[0] == 0


@pytest.mark.parametrize("hours", ["nan", "inf", "0", "-1", "1000", "soon"])
def test_hours_are_a_week_at_most(home, capsys, hours):
    with pytest.raises(SystemExit):
        said(capsys, home, "silence", "--rule", "deviation-3d", "--reason", "why", f"--hours={hours}")
    assert "is not a number of hours of a week at most" in capsys.readouterr().err


def test_who_left_does_not_come_back_as_somebody_else(home, capsys):
    assert said(capsys, home, "staff", "add", "ben", "--role", "nurse")[0] == 0
    assert said(capsys, home, "staff", "leave", "ben")[0] == 0
    code, text = said(capsys, home, "staff", "add", "ben", "--role", "nurse")
    assert (code, text) == (2, "flarecast: 'ben' worked here and left: add them by another name\n")


def test_an_alert_closed_under_a_silence_is_said_to_be_closed(home, capsys):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        name = open_alert(journal, "p-7")
    assert said(capsys, home, "silence", "--subject", "p-7", "--reason", "in hospital")[0] == 0
    assert f"{name}  v2  medium   {NIGHT}  silent: silence S-" in said(capsys, home, "list")[1]
    assert said(capsys, home, "resolve", name, "--reason", "called") == (
        0,
        f"{name}: resolved: anna: called\n",
    )
    (opened,) = [line for line in said(capsys, home, "show", name)[1].splitlines() if "engine: open" in line]
    assert " UTC engine: open" in opened


def test_a_mistyped_zone_of_one_patient_keeps_nobody_else_from_being_silenced(home, capsys):
    (home / "enrolment.csv").write_text(
        "patient,site,zone,gateway,device,valid_from_utc,valid_to_utc\n"
        "p-7,north,Europe/Berlin,gw-1,band-1,2024-01-01T00:00:00Z,\n"
        "p-8,north,Mars/Base,gw-2,band-2,2024-01-01T00:00:00Z,\n"
    )
    assert said(capsys, home, "silence", "--subject", "p-7", "--reason", "in hospital")[0] == 0
    assert said(capsys, home, "silence", "--site", "north", "--reason", "moving house")[0] == 0


def leave_only_ann(home):
    """Whoever runs the tests is Ann, an analyst; a nurse is there under another user."""
    with Journal(home / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
        con.execute(staff.update().values(os_user="somebody-else"))
        con.execute(staff.insert().values(staff="ann", os_user=USER, zone="UTC", since_utc=0))
        con.execute(staff_role.insert().values(staff="ann", role="analyst"))


@pytest.mark.parametrize(
    "words",
    [
        ("staff", "add", "eve", "--role", "lead"),
        ("staff", "leave", "anna"),
        ("staff", "oncall", "clinician", "x.ics"),
        ("rules", "propose", "x.toml"),
        ("rules", "approve", "R-1"),
    ],
)
def test_who_may_only_look_changes_neither_staff_nor_rules(home, capsys, words):
    leave_only_ann(home)
    code, text = said(capsys, home, *words)
    assert (code, text) == (
        2,
        "flarecast: ann may look, not change anything: that takes one of clinician, lead, nurse, technical\n",
    )
    assert said(capsys, home, "rules", "pending") == (0, "nothing waits\n")


def test_nobody_locks_the_desk(home, capsys, tmp_path):
    assert said(capsys, home, "staff", "add", "ben", "--role", "nurse")[0] == 0
    code, text = said(capsys, home, "staff", "leave", "anna")
    assert (code, "anna is the last who may act here" in text) == (2, True)
    assert said(capsys, home, "staff", "add", "eve", "--role", "lead", "--os-user", "eve-u")[0] == 0
    assert said(capsys, home, "staff", "leave", "anna")[0] == 0
    # and who is first can register the others
    (tmp_path / "new").mkdir()
    for words in (["ann"], ["ann", "--os-user", USER], ["ann", "--os-user", USER, "--role", "analyst"]):
        code, text = said(capsys, tmp_path / "new", "staff", "add", *words)
        assert (code, "who is first registers the others" in text) == (2, True)


CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//y//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20261101T000000Z
DTSTART:20261101T080000Z
DTEND:20261231T080000Z
SUMMARY:anna
END:VEVENT
END:VCALENDAR
"""


def test_a_calendar_is_of_a_role_and_of_people_there_are(home, capsys, tmp_path):
    path = tmp_path / "c.ics"
    path.write_text(CALENDAR)
    assert "'clinicain' is no role" in said(capsys, home, "staff", "oncall", "clinicain", str(path))[1]
    assert said(capsys, home, "staff", "oncall", "clinician", str(path)) == (
        0,
        "on call as clinician: anna\n",
    )
    event = CALENDAR[CALENDAR.index("BEGIN:VEVENT") : CALENDAR.index("END:VCALENDAR")]
    left = event.replace("anna", "zed").replace("UID:1", "UID:2")
    path.write_text(CALENDAR.replace("END:VCALENDAR", left + "END:VCALENDAR"))
    assert said(capsys, home, "staff", "oncall", "clinician", str(path))[1] == (
        "on call as clinician: anna; not of the staff, so nobody then: zed\n"
    )
    path.write_text(CALENDAR.replace("anna", "zed"))
    assert said(capsys, home, "staff", "oncall", "clinician", str(path)) == (
        2,
        f"flarecast: {path}: names no member of staff, but zed\n",
    )


def test_the_history_says_why_and_to_whom(home, capsys):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        name = open_alert(journal, "p-7")
    said(capsys, home, "snooze", name, "--hours", "2", "--reason", "asked to be called at three")
    said(capsys, home, "assign", name, "anna")
    said(capsys, home, "outcome", name, "other-cause")
    said(capsys, home, "resolve", name, "--reason", "a cold")
    shown = said(capsys, home, "show", name)[1]
    assert "UTC, asked to be called at three" in shown
    assert "anna: snooze: until 20" in shown
    assert "anna: assign: to anna" in shown
    assert "anna: outcome: other-cause" in shown
    assert "anna: resolve: anna: a cold" in shown


def test_a_silence_in_force_is_said_wherever_alerts_are_listed(home, capsys):
    """Also while it hides nothing: what it would hide nobody would miss."""
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        open_alert(journal, "p-7")
    assert said(capsys, home, "silence", "--rule", "vanished", "--reason", "a strike of the post")[0] == 0
    for words in (["list"], ["digest"]):
        line = said(capsys, home, *words)[1].splitlines()[0]
        assert " silences rule vanished until " in line
        assert line.endswith("by anna: a strike of the post")
    said(capsys, home, "silence", "--end", line.split()[0])
    assert "silences" not in said(capsys, home, "list")[1]


def test_what_waits_longer_than_agreed_is_overdue_also_where_nobody_else_is_told(home, capsys):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        with journal.transaction() as con:
            for route in ("technical", "pain-team"):
                is_row = table.c.alert == open_alert(journal, f"p-{route}")
                opened = {"opened_utc": system_clock() - 14 * DAY, "route": route}
                con.execute(table.update().where(is_row).values(**opened))
        fresh = open_alert(journal, "p-3")
    lines = said(capsys, home, "digest")[1].splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["overdue", "overdue", "new"]
    assert fresh in lines[2]
