"""A small clinic for the engine's tests: two rules, a nurse who sleeps, a clinician on call, a lead."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa

from alerts.engine import alert as alerts
from alerts.engine.desk import Actor, Desk
from alerts.engine.night import Surroundings, run_night
from alerts.engine.tick import tick
from alerts.rules.pack import read_pack_text
from alerts.store.schema import staff, staff_role
from analytics.tables import BASELINE, FLARE_RISK, PATIENT_DAY
from devices.clock import to_utc

ZONE = "Europe/Berlin"
#: Who has which role, and when they are not to be disturbed.
PEOPLE = {
    "nurse-1": ("nurse", "22:00", "07:00"),
    "doc-1": ("clinician", None, None),
    "lead-1": ("lead", None, None),
}
TEXT = """
[[route]]
id = "team"
channels = ["push"]
ack_within = "4h"
repeat = "24h"
step = [{ to = "role:nurse" }, { to = "role:clinician", after = "2h" }, { to = "role:lead", after = "4h" }]

[[route]]
id = "tech"
channels = ["push"]
step = [{ to = "inbox:it" }]

[[rule]]
id = "low-days"
version = 1
kind = "threshold"
title = "Low days"
reason = "Two days below the own usual."
column = "flare_risk.deviation"
against = "personal"
enter = "<= -1.0"
exit = "> -0.5"
for = "1d"
max_gap = "2d"
inhibited_by = ["silent"]
severity = "medium"
route = "team"
[[rule.example]]
name = "two days"
nights = [{ "flare_risk.deviation" = -1 }, { "flare_risk.deviation" = -1 }]
want = ["stay", "enter"]

[[rule]]
id = "red-flag"
version = 1
kind = "threshold"
title = "Red flag"
reason = "A red flag."
column = "patient_day.mood"
against = "population"
enter = ">= 9"
exit = "< 5"
is_latched = true
severity = "critical"
route = "team"
[[rule.example]]
name = "at once"
nights = [{ "patient_day.mood" = 9 }]
want = ["enter"]

[[rule]]
id = "silent"
version = 1
kind = "no-data"
title = "Silent"
present = ["patient_day.steps"]
least = "1d"
tell = "list"
severity = "low"
route = "tech"
[[rule.example]]
name = "two nights"
nights = [{}, {}]
want = ["stay", "enter"]

[[rule]]
id = "storm"
version = 1
kind = "technical"
watch = "storm"
title = "Storm"
severity = "high"
route = "tech"

[[rule]]
id = "uncovered"
version = 1
kind = "technical"
watch = "coverage-gap"
title = "Nobody there"
severity = "medium"
route = "tech"

[[rule]]
id = "self-harm"
version = 1
kind = "item"
cadence = "live"
title = "Thoughts of self-harm"
instrument = "phq-9"
item = "9"
enter = ">= 1"
needs_staffed_response = true
is_latched = true
severity = "critical"
route = "team"
"""
PACK = read_pack_text(TEXT, "test.toml", is_staffed=True)
FIRST = date(2026, 3, 2)
#: A patient's night: deviation, mood, steps.
LOW, USUAL = (-1.4, 2.0, 4000.0), (0.0, 2.0, 4000.0)
FLAG = (0.0, 9.0, 4000.0)
SILENT = (None, None, None)


def hire(journal, people=None):
    """Register the staff."""
    with journal.transaction() as con:
        for name, (role, begins, ends) in (PEOPLE if people is None else people).items():
            con.execute(
                staff.insert().values(
                    staff=name, os_user=name, zone=ZONE, quiet_from=begins, quiet_to=ends, since_utc=0
                )
            )
            con.execute(staff_role.insert().values(staff=name, role=role))


def judge(journal, day, rows, pack=None, **around):
    """Judge a night; `rows` is patient -> (deviation, mood, steps), None where there is nothing."""
    risk = [
        {
            "patient": patient,
            "local_date": day,
            "status": "uncalibrated",
            "deviation": deviation,
            "model_version": "prior-1",
            "sentence": "So it is.",
        }
        for patient, (deviation, _, _) in rows.items()
    ]
    days = [
        {"patient": patient, "local_date": day, "zone": ZONE, "mood": mood, "steps": steps}
        for patient, (_, mood, steps) in rows.items()
    ]
    tables = {
        "flare_risk": pa.Table.from_pylist(risk, schema=FLARE_RISK),
        "patient_day": pa.Table.from_pylist(days, schema=PATIENT_DAY),
        "baseline": BASELINE.empty_table(),
    }
    return run_night(journal, pack or PACK, day, tables, Surroundings(**around))


def judge_tables(journal, pack, day, rows, **around):
    """Judge a night by a pack; `rows` is patient -> columns of its patient_day."""
    days = [{"patient": who, "local_date": day, "zone": ZONE, **row} for who, row in rows.items()]
    tables = {
        "flare_risk": FLARE_RISK.empty_table(),
        "patient_day": pa.Table.from_pylist(days, schema=PATIENT_DAY),
        "baseline": BASELINE.empty_table(),
    }
    return run_night(journal, pack, day, tables, Surroundings(**around))


def desk(journal, who="nurse-1", role="nurse"):
    return Desk(journal, PACK, Actor(who, frozenset({role})))


def deliver(journal, *, limit=100):
    """Send everything that is due; returns (kind, recipient) in order."""
    told = []
    for _ in range(limit):
        claim = journal.outbox.claim(None)
        if not claim.messages:
            break
        told += [(message.kind, message.recipient) for message in claim.messages]
        journal.outbox.mark_sent(claim.key)
    return told


def run_tick(journal):
    return tick(journal, PACK, journal.now())


def night(index):
    return FIRST + timedelta(days=index)


def at_hour(index, hour):
    """Instant of a local hour of the day after night `index`'s date began."""
    day = night(index)
    return to_utc(datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(ZONE)))


def go(clock, index, hour):
    clock.utc = at_hour(index, hour)


def breach(journal, clock, *people, row=LOW, hour=9):
    """Two nights that open an alert for each; returns the reference of the first."""
    for index in (0, 1):
        go(clock, index, hour)
        judge(journal, night(index), dict.fromkeys(people or ("p-1",), row))
    return journal.active()[0].alert


def state(journal, name):
    with journal.transaction() as con:
        return alerts.find(con, name)
