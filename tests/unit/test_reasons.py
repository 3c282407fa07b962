"""Through a clinic with holes: a null number has its reason, and a reason stands only beside a null."""

from datetime import date, timedelta

import numpy as np
import pytest

from analytics.features import days, four_weeks
from analytics.features.activity import BAND_NAMES
from analytics.store import warehouse
from tests.fixtures_analytics import enrolment, minutes, run, utc, write

FIRST, LAST = date(2026, 5, 10), date(2026, 5, 29)
#: From this date's number on steps and sleep are whole.
WHOLE_FROM = 11
SLEEP = ("tst_min", "waso_min", "efficiency_pct", "midpoint_h", "maintenance_efficiency_pct")
SLEEP += ("light_min", "deep_min", "rem_min", "awakening_count")
HRV = ("mean_nn_ms", "rmssd_ms", "sdnn_ms", "pnn50_pct")
CADENCE = (*BAND_NAMES, "mvpa_min", "sedentary_min", "sedentary_bout_count", "sedentary_long_bout_count")
RHYTHM = ("interdaily_stability", "intradaily_variability", "relative_amplitude", "l5", "m10")
RHYTHM += ("l5_start_h", "m10_start_h")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two people: one with every kind of hole, one of whom nothing came."""
    folder, rng = tmp_path_factory.mktemp("holes"), np.random.default_rng(5)
    steps, stages, beats = [], [], []
    for number in range((LAST - FIRST).days + 1):
        midnight = utc(f"{FIRST}T00:00") + timedelta(days=number, hours=-2)
        if number == WHOLE_FROM - 1:
            # a ring by day: its steps have no minute
            slot = timedelta(minutes=15)
            for start in (midnight + n * slot for n in range(28, 96)):
                steps.append({"start_utc": start, "end_utc": start + slot, "steps": 100})
            continue
        if number >= WHOLE_FROM:
            steps += minutes(midnight, [0] * 400 + rng.poisson(8, 1040).tolist(), "steps")
            stages += minutes(midnight, [2] * 400, "stage")
            continue
        worn = (0, 300, 900, 960, 1000)[number % 5]
        steps += minutes(midnight + timedelta(hours=7), rng.poisson(8, worn).tolist(), "steps")
        asleep = (0, 100, 400, 420, 300)[number % 5]
        stages += minutes(midnight, [2] * asleep, "stage") if number != 3 else []
        stages += minutes(midnight, [2] * 100 + [0] * 55 + [2] * 100, "stage") if number == 3 else []
        count = (0, 900, 9000, 20_000)[number % 4]
        rr = np.round(850 + 40 * np.sin(np.arange(count) / 9) + rng.normal(0, 25, count))
        if count:
            rr[:: 7 if number == 2 else 90] = 2500  # missed beats, many on one night
            beats.append(run(midnight, rr.astype(int).tolist()))
    kinds = {"step_count": steps, "sleep_stage": stages, "rr_interval": beats}
    files = {kind: write(folder, kind, rows) for kind, rows in kinds.items()}
    enrolled = enrolment({"device": "band-1"}, {"device": "strap-1"}, {"patient": "p-2", "device": "band-2"})
    with warehouse.connect(files, enrolled) as con:
        found = days.compute(con, FIRST, LAST)
    found["rhythm"] = four_weeks.compute(found["day_clock"], found["night"], {}, FIRST, LAST)
    return {name: rows.to_pylist() for name, rows in found.items()}


def assert_told(rows, names, reason):
    """Every null has the reason, every reason a null; both ends are there."""
    told = [[row[name] is None for name in names] for row in rows]
    wrong = [row for row, nulls in zip(rows, told, strict=True) if any(nulls) != (row[reason] is not None)]
    assert not wrong, wrong[:2]
    assert {row[reason] is None for row in rows} == {True, False}, f"{reason}: the clinic lacks a case"


@pytest.mark.parametrize(
    ("table", "names", "reason"),
    [
        ("night", SLEEP, "sleep_quality"),
        ("night", HRV, "hrv_quality"),
        ("patient_day", ("steps",), "quality"),
        ("patient_day", CADENCE, "cadence_quality"),
        ("hrv_window", (*HRV, "sd1_ms", "sd2_ms"), "quality"),
        ("hrv_window", ("lf_ms2", "hf_ms2"), "spectral_quality"),
        ("rhythm", RHYTHM, "rhythm_quality"),
        ("rhythm", ("sleep_regularity",), "sleep_regularity_quality"),
    ],
)
def test_a_null_has_its_reason(tables, table, names, reason):
    assert_told(tables[table], names, reason)


def test_unknown_work_days_are_said(tables):
    assert {row["social_jetlag_h"] for row in tables["rhythm"]} == {None}
    assert all(row["social_jetlag_quality"] for row in tables["rhythm"])


def test_what_follows_another_value_is_null_with_it(tables):
    for row in tables["night"]:
        assert (row["ln_rmssd"] is None) == (not row["rmssd_ms"])
        assert (row["nap_count"] is None) == (row["nap_min"] is None)
        assert row["resting_hr_bpm"] is not None or row["hrv_quality"] is not None
    for row in tables["hrv_window"]:
        assert (row["lf_hf"] is None) == (not row["hf_ms2"])


def test_the_holes_are_of_many_kinds(tables):
    said = {row[name] for row in tables["night"] for name in ("sleep_quality", "hrv_quality")}
    said |= {row[name] for name in ("quality", "cadence_quality") for row in tables["patient_day"]}
    for words in (
        "no sleep record",
        "main sleep of",
        "stage unknown",
        "no RR",
        "windows count",
        "no step",
        "worn",
        "minute by minute",
    ):
        assert any(words in one for one in said if one), (words, said)
