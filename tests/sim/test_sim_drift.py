"""Drift on SYNTHETIC sites: one that stays as it was is not frozen by chance, one that changed is."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analytics.risk.cohort import Cohort, make_cohort
from analytics.risk.drift import Drift, Profile, measure_drift, profile
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import make_panel
from analytics.risk.site_fit import fit_site
from devices.sim.flares import simulate_flares

#: Days it is fitted on, and the looks after: every fourth week.
FITTED, LOOKS = 280, (28, 56, 84, 112)


def up_to(days: pa.Table, notes: pa.Table, last: date) -> Cohort:
    return make_cohort(make_panel(days.filter(pc.field("local_date") <= last), last, notes))


@pytest.fixture(scope="module", params=[(60, 1), (60, 3), (150, 2)], ids=str)
def site(request: pytest.FixtureRequest) -> tuple[Model, Profile, list[Cohort]]:
    """A fitted version, what it was fitted on, and the site as it stood at each look."""
    people, seed = request.param
    made = simulate_flares(people, FITTED + LOOKS[-1], seed=seed)
    known = up_to(made.days, made.notes, made.first + timedelta(days=FITTED - 1))
    model = fit_site(known, SHIPPED, "site-1", scales_version="s", draws=10).model
    looks = [up_to(made.days, made.notes, made.first + timedelta(days=FITTED - 1 + after)) for after in LOOKS]
    return model, profile(known, model), looks


def found(site: tuple[Model, Profile, list[Cohort]], model: Model | None = None) -> list[Drift]:
    return [measure_drift(look, model or site[0], site[1]) for look in site[2]]


def test_a_site_that_stays_as_it_was_goes_on(site: tuple[Model, Profile, list[Cohort]]) -> None:
    assert [one.reasons for one in found(site)] == [[]] * len(LOOKS)


def test_a_model_that_expects_three_times_as_many_is_frozen(
    site: tuple[Model, Profile, list[Cohort]],
) -> None:
    model, _, looks = site
    tripled = replace(model, intercepts=tuple(one + float(np.log(3)) for one in model.intercepts))
    # its O/E comes back by the personal rates, which learn from the flares that did not come
    last = found(site, tripled)[-1]
    assert last.observed_expected.value < 0.8
    assert any("alerts per patient-month" in reason for reason in last.reasons)
    assert any(reason.startswith("population stability index") for reason in last.reasons)
    silent = measure_drift(looks[-1], replace(model, theta=1.0), site[1])
    assert any("0.00 (0.00 to 0.00) alerts per patient-month" in reason for reason in silent.reasons)


def test_a_site_whose_wearables_go_is_frozen(site: tuple[Model, Profile, list[Cohort]]) -> None:
    model, known, looks = site
    gone = replace(looks[-1], is_sufficient=looks[-1].is_sufficient & False)
    (reason,) = [one for one in measure_drift(gone, model, known).reasons if "enough data" in one]
    assert reason.startswith("0 % of days have enough data")
