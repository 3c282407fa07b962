"""Hours and sleep by the clock, and the four weeks made of them: closed forms, clock changes, reasons."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from analytics.features import day_clock, days, four_weeks
from analytics.features.four_weeks import WorkDays
from analytics.store import warehouse
from analytics.tables import DAY_CLOCK, NIGHT
from tests.fixtures_analytics import enrolment, minutes, utc, write

MONDAY = date(2026, 5, 4)
SUNDAY = MONDAY + timedelta(days=27)


def of_lake(tmp_path, day, steps=(), stages=(), zone="Europe/Berlin"):
    files = {"step_count": write(tmp_path, "step_count", steps)}
    files["sleep_stage"] = write(tmp_path, "sleep_stage", stages)
    with warehouse.connect(files, enrolment({"zone": zone})) as con:
        return days.compute(con, day, day)["day_clock"].to_pylist()[0]


def test_a_day_by_the_clock(tmp_path):
    midnight = utc("2026-05-19T22:00")
    steps = minutes(midnight, [0] * 480 + [5] * 600 + [1, 0] * 60, "steps")
    stages = minutes(midnight - timedelta(minutes=30), [2] * 90 + [1] * 20 + [3] * 310, "stage")
    row = of_lake(tmp_path, date(2026, 5, 20), steps, stages)
    # the last four hours were not counted
    assert row["hourly_steps"] == [0] * 8 + [300] * 10 + [30] * 2 + [None] * 4
    assert row["asleep_min"] == [0, 60, 80, 390]
    assert row["awake_min"] == [60, 80, 390, 1200]


@pytest.mark.parametrize(
    ("zone", "day", "start", "length", "hours", "awake"),
    [
        # 02:00 is skipped; 02:00 comes twice; half an hour, twice; midnight itself is skipped
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00", 1380, {2: None}, [0, 120, 180, 1440]),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00", 1500, {}, [0, 1440]),
        ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00", 1470, {}, [0, 1440]),
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00", 1380, {0: None}, [60, 1440]),
    ],
)
def test_days_on_which_the_clock_changes(tmp_path, zone, day, start, length, hours, awake):
    row = of_lake(tmp_path, day, minutes(utc(start), [1] * length, "steps"), zone=zone)
    assert row["hourly_steps"] == [hours.get(hour, 60) for hour in range(24)]
    assert row["awake_min"] == awake


def test_states_unfold_to_what_was_folded():
    states = np.random.default_rng(3).choice([-1, 0, 0, 1], (40, 1440)).astype(np.int8)
    states[3], states[4] = 1, -1
    folded = [day_clock.turns(states == state) for state in (day_clock.ASLEEP, day_clock.AWAKE)]
    assert np.array_equal(day_clock.states(*folded), states)
    # a slice of a table does not begin at its first value
    assert np.array_equal(day_clock.states(*(part.slice(7, 20) for part in folded)), states[7:27])


def month(hours, asleep=(0, 480), awake=(480, 1440), midpoints=None, length=28):
    keys = [{"patient": "p-1", "local_date": MONDAY + timedelta(days=n)} for n in range(length)]
    clock = [key | {"hourly_steps": hours, "asleep_min": asleep, "awake_min": awake} for key in keys]
    nights = [
        dict.fromkeys(NIGHT.names) | key | {"midpoint_h": (midpoints or [None] * length)[number]}
        for number, key in enumerate(keys)
    ]
    return pa.Table.from_pylist(clock, schema=DAY_CLOCK), pa.Table.from_pylist(nights, schema=NIGHT)


def on_sunday(tables, work=None):
    return four_weeks.compute(*tables, work or {}, SUNDAY, SUNDAY).to_pylist()


def test_a_square_wave_in_closed_form():
    row = on_sunday(month([0.0] * 8 + [600.0] * 16))[0]
    assert row["interdaily_stability"] == pytest.approx(1)
    assert row["intradaily_variability"] == pytest.approx(55 / 671 / (2 / 9))  # 55 jumps, 671 pairs
    assert (row["relative_amplitude"], row["l5"], row["m10"]) == (1, 0, 600)
    assert (row["l5_start_h"], row["m10_start_h"], row["rhythm_day_count"]) == (0, 8, 28)
    assert (row["sleep_regularity"], row["sleep_pair_count"]) == (100, 27)
    assert (row["rhythm_quality"], row["sleep_regularity_quality"]) == (None, None)
    assert (row["social_jetlag_h"], row["social_jetlag_quality"]) == (None, "work days not known")


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        ([None] * 5 + [100.0] * 19, "0 days of 20 h, at least 5 needed"),
        (
            [None] + [float(hour) for hour in range(23)],
            "no L5, M10 and RA: an hour of the clock was never known",
        ),
        ([0.0] * 24, "no IS, IV and RA: no steps at all"),
        ([7.0] * 24, "no IS and IV: the hours do not vary"),
    ],
)
def test_a_null_has_its_reason(hours, reason):
    row = on_sunday(month(hours))[0]
    assert row["rhythm_quality"] == reason
    assert None in (row["interdaily_stability"], row["relative_amplitude"])


def test_fewer_days_are_not_a_month():
    rows = on_sunday(month([1.0, 2.0] * 12, length=5))
    assert rows == []  # no row of that date
    early = four_weeks.compute(*month([1.0, 2.0] * 12, length=5), {}, MONDAY, SUNDAY).to_pylist()
    assert [row["rhythm_day_count"] for row in early] == [1, 2, 3, 4, 5]
    assert [row["interdaily_stability"] is None for row in early] == [True] * 4 + [False]
    assert [row["sleep_regularity_quality"] for row in early][-1] == "4 pairs of days, at least 5 needed"


def test_jetlag_counts_the_patients_own_work_days():
    # late on Tuesdays and Wednesdays: for who works from Thursday to Monday these are free
    week = [2.0, 5.0, 5.0, 2.0, 2.0, 2.0, 2.0]
    tables = month([1.0, 2.0] * 12, midpoints=week * 4)
    own = frozenset({0, 3, 4, 5, 6})
    row = on_sunday(tables, {"p-1": [WorkDays(MONDAY, None, own)]})[0]
    assert (row["social_jetlag_h"], row["social_jetlag_quality"]) == (pytest.approx(3), None)
    # known for the last week only: two free nights, five before work
    recent = WorkDays(SUNDAY - timedelta(days=6), None, own)
    assert on_sunday(tables, {"p-1": [recent]})[0]["social_jetlag_h"] == pytest.approx(3)
    past = WorkDays(MONDAY, MONDAY + timedelta(days=2), own)
    row = on_sunday(tables, {"p-1": [past]})[0]
    assert row["social_jetlag_h"] is None
    assert row["social_jetlag_quality"] == "1 nights before work and 1 free ones, at least 2 of each needed"
