"""Several rules that see one episode ask the team once, and as long as any of them still sees it."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from alerts.engine import alert as alerts
from alerts.engine.desk import Actor, Desk
from alerts.engine.journal import Journal
from alerts.engine.live import Sample, judge_samples
from alerts.engine.night import run_night
from alerts.rules.live import REPORTED
from alerts.rules.pack import load_pack
from devices.clock import DAY
from tests.fixtures_alerts import NIGHT, PACK, Hands, tables

LOW, FINE = -2.0, 0.3
AGAIN = 14


def pack(**more):
    """The report first, as in the pack that comes along; `more` holds for the deviation."""
    deviation, report = PACK.rule
    return replace(
        PACK,
        rule=(
            msgspec.structs.replace(report, episode="flare", again=f"{AGAIN}d"),
            msgspec.structs.replace(deviation, episode="flare", inhibited_by=(), **more),
        ),
    )


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(tmp_path, clock):
    with Journal(tmp_path / "alerts.sqlite", clock) as journal:
        yield journal


def nights(journal, *days, rules=None, first=0):
    """Judge nights of (deviation, is_flare_reported); returns rule and status of every alert so far."""
    for number, (deviation, reported) in enumerate(days, start=first):
        day = NIGHT + timedelta(days=number)
        run_night(journal, rules or pack(), day, tables(day, ("p-1", deviation, 9, reported)))
    return told(journal)


def told(journal):
    with journal.transaction() as con:
        found = alerts.select(con)
    return [(one.rule, one.status) for one in sorted(found, key=lambda one: (one.night, one.rule))]


def close(journal):
    with journal.transaction() as con:
        (one,) = alerts.select(con, alerts.IS_ACTIVE)
    Desk(journal, pack(), Actor("anna", frozenset({"nurse"}))).resolve(one.alert, one.version, "called")
    with journal.transaction() as con:
        return alerts.find(con, one.alert)


def test_what_begins_in_one_night_is_told_once_by_the_rule_that_comes_first(journal):
    assert nights(journal, (LOW, True)) == [("flare-reported", "open")]


def test_rules_of_no_episode_are_told_each(journal):
    assert nights(journal, (LOW, True), rules=PACK) == [("deviation-3d", "open"), ("flare-reported", "open")]


def test_a_report_during_an_alert_of_the_episode_opens_none_and_keeps_it_open(journal):
    seen = [(LOW, False), (FINE, True), (FINE, False), (FINE, False)]
    assert nights(journal, *seen) == [("deviation-3d", "open")]
    # the third answer that says no flare ends the report, and with it the episode
    assert nights(journal, (FINE, False), first=4) == [("deviation-3d", "resolved")]


def test_the_next_episode_is_told_again(journal):
    nights(journal, (LOW, False), (FINE, False))
    assert nights(journal, (FINE, True), first=2)[1:] == [("flare-reported", "open")]


def test_something_worse_is_told_beside(journal):
    worse = pack(severity="high")
    assert nights(journal, (FINE, True), (LOW, True), rules=worse) == [
        ("flare-reported", "open"),
        ("deviation-3d", "open"),
    ]


def test_what_a_person_has_closed_stays_closed_until_it_is_reported_again_much_later(journal):
    nights(journal, (LOW, True))
    closed = close(journal)
    assert closed.resolved_night == NIGHT
    goes_on = [(LOW, day % 3 == 0) for day in range(1, AGAIN)]
    assert nights(journal, *goes_on, first=1) == [("flare-reported", "resolved")]
    # the condition lasts, but nobody says anything
    assert len(nights(journal, (LOW, False), first=AGAIN)) == 1
    assert nights(journal, (LOW, True), first=AGAIN + 1)[1:] == [("flare-reported", "open")]


def hear(journal):
    """A report arrives live now."""
    sample = Sample("p-1", REPORTED, journal.now(), 1.0, "Europe/Berlin")
    return judge_samples(journal, live_pack(), [sample])


def live_pack():
    return replace(pack(), rule=tuple(as_live(rule) for rule in pack().rule))


def test_a_live_report_of_an_episode_that_is_told_already_opens_none(journal, clock):
    nights(journal, (LOW, False), rules=live_pack())
    clock.forward(DAY)
    assert hear(journal) == 0
    assert told(journal) == [("deviation-3d", "open")]


def test_a_live_report_of_what_a_person_has_closed_is_told_much_later(journal, clock):
    nights(journal, (FINE, True), rules=live_pack())
    close(journal)
    clock.forward(DAY)
    assert hear(journal) == 0
    clock.forward((AGAIN - 1) * DAY)
    assert hear(journal) == 1


def test_a_live_report_after_another_side_of_it_was_closed_is_news(journal, clock):
    nights(journal, (LOW, False), rules=live_pack())
    close(journal)
    clock.forward(DAY)
    assert hear(journal) == 1


def as_live(rule):
    return msgspec.structs.replace(rule, cadence="live") if rule.id == "flare-reported" else rule


def test_the_pack_that_comes_along_has_one_episode_and_the_report_first():
    seen = [rule.id for rule in load_pack().rule if rule.episode == "flare"]
    assert seen == ["flare-reported", "pain-above-usual", "deviation-3d"]
