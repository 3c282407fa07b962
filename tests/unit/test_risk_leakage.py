"""The leakage battery: nothing of the future, of the person's name or of the calendar gets into a risk."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from analytics.risk.arrays import EPOCH
from analytics.risk.cohort import make_cohort
from analytics.risk.flare import score
from analytics.risk.landmarks import make_landmarks, within
from analytics.risk.measures import Resampling, auc, within_patient_auc
from analytics.risk.model import SHIPPED
from analytics.risk.panel import make_panel
from analytics.risk.site_fit import fit_stages
from devices.sim.flares import simulate_flares

PEOPLE, DAYS = 250, 240
FIRST = date(2025, 1, 1)


def panel_of(made, last=DAYS - 1):
    return make_panel(made.days, FIRST + timedelta(days=last), made.notes)


def fitted(cohort):
    return fit_stages(cohort, np.ones(len(cohort.rows), np.bool_), SHIPPED, "m")[0]


@pytest.fixture(scope="module")
def made():
    return simulate_flares(PEOPLE, DAYS, seed=21)


@pytest.fixture(scope="module")
def cohort(made):
    return make_cohort(panel_of(made))


@pytest.fixture(scope="module")
def other():
    """People nobody has fitted on."""
    return make_cohort(panel_of(simulate_flares(PEOPLE, DAYS, seed=22)))


def shown(panel):
    cohort = make_cohort(panel)
    found = score(panel, cohort.labels, cohort.deviations)
    return {"risk": found.risk_7d, "risk_3d": found.risk_3d, "deviation": found.deviation} | {
        f"z of {name}": own.z for name, own in cohort.deviations.items()
    }


@pytest.mark.parametrize("last", [60, 111, 200])
def test_what_comes_later_changes_nothing_not_the_last_bit(made, last):
    whole, cut = shown(panel_of(made)), shown(panel_of(made, last))
    for name, matrix in cut.items():
        first = whole[name].shape[1] - DAYS
        np.testing.assert_array_equal(
            matrix[:, -30:], whole[name][:, first + last - 29 : first + last + 1], name
        )


def test_late_rows_change_only_the_days_they_touch(made):
    dates = np.asarray(made.days["local_date"].cast(pa.int32())) - (FIRST - EPOCH).days
    late = (dates == 150) & (np.asarray(made.days["patient"]) == "patient-00007")
    assert late.sum() == 1
    without = panel_of(type(made)(**(vars(made) | {"days": made.days.filter(pa.array(~late))})))
    before, after = shown(without), shown(panel_of(made))
    for name in before:
        differs = ~((before[name] == after[name]) | (np.isnan(before[name]) & np.isnan(after[name])))
        assert set(np.nonzero(differs.any(axis=1))[0]) <= {6}, name
        assert not differs[:, :150].any(), name


def test_todays_value_is_no_part_of_its_own_baseline(made):
    panel = panel_of(made)
    moved = {name: values.copy() for name, values in panel.values.items()}
    for name, values in moved.items():
        values[:, -1] = 10.0 if name in ("nrs", "mood") else values[:, -1] * 3
    other = make_cohort(type(panel)(**(vars(panel) | {"values": moved})))
    for name, own in make_cohort(panel).deviations.items():
        np.testing.assert_array_equal(own.center[:, -1], other.deviations[name].center[:, -1])
        np.testing.assert_array_equal(own.scale[:, -1], other.deviations[name].scale[:, -1])


def test_onsets_dealt_anew_within_each_patient_cannot_be_told_from_her_days(cohort):
    model = fitted(cohort)
    resampling = Resampling(PEOPLE, draws=200)
    rng = np.random.default_rng(3)
    # her days are turned round by a random stretch: as many onsets, as clustered, elsewhere
    onset = np.stack([np.roll(own, rng.integers(60, DAYS - 60)) for own in cohort.labels.is_onset])
    dealt = make_landmarks(cohort.features, onset, cohort.is_scored, np.ones_like(onset))
    real = within(cohort.hazards(model, has_history=False), 1)
    matrix = np.full(onset.shape, np.nan)
    matrix[cohort.rows.patient, cohort.rows.column] = real
    there = ~np.isnan(matrix[dealt.patient, dealt.column])
    rows = dealt.where(there)
    found = within_patient_auc(rows, matrix[rows.patient, rows.column], 1, resampling)
    skill = within_patient_auc(cohort.rows, real, 1, resampling)
    assert skill.low > 0.5
    assert found.low < 0.5 < found.high or abs(found.value - 0.5) < 0.02


def test_where_nothing_predicts_nothing_is_found():
    train, test = (
        make_cohort(panel_of(simulate_flares(PEOPLE, DAYS, seed=seed, scenario="null"))) for seed in (31, 32)
    )
    model = fitted(train)
    resampling = Resampling(PEOPLE, draws=100)
    for days in (1, 3, 7):
        assert (
            auc(test.rows, within(test.hazards(model, has_history=False), days), days, resampling).value
            <= 0.54
        )


@pytest.mark.parametrize("what", ["patient", "week"])
def test_who_it_is_and_which_week_do_not_help(cohort, other, what):
    """A number that only names a patient or a week, in the place of a feature that says nothing."""
    model = fitted(cohort)
    name = "midirr"
    means = np.random.default_rng(5).standard_normal(1000)

    def named(own):
        code = np.arange(PEOPLE)[:, None] + np.zeros(own.panel.shape) if what == "patient" else None
        week = np.arange(own.panel.shape[1]) // 7 + np.zeros(own.panel.shape)
        marked = own.features | {name: means[(week if code is None else code).astype(np.int64)]}
        rows = make_landmarks(marked, own.labels.is_onset, own.is_scored, own.is_observed)
        return type(own)(**(vars(own) | {"features": marked, "rows": rows}))

    resampling = Resampling(PEOPLE, draws=20)
    marked = fitted(named(cohort))
    with_name = auc(named(other).rows, within(named(other).hazards(marked), 7), 7, resampling).value
    without = auc(other.rows, within(other.hazards(model), 7), 7, resampling).value
    assert with_name <= without + 0.01


def test_labels_of_a_month_earlier_take_the_skill_away(cohort, other):
    model = fitted(cohort)
    resampling = Resampling(PEOPLE, draws=200)

    def skill(onset):
        rows = make_landmarks(other.features, onset, other.is_scored, other.is_observed)
        moved = type(other)(**(vars(other) | {"rows": rows}))
        return within_patient_auc(rows, within(moved.hazards(model, has_history=False), 1), 1, resampling)

    earlier = np.zeros_like(other.labels.is_onset)
    earlier[:, :-30] = other.labels.is_onset[:, 30:]
    now, then = skill(other.labels.is_onset), skill(earlier)
    assert now.low > 0.5
    assert then.value < now.value - 0.02
    assert abs(then.value - 0.5) < 0.03
