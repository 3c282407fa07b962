"""A patient who moves to another zone mid-stay, recorded all through: dates follow each other without a hole.

Somebody lives by the clock on the wall wherever they are: asleep from 00:00 to 06:00, afterwards as many
steps a minute as the hour says. A date of a move is longer or shorter by the hours between two midnights.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from analytics.features import days, four_weeks
from analytics.features.calendar import calendar
from analytics.risk import scores
from analytics.store import warehouse
from devices.clock import DAY, MINUTE, day_bounds, from_utc, local_date, to_utc
from tests.fixtures_analytics import enrolment, minutes, run, utc, write

FIRST, MOVE_DAY, LAST = date(2026, 5, 2), date(2026, 5, 20), date(2026, 5, 29)
DATES = [FIRST + timedelta(days=number) for number in range(28)]
NOON = utc("2026-05-20T12:00")
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
KIRITIMATI, PAGO_PAGO = "Pacific/Kiritimati", "Pacific/Pago_Pago"


def moving(before, after, at=NOON, **more):
    return {"zone": before, "valid_to_utc": at} | more, {"zone": after, "valid_from_utc": at} | more


def midnights(before, after, at=NOON):
    """Where the dates must begin, and the last one end: microseconds UTC."""
    place = {zone: ZoneInfo(zone) for zone in (before, after)}
    moved = local_date(to_utc(at), place[after])
    return [day_bounds(DATES[0], place[before])[0]] + [
        day_bounds(day, place[before if day < moved else after])[1] for day in DATES
    ]


def life(tmp_path, before, after, at=NOON, whose="p-1"):
    """Lake files of every minute of the dates, and its steps."""
    turns = midnights(before, after, at)
    clock = [
        from_utc(now, ZoneInfo(before if from_utc(now) < at else after))
        for now in range(turns[0], turns[-1], MINUTE)
    ]
    steps = np.array([0 if now.hour < 6 else now.hour for now in clock])
    asleep = [row for now in clock if now.hour < 6 for row in minutes(now.astimezone(UTC), [2], "stage")]
    counted = minutes(from_utc(turns[0]), steps.tolist(), "steps")
    files = {
        "step_count": write(tmp_path, "step_count", counted, name=whose),
        "sleep_stage": write(tmp_path, "sleep_stage", asleep, name=whose),
    }
    return files, steps, np.diff(turns) // MINUTE


def compute(files, enrolled, first=FIRST, last=LAST, patients=None):
    with warehouse.connect(files, enrolled) as con:
        return days.compute(con, first, last, patients=patients)


@pytest.mark.parametrize(
    ("before", "after", "length"),
    [(BERLIN, NEW_YORK, 1800), (NEW_YORK, BERLIN, 1080), (KIRITIMATI, PAGO_PAGO, 2940)],
)
def test_every_minute_is_of_one_date(tmp_path, before, after, length):
    files, steps, lengths = life(tmp_path, before, after)
    enrolled = enrolment(*moving(before, after))
    tables = compute(files, enrolled)
    rows = tables["patient_day"].to_pylist()
    assert [row["local_date"] for row in rows] == DATES
    moved = local_date(to_utc(NOON), ZoneInfo(after))
    assert [row["zone"] for row in rows] == [before if day < moved else after for day in DATES]
    assert [row["day_minutes"] for row in rows] == lengths.tolist()
    assert [row["day_minutes"] for row in rows if row["local_date"] == moved] == [length]
    assert sorted(lengths) == sorted([1440] * 27 + [length])
    # nothing lost, nothing twice
    parts = np.split(steps, np.cumsum(lengths)[:-1])
    assert [row["steps"] for row in rows] == [part.sum() for part in parts]
    assert [row["wear_min"] for row in rows] == lengths.tolist()
    assert all(row["vendor_difference_steps"] is None for row in rows)
    for day in (moved - timedelta(days=1), moved, moved + timedelta(days=1)):
        for name, alone in compute(files, enrolled, day, day).items():
            at = DATES.index(day)
            assert alone.to_pylist() == tables[name].slice(at, 1).to_pylist() or name == "hrv_window"


@pytest.mark.parametrize(("before", "after", "is_compared"), [
    (BERLIN, NEW_YORK, False), (NEW_YORK, BERLIN, False), (BERLIN, "Europe/London", True),
])  # fmt: skip
def test_steps_of_a_date_of_another_length_are_kept_and_compared_with_none(
    tmp_path, before, after, is_compared
):
    files, _, _ = life(tmp_path, before, after)
    rows = compute(files, enrolment(*moving(before, after)))["patient_day"]
    found = scores.compute(rows, FIRST, LAST)["baseline"].to_pylist()
    steps = {row["local_date"]: row for row in found if row["metric"] == "steps"}
    moved = steps[MOVE_DAY]
    assert dict(zip(rows["local_date"].to_pylist(), rows["steps"].to_pylist(), strict=True))[MOVE_DAY] > 0
    assert (moved["value"] is not None, moved["z"] is not None) == (is_compared, is_compared)
    assert moved["quality"] == (
        None
        if is_compared
        else "a move between zones made the date longer or shorter: its sum is not compared"
    )
    for lag in (-1, 1):
        assert steps[MOVE_DAY + timedelta(days=lag)]["z"] is not None
    # nine days later it is in nobody's baseline
    assert steps[MOVE_DAY + timedelta(days=9)]["baseline_count"] == 19 + is_compared


@pytest.mark.parametrize(("before", "after"), [(BERLIN, NEW_YORK), (NEW_YORK, BERLIN)])
def test_a_life_by_the_clock_on_the_wall_stays_regular(tmp_path, before, after):
    files, _, _ = life(tmp_path, before, after)
    tables = compute(files, enrolment(*moving(before, after)))
    for night, row in zip(tables["night"].to_pylist(), tables["patient_day"].to_pylist(), strict=True):
        assert (night["tst_min"], night["waso_min"], night["midpoint_h"]) == (360, 0, 3)
        # on the date of the move she slept where she came from
        zone = before if night["local_date"] <= MOVE_DAY else row["zone"]
        midnight = datetime.combine(night["local_date"], datetime.min.time(), ZoneInfo(zone))
        assert night["sleep_start_utc"] == midnight
        assert night["nap_count"] == 0
    # west 08:00 to 14:00 came twice, east it was never there
    skipped = range(8, 14) if before == NEW_YORK else ()
    for row in tables["day_clock"].to_pylist():
        missing = skipped if row["local_date"] == MOVE_DAY else ()
        hours = [None if hour in missing else 60 * hour * (hour >= 6) for hour in range(24)]
        assert row["hourly_steps"] == hours
        assert row["asleep_min"] == [0, 360]
        assert row["awake_min"] == ([360, 480, 840, 1440] if missing else [360, 1440])
    (found,) = four_weeks.compute(tables["day_clock"], tables["night"], {}, LAST, LAST).to_pylist()
    # a date of 18 hours is none of the days of 20 that a rhythm is made of
    assert found["rhythm_day_count"] == 28 - bool(skipped)
    assert found["interdaily_stability"] == pytest.approx(1)
    assert (found["l5"], found["m10"]) == (0, pytest.approx(60 * np.mean(range(14, 24))))
    assert (found["l5_start_h"], found["m10_start_h"], found["relative_amplitude"]) == (0, 14, 1)
    assert found["intradaily_variability"] == pytest.approx(variability(found["rhythm_day_count"], skipped))
    assert (found["sleep_regularity"], found["sleep_pair_count"]) == (100, 27)


def variability(count, is_broken):
    """IV of days of these hours, with one left out in the midst where `is_broken`."""
    x = np.tile([0.0] * 6 + [60.0 * hour for hour in range(6, 24)], count)
    steps = np.diff(x)
    if is_broken:
        steps = np.delete(steps, 24 * DATES.index(MOVE_DAY) - 1)
    return len(x) * (steps**2).sum() / (len(steps) * ((x - x.mean()) ** 2).sum())


def test_others_have_the_same_bits_beside_somebody_who_moves_west(tmp_path):
    files, _, _ = life(tmp_path, BERLIN, NEW_YORK)
    rng = np.random.default_rng(5)
    start, rows = utc("2026-05-18T20:00"), []
    for number in range(1200):
        at = start + timedelta(minutes=4 * number)
        end = at + timedelta(minutes=int(rng.integers(2, 14)))
        rows.append({"start_utc": at, "end_utc": end, "steps": int(rng.integers(1, 90)), "device": "ring-1"})
    files["step_count"] += write(tmp_path, "step_count", rows, name="ring")
    enrolled = enrolment(*moving(BERLIN, NEW_YORK), {"patient": "p-2", "device": "ring-1"})
    around = MOVE_DAY - timedelta(days=1), MOVE_DAY + timedelta(days=1)
    together = compute(files, enrolled, *around)
    assert together["patient_day"]["steps"].null_count == 0
    for who in ("p-1", "p-2"):
        for name, alone in compute(files, enrolled, *around, patients=[who]).items():
            rows = together[name]
            assert alone.equals(rows.filter(rows["patient"].to_numpy() == who)), name


@pytest.mark.parametrize("seed", range(40))
def test_dates_of_any_moves_follow_each_other(seed):
    rng = np.random.default_rng(seed)
    places = [KIRITIMATI, PAGO_PAGO, BERLIN, NEW_YORK, "Asia/Kolkata", "Etc/GMT+12", "Pacific/Auckland"]
    start, middle = to_utc(utc("2026-03-20T00:00")), to_utc(utc("2026-03-29T00:00"))
    turns = sorted(middle + int(turn) * MINUTE for turn in rng.integers(0, 4 * 1440, rng.integers(1, 4)))
    bounds = [start, *turns, None]
    stays = [
        {"zone": str(rng.choice(places)), "valid_from_utc": since, "valid_to_utc": until}
        for since, until in pairwise(None if one is None else from_utc(one) for one in bounds)
    ]
    first, last = date(2026, 3, 24), date(2026, 4, 6)
    with warehouse.connect({}, enrolment(*stays)) as con:
        whole = calendar(con, first, last, None).rows.to_pylist()
        zones = [ZoneInfo(stay["zone"]) for stay in stays]
        for row, after in pairwise(whole):
            assert row["end_utc"] == after["start_utc"]
        for row in whole:
            length = to_utc(row["end_utc"]) - to_utc(row["start_utc"])
            assert 0 <= length <= 2 * DAY + 2 * 60 * MINUTE
            for minute in range(0, length // MINUTE, 15):
                now = to_utc(row["start_utc"]) + minute * MINUTE
                # 26 hours apart no zone may show the date between
                shown = [local_date(now, zone) for zone in zones]
                assert min(shown) <= row["local_date"] <= max(shown)
            day = row["local_date"]
            assert calendar(con, day, day, None).rows.to_pylist() == [row]


def test_a_loan_on_a_journey_ends_and_home_holds_again():
    loan = {
        "device": "ring-1",
        "zone": NEW_YORK,
        "valid_from_utc": NOON,
        "valid_to_utc": NOON + timedelta(days=3),
    }
    with warehouse.connect({}, enrolment({"zone": BERLIN}, loan)) as con:
        rows = calendar(con, MOVE_DAY - timedelta(days=1), MOVE_DAY + timedelta(days=4), None).rows
    assert rows["zone"].to_pylist() == [BERLIN, *[NEW_YORK] * 3, BERLIN, BERLIN]
    lengths = np.subtract(rows["end_minute"].to_numpy(), rows["start_minute"].to_numpy())
    assert lengths.tolist() == [1440, 1800, 1440, 1440, 1080, 1440]


def test_a_date_that_was_never_lived_is_left_out():
    # across the date line from the evening of the 19th to the night of the 21st
    crossing = moving(PAGO_PAGO, KIRITIMATI, utc("2026-05-20T10:30"))
    with warehouse.connect({}, enrolment(*crossing)) as con:
        rows = calendar(con, date(2026, 5, 18), date(2026, 5, 22), None).rows.to_pylist()
    assert [row["local_date"].day for row in rows] == [18, 19, 21, 22]
    assert all(row["end_utc"] == after["start_utc"] for row, after in pairwise(rows))
    assert rows[1]["end_utc"] == utc("2026-05-20T11:00")


@pytest.mark.parametrize(("before", "after"), [(BERLIN, NEW_YORK), (NEW_YORK, BERLIN)])
def test_a_strap_alone_has_its_nights_by_the_clock_on_the_wall(tmp_path, before, after):
    first, last = MOVE_DAY - timedelta(days=2), MOVE_DAY + timedelta(days=2)
    nights = []
    for number in range(5):
        day = first + timedelta(days=number)
        # on the date of the move she slept where she came from
        start, _ = day_bounds(day, ZoneInfo(before if day <= MOVE_DAY else after))
        nights.append(run(from_utc(start), [1000, 1040] * 10_588))  # six hours and a little
    files = {"rr_interval": write(tmp_path, "rr_interval", nights)}
    found = compute(files, enrolment(*moving(before, after, device="strap-1")), first, last)
    for night in found["night"].to_pylist():
        assert (night["sleep_source"], night["window_count"], night["rmssd_ms"]) == ("assumed_night", 72, 40)
        assert night["sleep_end_utc"] - night["sleep_start_utc"] == timedelta(hours=6)
    assert found["hrv_window"].num_rows == 5 * 72


@pytest.mark.parametrize(
    ("before", "after", "at"),
    [(BERLIN, NEW_YORK, NOON), (NEW_YORK, BERLIN, NOON), ("Etc/GMT+12", KIRITIMATI, utc("2026-05-20T08:00"))],
)
def test_what_is_written_down_is_of_one_date(tmp_path, before, after, at):
    start = utc("2026-05-18T12:00")
    logs = [
        {"start_utc": start + timedelta(hours=hour), "end_utc": start + timedelta(hours=hour, minutes=1)}
        | {"log_id": f"l-{hour}", "practice": "walking", "duration_s": 60}
        for hour in range(100)
    ]
    files = {"practice_log": write(tmp_path, "practice_log", logs)}
    first, last = MOVE_DAY - timedelta(days=3), MOVE_DAY + timedelta(days=4)
    rows = compute(files, enrolment(*moving(before, after, at)), first, last)["patient_day"].to_pylist()
    assert sum(row["practice_min"] or 0 for row in rows) == 100
    # from the last hours of UTC-12 nothing is left of the 20th, over already at UTC+14
    assert [row["day_minutes"] for row in rows].count(0) == (before == "Etc/GMT+12")


def test_nobody_at_all_is_no_row():
    assert [table.num_rows for table in compute({}, enrolment()).values()] == [0] * 4
