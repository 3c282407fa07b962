"""The simulated cohort with known truth: what its pages say it is, measured on what it makes."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from devices.sim.flare_course import KINDS, LOADINGS
from devices.sim.flares import SCENARIOS, simulate_flares, with_later_arrival

FIRST, DAYS = date(2025, 1, 1), 365


@pytest.fixture(scope="module")
def cohort():
    return simulate_flares(400, DAYS, seed=7, first=FIRST)


def test_the_same_seed_gives_the_same_cohort_and_another_one_another():
    first, again, other = (simulate_flares(20, 90, seed=seed) for seed in (3, 3, 4))
    assert first.days.equals(again.days)
    assert first.notes.equals(again.notes)
    assert not first.days.equals(other.days)


def test_one_row_per_person_and_enrolled_date(cohort):
    keys = cohort.days.select(["patient", "local_date"])
    assert keys.num_rows == keys.group_by(["patient", "local_date"]).aggregate([]).num_rows
    starts = cohort.days.group_by("patient").aggregate([("local_date", "min")])["local_date_min"].to_pylist()
    assert min(starts) == FIRST
    assert FIRST + timedelta(days=50) < max(starts) < FIRST + timedelta(days=60)


def test_streams_load_on_vulnerability_as_documented(cohort):
    u = cohort.course.vulnerability.ravel()
    for name, loading in LOADINGS.items():
        found = np.corrcoef(u, cohort.course.deviation[name].ravel())[0, 1]
        assert found == pytest.approx(loading, abs=0.03), name
        assert 0.1 <= abs(loading) <= 0.4


def test_flares_of_every_kind_and_most_of_them_short(cohort):
    course = cohort.course
    kinds = np.bincount(course.kind[course.is_onset], minlength=len(KINDS)) / course.is_onset.sum()
    assert (kinds > 0.05).all()
    lengths = _lengths(course.flare_day)
    assert np.mean(lengths <= 3) == pytest.approx(0.78, abs=0.03)
    assert set(course.kind[~course.is_predictable][course.is_onset[~course.is_predictable]]) == {0}


def _lengths(flare_day):
    padded = np.pad(flare_day, ((0, 0), (0, 1)))
    return padded[:, :-1][(padded[:, :-1] > 0) & (padded[:, 1:] == 0) & (np.arange(DAYS) < DAYS - 1)]


def test_vulnerability_precedes_onsets_in_some_people_and_in_nobody_of_the_null(cohort):
    assert _u_before_onsets(cohort, cohort.course.is_predictable) > 0.25
    assert abs(_u_before_onsets(cohort, ~cohort.course.is_predictable)) < 0.08
    null = simulate_flares(400, DAYS, seed=7, scenario="null")
    assert abs(_u_before_onsets(null, np.ones(400, np.bool_))) < 0.06
    assert np.ptp(null.course.hazard) == 0


def _u_before_onsets(cohort, people):
    onset = cohort.course.is_onset[people][:, 1:]
    return cohort.course.vulnerability[people][:, :-1][onset].mean()


def test_days_of_23_and_25_hours_where_clocks_change(cohort):
    minutes = cohort.days["day_minutes"].to_numpy()
    zones = cohort.days["zone"].to_numpy()
    assert set(np.unique(minutes[zones == "Europe/Berlin"])) == {1380, 1440, 1500}
    assert set(np.unique(minutes[zones == "Asia/Tokyo"])) == {1440}


def test_answers_and_wear_are_missing_more_often_in_flares(cohort):
    course = cohort.course
    day = pc.subtract(cohort.days["local_date"].cast(pa.int32()), (FIRST - date(1970, 1, 1)).days).to_numpy()
    row = np.array([int(name[-5:]) - 1 for name in cohort.days["patient"].to_pylist()])
    is_in = course.flare_day[row, day] > 0
    for name in ("nrs", "tst_min"):
        missing = np.asarray(pc.is_null(cohort.days[name]))
        assert missing[is_in].mean() > missing[~is_in].mean() + 0.05, name


def test_rows_of_an_outage_come_late_and_some_come_twice(cohort):
    lateness = pc.subtract(
        cohort.days["arrival"].cast(pa.int32()), cohort.days["local_date"].cast(pa.int32())
    ).to_numpy()
    assert lateness.min() == 0
    assert 5 <= lateness.max() <= 18, "two outages may meet"
    night = FIRST + timedelta(days=200)
    known = cohort.known_by(night)
    assert max(known["local_date"].to_pylist()) == night
    whole = cohort.days.filter(pc.less_equal(cohort.days["local_date"], pa.scalar(night)))
    assert known.num_rows < whole.num_rows
    # the first version of a day that came twice has half its steps and no answer yet
    both = cohort.partial.filter(pc.equal(cohort.partial["local_date"], pa.scalar(night)))
    early = known.filter(
        pc.and_(pc.equal(known["local_date"], pa.scalar(night)), pc.is_in(known["patient"], both["patient"]))
    )
    assert early.num_rows > 0
    assert early["nrs"].null_count == early.num_rows


def test_everything_can_be_made_to_arrive_later(cohort):
    late = with_later_arrival(cohort, 5)
    night = FIRST + timedelta(days=100)
    assert max(late.known_by(night)["local_date"].to_pylist()) == night - timedelta(days=5)


def test_scenarios_change_the_end_of_the_year_only():
    usual, missing, swap = (
        simulate_flares(200, 200, seed=5, scenario=name) for name in ("usual", "missing", "swap")
    )
    change = FIRST + timedelta(days=200 - SCENARIOS["missing"].change_days)

    def answered(cohort, is_late):
        late = np.asarray(pc.greater_equal(cohort.days["local_date"], pa.scalar(change)))
        return 1 - np.asarray(pc.is_null(cohort.days["nrs"]))[late == is_late].mean()

    assert answered(missing, False) == answered(usual, False)
    assert answered(missing, True) < 0.75 * answered(usual, True)
    assert _wearables_at_end(swap) > _wearables_at_end(usual) + 0.5


def _wearables_at_end(cohort):
    last = cohort.days.filter(pc.greater(cohort.days["local_date"], pa.scalar(FIRST + timedelta(days=190))))
    segment = last["device_segment"].drop_null().to_pylist()
    return np.mean([int(text.partition("wearable-")[2][0]) for text in segment])
