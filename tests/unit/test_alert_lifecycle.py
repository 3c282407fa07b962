"""Timelines of the engine: what is told to whom and when, and what must never be."""

from dataclasses import replace

import pytest
from msgspec import structs

from alerts.engine import alert as alerts
from alerts.engine.events import Answer, judge_answers
from alerts.engine.load import load_of
from alerts.errors import JournalError, StaleAlertError
from alerts.store import audit
from alerts.store.erasing import erase_patient, left
from devices.clock import DAY, HOUR, MINUTE
from tests.fixtures_engine import (
    FLAG,
    LOW,
    PACK,
    USUAL,
    ZONE,
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


def test_what_is_closed_is_given_to_nobody_and_not_closed_again(journal, clock):
    name = breach(journal, clock)
    desk(journal).resolve(name, 1, "called, all is well")
    closed = state(journal, name)
    for version in (1, closed.version):
        with pytest.raises(JournalError, match="is closed: there is nothing left to do for doc-1"):
            desk(journal).assign(name, version, "doc-1")
        with pytest.raises(JournalError, match="closed already: nurse-1: called, all is well"):
            desk(journal, "doc-1", "clinician").resolve(name, version, "seen in the ward")
    assert state(journal, name) == closed


def test_an_outcome_of_a_closed_alert_counts_and_leaves_it_closed(journal, clock):
    name = breach(journal, clock)
    deliver(journal)
    judge(journal, night(2), {"p-1": USUAL})
    deliver(journal)
    closed = state(journal, name)
    for label in ("not-useful", "true-flare"):
        desk(journal).set_outcome(name, label, " ")
    after = state(journal, name)
    assert (after.status, after.closed_by, after.outcome) == ("resolved", closed.closed_by, "true-flare")
    clock.forward(30 * DAY)
    run_tick(journal)
    assert (deliver(journal), state(journal, name)) == ([], after)
    load = load_of([after], 1.0, 0, clock())
    assert (load.right, load.answered, load.unanswered) == (1, 1, 0)


def test_an_alert_is_given_only_to_somebody_who_may_act(journal, clock):
    hire(journal, {"ann": ("analyst", None, None)})
    name = breach(journal, clock)
    with pytest.raises(JournalError, match="ann may look at alerts but not change them"):
        desk(journal).assign(name, 1, "ann")
    with pytest.raises(JournalError, match="'bob' is not a member of staff"):
        desk(journal).assign(name, 1, "bob")
    assert desk(journal).assign(name, 1, "doc-1").assignee == "doc-1"


def test_what_was_not_seen_cannot_be_acknowledged(journal, clock):
    name = breach(journal, clock)
    desk(journal).comment(name, "calling her")
    desk(journal).assign(name, 1, "doc-1")
    with pytest.raises(StaleAlertError):
        desk(journal).acknowledge(name, 1)
    with pytest.raises(JournalError, match="may look"):
        desk(journal, "ann", "analyst").acknowledge(name, 2)


def answer(key, value, clock, age=0):
    return Answer(key, "p-1", "phq-9", "9", value, clock() - age)


def test_an_answer_is_judged_once_however_late_and_a_further_one_tells_anew(journal, clock):
    assert judge_answers(journal, PACK, [answer("a-1", 1.0, clock, 3 * DAY)]) == 1
    (one,) = journal.active()
    assert one.sentence == "Thoughts of self-harm. Answered 3 days ago: it arrived late."
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
