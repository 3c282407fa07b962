"""Who is told: whoever is on call, whoever is left, and somebody where nobody is."""

from dataclasses import replace

import pytest
from msgspec import structs

from alerts.engine.desk import hand_over
from alerts.engine.tick import tick
from alerts.rules.route import Step
from alerts.store.schema import schedule, staff
from devices.clock import HOUR
from tests.fixtures_engine import (
    LOW,
    PACK,
    USUAL,
    at_hour,
    breach,
    deliver,
    desk,
    go,
    hire,
    judge,
    night,
    run_tick,
    state,
)


def test_a_step_that_means_nobody_is_passed_over_and_said(journal, clock):
    with journal.transaction() as con:
        con.execute(staff.update().where(staff.c.staff == "doc-1").values(left_utc=1))
    breach(journal, clock)
    deliver(journal)
    clock.forward(2 * HOUR)
    run_tick(journal)
    told = deliver(journal)
    assert ("escalate", "lead-1") in told
    assert ("open", "it") in told
    gap = next(one for one in journal.active() if one.rule == "uncovered")
    assert gap.sentence == "Nobody is reached as role:clinician."
    hire(journal, {"doc-2": ("clinician", None, None)})
    run_tick(journal)
    assert state(journal, gap.alert).closed_by == "no longer so"


def test_a_hole_in_the_schedule_is_told_ahead_once_and_closed_when_it_is_filled(journal, clock, on_duty):
    go(clock, 1, 12)
    for _ in range(2):
        tick(journal, on_duty, clock())
    (hole,) = [one for one in journal.active() if one.rule == "uncovered"]
    assert hole.sentence == "Nobody is on call as clinician from 2026-03-05 07:00 UTC."
    assert deliver(journal) == [("open", "it")]
    with journal.transaction() as con:
        con.execute(schedule.update().values(calendar=DUTY.replace("20260305T080000", "20260505T080000")))
    tick(journal, on_duty, clock())
    assert state(journal, hole.alert).status == "resolved"


#: One day each, from eight to eight: doc-1 on the first, doc-2 on the second; then nobody.
DUTY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//test//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20260301T000000Z
DTSTART;TZID=Europe/Berlin:20260303T080000
DTEND;TZID=Europe/Berlin:20260304T080000
SUMMARY:doc-1
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTAMP:20260301T000000Z
DTSTART;TZID=Europe/Berlin:20260304T080000
DTEND;TZID=Europe/Berlin:20260305T080000
SUMMARY:doc-2
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture
def on_duty(journal):
    """The second doctor, a calendar, and an alert whose first step is whoever is on call."""
    hire(journal, {"doc-2": ("clinician", None, None)})
    with journal.transaction() as con:
        con.execute(schedule.insert().values(role="clinician", calendar=DUTY, loaded_utc=0, loaded_by="x"))
        con.execute(
            staff.update().where(staff.c.staff == "doc-1").values(quiet_from="20:00", quiet_to="09:00")
        )
    to_duty = structs.replace(PACK.route_named("team"), step=(Step("oncall:clinician"),))
    return replace(PACK, route=tuple(to_duty if one.id == "team" else one for one in PACK.route))


def breach_on_duty(journal, clock, pack, hour):
    for index in (0, 1):
        go(clock, index, hour)
        judge(journal, night(index), {"p-1": LOW}, pack=pack)


def test_what_waits_for_the_morning_goes_to_who_is_on_call_by_then(journal, clock, on_duty):
    breach_on_duty(journal, clock, on_duty, 23)
    assert deliver(journal) == []
    go(clock, 2, 9)
    assert deliver(journal) == [("open", "doc-2")]
    judge(journal, night(2), {"p-1": USUAL}, pack=on_duty)
    assert deliver(journal) == [("resolved", "doc-2")]


def test_with_nobody_on_call_it_stays_whose_it_was(journal, clock, on_duty):
    breach_on_duty(journal, clock, on_duty, 23)
    assert deliver(journal) == []
    go(clock, 3, 9)
    assert deliver(journal) == [("open", "doc-1")]


def test_what_was_tried_stays_whose_it_was(journal, clock, on_duty):
    breach_on_duty(journal, clock, on_duty, 12)
    claim = journal.outbox.claim(None)
    journal.outbox.retry(claim.key, "HTTP 500", at_hour(2, 10))
    go(clock, 2, 10)
    again = journal.outbox.claim(None)
    assert (again.key, again.messages[0].recipient) == (claim.key, "doc-1")


def test_whoever_leaves_hands_over(journal, clock):
    name = breach(journal, clock)
    desk(journal).acknowledge(name, 1)
    with journal.transaction() as con:
        con.execute(staff.update().where(staff.c.staff == "nurse-1").values(left_utc=clock()))
        assert hand_over(con, PACK, "nurse-1", clock()) == 1
    assert deliver(journal) == [("open", "doc-1")]
