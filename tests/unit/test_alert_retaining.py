"""Retention of the alert store: late nights fold as before, what still decides stays, the chain verifies."""

import random
from dataclasses import replace
from datetime import date, timedelta

import msgspec
import pytest
import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine.desk import Actor, Desk
from alerts.engine.evaluate import event_time
from alerts.engine.events import Answer, judge_answers, sealed
from alerts.engine.journal import Journal
from alerts.engine.night import run_night
from alerts.engine.retaining import ACTOR, forget_alerts, forget_readings
from alerts.store import audit
from alerts.store.erasing import left
from alerts.store.schema import METADATA, alert, condition, judged_event, outbox, reading, silence
from devices.clock import DAY
from tests.fixtures_alerts import NIGHT, PACK, Hands, acknowledge, open_alert, resolve, tables
from tests.fixtures_engine import PACK as STAFFED
from tests.fixtures_engine import hire

FIRST = date(2026, 1, 1)
NIGHTS = 40
#: Nights from here on keep their readings.
LIMIT = FIRST + timedelta(days=20)
PEOPLE = tuple(f"p-{n}" for n in range(16))
#: Conditions that count up, last and count down for nights.
SLOW = replace(
    PACK,
    rule=(
        msgspec.structs.replace(PACK.rule[0], for_="48h", exit_for="48h", max_gap="120h"),
        msgspec.structs.replace(PACK.rule[1], quiet_days=3, silent_days=9),
    ),
)


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(store, clock):
    with Journal(store, clock) as journal:
        yield journal


def night_of(chance, day, people=PEOPLE):
    """Any of: breached, between the bounds (most often), clear, nothing known."""
    rows = []
    for who in people:
        deviation, cells = chance.choice([(-1.4, 9), (-1.4, 9), (-0.7, 9), (0.2, 9), (None, 0)])
        rows.append((who, deviation, cells, chance.choice([True, None, None, False, None])))
    return tables(day, *rows)


def states(journal):
    with journal.transaction() as con:
        rows = con.execute(sa.select(condition).order_by(condition.c.subject, condition.c.rule)).all()
        return [
            (row.subject, row.rule, row.phase, row.since, row.clear_since, row.last_breach) for row in rows
        ]


def told(journal):
    with journal.transaction() as con:
        found = alerts.select(con)
    return sorted((one.subject, one.rule, one.status, one.night) for one in found)


def test_a_late_night_folds_as_if_nothing_had_been_forgotten(journal, tmp_path, clock):
    with Journal(tmp_path / "whole.sqlite", clock) as whole:
        for both in (journal, whole):
            chance = random.Random(7)
            for number in range(NIGHTS):
                day = FIRST + timedelta(days=number)
                run_night(both, SLOW, day, night_of(chance, day))
        with journal.transaction() as con:
            assert forget_readings(con, SLOW, event_time(LIMIT), clock()) > 0
            old = con.execute(sa.select(reading).where(reading.c.at < event_time(LIMIT))).all()
        assert old, "conditions that last keep theirs, or this shows little"
        assert states(journal) == states(whole)
        chance = random.Random(8)
        for number in random.Random(9).sample(range(20, NIGHTS), 8):
            day = FIRST + timedelta(days=number)
            late = night_of(chance, day)
            for both in (journal, whole):
                run_night(both, SLOW, day, late)
            assert states(journal) == states(whole)
            assert told(journal) == told(whole)
        with journal.transaction() as con:
            assert audit.first_fault(con) is None
            assert forget_readings(con, SLOW, event_time(LIMIT), clock()) == 0, "the same again finds nothing"


def rows_of(journal, name):
    """Tables with rows of an alert, the audit apart."""
    with journal.transaction() as con:
        return {
            table.name
            for table in METADATA.sorted_tables
            if "alert" in table.c
            and table.name != "audit"
            and con.execute(sa.select(table).where(table.c.alert == name)).first()
        }


def test_an_alert_closed_long_ago_goes_with_all_that_hangs_on_it_and_the_audit_stays(journal, clock):
    old, active = open_alert(journal), open_alert(journal, "p-2")
    desk = Desk(journal, PACK, Actor("nurse-1", frozenset({"nurse"})))
    acknowledge(journal, old)
    desk.comment(old, "Called.")
    desk.set_outcome(old, "true-flare", "pacing")
    resolve(journal, old)
    acknowledge(journal, active)
    with journal.transaction() as con:
        values = {"matcher": {"subject": "p-1"}, "author": "nurse-1", "reason": "trial"}
        times = {"starts_utc": clock(), "expires_utc": clock() + DAY}
        con.execute(silence.insert().values(silence="S-1", **values, **times))
        con.execute(outbox.update().where(outbox.c.alert == old).values(status="sent"))
    assert {"alert", "comment", "outcome", "outbox"} <= rows_of(journal, old)
    clock.forward(400 * DAY)
    closed = open_alert(journal, "p-3")
    resolve(journal, closed)
    with journal.transaction() as con:
        con.execute(outbox.update().values(status="sent"))
        said = audit.entries_of(con, old)
        assert forget_alerts(con, PACK, clock() - 365 * DAY, clock()) == 1
    assert rows_of(journal, old) == set()
    assert "alert" in rows_of(journal, active)
    assert "alert" in rows_of(journal, closed)
    with journal.transaction() as con:
        assert con.execute(sa.select(silence)).all() == []
        assert audit.first_fault(con) is None
        assert audit.entries_of(con, old) == said, "who did what can still be read"
        assert [one.detail["alerts"] for one in audit.read(con, audit.audit.c.actor == ACTOR)] == [1]
        assert forget_alerts(con, PACK, clock() - 365 * DAY, clock()) == 0


def test_of_an_old_answer_stays_that_it_was_judged_and_nothing_else(store, clock):
    """It pages once, also when its gateway sends it again after years; a first one pages however old."""
    with Journal(store, clock) as journal:
        hire(journal)
        old, open_one, benign = (
            Answer(name, patient, "phq-9", "9", value, clock(), "UTC")
            for name, patient, value in (("a-1", "p-1", 2.0), ("a-2", "p-2", 1.0), ("a-3", "p-3", 0.0))
        )
        assert judge_answers(journal, STAFFED, [old, open_one, benign]) == 2
        (first,) = journal.active(["p-1"])
        Desk(journal, STAFFED, Actor("nurse-1", frozenset({"nurse"}))).resolve(first.alert, 1, "called")
        with journal.transaction() as con:
            con.execute(outbox.update().values(status="sent"))
        clock.forward(400 * DAY)
        for _ in range(2):
            with journal.transaction() as con:
                forget_alerts(con, STAFFED, clock() - 365 * DAY, clock())
        with journal.transaction() as con:
            assert (left(con, "p-1"), left(con, "p-3")) == (["subject_key"], []), "of the audit, which stays"
            kept = {row.event: row for row in con.execute(sa.select(judged_event))}
            assert audit.first_fault(con) is None
        assert kept.keys() == {sealed("a-1"), "a-2", sealed("a-3")}
        assert (kept["a-2"].subject, kept["a-2"].is_positive) == ("p-2", True), "its alert is open"
        assert not any(kept[sealed(name)].is_positive for name in ("a-1", "a-3"))
        assert judge_answers(journal, STAFFED, [old, open_one, benign]) == 0
        assert judge_answers(journal, STAFFED, [replace(old, answer="a-4")]) == 1


def test_what_still_decides_whether_somebody_is_told_stays(journal, clock):
    """A person has closed the episode, and it lasts: forgotten, it would be told anew."""
    run_night(journal, PACK, NIGHT, tables(NIGHT, ("p-1", -1.4, 9, False)))
    (one,) = journal.active()
    Desk(journal, PACK, Actor("nurse-1", frozenset({"nurse"}))).resolve(one.alert, one.version, "A new bed.")
    unsent = open_alert(journal, "p-2")
    resolve(journal, unsent)
    with journal.transaction() as con:
        con.execute(outbox.update().where(outbox.c.alert == one.alert).values(status="sent"))
        con.execute(outbox.update().where(outbox.c.alert == unsent).values(status="queued"))
    later = NIGHT + timedelta(days=400)
    clock.forward(400 * DAY)
    with journal.transaction() as con:
        assert forget_readings(con, PACK, event_time(later), clock()) == 1, "of the rule that saw nothing"
        assert forget_alerts(con, PACK, clock() - DAY, clock()) == 0
        assert {row.alert for row in con.execute(sa.select(alert))} == {one.alert, unsent}
    run_night(journal, PACK, later, tables(later, ("p-1", -0.7, 9, False)))
    late = later - timedelta(days=1)
    assert run_night(journal, PACK, late, tables(late, ("p-1", -1.4, 9, False))).opened == 0
    assert journal.active() == []
