"""Timelines of the engine: what is told to whom and when, and what must never be."""

from dataclasses import replace

import pytest
from msgspec import structs

from alerts.engine import alert as alerts
from alerts.engine.desk import hand_over
from alerts.engine.events import Answer, judge_answers
from alerts.engine.journal import Journal
from alerts.engine.tick import tick
from alerts.errors import JournalError, StaleAlertError
from alerts.rules.route import Step
from alerts.store import audit
from alerts.store.erasing import erase_patient, left
from alerts.store.schema import night_count, schedule, staff
from devices.clock import DAY, HOUR, MINUTE
from tests.fixtures_alerts import Hands
from tests.fixtures_engine import PACK, ZONE, at_hour, deliver, desk, hire, judge, night, run_tick

LOW, USUAL = (-1.4, 2.0, 4000.0), (0.0, 2.0, 4000.0)
FLAG = (0.0, 9.0, 4000.0)
SILENT = (None, None, None)


@pytest.fixture
def clock():
    return Hands(at_hour(0, 9))


@pytest.fixture
def journal(store, clock):
    with Journal(store, clock) as journal:
        hire(journal)
        yield journal


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


def test_the_nurse_at_once_then_who_is_next_then_again(journal, clock):
    breach(journal, clock)
    assert deliver(journal) == [("open", "nurse-1")]
    clock.forward(2 * HOUR - MINUTE)
    run_tick(journal)
    assert deliver(journal) == []
    clock.forward(MINUTE)
    run_tick(journal)
    assert deliver(journal) == [("escalate", "doc-1")]
    clock.forward(2 * HOUR)
    run_tick(journal)
    assert deliver(journal) == [("escalate", "lead-1")]
    clock.forward(24 * HOUR)
    run_tick(journal)
    assert deliver(journal) == [("repeat", "lead-1")]


def test_after_downtime_at_most_one_step_per_tick(journal, clock):
    breach(journal, clock)
    deliver(journal)
    clock.forward(3 * DAY)
    run_tick(journal)
    assert deliver(journal) == [("escalate", "doc-1")]


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


def test_an_acknowledgement_stops_what_is_queued_and_what_would_come(journal, clock):
    name = breach(journal, clock)
    desk(journal).acknowledge(name, 1)
    assert journal.outbox.counts() == {"cancelled": 1}
    assert deliver(journal) == []
    clock.forward(2 * HOUR)
    run_tick(journal)
    assert deliver(journal) == []
    judge(journal, night(2), {"p-1": LOW})
    assert state(journal, name).status == "acked"
    assert deliver(journal) == []


def test_a_message_that_failed_is_checked_again_before_the_next_attempt(journal, clock):
    name = breach(journal, clock)
    claim = journal.outbox.claim(None)
    journal.outbox.retry(claim.key, "HTTP 500", clock() + MINUTE)
    desk(journal).acknowledge(name, 1)
    with journal.transaction() as con:  # as if the acknowledgement had crossed the failure
        con.exec_driver_sql("update outbox set status = 'queued' where status = 'cancelled'")
    clock.forward(2 * MINUTE)
    assert deliver(journal) == []


@pytest.mark.parametrize("fate", ["its worker died", "no answer"])
def test_whoever_was_perhaps_told_is_told_the_end_and_whoever_was_surely_not_is_not(journal, clock, fate):
    """A lease that ran out, or a time-out; then a plain failure, and the alert is over before the next."""
    breach(journal, clock, "p-1", "p-2")
    unsure, sure = journal.outbox.claim(None), journal.outbox.claim(None)
    if fate == "no answer":
        journal.outbox.doubt(unsure.key)
        journal.outbox.retry(unsure.key, "ReadTimeout", clock())
    else:
        clock.forward(2 * MINUTE)
    journal.outbox.retry(sure.key, "HTTP 500", clock() + MINUTE)
    again = journal.outbox.claim(None)
    assert again.key == unsure.key
    journal.outbox.retry(again.key, "HTTP 500", clock() + MINUTE)
    judge(journal, night(2), dict.fromkeys(("p-1", "p-2"), USUAL))
    assert deliver(journal) == [("resolved", "nurse-1")]


def test_an_outcome_must_follow_or_the_alert_opens_again(journal, clock):
    name = breach(journal, clock)
    deliver(journal)
    desk(journal).acknowledge(name, 1)
    clock.forward(8 * HOUR - MINUTE)
    run_tick(journal)
    assert state(journal, name).status == "acked"
    clock.forward(MINUTE)
    run_tick(journal)
    assert (state(journal, name).status, state(journal, name).round) == ("open", 2)
    assert deliver(journal) == [("open", "nurse-1")]


def test_with_an_outcome_it_stays_acknowledged(journal, clock):
    name = breach(journal, clock)
    desk(journal).acknowledge(name, 1)
    desk(journal).set_outcome(name, "true-flare", "Pacing")
    clock.forward(3 * DAY)
    run_tick(journal)
    assert state(journal, name).status == "acked"


def test_who_was_told_is_told_the_end_and_nobody_else(journal, clock):
    name = breach(journal, clock)
    deliver(journal)
    judge(journal, night(2), {"p-1": USUAL})
    assert state(journal, name).closed_by == "condition ended"
    assert deliver(journal) == [("resolved", "nurse-1")]


def test_quiet_hours_hold_back_what_is_not_critical(journal, clock):
    breach(journal, clock, hour=3)
    assert deliver(journal) == []
    go(clock, 1, 7)
    assert deliver(journal) == [("open", "nurse-1")]


def test_nothing_defers_a_critical_alert(journal, clock):
    go(clock, 0, 3)
    judge(journal, night(0), {"p-1": FLAG})
    assert deliver(journal) == [("open", "nurse-1")]
    name = journal.active()[0].alert
    with pytest.raises(JournalError, match="only acknowledged"):
        desk(journal).snooze(name, 1, clock() + HOUR, "later")
    desk(journal).silence({"rule": "red-flag"}, clock() + HOUR, "test")
    assert state(journal, name).held_by is None


def test_a_latched_alert_is_closed_by_a_person(journal, clock):
    judge(journal, night(0), {"p-1": FLAG})
    name = journal.active()[0].alert
    judge(journal, night(1), {"p-1": USUAL})
    assert (state(journal, name).status, state(journal, name).cleared_utc) == ("open", clock())
    desk(journal).resolve(name, state(journal, name).version, "talked to the patient")
    assert state(journal, name).closed_by == "nurse-1: talked to the patient"


def test_one_message_for_what_is_due_together(journal, clock):
    breach(journal, clock, "p-1", "p-2", hour=3)
    go(clock, 1, 8)
    claims = [journal.outbox.claim(None) for _ in range(2)]
    assert sorted(len(claim.messages) for claim in claims) == [1, 1]
    with journal.transaction() as con:
        con.exec_driver_sql("update outbox set status = 'queued', batch = null, grouping = 'same'")
    assert len(journal.outbox.claim(None).messages) == 2


def test_no_data_of_the_metric_silences_and_data_let_it_speak(journal, clock):
    name = breach(journal, clock)
    for index in (2, 3):
        go(clock, index, 9)
        judge(journal, night(index), {"p-1": SILENT})
    assert state(journal, name).held_by == "inhibited by silent"
    clock.forward(2 * HOUR)
    run_tick(journal)
    assert deliver(journal) == []
    go(clock, 4, 9)
    judge(journal, night(4), {"p-1": LOW})
    assert state(journal, name).held_by is None
    assert deliver(journal) == [("unmuted", "nurse-1")]


def test_snoozing_a_held_alert_does_not_arm_it(journal, clock):
    name = breach(journal, clock)
    for index in (2, 3):
        go(clock, index, 9)
        judge(journal, night(index), {"p-1": SILENT})
    desk(journal).snooze(name, state(journal, name).version, clock() + HOUR, "no data anyway")
    clock.forward(HOUR)
    for _ in range(3):
        clock.forward(3 * HOUR)
        run_tick(journal)
    held = state(journal, name)
    assert (held.next_escalation_utc, held.next_repeat_utc) == (None, None)
    assert deliver(journal) == []


def held_and_snoozed(journal, clock):
    """Silent for want of data, and snoozed until the night that brings them."""
    name = breach(journal, clock)
    for index in (2, 3):
        go(clock, index, 9)
        judge(journal, night(index), {"p-1": SILENT})
    desk(journal).snooze(name, state(journal, name).version, clock() + DAY, "no data anyway")
    go(clock, 4, 9)
    return name


def test_data_that_come_as_the_snooze_ends_begin_the_chain_once(journal, clock):
    name = held_and_snoozed(journal, clock)
    judge(journal, night(4), {"p-1": LOW})
    begun = state(journal, name)
    assert begun.snooze_until_utc is None
    clock.forward(2 * HOUR)
    run_tick(journal)
    assert state(journal, name).round == begun.round
    assert deliver(journal) == [("unmuted", "nurse-1"), ("escalate", "doc-1")]


def test_something_worse_does_not_bring_back_a_hold_that_the_same_night_has_ended(journal, clock):
    name = held_and_snoozed(journal, clock)
    judge(journal, night(4), {"p-1": (-1.4, 9.0, 4000.0)})
    assert (state(journal, name).held_by, state(journal, name).snooze_until_utc) == (None, None)


def test_a_snooze_ends_and_the_chain_begins_anew(journal, clock):
    name = breach(journal, clock)
    deliver(journal)
    desk(journal).snooze(name, 1, clock() + 3 * HOUR, "after the ward round")
    clock.forward(2 * HOUR)
    run_tick(journal)
    assert deliver(journal) == []
    clock.forward(HOUR)
    run_tick(journal)
    assert deliver(journal) == [("unmuted", "nurse-1")]


@pytest.mark.parametrize(
    ("role", "hours", "reason", "words"),
    [("nurse", 25, "x", "at most 24 h"), ("clinician", 73, "x", "at most 72 h"), ("nurse", 2, " ", "reason")],
)
def test_the_limits_of_a_snooze(journal, clock, role, hours, reason, words):
    name = breach(journal, clock)
    with pytest.raises(JournalError, match=words):
        desk(journal, "somebody", role).snooze(name, 1, clock() + hours * HOUR, reason)


def test_something_worse_ends_a_snooze(journal, clock):
    name = breach(journal, clock)
    deliver(journal)
    desk(journal).snooze(name, 1, clock() + 20 * HOUR, "later")
    judge(journal, night(2), {"p-1": (-1.4, 9.0, 4000.0)})
    assert state(journal, name).snooze_until_utc is None
    assert sorted(deliver(journal)) == [("open", "nurse-1"), ("unmuted", "nurse-1")]


def test_a_gap_starts_the_count_anew(journal, clock):
    judge(journal, night(0), {"p-1": LOW})
    judge(journal, night(3), {"p-1": LOW})
    assert not journal.active()
    judge(journal, night(4), {"p-1": LOW})
    assert len(journal.active()) == 1


def test_between_the_bounds_it_lasts(journal, clock):
    name = breach(journal, clock)
    judge(journal, night(2), {"p-1": (-0.7, 2.0, 4000.0)})
    assert state(journal, name).status == "open"


def test_what_a_person_closed_is_not_opened_again_in_the_same_episode(journal, clock):
    name = breach(journal, clock)
    desk(journal).resolve(name, 1, "known, in treatment")
    judge(journal, night(2), {"p-1": LOW})
    assert not journal.active()
    for index, row in ((3, USUAL), (4, LOW), (5, LOW)):
        judge(journal, night(index), {"p-1": row})
    assert len(journal.active()) == 1


def test_a_late_night_opens_silently_and_the_next_one_lets_it_speak(journal, clock):
    judge(journal, night(0), {"p-1": LOW})
    judge(journal, night(2), {"p-1": (-0.7, 2.0, 4000.0)})
    judge(journal, night(1), {"p-1": LOW})
    (one,) = journal.active()
    assert (one.held_by, state(journal, one.alert).is_retrospective) == ("judged late", True)
    run_tick(journal)
    assert deliver(journal) == []
    judge(journal, night(3), {"p-1": LOW})
    assert deliver(journal) == [("unmuted", "nurse-1")]


def test_an_erased_patient_is_nowhere_and_the_chain_is_whole(journal, clock):
    breach(journal, clock, "p-1", "p-2")
    deliver(journal)
    (own,) = journal.active(["p-1"])
    desk(journal).comment(own.alert, "p-1 was called")
    desk(journal).silence({"subject": "p-1"}, clock() + HOUR, "p-1 sleeps")
    judge_answers(journal, PACK, [Answer("a-1", "p-1", "phq-9", "9", 2.0, clock(), ZONE)])
    with journal.transaction() as con:
        assert set(left(con, "p-1")) > {"alert", "judged_event", "silence", "comment"}
        assert erase_patient(con, "p-1", utc=clock(), actor="dr-1")["alert"] == 2
        assert left(con, "p-1") == []
        assert audit.first_fault(con) is None
        assert {one.subject for one in alerts.select(con)} == {"p-2"}
        details = [one.detail for one in audit.read(con) if one.action == "open"]
    assert sum(detail is None for detail in details) == 2


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


@pytest.mark.parametrize(
    ("known", "count", "is_storm"), [(27, 30, False), (27, 31, True), (28, 63, False), (28, 64, True)]
)
def test_a_storm_is_what_is_unusual_here_once_28_nights_are_known(journal, known, count, is_storm):
    """Until then more than 5 % of 600 patients; then more than three times what the fullest night opened."""
    nights = [{"night": night(index - 40), "opened": 2, "is_storm": False} for index in range(known)]
    nights[3]["opened"] = 21
    # a storm of the past is no measure of what is usual
    nights.append({"night": night(-2), "opened": 500, "is_storm": True})
    with journal.transaction() as con:
        con.execute(night_count.insert(), [one | {"patients": 600, "judged_utc": 0} for one in nights])
    people = {f"p-{n}": LOW if n < count else USUAL for n in range(600)}
    judge(journal, night(-1), people)
    with journal.transaction() as con:  # which would be one night more that is known
        con.execute(night_count.delete().where(night_count.c.night == night(-1)))
    told = judge(journal, night(0), people)
    assert (told.opened, told.is_storm) == (count, is_storm)


def test_within_the_cooldown_nothing_new_is_opened_and_after_it_what_still_holds_is(journal, clock):
    cooled = tuple(
        structs.replace(rule, cooldown="4d") if rule.id == "low-days" else rule for rule in PACK.rule
    )
    pack = replace(PACK, rule=cooled)
    for index, row in enumerate([LOW, LOW, USUAL, LOW, LOW]):
        told = judge(journal, night(index), {"p-1": row}, pack=pack)
    assert (told.opened, journal.active()) == (0, [])
    # the end was on night 2: four days later the episode that began on night 3 is told
    assert judge(journal, night(5), {"p-1": LOW}, pack=pack).opened == 0
    assert judge(journal, night(6), {"p-1": LOW}, pack=pack).opened == 1
    assert journal.active()[0].local_date == night(3)


def test_a_storm_is_one_alert_and_nothing_is_discarded(journal, clock):
    people = [f"p-{n}" for n in range(21)]
    for index in (0, 1):
        told = judge(journal, night(index), dict.fromkeys(people, LOW))
    assert told.is_storm
    assert deliver(journal) == [("open", "it")]
    held = [one for one in journal.active() if one.rule == "low-days"]
    assert [one.held_by for one in held] == ["storm"] * 21
    storm = next(one for one in journal.active() if one.rule == "storm")
    desk(journal, "it", "technical").resolve(storm.alert, 1, "they are real")
    run_tick(journal)
    assert sorted(deliver(journal)) == [("resolved", "it"), *[("unmuted", "nurse-1")] * 21]


def test_a_silence_hides_and_its_end_is_told(journal, clock):
    silence = desk(journal).silence({"subject": "p-1"}, clock() + 3 * DAY, "in hospital")
    name = breach(journal, clock)
    assert state(journal, name).held_by == f"silence {silence}"
    assert deliver(journal) == []
    desk(journal).end_silence(silence)
    assert deliver(journal) == [("unmuted", "nurse-1")]


def test_what_was_not_seen_cannot_be_acknowledged(journal, clock):
    name = breach(journal, clock)
    desk(journal).comment(name, "calling her")
    desk(journal).assign(name, 1, "doc-1")
    with pytest.raises(StaleAlertError):
        desk(journal).acknowledge(name, 1)
    with pytest.raises(JournalError, match="may look"):
        desk(journal, "ann", "analyst").acknowledge(name, 2)


def test_whoever_leaves_hands_over(journal, clock):
    name = breach(journal, clock)
    desk(journal).acknowledge(name, 1)
    with journal.transaction() as con:
        con.execute(staff.update().where(staff.c.staff == "nurse-1").values(left_utc=clock()))
        assert hand_over(con, PACK, "nurse-1", clock()) == 1
    assert deliver(journal) == [("open", "doc-1")]


def answer(key, value, clock, age=0):
    return Answer(key, "p-1", "phq-9", "9", value, clock() - age)


def test_an_answer_is_judged_once_however_late_and_a_further_one_tells_anew(journal, clock):
    assert judge_answers(journal, PACK, [answer("a-1", 1.0, clock, 3 * DAY)]) == 1
    (one,) = journal.active()
    assert one.sentence == "Thoughts of self-harm Answered 3 days ago: it arrived late."
    assert deliver(journal) == [("open", "nurse-1")]
    assert judge_answers(journal, PACK, [answer("a-1", 1.0, clock)]) == 0
    desk(journal).acknowledge(one.alert, 1)
    assert judge_answers(journal, PACK, [answer("a-2", 2.0, clock), answer("a-3", 0.0, clock)]) == 1
    assert deliver(journal) == [("event", "nurse-1")]
    assert len(journal.active()) == 1


def test_an_older_answer_that_comes_after_a_newer_one_pages_with_its_age(journal, clock):
    """Two forms of an offline backlog in the wrong order, the older one given up after the item."""
    assert judge_answers(journal, PACK, [answer("a-2", 0.0, clock, HOUR)]) == 0
    assert judge_answers(journal, PACK, [answer("a-1", 3.0, clock, 26 * HOUR)]) == 1
    (one,) = journal.active()
    assert one.sentence.endswith("Answered 26 hours ago.")
    assert deliver(journal) == [("open", "nurse-1")]


def test_an_edited_row_of_the_audit_shows_and_an_erased_patient_does_not(journal, clock):
    name = breach(journal, clock)
    desk(journal).look(name)
    with journal.transaction() as con:
        assert [entry.action for entry in audit.entries_of(con, name)] == ["open", "view"]
        assert audit.entries_of(con, name)[0].detail["rule"] == "low-days"
        assert audit.erase_subject(con, "patient", "p-1")
        assert audit.entries_of(con, name)[0].detail is None
        assert audit.first_fault(con) is None


def test_what_one_worker_holds_no_other_gets(journal, clock):
    breach(journal, clock)
    assert journal.outbox.claim(None, "worker-1").messages
    assert not journal.outbox.claim(None, "worker-2").messages
