"""What suspends, segments, alerts and calibrates: notes, scales, models, shadow alerts, progress."""

import dataclasses
import json
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from analytics.risk import flare, hazard, scores
from analytics.risk.context import CONTEXT
from analytics.risk.features import FEATURES
from analytics.risk.model import SHIPPED, Model, ReferenceClass
from analytics.risk.panel import make_panel
from analytics.risk.progress import progress
from analytics.risk.scales import DEFAULT_SCALES, Scales, estimate_scales
from analytics.risk.stages import training_days
from tests.fixtures_analytics import patient_days

FIRST = date(2026, 1, 5)


def day(number):
    return FIRST + timedelta(days=number)


def notes(*rows):
    made = datetime.fromisoformat("2026-01-01T00:00Z")
    whole = [
        {"patient": "p-1", "about": about, "first_date": day(low), "recorded_utc": made}
        | {"last_date": None if high is None else day(high)}
        for about, low, high in rows
    ]
    return pa.Table.from_pylist(whole, schema=CONTEXT)


def usual(days=60):
    return {
        "steps": [5000.0 + i % 5 for i in range(days)],
        "tst_min": [420.0 + i % 5 for i in range(days)],
        "resting_hr_bpm": [60.0 + i % 3 for i in range(days)],
        "rmssd_ms": [30.0 + i % 3 for i in range(days)],
        "nrs": [3.0] * days,
        "is_flare_reported": [False] * days,
    }


def risk(columns, number, **more):
    table = scores.compute(patient_days(FIRST, columns), day(number), day(number), **more)
    (row,) = table["flare_risk"].to_pylist()
    return row, {one["metric"]: one for one in table["baseline"].to_pylist()}


def test_a_journey_suspends_scoring_and_is_nobodys_baseline():
    columns = usual()
    columns["steps"][40:47] = [20_000.0] * 7
    during, metrics = risk(columns, 43, context=notes(("travel", 40, 46)))
    assert (during["status"], during["risk_7d"]) == ("insufficient_data", None)
    assert during["reason"] == "suspended: travel noted for this day"
    assert during["sentence"] == "Not judged (travelling)."
    assert metrics["steps"]["z"] is None
    assert metrics["nrs"]["z"] is not None
    after, metrics = risk(columns, 57, context=notes(("travel", 40, 46)))
    assert after["status"] == "uncalibrated"
    assert np.exp(metrics["steps"]["center"]) == pytest.approx(5002, abs=3)
    assert metrics["steps"]["baseline_count"] == 21


def test_a_flare_unfolding_across_a_journey_is_still_one():
    columns = usual()
    columns["nrs"][43:45] = [7.0, 7.0]
    found, _ = risk(columns, 44, context=notes(("travel", 40, 46)))
    assert found["status"] == "in_flare"
    assert found["sentence"].endswith("; not compared with usual (travelling).")


def test_a_heart_medication_begins_new_baselines_of_the_heart_only():
    _, metrics = risk(usual(), 50, context=notes(("medication", 45, None)))
    counts = {name: metrics[name]["baseline_count"] for name in ("steps", "resting_hr_bpm", "rmssd_ms")}
    assert counts == {"steps": 28, "resting_hr_bpm": 4, "rmssd_ms": 4}
    _, metrics = risk(usual(), 50, context=notes(("algorithm-change", 45, None)))
    assert metrics["steps"]["baseline_count"] == 4


def test_above_nine_the_row_says_that_only_reports_count():
    found, _ = risk(usual() | {"nrs": [9.5] * 60}, 50)
    assert "only a reported flare counts" in found["label_quality"]
    assert risk(usual(), 50)[0]["label_quality"] is None


def test_what_made_the_last_flare_is_kept():
    columns = usual()
    columns["nrs"][40:42] = [7.0, 7.0]
    assert risk(columns, 50)[0]["last_flare_source"] == "nrs"
    columns["is_flare_reported"][41] = True
    found, _ = risk(columns, 50)
    assert (found["last_flare_source"], found["last_flare_date"]) == ("nrs and tap", day(41))
    assert found["last_onset_date"] == day(40)


def approved(**more):
    return dataclasses.replace(SHIPPED, version="site-1", standing="approved", **more)


def test_an_approved_model_is_ok_and_says_what_followed_on_similar_days():
    counted = (ReferenceClass(0.1, 5000, 100), ReferenceClass(0.3, 2000, 600), ReferenceClass(1.0, 50, 40))
    found, _ = risk(usual(), 50, model=approved(reference=counted))
    assert (found["status"], found["reference_per_100"]) == ("ok", 30)
    assert "of 100 similar days about 30 were followed by a flare within 7 days" in found["sentence"]
    shadow, _ = risk(usual(), 50)
    assert "similar days" not in shadow["sentence"]
    # fifty days are too few to say anything
    rare = approved(reference=(ReferenceClass(1.0, 50, 40),))
    assert risk(usual(), 50, model=rare)[0]["reference_per_100"] is None


def test_shadow_alerts_wait_seven_days_and_a_model_without_threshold_has_none():
    rows = patient_days(FIRST, usual())
    always = dataclasses.replace(SHIPPED, theta=0.0)
    table = scores.compute(rows, day(0), day(59), model=always)["flare_risk"].to_pylist()
    days = [number for number, row in enumerate(table) if row["would_alert"]]
    assert days[0] == 13
    assert set(np.diff(days)) == {7}
    assert table[25]["last_alert_date"] == day(20)
    never = scores.compute(rows, day(0), day(59), model=dataclasses.replace(SHIPPED, theta=None))
    assert not any(never["flare_risk"]["would_alert"].to_pylist())


def test_heart_values_of_a_new_device_alert_nobody_for_three_weeks():
    rows = patient_days(FIRST, usual())
    text = "steps=a sleep=a hrv={0} pulse={0}"
    segments = pa.array([text.format("a" if i < 30 else "b") for i in range(60)])
    at = rows.schema.get_field_index("device_segment")
    panel = make_panel(rows.set_column(at, rows.schema.field(at), segments), day(59))
    assert np.flatnonzero(flare.is_settling(panel)[0]).tolist() == list(range(30, 51))
    led = {name: np.zeros((1, 1)) for name in FEATURES}
    assert flare.is_heart_led(led | {"rhr_3": np.ones((1, 1))})[0, 0]
    assert not flare.is_heart_led(led | {"rhr_3": np.ones((1, 1)), "nrs_1": np.ones((1, 1))})[0, 0]


def test_only_an_approved_version_gives_a_load_and_none_where_a_new_device_leads():
    curve = {"7d": ((0.0, 40.0), (0.05, 12.5), (0.9, 0.0))}
    found, _ = risk(usual(), 50, model=approved(loads=curve))
    assert found["alert_load_7d"] == 12.5
    assert found["alert_load_3d"] is None
    fitted = dataclasses.replace(approved(loads=curve), standing="fitted")
    assert risk(usual(), 50, model=fitted)[0]["alert_load_7d"] is None
    assert risk(usual(), 5, model=approved(loads=curve))[0]["alert_load_7d"] is None
    # of all features the heart's alone weigh, and its device is new
    columns = usual() | {"resting_hr_bpm": [60.0 + i % 3 for i in range(55)] + [75.0] * 5}
    heart = approved(loads=curve, weights={"rhr_3": 0.1}, slopes={})
    rows = patient_days(FIRST, columns)
    at = rows.schema.get_field_index("device_segment")
    for begins, is_told in ((20, True), (45, False)):
        devices = [f"steps=a sleep=a hrv=a pulse={'a' if i < begins else 'b'}" for i in range(60)]
        changed = rows.set_column(at, rows.schema.field(at), pa.array(devices))
        (row,) = scores.compute(changed, day(56), day(56), model=heart)["flare_risk"].to_pylist()
        assert json.loads(row["contributions"])["rhr_3"] > 0
        assert (row["alert_load_7d"] is not None) == is_told


def test_a_model_is_the_same_after_json_and_refuses_what_it_does_not_know():
    full = approved(
        bands=(0.1, 0.2),
        reference=(ReferenceClass(1.0, 200, 20),),
        theta=0.4,
        loads={"7d": ((0.1, 9.0), (0.5, 0.0))},
    )
    assert Model.from_json(full.to_json()) == full
    assert Scales.from_json(DEFAULT_SCALES.to_json()) == DEFAULT_SCALES
    with pytest.raises(ValueError, match="no feature"):
        dataclasses.replace(SHIPPED, weights={"shoe_size": 1.0})


def test_scales_are_those_of_the_site_where_enough_people_have_enough_days():
    rng = np.random.default_rng(4)
    tables = [
        patient_days(
            FIRST,
            {
                "steps": np.exp(rng.normal(8 + n % 3, 0.25, 60)).tolist(),
                "tst_min": [400.0] * 20 + [None] * 40,
            },
            patient=f"p-{n}",
        )
        for n in range(25)
    ]
    found = estimate_scales(make_panel(pa.concat_tables(tables), day(59)), "site-1")
    assert found.within_sd["steps"] == pytest.approx(0.25, abs=0.03)
    assert found.patients["steps"] == 25
    assert found.within_sd["tst_min"] == DEFAULT_SCALES.within_sd["tst_min"]
    assert (found.patients["tst_min"], found.version) == (0, "site-1")


def test_progress_names_the_next_stage_and_when_there_will_be_enough_to_train_on():
    today = day(100)
    onsets = [day(n) for n in range(45, 101, 2)]
    found = progress(onsets, FIRST, today)
    # of 101 days the last 9 are not known, 30 validate and 9 lie between: the onsets before day 53 train
    assert (found.onsets, found.training, found.needed, found.per_week) == (28, 4, 100, 3.5)
    assert found.expected is not None
    trained = training_days((found.expected - FIRST).days + 1) - 1
    # one every second day: 72 more than those up to today
    assert trained - 100 == 144
    before = (found.expected - FIRST).days
    assert training_days(before) - 1 < trained
    assert progress([], FIRST, today).expected is None
    assert progress([day(1)], FIRST, day(400)).expected is None, "none comes any more"
    assert progress([day(1)] * 300, FIRST, today).needed is None
    # a site of two weeks has the rate of two weeks
    assert progress([day(3)] * 7, FIRST, day(13)).per_week == 3.5


def test_bands_are_the_sites_own():
    model = approved(bands=(0.1, 0.2), theta=0.3)
    found = [hazard.band_of(model, risk) for risk in (0.05, 0.1, 0.15, 0.2, 0.3, 0.31, float("nan"))]
    assert found == ["low", "low", "usual", "raised", "raised", "high", None]
    assert hazard.band_of(SHIPPED, 0.2) is None


def test_nothing_is_said_of_a_deviation_before_day_fourteen():
    columns = usual(20)
    columns["steps"][9:] = [500.0] * 11
    assert risk(columns, 12)[0]["deviation"] is None
    early, _ = risk(columns, 12)
    assert early["cell_count"] == 9
    assert "Learning" in early["sentence"]
    assert risk(columns, 13)[0]["deviation"] < 0
    columns["is_flare_reported"][12] = True
    assert risk(columns, 12)[0]["sentence"].endswith("; what is usual is still being learned.")
