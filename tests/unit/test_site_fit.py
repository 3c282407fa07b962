"""The staged rule and the split by time; the evaluation and the gates' table as commands."""

import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from analytics.risk.cohort import make_cohort
from analytics.risk.landmarks import within
from analytics.risk.model import HORIZON, SHIPPED
from analytics.risk.panel import make_panel
from analytics.risk.site_fit import fit_site, fit_stages, load_curves, split_by_time
from analytics.risk.stages import training_days
from devices.sim.flares import simulate_flares
from flows.cli import main


def cohort_of(people, days, seed=5):
    made = simulate_flares(people, days, seed=seed)
    return make_cohort(make_panel(made.days, made.first + timedelta(days=days - 1), made.notes))


@pytest.fixture(scope="module")
def cohort():
    return cohort_of(150, 240)


def of_onsets(cohort, least, most):
    """Rows of as many of the first patients as have so many onsets."""
    for patients in range(1, len(cohort.panel.patients) + 1):
        chosen = cohort.rows.patient < patients
        if least <= cohort.rows.where(chosen).onsets() <= most:
            return chosen
    raise AssertionError("no such part")


@pytest.mark.parametrize(
    ("least", "most", "stage"),
    [(90, 99, "intercept"), (100, 112, "slope"), (285, 299, "slope"), (300, 312, "refit")],
)
def test_how_much_is_fitted_goes_by_the_onsets(cohort, least, most, stage):
    model, found, errors = fit_stages(cohort, of_onsets(cohort, least, most), SHIPPED, "m")
    assert found == stage
    ratios = {round(model.weights[name] / weight, 9) for name, weight in SHIPPED.weights.items()}
    if stage == "refit":
        assert errors is not None
        assert len(ratios) == len(SHIPPED.weights)
        # around the active weights, by a prior of .10 each
        moved = [model.weights[name] - weight for name, weight in SHIPPED.weights.items()]
        assert max(map(abs, moved)) < 0.3
        return
    (ratio,) = ratios
    assert (ratio == 1) == (stage == "intercept")
    assert 0.5 <= ratio <= 1.5
    assert model.intercepts != SHIPPED.intercepts


@pytest.mark.parametrize("off", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(("least", "most"), [(90, 99), (100, 112), (300, 312)])
def test_a_fit_expects_what_was_seen_with_its_own_personal_rates_wherever_it_began(cohort, least, most, off):
    train = of_onsets(cohort, least, most)
    began = replace(SHIPPED, intercepts=tuple(one + off for one in SHIPPED.intercepts))
    model, _, _ = fit_stages(cohort, train, began, "m")
    rows = cohort.rows.where(train)
    is_followed = rows.followed[:, None] > np.arange(HORIZON)
    expected = np.where(is_followed, cohort.hazards(model)[train], 0).sum()
    assert (rows.event > 0).sum() / expected == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("people", "days"), [(150, 240), (400, 240), (20, 130)])
def test_validation_is_the_last_knowable_days_and_reaches_back_for_onsets(people, days):
    cohort = cohort_of(people, days)
    split = split_by_time(cohort)
    # a week to follow, two days until the label is known
    assert split.last == cohort.panel.shape[1] - 10
    length = split.last - split.first + 1
    assert length % 7 == 0
    longest = max(28, min(112, split.last // 3))
    assert 28 <= length <= longest
    seen, fewer = (
        cohort.rows.where(cohort.rows.of_columns(first, split.last)).onsets()
        for first in (split.first, split.first + 7)
    )
    assert seen >= 200 or length + 7 > longest
    assert fewer < 200 or length == 28
    # of the spreads no day that validates is asked, however far back that reaches
    trained = training_days(cohort.panel.shape[1])
    assert 0 < trained <= split.train_to + 1
    assert length < longest - 6 or trained >= split.train_to + 1 - (longest - length)
    # what the last training row was followed by, and when it was known, is before the first validation day
    assert split.first - split.train_to > 9
    assert split.train_to + HORIZON + 2 < split.first


def test_nothing_of_the_validation_days_is_in_a_fit(cohort):
    split = split_by_time(cohort)
    found = fit_site(cohort, SHIPPED, "m", scales_version="s", draws=0)
    rows = cohort.rows
    event = np.where(rows.column >= split.first, 0, rows.event)
    blind = type(cohort)(**(vars(cohort) | {"rows": type(rows)(**(vars(rows) | {"event": event}))}))
    other = fit_site(blind, SHIPPED, "m", scales_version="s", draws=0)
    assert other.validation.onsets != found.validation.onsets
    assert other.model == found.model


def test_the_loads_of_a_version_are_those_of_the_weeks_before_the_fit(cohort):
    found = fit_site(cohort, SHIPPED, "m", scales_version="s", draws=0)
    last = cohort.panel.shape[1] - 1
    assert found.model.loads == load_curves(cohort, found.model, last)
    assert found.model.loads.keys() == {"3d", "7d"}
    seen = within(cohort.hazards(found.model), HORIZON)[cohort.rows.of_columns(last - 40, last)]
    load = found.model.load_at("7d", seen)
    assert (load <= 2).mean() < 0.05 < (load <= 15).mean()


def test_evaluate_sim_prints_every_scenario_with_its_intervals(capsys):
    words = ["evaluate", "sim", "--people", "40", "--days", "180", "--draws", "20"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("SYNTHETIC")
    assert re.findall(r"^== (\w+):", said, re.MULTILINE) == ["usual", "null", "rates", "missing", "swap"]
    for line in (
        "AUC without the personal rate",
        "AUC with the personal rate",
        "AUC within patients",
        "model ",
        "own past rate ",
        "random days ",
        "detection of a flare under way",
    ):
        assert said.count(f"  {line}") >= 5 or said.count(line) >= 5, line
    assert len(re.findall(r"patient-month, load \d\.\d\d \(\d\.\d\d to \d\.\d\d\)", said)) == 5
    assert said.count("load before") == 2
    assert said.count("last 56 days, 2 per 100 patients and week: load") == 5
    assert "days after a replaced wearable" in said


def test_evaluate_gates_prints_a_line_per_size_and_forecast(capsys, monkeypatch):
    monkeypatch.setattr("flows.risk.evaluate_command.SIZES", (25,))
    assert main(["evaluate", "gates", "--repeats", "2"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 25")]
    assert [row.split("|")[2].strip() for row in rows] == ["perfect", "useless"]
    for row in rows:
        assert sum(int(part) for part in re.findall(r"(\d+) %", row)) == 100
