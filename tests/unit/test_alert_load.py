"""What the load counts: every alert for the staff, two shares of right ones, how fast, and on whom."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from alerts.engine.alert import Alert
from alerts.engine.evaluate import event_time
from alerts.engine.load import FOUND_TO, KNOWN_AFTER, Labels, Share, in_words, load_of
from devices.clock import HOUR

NIGHT = date(2026, 11, 1)
BEGIN, END = event_time(NIGHT), event_time(NIGHT + timedelta(days=28))


def an_alert(subject="p-1", *, night=NIGHT, rule="deviation-3d", **more):
    opened = event_time(night or NIGHT) + 30 * HOUR
    values = {"scope": "patient", "subject": subject, "rule": rule, "rule_version": 1, "route": "pain-team"}
    values |= {"severity": "medium", "night": night, "sentence": "Because.", "opened_utc": opened}
    return Alert(alert=f"A-{subject}-{rule}-{night}", **values | more)


def labels(*onsets, until=30, forecasts=()):
    nights = {NIGHT + timedelta(days=n) for n in range(until)}
    return Labels({"p-1": {NIGHT + timedelta(days=n) for n in onsets}}, {"p-1": nights}, forecasts)


@pytest.mark.parametrize(
    ("onset", "is_found", "is_forecast"),
    [
        (-FOUND_TO - 1, False, False),
        (-FOUND_TO, True, False),
        (0, True, False),
        (1, True, True),
        (2, False, True),
        (7, False, True),
        (8, False, False),
    ],
)
def test_a_flare_under_way_and_one_to_come_are_two_questions(onset, is_found, is_forecast):
    assert labels(onset).is_right(an_alert()) is is_found
    assert labels(onset, forecasts=("flare-risk",)).is_right(an_alert(rule="flare-risk")) is is_forecast


@pytest.mark.parametrize(("until", "is_known"), [(7, False), (8, True), (KNOWN_AFTER + 1, True)])
def test_an_alert_is_judged_by_label_when_the_answers_that_count_are_in(until, is_known):
    # the last night judged is `until` - 1: one of the seventh to ninth must be there
    assert (labels(0, until=until).is_right(an_alert()) is not None) is is_known


def test_nights_of_somebody_else_and_alerts_of_no_patient_say_nothing():
    assert labels(0).is_right(an_alert("p-2")) is None
    assert labels(0).is_right(replace(an_alert(), scope="gateway")) is None


def test_every_figure_of_four_weeks():
    found = [
        an_alert(outcome="true-flare", first_acked_utc=event_time(NIGHT) + 32 * HOUR),
        an_alert(rule="flare-reported", first_acked_utc=event_time(NIGHT) + 40 * HOUR, outcome="not-useful"),
        an_alert("p-2"),
        an_alert("p-1", night=NIGHT + timedelta(days=27)),
        an_alert("p-1", night=NIGHT - timedelta(days=1)),
        an_alert("p-1", night=None, rule="nightly-silent", scope="system", opened_utc=BEGIN),
    ]
    load = load_of(found, 20.0, BEGIN, END, labels=labels(0), due_of=lambda one: one.opened_utc + 9 * HOUR)
    assert (load.alerts, load.per_100_weeks, load.is_over) == (5, 25.0, True)
    assert load.by_rule == {"deviation-3d": 3, "flare-reported": 1, "nightly-silent": 1}
    assert (load.right, load.answered, load.unanswered) == (1, 2, 2)
    assert load.found == Share(right=2, count=2, unknown=2)
    assert (load.ack_h, load.acked, load.in_time) == (6.0, 2, 1)
    # five patients: the tenth with the most is one of them, with three of four
    assert load.top_tenth == 0.75
    assert in_words(load) == [
        "load: 25.0 alerts per 100 patients and week - OVER THE BUDGET of 15; 5 in all",
        "  deviation-3d         3",
        "  flare-reported       1",
        "  nightly-silent       1",
        "right by label, a flare under way: 2 of 2 (34 to 100 %, 95 %); of 2 not known: it takes 9 nights",
        "right by outcome: 1 of 2 (9 to 91 %, 95 %) answered; 2 unanswered, with which it is"
        " 1 of 4 (5 to 70 %, 95 %)",
        "time to acknowledge: median 6.0 h; 2 of 5 acknowledged, 1 in time",
        "the tenth of patients with the most has 75 % of them",
    ]


def test_nothing_is_said_where_nothing_is_known():
    assert in_words(load_of([], 0.0, BEGIN, END)) == [
        "load: not known, no patient's night has been published in this time"
    ]
    quiet = in_words(load_of([], 10.0, BEGIN, END))
    assert quiet[0] == "load: 0.0 alerts per 100 patients and week (budget 15); 0 in all"
    assert "time to acknowledge: nobody has acknowledged one" in quiet
    young = load_of([an_alert()], 10.0, BEGIN, END, labels=labels(0, until=3))
    assert (
        "right by label, a flare under way: not known of any; of 1 not known: it takes 9 nights"
        in in_words(young)
    )
