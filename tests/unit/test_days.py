"""From lake files to days: dates, wear, steps, sleep, answers, and the reason where there is nothing."""

from datetime import date, timedelta

import numpy as np
import pytest

from analytics.features import days
from analytics.risk import scores
from analytics.store import warehouse
from tests.fixtures_analytics import enrolment, minutes, patient_days, run, utc, write

DAY = date(2026, 5, 20)
BAND = {"device": "band-1"}
STRAP = {"device": "strap-1"}


def compute(files, enrolled, first=DAY, last=None, **more):
    with warehouse.connect(files, enrolled) as con:
        return days.compute(con, first, last or first, **more)


def one_day(files, enrolled=None, day=DAY):
    tables = compute(files, enrolled or enrolment(BAND, STRAP), day)
    return tables["patient_day"].to_pylist()[0], tables["night"].to_pylist()[0]


def test_nothing_received_is_null_with_a_reason():
    day, night = one_day({})
    assert (day["steps"], day["wear_min"], day["is_valid_day"]) == (None, 0, False)
    assert day["quality"] == "nothing received"
    assert (night["sleep_source"], night["tst_min"], night["rmssd_ms"]) == (None, None, None)
    assert night["sleep_quality"] == "no sleep record"
    assert night["hrv_quality"] == "no RR intervals"


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 5, 20), 24), (date(2026, 10, 25), 25)]
)
def test_steps_of_days_of_23_24_and_25_hours(tmp_path, day, hours):
    # local midnight in Berlin, before the clocks change
    start = utc(f"{day}T00:00") - timedelta(hours=2 if hours == 25 or day.month == 5 else 1)
    rows = minutes(start - timedelta(hours=1), [7] * 60 + [1] * hours * 60 + [9] * 60, "steps")
    got, _ = one_day({"step_count": write(tmp_path, "step_count", rows)}, day=day)
    assert (got["steps"], got["wear_min"], got["day_minutes"]) == (hours * 60, hours * 60, hours * 60)


@pytest.mark.parametrize(("worn", "is_valid"), [(599, False), (600, True)])
def test_ten_hours_make_a_valid_day(tmp_path, worn, is_valid):
    # one step, then sitting for less than three hours, and again
    rows = minutes(utc(f"{DAY}T06:00"), ([1] + [0] * 149) * 3 + [1] + [0] * (worn - 451), "steps")
    got, _ = one_day({"step_count": write(tmp_path, "step_count", rows)})
    assert got["is_valid_day"] is is_valid
    assert got["steps"] == (4 if is_valid else None)
    assert got["quality"] == (None if is_valid else "worn 599 min, at least 600 needed")


def test_duplicates_count_once_and_the_last_received_wins(tmp_path):
    start = utc(f"{DAY}T06:00")
    old = write(tmp_path, "step_count", minutes(start, [5] * 700, "steps"), name="old")
    later = {"received_utc": utc("2026-06-02T00:00")}
    new = write(tmp_path, "step_count", minutes(start, [6] * 350, "steps", **later), name="new")
    for files in (old + new, new + old, old + new + new):
        got, _ = one_day({"step_count": files})
        assert got["steps"] == 350 * 6 + 350 * 5


def test_a_strap_at_night_does_not_vouch_for_the_band(tmp_path):
    steps = write(tmp_path, "step_count", minutes(utc(f"{DAY}T08:00"), [10] * 240, "steps"))
    beats = write(tmp_path, "rr_interval", [run(utc(f"{DAY}T00:00"), [1000] * 28_800)])
    got, _ = one_day({"step_count": steps, "rr_interval": beats})
    assert (got["wear_min"], got["steps"]) == (240, None)
    alone, _ = one_day({"rr_interval": beats})
    assert (alone["wear_min"], alone["quality"]) == (480, "no step counts")


def test_the_device_says_it_was_not_worn(tmp_path):
    steps = write(tmp_path, "step_count", minutes(utc(f"{DAY}T06:00"), [0] * 700, "steps"))
    off = {"start_utc": utc(f"{DAY}T06:00"), "end_utc": utc(f"{DAY}T17:40"), "is_worn": False}
    files = {"step_count": steps, "wear": write(tmp_path, "wear", [off])}
    got, _ = one_day(files)
    assert (got["wear_min"], got["quality"], got["steps"]) == (0, "not worn", None)
    pulse = minutes(utc(f"{DAY}T06:00"), [60] * 650, "bpm")
    got, _ = one_day(files | {"heart_rate": write(tmp_path, "heart_rate", pulse)})
    assert (got["wear_min"], got["steps"]) == (650, 0)


def test_two_bands_are_merged_by_quarter_hour(tmp_path):
    morning = minutes(utc(f"{DAY}T04:00"), [10] * 360, "steps")
    evening = minutes(utc(f"{DAY}T09:00"), [20] * 360, "steps", device="band-2")
    files = {"step_count": write(tmp_path, "step_count", morning + evening)}
    got, _ = one_day(files, enrolment(BAND, {"device": "band-2"}))
    # the hour both saw counts once, with the larger of two equally covered quarter hours
    assert got["steps"] == 300 * 10 + 360 * 20
    assert got["wear_min"] == 660
    assert got["device_segment"] == "steps=band-1+band-2"


def sleep(tmp_path, start, stages, **more):
    return {"sleep_stage": write(tmp_path, "sleep_stage", minutes(start, stages, "stage", **more))}


def test_main_sleep_in_closed_form(tmp_path):
    stages = [1] * 20 + [2] * 120 + [1] * 10 + [3] * 60 + [4] * 170 + [1] * 15
    got, night = one_day(sleep(tmp_path, utc("2026-05-19T21:00"), stages))
    assert (night["tst_min"], night["waso_min"]) == (350, 10)
    assert night["efficiency_pct"] == pytest.approx(100 * 350 / 395)
    assert night["maintenance_efficiency_pct"] == pytest.approx(100 * 350 / 360)
    assert (night["in_bed_min"], night["latency_min"], night["awakening_count"]) == (395, 20, 1)
    assert (night["light_min"], night["deep_min"], night["rem_min"]) == (120, 60, 170)
    assert (night["nap_count"], night["nap_min"]) == (0, 0)
    assert night["sleep_start_utc"] == utc("2026-05-19T21:20")
    assert night["sleep_end_utc"] == utc("2026-05-20T03:20")
    assert night["midpoint_h"] == pytest.approx(2 + 20 / 60)
    assert night["sleep_source"] == "recorded"
    assert got["tst_min"] == 350


def test_a_split_night_is_one_and_a_nap_is_none(tmp_path):
    nap = minutes(utc("2026-05-19T13:00"), [2] * 60, "stage")
    first = minutes(utc("2026-05-19T21:00"), [2] * 200, "stage")
    second = minutes(utc("2026-05-20T01:00"), [2] * 150, "stage")
    rows = [*nap, *first, *second]
    _, night = one_day({"sleep_stage": write(tmp_path, "sleep_stage", rows)})
    assert (night["tst_min"], night["waso_min"], night["awakening_count"]) == (350, 40, 1)
    # the nap ended on the day before
    assert night["nap_count"] == 0


@pytest.mark.parametrize(("length", "stands"), [(179, False), (180, True)])
def test_three_hours_make_a_main_sleep(tmp_path, length, stands):
    _, night = one_day(sleep(tmp_path, utc("2026-05-19T21:00"), [2] * length))
    assert (night["tst_min"] is not None) is stands
    assert (night["sleep_quality"] is None) is stands


def test_unknown_stage_leaves_the_night_open(tmp_path):
    stages = [2] * 200 + [0] * 110 + [2] * 100
    # less than an hour between two bouts would be needed to join them
    _, night = one_day(sleep(tmp_path, utc("2026-05-19T21:00"), stages))
    assert night["tst_min"] == 200
    _, night = one_day(sleep(tmp_path, utc("2026-05-19T21:00"), [2] * 100 + [0] * 55 + [2] * 100))
    assert night["tst_min"] is None
    assert night["sleep_quality"] == "stage unknown in 55 of 255 min"


def test_the_night_the_clocks_change_has_its_real_minutes(tmp_path):
    # 22:00 UTC to 06:00 UTC around the autumn change: 480 minutes, whatever the clock on the wall says
    _, night = one_day(sleep(tmp_path, utc("2026-10-24T22:00"), [2] * 480), day=date(2026, 10, 25))
    assert night["tst_min"] == 480
    assert night["midpoint_h"] == pytest.approx(3)


def test_without_a_sleep_record_the_night_is_assumed(tmp_path):
    files = {"rr_interval": write(tmp_path, "rr_interval", [run(utc("2026-05-19T20:00"), [1000] * 40_000)])}
    tables = compute(files, enrolment(STRAP))
    night = tables["night"].to_pylist()[0]
    assert night["sleep_source"] == "assumed_night"
    assert night["sleep_start_utc"] == utc("2026-05-19T22:00")
    assert night["sleep_end_utc"] == utc("2026-05-20T04:00")
    assert (night["window_count"], night["rr_count"], night["mean_nn_ms"]) == (72, 21_600, 1000)
    assert (night["resting_hr_bpm"], night["sensor"]) == (60, "ecg")
    assert night["ln_rmssd"] is None  # a constant series has RMSSD 0, which has no logarithm
    assert tables["hrv_window"].num_rows == 72


def test_runs_that_follow_each_other_are_one_series(tmp_path):
    rng = np.random.default_rng(3)
    rr = rng.integers(900, 1000, 24_000)
    whole = [run(utc("2026-05-19T22:00"), rr)]
    cuts, at = [], 0
    for size in [5000, 1, 12_000, 6999]:
        start = utc("2026-05-19T22:00") + timedelta(milliseconds=int(rr[:at].sum()))
        gap = 0 if at else None
        cuts.append(run(start, rr[at : at + size], first_beat=at, gap_before_ms=gap))
        at += size
    tables = [
        compute({"rr_interval": write(tmp_path, "rr_interval", rows, name=str(i))}, enrolment(STRAP))
        for i, rows in enumerate([whole, cuts, cuts[::-1] + cuts])
    ]
    for other in tables[1:]:
        assert other["night"].equals(tables[0]["night"])
        assert other["hrv_window"].equals(tables[0]["hrv_window"])


def night_of(tmp_path, rows):
    files = {"rr_interval": write(tmp_path, "rr_interval", rows)}
    return compute(files, enrolment(STRAP))["night"].to_pylist()[0]


def test_the_same_seconds_over_two_connections_count_once(tmp_path):
    rr = [900, 1000] * 11_000
    start = utc("2026-05-19T22:00")
    once = night_of(tmp_path, [run(start, rr)])
    late = run(start + timedelta(milliseconds=190 * 950), rr[190 * 2 :], connection="c-2")
    twice = night_of(tmp_path, [run(start, rr), late])
    assert twice["rr_count"] == once["rr_count"] == 22_000
    assert twice["coverage_pct"] == once["coverage_pct"]
    assert twice["rmssd_ms"] == once["rmssd_ms"]


@pytest.mark.parametrize(
    ("gap", "first_beat", "rmssd"), [(0, 3600, 100), (40, 3600, 0), (0, 3601, 0), (None, 3600, 0)]
)
def test_only_runs_without_a_gap_have_a_difference_between_them(tmp_path, gap, first_beat, rmssd):
    rows, at = [], utc("2026-05-19T22:02")
    for number in range(4):
        # each run is constant, 100 ms slower or faster than the one before
        rr = [1000 + 100 * (number % 2)] * 3600
        same = {"first_beat": number * first_beat, "gap_before_ms": gap if number else None}
        rows.append(run(at, rr, **same))
        at += timedelta(milliseconds=sum(rr))
    files = {"rr_interval": write(tmp_path, "rr_interval", rows)}
    windows = compute(files, enrolment(STRAP))["hrv_window"].to_pylist()
    jumps = {round(row["rmssd_ms"] * (row["nn_count"] - 1) ** 0.5) for row in windows if row["rmssd_ms"]}
    assert jumps == ({rmssd} if rmssd else set())


def test_every_zone_has_its_own_midnight(tmp_path):
    rows = minutes(utc("2026-05-19T22:00"), [1] * 60 * 30, "steps")
    rows += minutes(utc("2026-05-19T22:00"), [1] * 60 * 30, "steps", device="band-2")
    enrolled = enrolment(BAND, {"patient": "p-2", "device": "band-2", "zone": "America/New_York"})
    got = compute({"step_count": write(tmp_path, "step_count", rows)}, enrolled)["patient_day"].to_pylist()
    # the rows end at 04:00 UTC: midnight in New York, four hours after the one in Berlin's next day
    assert [(row["patient"], row["steps"], row["wear_min"]) for row in got] == [
        ("p-1", 1440, 1440),
        ("p-2", 1440, 1440),
    ]


def test_devices_change_hands(tmp_path):
    rows = minutes(utc("2026-05-19T22:00"), [1] * 2880, "steps")
    moved = utc("2026-05-20T22:00")
    enrolled = enrolment(
        {"patient": "p-1", "valid_to_utc": moved}, {"patient": "p-2", "valid_from_utc": moved}
    )
    files = {"step_count": write(tmp_path, "step_count", rows)}
    got = compute(files, enrolled, DAY, DAY + timedelta(days=1))["patient_day"].to_pylist()
    assert [(row["patient"], row["local_date"].day, row["steps"]) for row in got] == [
        ("p-1", 20, 1440),
        ("p-2", 21, 1440),
    ]
    only = compute(files, enrolled, DAY, DAY + timedelta(days=1), patients=["p-2"])
    assert only["patient_day"].column("patient").to_pylist() == ["p-2"]


def test_answers_of_a_day(tmp_path):
    usual = {"item": "pain", "form_version": "1", "language": "en", "mode": "app", "respondent": "patient"}
    said = [
        ("nrs", 4.0, "2026-05-20T08:00"),
        ("nrs", 7.0, "2026-05-20T20:00"),
        ("nrs", 11.0, "2026-05-20T21:00"),
    ]
    said += [("mood", 3.0, "2026-05-20T21:59"), ("mood", 9.0, "2026-05-20T22:00")]
    rows = [
        usual | {"answer_id": f"a-{i}", "instrument": name, "value": value, "start_utc": utc(when)}
        for i, (name, value, when) in enumerate(said)
    ]
    report = {"respondent": "patient", "start_utc": utc("2026-05-20T09:00")}
    reports = [
        report | {"report_id": "r-1", "is_harder_to_tolerate": False},
        report | {"report_id": "r-2", "is_harder_to_tolerate": True},
    ]
    walk = {"practice": "walking", "start_utc": utc("2026-05-20T10:00"), "end_utc": utc("2026-05-20T10:20")}
    logs = [walk | {"log_id": f"l-{i}", "duration_s": 1200 + 60 * i} for i in range(2)]
    files = {
        "practice_log": write(tmp_path, "practice_log", logs),
        "pro_answer": write(tmp_path, "pro_answer", rows),
        "flare_report": write(tmp_path, "flare_report", reports),
    }
    got, _ = one_day(files)
    assert (got["nrs"], got["mood"], got["is_flare_reported"]) == (5.5, 3, True)
    # one yes is a yes, no answer is none; two walks of 20 and 21 minutes
    assert (got["is_harder_to_tolerate"], got["has_stopped_activities"]) == (True, None)
    assert got["practice_min"] == 41


def test_a_wristband_without_rr_has_a_resting_rate(tmp_path):
    beats = minutes(utc("2026-05-19T22:00"), [70] * 120 + [52] * 30 + [66] * 210, "bpm")
    _, night = one_day({"heart_rate": write(tmp_path, "heart_rate", beats)})
    assert (night["resting_hr_bpm"], night["sleep_source"]) == (52, "assumed_night")
    assert night["rmssd_ms"] is None


def test_a_night_has_its_resting_rate_whichever_dates_are_computed_with_it(tmp_path):
    # asleep by one device from 08:00 to 16:00, by another from 14:00 until the next date
    by_day = minutes(utc(f"{DAY}T06:00"), [2] * 480, "stage")
    late = minutes(utc(f"{DAY}T12:00"), [2] * 660, "stage", device="ring-1")
    pulse = minutes(utc(f"{DAY}T06:00"), [70] * 420 + [48] * 30 + [70] * 600, "bpm")
    files = {
        "sleep_stage": write(tmp_path, "sleep_stage", by_day + late),
        "heart_rate": write(tmp_path, "heart_rate", pulse),
    }
    enrolled = enrolment(BAND, {"device": "ring-1"})
    dates = [DAY, DAY + timedelta(days=1)]
    together = compute(files, enrolled, *dates)["night"].to_pylist()
    assert together == [compute(files, enrolled, day)["night"].to_pylist()[0] for day in dates]
    assert [night["resting_hr_bpm"] for night in together] == [48, 48]


def test_what_a_vendor_says_of_a_night_changes_nothing_of_it(tmp_path):
    stages = minutes(utc("2026-05-19T22:00"), [2] * 400, "stage")
    beats = run(utc("2026-05-19T22:00"), [1000, 1040] * 6000)
    own = {
        "sleep_stage": write(tmp_path, "sleep_stage", stages),
        "rr_interval": write(tmp_path, "rr_interval", [beats]),
    }
    night = {"start_utc": utc("2026-05-19T22:00"), "end_utc": utc("2026-05-20T06:00")}
    slept = night | {
        "duration_s": 28_800,
        "total_sleep_s": 27_000,
        "awakening_count": 9,
        "is_main_sleep": True,
    }
    spoken = night | {"value_ms": 99, "method": "rmssd"}
    vendors = {
        "sleep_episode": write(tmp_path, "sleep_episode", [slept]),
        "device_hrv": write(tmp_path, "device_hrv", [spoken]),
    }
    enrolled = enrolment(BAND, STRAP)
    with_them, without = (compute(files, enrolled) for files in (own | vendors, own))
    assert all(with_them[name].equals(rows) for name, rows in without.items())
    (row,) = without["night"].to_pylist()
    assert (row["tst_min"], row["rmssd_ms"]) == (400, 40)
    assert compute(vendors, enrolled)["night"].to_pylist()[0]["sleep_quality"] == "no sleep record"


def test_another_kind_of_sensor_in_the_same_device_begins_a_baseline(tmp_path):
    nights = [(utc("2026-05-19T22:00"), "ecg"), (utc("2026-05-20T22:00"), "ppg")]
    runs = [run(start, [1000, 1040] * 6000, sensor=sensor) for start, sensor in nights]
    files = {"rr_interval": write(tmp_path, "rr_interval", runs)}
    tables = compute(files, enrolment(STRAP), DAY, DAY + timedelta(days=1))
    assert [row["sensor"] for row in tables["night"].to_pylist()] == ["ecg", "ppg"]
    segments = [row["device_segment"] for row in tables["patient_day"].to_pylist()]
    assert segments == [f"hrv=strap-1/{sensor} pulse=strap-1" for _, sensor in nights]
    values = {"rmssd_ms": [40.0] * 40, "device_segment": [segments[0]] * 20 + [segments[1]] * 20}
    (found,) = [
        row
        for row in scores.compute(
            patient_days(DAY, values), DAY + timedelta(days=39), DAY + timedelta(days=39)
        )["baseline"].to_pylist()
        if row["metric"] == "rmssd_ms"
    ]
    assert found["baseline_count"] < 20
