"""A patient who moves to another zone mid-stay: a date is one of the zone that holds on it.

Hours between the two midnights of the move are a known limit (README) and hold nothing here.
"""

from datetime import date, timedelta

import pytest

from analytics.features import days
from analytics.store import warehouse
from devices.clock import from_utc, to_utc
from tests.fixtures_analytics import enrolment, minutes, utc, write

FIRST, MOVE_DAY, LAST = date(2026, 5, 18), date(2026, 5, 20), date(2026, 5, 22)
MOVED = utc("2026-05-20T12:00")
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
#: Local midnight, hours of UTC.
MIDNIGHT = {BERLIN: -2, NEW_YORK: 4}


def stay(tmp_path, before, after):
    """Eleven hours of steps by the local day and, the move apart, six of sleep by the local night."""
    steps, stages = [], []
    for number in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        zone = before if day < MOVE_DAY else after
        midnight = utc(f"{day}T00:00") + timedelta(hours=MIDNIGHT[zone])
        # on the day of the move: while it is that date in both zones
        walk = utc(f"{day}T05:00") if day == MOVE_DAY else midnight + timedelta(hours=7)
        steps += minutes(walk, [10 + number] * 660, "steps")
        if day != MOVE_DAY:
            stages += minutes(midnight, [2] * 360, "stage")
    files = {"step_count": write(tmp_path, "step_count", steps)}
    files["sleep_stage"] = write(tmp_path, "sleep_stage", stages)
    enrolled = enrolment({"zone": before, "valid_to_utc": MOVED}, {"zone": after, "valid_from_utc": MOVED})
    with warehouse.connect(files, enrolled) as con:
        return days.compute(con, FIRST, LAST), sum(row["steps"] for row in steps)


@pytest.mark.parametrize(("before", "after"), [(BERLIN, NEW_YORK), (NEW_YORK, BERLIN)])
def test_dates_steps_and_nights_follow_the_zone(tmp_path, before, after):
    tables, walked = stay(tmp_path, before, after)
    rows, nights = tables["patient_day"].to_pylist(), tables["night"].to_pylist()
    dates = [FIRST + timedelta(days=number) for number in range(5)]
    assert [row["local_date"] for row in rows] == [row["local_date"] for row in nights] == dates
    assert [row["zone"] for row in rows] == [before] * 2 + [after] * 3
    assert [row["day_minutes"] for row in rows] == [1440] * 5
    assert [row["steps"] for row in rows] == [660 * (10 + number) for number in range(5)]
    assert sum(row["steps"] for row in rows) == walked
    for night, row in zip(nights, rows, strict=True):
        if night["local_date"] == MOVE_DAY:
            assert (night["tst_min"], night["sleep_quality"]) == (None, "no sleep record")
            continue
        assert (night["tst_min"], night["midpoint_h"]) == (360, 3)
        midnight = utc(f"{night['local_date']}T00:00") + timedelta(hours=MIDNIGHT[row["zone"]])
        assert night["sleep_start_utc"] == from_utc(to_utc(midnight))
