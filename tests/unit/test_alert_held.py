"""Open but silent: no data, a snooze, a silence, a storm, a night judged late; and speaking again."""

import pytest

from alerts.errors import JournalError
from alerts.store.schema import night_count
from devices.clock import DAY, HOUR
from tests.fixtures_engine import (
    LOW,
    SILENT,
    USUAL,
    breach,
    deliver,
    desk,
    go,
    judge,
    night,
    run_tick,
    state,
)


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
