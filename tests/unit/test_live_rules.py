"""Live rules: single values in event time, a report at once, and no word twice."""

import pytest
from msgspec import structs

from alerts.engine import alert as alerts
from alerts.engine.live import Sample, judge_samples
from alerts.errors import RuleError
from alerts.rules.live import HEART_RATE, REPORTED, answer_column
from alerts.rules.pack import lint, read_pack_text
from devices.clock import DAY, HOUR, MINUTE
from devices.observations import FlareReport, HeartRate
from flows.care.live_command import samples_of
from ingest.lake.live import LiveObservation
from tests.e2e.test_live_subscriber import answer
from tests.fixtures_engine import (
    FIRST,
    TEXT,
    ZONE,
    at_hour,
    deliver,
    desk,
    judge_tables,
    night,
    run_tick,
)

PAIN = answer_column("nrs", "pain")
LIVE = """
[[rule]]
id = "fast-heart"
version = 1
kind = "threshold"
cadence = "live"
title = "Fast heart at rest"
column = "heart_rate.bpm"
against = "population"
enter = ">= 120"
exit = "< 100"
for = "10m"
max_gap = "5m"
severity = "high"
route = "team"
[[rule.example]]
name = "ten minutes, without a hole"
nights = [
    { "heart_rate.bpm" = 130 },
    { "heart_rate.bpm" = 125 },
    { "heart_rate.bpm" = 121 },
    { "heart_rate.bpm" = 110 },
    { "heart_rate.bpm" = 99 },
]
at = ["0m", "5m", "10m", "11m", "12m"]
want = ["stay", "stay", "enter", "stay", "exit"]

[[rule]]
id = "strong-pain"
version = 1
kind = "threshold"
cadence = "live"
title = "Strong pain"
column = "pro_answer.value.nrs.pain"
against = "population"
enter = ">= 9"
exit = "< 7"
cooldown = "6h"
severity = "medium"
route = "team"
inhibited_by = ["silent"]
[[rule.example]]
name = "one answer"
nights = [{ "pro_answer.value.nrs.pain" = 9 }]
want = ["enter"]

[[rule]]
id = "flare-said"
version = 1
kind = "reported"
cadence = "live"
title = "The patient reported a flare."
column = "patient_day.is_flare_reported"
quiet_days = 2
silent_days = 7
severity = "medium"
route = "team"
[[rule.example]]
name = "one report"
nights = [{ "patient_day.is_flare_reported" = true }]
want = ["enter"]

[[override]]
patient = "p-2"
rule = "strong-pain"
reason = "never below 8"
author = "doc-1"
until = 2026-03-04
enter = ">= 10"
exit = "< 9"
"""
PACK = read_pack_text(TEXT + LIVE, "live.toml", is_staffed=True)


def hear(journal, *values, column=PAIN, patient="p-1"):
    """Values of one patient, (event time, value) each; returns how many alerts were opened."""
    return judge_samples(journal, PACK, [Sample(patient, column, at, value, ZONE) for at, value in values])


def found(journal, rule, patient="p-1"):
    with journal.transaction() as con:
        return [one for one in alerts.select(con) if one.rule == rule and one.subject == patient]


def test_a_heart_that_is_fast_for_ten_minutes_without_a_hole(journal, clock):
    start = clock() - HOUR
    assert hear(journal, (start, 130.0), (start + 4 * MINUTE, 125.0), column=HEART_RATE) == 0
    # six minutes without a word: the count begins anew
    beats = [(start + minute * MINUTE, 125.0) for minute in (10, 14, 18, 19)]
    assert hear(journal, *beats, column=HEART_RATE) == 0
    assert hear(journal, (start + 20 * MINUTE, 121.0), column=HEART_RATE) == 1
    (one,) = found(journal, "fast-heart")
    assert (one.value, one.severity, one.night, one.sentence) == (121.0, "high", FIRST, "Fast heart at rest")
    assert hear(journal, (start + 21 * MINUTE, 110.0), column=HEART_RATE) == 0
    assert found(journal, "fast-heart")[0].status == "open"
    hear(journal, (start + 22 * MINUTE, 99.0), column=HEART_RATE)
    assert found(journal, "fast-heart")[0].closed_by == "condition ended"


def test_what_comes_again_or_late_changes_nothing(journal, clock):
    now = clock()
    assert hear(journal, (now - HOUR, 9.0)) == 1
    hear(journal, (now, 3.0))
    assert hear(journal, (now - HOUR, 9.0), (now - 2 * HOUR, 10.0)) == 0
    assert [one.status for one in found(journal, "strong-pain")] == ["resolved"]


def test_a_batch_is_judged_in_the_order_of_event_time(journal, clock):
    now = clock()
    assert hear(journal, (now, 3.0), (now - MINUTE, 10.0)) == 0
    assert hear(journal, (now + 2 * MINUTE, 9.0), (now + MINUTE, 3.0)) == 1


def test_it_waits_a_minute_for_company_and_is_said_once(journal, clock):
    hear(journal, (clock(), 9.0))
    hear(journal, (clock(), 1.0), column=REPORTED)
    assert deliver(journal) == []
    clock.forward(MINUTE)
    claim = journal.outbox.claim(None)
    said = {one.alert for rule in ("flare-said", "strong-pain") for one in found(journal, rule)}
    assert {message.alert for message in claim.messages} == said
    assert len(said) == 2
    assert {(message.kind, message.recipient) for message in claim.messages} == {("open", "nurse-1")}


def test_another_bound_for_a_patient_until_its_last_day(journal, clock):
    assert hear(journal, (clock(), 9.0), patient="p-2") == 0
    assert hear(journal, (clock() + MINUTE, 10.0), patient="p-2") == 1
    # the exit is the patient's own too
    hear(journal, (clock() + 2 * MINUTE, 8.0), patient="p-2")
    assert found(journal, "strong-pain", "p-2")[0].status == "resolved"
    clock.utc = at_hour(3, 9)
    assert hear(journal, (clock(), 9.0), patient="p-2") == 1


def test_a_backlog_of_yesterday_pages_nobody_until_a_fresh_value_says_so(journal, clock):
    assert hear(journal, (clock() - 2 * DAY, 9.0)) == 1
    (one,) = found(journal, "strong-pain")
    assert (one.held_by, one.is_retrospective) == ("judged late", True)
    clock.forward(HOUR)
    assert deliver(journal) == []
    hear(journal, (clock(), 8.0))
    assert deliver(journal) == [("unmuted", "nurse-1")]


def test_who_closed_it_is_not_told_again_until_it_was_over_and_the_cooldown_too(journal, clock):
    hear(journal, (clock(), 9.0))
    (one,) = found(journal, "strong-pain")
    clock.forward(MINUTE)
    desk(journal).resolve(one.alert, one.version, "called")
    clock.forward(MINUTE)
    assert hear(journal, (clock(), 10.0)) == 0
    clock.forward(MINUTE)
    assert hear(journal, (clock(), 2.0)) == 0
    clock.forward(MINUTE)
    assert hear(journal, (clock(), 9.0)) == 0
    clock.forward(6 * HOUR)
    assert hear(journal, (clock(), 9.0)) == 1


def test_a_silence_holds_it_and_something_worse_ends_a_snooze(journal, clock):
    desk(journal).silence({"rule": "strong-pain"}, clock() + 2 * HOUR, "known")
    hear(journal, (clock(), 9.0))
    assert found(journal, "strong-pain")[0].held_by.startswith("silence S-")
    hear(journal, (clock(), 1.0), column=REPORTED)
    (said,) = found(journal, "flare-said")
    desk(journal).snooze(said.alert, said.version, clock() + 3 * HOUR, "called")
    beats = [(clock() + minute * MINUTE, 130.0) for minute in (0, 5, 10)]
    hear(journal, *beats, column=HEART_RATE)
    assert found(journal, "flare-said")[0].snooze_until_utc is None


def test_a_withdrawn_patient_is_not_judged(journal, clock):
    sample = Sample("p-1", PAIN, clock(), 9.0, ZONE)
    assert judge_samples(journal, PACK, [sample], lambda patient: patient == "p-1") == 0
    assert found(journal, "strong-pain") == []


def test_a_report_opens_at_once_and_the_nights_end_it(journal, clock):
    noon = at_hour(3, 12)
    clock.utc = noon
    assert hear(journal, (noon, 1.0), column=REPORTED) == 1
    assert hear(journal, (noon + MINUTE, 1.0), column=REPORTED) == 0
    # the night before it was quiet, and is judged after it
    clock.utc = at_hour(4, 4)
    judge_tables(journal, PACK, night(2), {"p-1": {"is_flare_reported": False}})
    assert [one.status for one in found(journal, "flare-said")] == ["open"]
    judge_tables(journal, PACK, night(3), {"p-1": {"is_flare_reported": True}})
    judge_tables(journal, PACK, night(4), {"p-1": {"is_flare_reported": False}})
    assert [one.status for one in found(journal, "flare-said")] == ["open"]
    judge_tables(journal, PACK, night(5), {"p-1": {"is_flare_reported": False}})
    (one,) = found(journal, "flare-said")
    assert (one.status, one.night, one.resolved_night) == ("resolved", night(3), night(5))


def test_a_report_of_last_week_is_left_to_the_night(journal, clock):
    assert hear(journal, (clock() - 6 * DAY, 1.0), column=REPORTED) == 0
    assert found(journal, "flare-said") == []


def test_the_night_does_not_judge_what_is_judged_live(journal, clock):
    judged = judge_tables(journal, PACK, night(0), {"p-1": {"is_flare_reported": False, "steps": 4000.0}})
    # low-days, red-flag, silent; of the live ones the report, whose end the nights say
    assert judged.judged == 4
    run_tick(journal)
    assert found(journal, "fast-heart") == []


def test_what_arrives_becomes_values(clock):
    now = clock()
    pulse = HeartRate(device="r", start_utc=now, source="x/1", period_s=60, bpm=bytes([70, 0, 72]))
    told = FlareReport(
        device="r", start_utc=now + 3 * DAY, source="x/1", report_id="f-1", respondent="patient"
    )
    pain = structs.replace(answer(1, value=8.0, start_utc=now), instrument="nrs", item="pain")
    rows = [LiveObservation("p-1", "north", ZONE, one, now + HOUR) for one in (pulse, told, pain)]
    got = [(one.column, one.at - now, one.value) for one in samples_of(rows)]
    assert got == [
        (HEART_RATE, 0, 70.0),
        (HEART_RATE, 2 * MINUTE, 72.0),
        # a clock three days ahead: taken as of its arrival
        (REPORTED, HOUR, 1.0),
        (PAIN, 0, 8.0),
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            'column = "heart_rate.bpm"',
            'column = "flare_risk.deviation"',
            "rule 'fast-heart': column 'flare_risk.deviation' does not arrive live",
        ),
        (
            'column = "heart_rate.bpm"\nagainst = "population"',
            'column = "heart_rate.bpm"\nagainst = "personal"',
            "rule 'fast-heart': against: column 'heart_rate.bpm' is not a personal one",
        ),
        (
            'max_gap = "5m"',
            'max_gap = "5m"\nrequires = { "flare_risk.cell_count" = ">= 5" }',
            "rule 'fast-heart': requires: a value that arrives alone",
        ),
        (
            'max_gap = "5m"',
            'max_gap = "5m"\nunless = { "baseline.z.nrs" = "< 1" }',
            "rule 'fast-heart': unless: a value that arrives alone",
        ),
        (
            'column = "pro_answer.value.nrs.pain"',
            'column = "pro_answer.value.pain"',
            "rule 'strong-pain': column 'pro_answer.value.pain' does not arrive live",
        ),
        ('kind = "item"\ncadence = "live"', 'kind = "item"', "rule 'self-harm': cadence: a critical answer"),
        (
            'kind = "no-data"',
            'kind = "no-data"\ncadence = "live"',
            "rule 'silent': cadence: what silence is usual for a patient is known by nights",
        ),
        (
            'kind = "technical"\nwatch = "storm"',
            'kind = "technical"\ncadence = "live"\nwatch = "storm"',
            "rule 'storm': cadence: it is looked at all the time",
        ),
    ],
)
def test_lint_says_what_cannot_be_judged_live(old, new, fault):
    text = TEXT + LIVE
    assert text.count(old) == 1
    _, faults = lint(text.replace(old, new), "site.toml", is_staffed=True)
    assert any(one.startswith(f"site.toml: {fault}") for one in faults), faults


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            'kind = "trend"\nmetric = "steps"\nenter = "<= -20"\nexit = "> -10"',
            "a trend is the change over weeks",
        ),
        (
            'kind = "composite"\nleast = 1\n'
            'part = [{ column = "patient_day.nrs", enter = ">= 6", exit = "< 5" }]',
            "its parts do not arrive together",
        ),
        ('kind = "risk"\nbudget = 5', "the risk is computed by the night"),
    ],
)
def test_what_is_nightly_by_nature_says_why(kind, words):
    rule = f'[[rule]]\nid = "slow"\nversion = 1\ntitle = "T"\ncadence = "live"\nseverity = "low"\n{kind}\n'
    rule += 'route = "team"\n'
    example = '[[rule.example]]\nname = "none"\nnights = [{}]\nwant = ["no-data"]\n'
    with pytest.raises(RuleError, match=f"site.toml: rule 'slow': cadence: {words}"):
        read_pack_text(TEXT + rule + example, "site.toml", is_staffed=True)
