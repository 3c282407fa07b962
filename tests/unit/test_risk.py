"""Baseline, label, deviation and trend by hand; and no day knows a later one."""

import dataclasses
import json
import math
from datetime import date, timedelta
from statistics import median

import numpy as np
import pyarrow as pa
import pytest

from analytics.risk import scores, trend
from analytics.risk.features import FEATURES
from analytics.risk.labels import flare_labels
from analytics.risk.model import SHIPPED
from analytics.risk.panel import make_panel
from analytics.risk.past import RAW_DAYS
from tests.fixtures_analytics import patient_days

FIRST = date(2026, 1, 5)


def day(number):
    return FIRST + timedelta(days=number)


def score(rows, number, name):
    table = scores.compute(rows, day(number), day(number))[name]
    return table.to_pylist()


def baseline(rows, number, metric):
    (found,) = [row for row in score(rows, number, "baseline") if row["metric"] == metric]
    return found


def oracle_z(values, t, within_sd):
    """Deviation of day t, spelt out."""
    window = [v for v in values[max(0, t - 35) : max(0, t - 7)] if v is not None]
    if len(window) < 7:
        window = [v for v in values[max(0, t - 35) : max(0, t - 1)] if v is not None]
    n = len(window)
    if n < 5 or values[t] is None:
        return None
    center = median(window)
    spread = 1.4826 * median(abs(v - center) for v in window)
    scale = math.sqrt((n * spread**2 + 7 * within_sd**2) / (n + 7)) * math.sqrt(1 + 1.57 / n)
    return max(-4.0, min(4.0, (values[t] - center) / scale))


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.6, 0.9])
def test_z_is_that_of_the_plain_reading(missing):
    rng = np.random.default_rng(int(100 * missing))
    values = [None if rng.random() < missing else float(v) for v in rng.normal(400, 60, 60)]
    table = scores.compute(patient_days(FIRST, {"tst_min": values}), day(0), day(59))["baseline"].to_pylist()
    found = {row["local_date"]: row for row in table if row["metric"] == "tst_min"}
    some = 0
    for t in range(60):
        expected = oracle_z(values, t, 55)
        row = found[day(t)]
        assert row["z"] == (None if expected is None else pytest.approx(expected, rel=1e-9))
        assert (row["quality"] is None) == (expected is not None)
        some += expected is not None
    assert some > 2 or missing == 0.9


def test_constant_series_deviates_by_nothing():
    found = baseline(patient_days(FIRST, {"steps": [5000.0] * 40}), 39, "steps")
    assert found["z"] == 0
    assert found["center"] == pytest.approx(math.log(5000))
    assert found["scale"] > 0


def test_steps_are_compared_as_logarithms_above_a_floor():
    found = baseline(patient_days(FIRST, {"steps": [5000.0] * 39 + [3.0]}), 39, "steps")
    assert found["value"] == pytest.approx(math.log(200))


def test_another_device_starts_another_baseline():
    rows = patient_days(FIRST, {"steps": [5000.0] * 30 + [9000.0] * 10})
    swapped = ["steps=band-1"] * 30 + ["steps=band-2"] * 10
    at = rows.schema.get_field_index("device_segment")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(swapped))
    assert baseline(rows, 31, "steps")["quality"] == "0 baseline days, at least 5 needed"
    assert baseline(rows, 39, "steps")["z"] == 0


def nrs_labels(nrs, taps=()):
    rows = patient_days(FIRST, {"nrs": nrs, "is_flare_reported": [i in taps for i in range(len(nrs))]})
    found = flare_labels(make_panel(rows, day(len(nrs) - 1)))
    return np.flatnonzero(found.is_flare_day[0]).tolist(), np.flatnonzero(found.is_onset[0]).tolist()


def test_two_days_of_pain_make_a_flare_and_one_does_not():
    usual = [3.0] * 40
    assert nrs_labels([*usual, 5.0, 3.0, 3.0, 3.0]) == ([], [])
    assert nrs_labels([*usual, 5.0, 3.0, 5.0, 3.0]) == ([40, 42], [40])
    assert nrs_labels([*usual, 4.9, 3.0, 5.0, 3.0]) == ([], [])


def test_a_tap_is_a_flare_and_three_quiet_reports_close_it():
    assert nrs_labels([3.0] * 20, taps={5, 8}) == ([5, 8], [5])
    assert nrs_labels([3.0] * 20, taps={5, 9}) == ([5, 9], [5, 9])
    assert nrs_labels([None] * 20, taps={5, 11, 19}) == ([5, 11, 19], [5, 19])


def test_above_nine_only_the_tap_speaks():
    assert nrs_labels([9.5] * 40 + [10.0] * 5, taps={44}) == ([44], [44])
    assert nrs_labels([8.5] * 40 + [10.0] * 2) == ([40, 41], [40])


def cohort(days=70, people=6):
    """Patients with gaps, flares and shifts."""
    rng = np.random.default_rng(11)
    tables = []
    for number in range(people):

        def holes(values, share=0.3):
            return [None if rng.random() < share else float(v) for v in values]

        level = np.where(np.arange(days) > 50, 0.6, 1)
        columns = {
            "steps": holes(np.exp(rng.normal(8.3, 0.4, days)) * level),
            "tst_min": holes(rng.normal(400, 50, days) * level),
            "waso_min": holes(rng.normal(40, 14, days)),
            "midpoint_h": holes(rng.normal(3, 0.8, days)),
            "resting_hr_bpm": holes(rng.normal(62, 2, days)),
            "rmssd_ms": holes(np.exp(rng.normal(3.4, 0.18, days)) * level),
            "nrs": holes(np.clip((rng.normal(4.5, 1, days) + 3 * (np.arange(days) % 11 > 7)).round(), 0, 10)),
            "mood": holes(np.clip(rng.normal(4, 1.2, days).round(), 0, 10)),
            "is_flare_reported": (rng.random(days) < 0.05).tolist(),
        }
        tables.append(patient_days(FIRST, columns, patient=f"p-{number}"))
    return pa.concat_tables(tables)


def test_no_score_changes_when_the_future_is_deleted():
    rows = cohort()
    whole = scores.compute(rows, day(30), day(69))
    for number in range(30, 70, 2):
        past = rows.filter(pa.compute.less_equal(rows["local_date"], pa.scalar(day(number))))
        for name, table in scores.compute(past, day(number), day(number)).items():
            of_day = pa.compute.equal(whole[name]["local_date"], pa.scalar(day(number)))
            assert table.equals(whole[name].filter(of_day)), name
            assert table.num_rows


def test_order_of_rows_and_other_patients_do_not_matter():
    rows = cohort()
    whole = scores.compute(rows, day(60), day(69))
    turned = scores.compute(rows.take(np.random.default_rng(1).permutation(rows.num_rows)), day(60), day(69))
    alone = scores.compute(rows.filter(pa.compute.equal(rows["patient"], "p-3")), day(60), day(69))
    for name, table in whole.items():
        assert turned[name].equals(table)
        assert alone[name].equals(table.filter(pa.compute.equal(table["patient"], "p-3")))


def test_deviation_is_the_mean_of_nine_cells_and_negative_is_worse():
    usual = {"steps": [5000.0] * 40, "tst_min": [420.0] * 40, "rmssd_ms": [30.0] * 40}
    worse = {"steps": [2500.0] * 3, "tst_min": [330.0] * 3, "rmssd_ms": [24.0] * 3}
    rows = patient_days(FIRST, {name: usual[name] + worse[name] for name in usual})
    (risk,) = score(rows, 42, "flare_risk")
    cells = [baseline(rows, t, name)["z"] for t in (40, 41, 42) for name in usual]
    assert risk["cell_count"] == 9
    assert risk["deviation"] == pytest.approx(sum(cells) / 9)
    assert risk["deviation"] < -1
    assert risk["sentence"].startswith("Changed from usual over the last 3 days: ")
    for number in (
        "2,500 steps a day (usually 5,000)",
        "5 h 30 of sleep a night (usually 7 h 00)",
        "RMSSD 24 ms",
    ):
        assert number in risk["sentence"]
    assert "risk" not in risk["sentence"].lower()
    assert "caused" not in risk["sentence"]


@pytest.mark.parametrize(("present", "has_value"), [(4, False), (5, True)])
def test_five_cells_of_nine_are_needed(present, has_value):
    cells = {"steps": [5000.0] * 43, "tst_min": [420.0] * 43, "rmssd_ms": [30.0] * 43}
    gone = [(name, t) for t in (40, 41, 42) for name in cells][present:]
    for name, t in gone:
        cells[name][t] = None
    (risk,) = score(patient_days(FIRST, cells), 42, "flare_risk")
    assert risk["cell_count"] == present
    assert (risk["deviation"] is not None) is has_value


def test_statuses_and_their_reasons():
    usual = [3.0] * 40
    (learning,) = score(patient_days(FIRST, {"nrs": [3.0] * 13}), 12, "flare_risk")
    assert (learning["status"], learning["reason"]) == ("learning", "day 13 of 14")
    (ready,) = score(patient_days(FIRST, {"nrs": [3.0] * 14}), 13, "flare_risk")
    assert ready["status"] == "uncalibrated"
    (possible,) = score(patient_days(FIRST, {"nrs": [*usual, 6.0]}), 40, "flare_risk")
    assert (possible["status"], possible["risk_7d"]) == ("possible_flare", None)
    assert possible["reason"] == f"pain 6 (usually 3.0) on {day(40)}"
    (flare,) = score(patient_days(FIRST, {"nrs": [*usual, 6.0, 6.0]}), 41, "flare_risk")
    assert flare["status"] == "in_flare"
    (silent,) = score(patient_days(FIRST, {"nrs": [*usual, None, None, None, None]}), 43, "flare_risk")
    assert silent["status"] == "insufficient_data"
    assert silent["risk_7d"] is None


def test_hazard_of_a_usual_day_in_closed_form():
    (risk,) = score(patient_days(FIRST, {"nrs": [3.0] * 40}), 39, "flare_risk")
    # all features 0, no flare ever known, no onset against the expected ones
    logit = math.log(0.03 / 0.97)
    recent = -0.15
    first = 1 / (1 + math.exp(-(logit + 0.5 * recent)))
    # at risk and sufficient from the 7th score on; the day after it known up to three days ago
    own = math.log(4 / (4 + first * len(range(6, 36))))
    hazards = [1 / (1 + math.exp(-(logit + own + recent * (0.5 - 0.25 * k / 6)))) for k in range(7)]
    assert risk["risk_7d"] == pytest.approx(1 - math.prod(1 - h for h in hazards), rel=1e-9)
    assert risk["risk_3d"] == pytest.approx(1 - math.prod(1 - h for h in hazards[:3]), rel=1e-9)
    assert [name for name, _ in json.loads(risk["drivers"])] == ["own_history"]


def theil_sen(values, start=FIRST):
    weekend = np.array([(start + timedelta(days=i)).weekday() >= 5 for i in range(56)])
    return trend.theil_sen(np.array([values], float), weekend)


def test_trend_of_a_straight_line():
    values = np.log(5000) + np.arange(56) * math.log(1.2) / 28
    found = theil_sen(values)
    assert found.change_pct[0] == pytest.approx(20, rel=0.05)
    assert found.p_value[0] < 0.001


def test_no_trend_in_a_constant_series():
    found = theil_sen([8.0] * 56)
    assert (found.change_pct[0], found.p_value[0]) == (0, pytest.approx(1))


def test_too_few_days_have_no_trend():
    values = [8.0 + 0.02 * i if i % 2 else math.nan for i in range(56)]
    assert math.isnan(theil_sen([*values[:-1], math.nan]).change_pct[0])
    assert not math.isnan(theil_sen(values).change_pct[0])


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_type_one_error_of_the_trend(rho):
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.46, (1500, 56))
    for t in range(1, 56):
        noise[:, t] = rho * noise[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    noise[rng.random(noise.shape) < 0.3] = math.nan
    weekend = np.arange(56) % 7 >= 5
    found = trend.theil_sen(noise, weekend)
    tested = ~np.isnan(found.p_value)
    assert 0.02 < (found.p_value[tested] < 0.05).mean() < 0.07


def test_no_days_no_rows():
    empty = patient_days(FIRST, {"steps": [1.0]}).slice(0, 0)
    assert all(table.num_rows == 0 for table in scores.compute(empty, day(0), day(3)).values())


def test_a_night_that_takes_over_equals_the_one_that_knows_everything():
    rows = cohort(days=120)
    # every feature weighs something, and the threshold is passed now and then
    model = dataclasses.replace(SHIPPED, weights=dict.fromkeys(FEATURES, 0.05), theta=0.2)
    whole = scores.compute(rows, day(70), day(119), model=model)
    assert any(whole["flare_risk"]["would_alert"].to_pylist())
    for number in range(75, 110, 3):
        before = whole["flare_risk"].filter(
            pa.compute.equal(whole["flare_risk"]["local_date"], day(number - 1))
        )
        recent = rows.filter(pa.compute.greater_equal(rows["local_date"], pa.scalar(day(number - RAW_DAYS))))
        night = scores.compute(recent, day(number), day(number + 9), model=model, before=before)
        for name in ("baseline", "flare_risk"):
            dates = whole[name]["local_date"]
            asked = pa.compute.and_(
                pa.compute.greater_equal(dates, pa.scalar(day(number))),
                pa.compute.less_equal(dates, pa.scalar(day(number + 9))),
            )
            assert night[name].equals(whole[name].filter(asked)), name


def flares_of_all_ages(days=90, newest=75):
    """People of whom each had a flare a day earlier than the one before: reported, by pain, and twice."""
    rng = np.random.default_rng(12)
    tables = []
    for age in range(16):
        for kind in ("tap", "pain", "twice"):
            pain = rng.normal(4, 0.7, days).round()
            taps = np.zeros(days, bool)
            if kind == "tap":
                taps[newest - age] = True
            else:
                pain[newest - age - 1 : newest - age + 1] = 9
                taps[newest - age - 9] = kind == "twice"
            columns = {"nrs": pain.tolist(), "is_flare_reported": taps.tolist()}
            tables.append(patient_days(FIRST, columns, patient=f"{kind}-{age}"))
    return pa.concat_tables(tables)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_nights_carried_from_one_to_the_next_equal_the_whole_past_at_every_age_of_a_flare(width):
    rows = flares_of_all_ages()
    model = dataclasses.replace(SHIPPED, theta=0.2)
    whole = scores.compute(rows, day(55), day(89), model=model)["flare_risk"]

    def nights(table, first, last):
        dates = table["local_date"]
        low, high = (pa.scalar(day(number)) for number in (first, last))
        return table.filter(
            pa.compute.and_(pa.compute.greater_equal(dates, low), pa.compute.less_equal(dates, high))
        )

    carried = nights(whole, 55, 59)
    for number in range(60, 90, width):
        before, last = nights(carried, number - 1, number - 1), min(number + width - 1, 89)
        recent = nights(rows, number - RAW_DAYS, last)
        carried = scores.compute(recent, day(number), day(last), model=model, before=before)["flare_risk"]
        assert carried.equals(nights(whole, number, last)), number
    pending = whole["hazard_pending"].to_pylist()
    assert all(len(one) == 4 for one in pending)
    assert [one for one in pending if None in one and one != [None] * 4]
