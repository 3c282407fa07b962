"""Wear in three states, merged devices, cadence and sedentary bouts, in closed form and by plain reading."""

from datetime import date, timedelta

import numpy as np
import pytest

from analytics.features import days
from analytics.features.activity import CADENCE_BANDS, sedentary_bouts, vendor_disagreement
from analytics.features.wear import gaps, judge
from analytics.store import warehouse
from tests.fixtures_analytics import enrolment, minutes, utc, write

DAY = date(2026, 5, 20)
NAMES = ("cadence_0_min", "cadence_1_19_min", "cadence_20_39_min", "cadence_40_59_min")
NAMES += ("cadence_60_79_min", "cadence_80_99_min", "cadence_100_119_min", "cadence_120_min")


def day_of(tmp_path, kinds, *devices):
    files = {kind: write(tmp_path, kind, rows) for kind, rows in kinds.items()}
    rows = enrolment(*({"device": name} for name in devices or ("band-1",)))
    with warehouse.connect(files, rows) as con:
        return days.compute(con, DAY, DAY)["patient_day"].to_pylist()[0]


def judged(length=1500, **spans):
    """Worn and not worn minutes of one track; each argument is a list of (first, last) minutes."""
    names = ("counting", "moving", "pulse", "stage", "denied")
    flags = {name: np.zeros((1, length), np.bool_) for name in names}
    for name, pieces in spans.items():
        for first, last in pieces:
            flags[name][0, first:last] = True
    worn, not_worn = judge(*flags.values())
    assert not (worn & not_worn).any()
    return worn[0], not_worn[0]


def test_gaps_are_the_lengths_of_runs_without_an_anchor():
    anchor = np.array([[0, 0, 1, 0, 1, 1, 0, 0, 0]], np.bool_)
    assert gaps(anchor).tolist() == [[2, 2, 0, 1, 0, 0, 3, 3, 3]]
    assert gaps(np.zeros((1, 3), np.bool_)).tolist() == [[3, 3, 3]]


def test_silence_is_unknown():
    worn, not_worn = judged()
    assert not worn.any()
    assert not not_worn.any()


def test_a_pulse_tells_a_still_arm_from_a_table():
    worn, not_worn = judged(counting=[(0, 1000)], pulse=[(100, 400)])
    assert np.flatnonzero(worn).tolist() == list(range(100, 400))
    assert np.flatnonzero(not_worn).tolist() == [*range(100), *range(400, 1000)]


@pytest.mark.parametrize(("apart", "worn_min"), [(15, 31), (16, 3)])
def test_pulses_close_together_are_one_time_of_wear(apart, worn_min):
    worn, _ = judged(pulse=[(at, at + 1) for at in (100, 100 + apart, 100 + 2 * apart)])
    assert worn.sum() == worn_min


def test_a_pulse_taken_at_times_only_denies_nothing():
    # moves for an hour, measured once
    worn, not_worn = judged(counting=[(0, 300)], moving=[(100, 160)], pulse=[(130, 131)])
    assert not not_worn.any()
    assert worn.sum() == 300


@pytest.mark.parametrize(("still", "worn_min"), [(180, 200), (181, 20)])
def test_long_stillness_without_a_pulse_is_unknown(still, worn_min):
    worn, not_worn = judged(counting=[(0, still + 20)], moving=[(0, 10), (still + 10, still + 20)])
    assert worn.sum() == worn_min
    assert not not_worn.any()


def test_a_stage_vouches_for_a_night_and_the_devices_word_against_it():
    worn, not_worn = judged(counting=[(0, 480)], stage=[(0, 480)], denied=[(100, 200)])
    assert (worn.sum(), not_worn.sum()) == (380, 100)
    worn, not_worn = judged(counting=[(0, 480)], pulse=[(0, 480)], denied=[(100, 200)])
    assert (worn.sum(), not_worn.sum()) == (480, 0)


def test_an_all_still_day_without_a_pulse_is_not_believed(tmp_path):
    got = day_of(tmp_path, {"step_count": minutes(utc("2026-05-19T22:00"), [0] * 1440, "steps")})
    assert (got["steps"], got["wear_min"], got["not_worn_min"]) == (None, 0, 0)
    assert got["quality"] == "whether it was worn is not known"


def test_cadence_bands_have_their_published_bounds(tmp_path):
    counts = [value for low in CADENCE_BANDS for value in (low, max(low - 1, 0))] * 45
    got = day_of(tmp_path, {"step_count": minutes(utc("2026-05-20T06:00"), counts, "steps")})
    # 0 stands at both ends of the first band and below the second; 119 below the last
    assert [got[name] for name in NAMES] == [135, 90, 90, 90, 90, 90, 90, 45]
    assert got["mvpa_min"] == 135
    assert got["steps"] == sum(counts)


def test_slots_of_many_minutes_have_steps_but_no_cadence(tmp_path):
    rows = [over_hours("2026-05-20T06:00", 0.25 * (i + 1), 20) for i in range(44)]
    for i, row in enumerate(rows):
        row["start_utc"] = row["end_utc"] - timedelta(minutes=15)
        row["steps"] += 121 * (i == 7)
    got = day_of(tmp_path, {"step_count": rows})
    assert (got["steps"], got["wear_min"]) == (1001, 660)
    assert (got["mvpa_min"], got["sedentary_min"], got["cadence_0_min"]) == (None, None, None)
    assert got["cadence_quality"] == "steps told minute by minute in 0 worn min, at least 600 needed"


@pytest.mark.parametrize(("told", "stands"), [(599, False), (600, True)])
def test_ten_hours_told_minute_by_minute_have_a_cadence(tmp_path, told, stands):
    rows = minutes(utc("2026-05-20T00:00"), [110] * told, "steps")
    late = [over_hours("2026-05-20T12:00", 0.25 * (i + 1), 20) for i in range(30)]
    rows += [row | {"start_utc": row["end_utc"] - timedelta(minutes=15)} for row in late]
    got = day_of(tmp_path, {"step_count": rows})
    assert (got["steps"], got["wear_min"]) == (110 * told + 600, told + 450)
    assert (got["mvpa_min"], got["cadence_quality"] is None) == (told if stands else None, stands)


def over_hours(start, hours, steps):
    return {"start_utc": utc(start), "end_utc": utc(start) + timedelta(hours=hours), "steps": steps}


@pytest.mark.parametrize("hours", [1, 5, 20])
def test_steps_counted_over_hours_vouch_for_no_minute(tmp_path, hours):
    """A watch out of reach: its steps belong to the date; when in those hours it was worn nobody knows."""
    kinds = {"step_count": [over_hours("2026-05-19T22:30", hours, 900)]}
    got = day_of(tmp_path, kinds)
    assert (got["steps"], got["wear_min"]) == (None, 0)
    assert got["quality"] == "whether it was worn is not known"
    got = day_of(tmp_path, kinds | {"heart_rate": minutes(utc("2026-05-20T06:00"), [70] * 700, "bpm")})
    assert (got["steps"], got["wear_min"], got["mvpa_min"]) == (900, 700, None)


def test_steps_counted_across_midnight_are_shared_by_time(tmp_path):
    """Six hours before midnight and two after it: the date gets its quarter, the date before the rest."""
    kinds = {
        "step_count": [over_hours("2026-05-19T16:00", 8, 800)],
        "heart_rate": minutes(utc("2026-05-19T00:00"), [70] * 2600, "bpm"),
    }
    assert day_of(tmp_path, kinds)["steps"] == 200
    files = {kind: write(tmp_path, kind, rows) for kind, rows in kinds.items()}
    with warehouse.connect(files, enrolment({"device": "band-1"})) as con:
        both = days.compute(con, date(2026, 5, 19), DAY)["patient_day"].to_pylist()
    assert [day["steps"] for day in both] == [600, 200]


def test_sitting_is_still_and_awake(tmp_path):
    counts = [5] * 10 + [0] * 30 + [5] * 10 + [0] * 29 + [5] * 10 + [0] * 100 + [5] * 500
    stages = minutes(utc("2026-05-20T07:29"), [2] * 100, "stage")
    kinds = {"step_count": minutes(utc("2026-05-20T06:00"), counts, "steps"), "sleep_stage": stages}
    got = day_of(tmp_path, kinds)
    assert (got["sedentary_min"], got["sedentary_bout_count"], got["sedentary_long_bout_count"]) == (59, 2, 1)


def test_the_worn_band_counts_where_the_other_lies_on_the_table(tmp_path):
    on = minutes(utc("2026-05-20T06:00"), [10, 0, 0] * 220, "steps")
    pulse = minutes(utc("2026-05-20T06:00"), [70] * 660, "bpm")
    # the other covers every minute and even shook once
    off = minutes(utc("2026-05-20T06:00"), [0] * 660, "steps", device="band-2")
    pulse += minutes(utc("2026-05-20T05:59"), [70], "bpm", device="band-2")
    got = day_of(tmp_path, {"step_count": on[::2] + off, "heart_rate": pulse}, "band-1", "band-2")
    assert got["steps"] == sum(row["steps"] for row in on[::2])
    assert got["device_segment"].startswith("steps=band-1")


def test_bouts_against_plain_reading():
    still = np.random.default_rng(2).random((20, 200)) < 0.93
    for row, total, count, long_count in zip(still, *sedentary_bouts(still), strict=True):
        runs = [len(run) for run in "".join("x" if one else " " for one in row).split()]
        assert (total, count, long_count) == (sum(runs), len(runs), sum(run >= 30 for run in runs))
    assert [values.tolist() for values in sedentary_bouts(np.zeros((1, 0), np.bool_))] == [[0], [0], [0]]


def test_a_vendors_total_is_compared_and_reported():
    difference, is_reported = vendor_disagreement([1000, 1000, 0, 0, np.nan], [1010, 1011, 0, 1, 5])
    assert difference[:4].tolist() == [10, 11, 0, 1]
    assert is_reported.tolist() == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("total", "difference"), [(14_400, None), (14_500, None), (16_000, 1600), (9000, -5400)]
)
def test_a_vendors_daily_total_beside_minutes_is_reported_and_not_counted(tmp_path, total, difference):
    rows = minutes(utc("2026-05-19T22:00"), [10] * 1440, "steps")
    # it begins with the first minute of the day and comes after it
    whole = {
        "received_utc": utc("2026-06-02T00:00"),
        "start_utc": utc("2026-05-19T22:00"),
        "end_utc": utc("2026-05-20T22:00"),
        "steps": total,
    }
    got = day_of(tmp_path, {"step_count": [*rows, rows[0] | whole]})
    assert got["steps"] == 14_400
    assert got["vendor_difference_steps"] == difference
    assert got["mvpa_min"] is not None


def test_a_daily_total_without_minutes_is_no_disagreement(tmp_path):
    rows = minutes(utc("2026-05-20T01:00"), [70] * 700, "bpm")
    whole = minutes(utc("2026-05-19T22:00"), [0], "steps")[0]
    whole |= {"end_utc": utc("2026-05-20T22:00"), "steps": 5000}
    got = day_of(tmp_path, {"step_count": [whole], "heart_rate": rows})
    assert (got["steps"], got["vendor_difference_steps"]) == (5000, None)


def test_a_count_over_the_hours_without_minutes_is_no_daily_total(tmp_path):
    rows = minutes(utc("2026-05-20T10:00"), [10] * 660, "steps")
    missed = {"start_utc": utc("2026-05-19T22:00"), "end_utc": utc("2026-05-20T10:00"), "steps": 720}
    got = day_of(tmp_path, {"step_count": [*rows, rows[0] | missed]})
    assert (got["steps"], got["vendor_difference_steps"]) == (7320, None)


def test_order_duplicates_and_file_splits_change_nothing(tmp_path):
    rng = np.random.default_rng(4)
    rows = minutes(utc("2026-05-19T20:00"), rng.poisson(8, 1700).tolist(), "steps")
    rows += minutes(utc("2026-05-20T03:00"), rng.poisson(9, 900).tolist(), "steps", device="band-2")
    whole = write(tmp_path, "step_count", rows, name="whole")
    mixed = [rows[i] for i in rng.permutation(len(rows))]
    parts = [
        path
        for number, part in enumerate((mixed[:1000], mixed[700:], mixed[:10]))
        for path in write(tmp_path, "step_count", part, name=f"part-{number}")
    ]
    rows = enrolment({}, {"device": "band-2"})
    found = []
    for files in (whole, parts, parts[::-1], parts + whole):
        with warehouse.connect({"step_count": files}, rows) as con:
            found.append(days.compute(con, DAY, DAY)["patient_day"])
    assert all(other.equals(found[0]) for other in found[1:])
    assert found[0]["steps"][0].as_py() > 0
