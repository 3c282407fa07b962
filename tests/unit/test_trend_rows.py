"""Trend, level shift, pacing and adherence by hand; and the sentence in every language."""

import json
import math
import string
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from analytics.risk import scores, shift, type_one
from analytics.risk.context import CONTEXT
from analytics.risk.languages import LANGUAGES, LanguageError, render
from analytics.risk.pacing import pacing
from tests.fixtures_analytics import patient_days

FIRST = date(2026, 1, 5)  # a Monday
DAYS = 56
SD = 0.46


def trend(columns, number=DAYS - 1, context=None):
    rows = patient_days(FIRST, columns)
    day = FIRST + timedelta(days=number)
    (row,) = scores.compute(rows, day, day, context=context)["trend"].to_pylist()
    return row


def noisy(change=0.0, seed=3):
    noise = np.random.default_rng(seed).normal(0, 0.05, DAYS)
    return np.exp(np.log(5000) + change * np.arange(DAYS) / 28 + noise).tolist()


def test_a_trend_is_spoken_of_when_it_is_sure_and_large():
    rising = trend({"steps": noisy(math.log(1.3))})
    assert rising["message"] == "trend_rising"
    assert rising["change_pct"] == pytest.approx(30, abs=5)
    assert "rising by 3" in rising["sentence"]
    assert "per 4 weeks" in rising["sentence"]
    small = trend({"steps": noisy(math.log(1.1))})
    assert small["p_value"] < 0.05
    assert small["message"] == "trend_none"
    assert "no clear change" in small["sentence"]


def test_a_weekend_habit_is_no_trend():
    steps = [5000.0 if i % 7 < 5 else 9000.0 for i in range(DAYS)]
    found = trend({"steps": steps})
    assert (found["message"], found["shift_date"]) == ("trend_none", None)


def test_a_new_level_is_dated_and_a_new_device_or_a_journey_explains_it():
    steps = [*noisy()[:30], *(0.5 * np.array(noisy()[30:])).tolist()]
    found = trend({"steps": steps})
    assert found["shift_date"] == FIRST + timedelta(days=30)
    assert found["shift_pct"] == pytest.approx(-50, abs=5)
    assert "a new level since 2026-02-04" in found["sentence"]
    journey = {
        "patient": "p-1",
        "about": "travel",
        "first_date": FIRST + timedelta(days=32),
        "last_date": FIRST + timedelta(days=33),
        "recorded_utc": datetime.fromisoformat("2026-02-01T00:00Z"),
    }
    away = trend({"steps": steps}, context=pa.Table.from_pylist([journey], schema=CONTEXT))
    assert away["shift_date"] is None
    assert away["shift_p_value"] < 0.01
    # nor is a date of 30 hours any day's usual
    moved = [1800 if i == 31 else 1440 for i in range(DAYS)]
    assert trend({"steps": steps, "day_minutes": moved})["shift_date"] is None
    long = [*noisy()[:31], 1e5, *noisy()[32:]]
    flown, usual = (trend({"steps": own, "day_minutes": moved}) for own in (long, noisy()))
    assert flown == usual
    assert flown["valid_day_count"] == 55


def test_pettitt_is_the_largest_mann_whitney_of_all_splits():
    values = np.random.default_rng(2).normal(8, 0.4, (3, DAYS))
    values[np.random.default_rng(4).random(values.shape) < 0.2] = np.nan
    for row in values:
        largest = 0
        for t in range(DAYS - 1):
            old, new = row[: t + 1], row[t + 1 :]
            old, new = old[~np.isnan(old)], new[~np.isnan(new)]
            if not np.isnan(row[t]) and min(len(old), len(new)) >= 14:
                u = sum(np.sign(b - a) for a in old for b in new)
                if abs(u) > abs(largest):
                    largest, at = u, t
        found = shift.pettitt(row[None])
        rest = np.flatnonzero(~np.isnan(row))
        assert found.at[0] == rest[rest > at][0]


def test_type_one_errors_are_what_is_promised_in_a_small_run():
    rows = list(type_one.type_one(600))
    assert {(row.autocorrelation, row.missing) for row in rows} == {
        (rho, missing) for rho in type_one.AUTOCORRELATIONS for missing in type_one.MISSING
    }
    # 600 series: the mean over the rows is sure to a percent point, single rows are not
    assert np.mean([row.trend for row in rows]) < type_one.HIGHEST
    assert np.mean([row.shift for row in rows]) < type_one.HIGHEST
    outages = np.isnan(type_one.nothing(np.random.default_rng(1), 500, 0.2, 0.3))
    assert outages.mean() == pytest.approx(0.3, abs=0.02)


def pace(steps, nrs):
    weekday = np.arange(DAYS) % 7
    log = np.log(np.array([steps], float))
    return pacing(log, np.full((1, 84), np.nan), np.array([nrs], float), weekday, SD)


def test_steps_that_follow_pain_show_in_both_slopes():
    rng = np.random.default_rng(8)
    pain = rng.integers(1, 8, DAYS).astype(float)
    log = np.log(5000) - 0.1 * np.r_[4, pain[:-1]] + rng.normal(0, 0.05, DAYS)
    found = pace(np.exp(log), pain)
    assert found.pairs[0] == DAYS - 1
    for slope, sign in ((found.good, 1), (found.bad, -1)):
        assert slope.pct[0] == pytest.approx(sign * 10, abs=2)
        assert slope.low_pct[0] < slope.pct[0] < slope.high_pct[0]
        assert slope.low_pct[0] * slope.high_pct[0] > 0


def test_high_days_are_counted_with_what_follows_and_what_chance_would_give():
    steps, pain = np.full(DAYS, 5000.0), np.full(DAYS, 3.0)
    # three high days, all Mondays; pain rises by two after the first, steps slump after the second
    steps[[7, 21, 35]] = 15_000
    pain[8], steps[23] = 5, 1_000
    found = pace(steps, pain)
    assert (found.high_days[0], found.followed[0]) == (3, 2)
    # of eight Mondays two are followed by something: three high ones would meet 3 * 2 / 8
    assert found.by_chance[0] == pytest.approx(0.75)


def test_too_few_pairs_give_no_pacing_and_a_reason():
    nrs = [3.0 if i % 2 else None for i in range(DAYS)]
    found = trend({"steps": noisy(), "nrs": nrs})
    assert found["pacing_quality"] == "27 days with steps and pain of the day before, at least 40 needed"
    assert found["high_day_count"] is None
    young = trend({"steps": noisy(), "nrs": [3.0] * DAYS}, number=50)
    assert young["pacing_quality"] == "monitored 51 days, at least 56 needed"


def test_adherence_counts_and_the_reason_of_the_longest_gap():
    steps = [5000.0] * DAYS
    for day in (40, 41, 42, 50):
        steps[day] = None
    quality = [None if value else "no step counts" for value in steps]
    logged = [15.0 if i in (54, 52, 30) else None for i in range(DAYS)]
    nights = [420.0 if i >= 50 else None for i in range(DAYS)]
    found = trend({"steps": steps, "quality": quality, "practice_min": logged, "tst_min": nights})
    counts = ("wear_day_count", "night_count", "report_day_count", "practice_day_count", "longest_gap_days")
    assert [found[name] for name in counts] == [24, 6, 0, 2, 3]
    assert found["gap_reason"] == "no step counts"
    assert found["sentence"].endswith("Worn 24 of 28 days.")


def test_every_sentence_exists_in_every_language_with_the_same_parts():
    def parts(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english = LANGUAGES["en"].phrases
    assert len(LANGUAGES) >= 2
    for language in LANGUAGES.values():
        assert language.phrases.keys() == english.keys()
        for message, text in language.phrases.items():
            assert parts(text) == parts(english[message]), (language.code, message)
            assert not {"risk", "risiko", "caused", "verursacht"} & set(text.lower().split())


def test_a_stored_message_renders_in_german_with_german_numbers():
    row = trend({"steps": noisy(math.log(1.3)), "nrs": [3.0] * DAYS})
    german = render(row["message"], json.loads(row["parameters"]), "de")
    assert german.startswith("In 8 Wochen etwa ")
    assert "Getragen an 28 von 28 Tagen." in german
    assert render(row["message"], json.loads(row["parameters"])) == row["sentence"]
    level = f"{row['level']:,.0f}"
    assert level in row["sentence"]
    assert level.replace(",", ".") in german
    with pytest.raises(LanguageError, match="no sentences in 'fr': en, de"):
        render(row["message"], {}, "fr")
