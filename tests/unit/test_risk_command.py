"""`flarecast risk` on a published snapshot: what was shown is what is explained, checked and counted."""

import json
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from analytics.risk import scores
from analytics.risk.cohort import make_cohort
from analytics.risk.panel import make_panel
from analytics.risk.past import HISTORY_LAG
from analytics.risk.site_fit import split_by_time
from analytics.store.publish import publish
from devices.clock import system_clock
from devices.sim.flares import simulate_flares
from flows.cli import main
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.shadow import COUNTED_AFTER, shadow_of
from flows.night.site_scales import scales_of
from tests.fixtures_analytics import patient_days

FIRST = date(2026, 1, 5)
DAY = FIRST + timedelta(days=59)


def tables():
    pain = [3.0 + (i % 20 > 17) * 4 for i in range(60)]
    columns = {
        "steps": [5000.0 + 100 * (i % 7) for i in range(57)] + [9000.0] * 3,
        "tst_min": [420.0 + i % 30 for i in range(60)],
        "rmssd_ms": [30.0 + i % 5 for i in range(60)],
        "resting_hr_bpm": [60.0 + i % 3 for i in range(60)],
        "nrs": [*pain[:58], 3.0, 3.0],
        "wear_min": [800.0] * 60,
    }
    rows = pa.concat_tables(
        [patient_days(FIRST, columns, patient="p-1"), patient_days(FIRST, columns, patient="p-2")]
    )
    return scores.compute(rows, FIRST, DAY) | {"patient_day": rows}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    publish(Clinic(folder).published, tables(), {}, clock=system_clock)
    return folder


def run(home, capsys, *words):
    code = main(["risk", *words, "--home", str(home)])
    caught = capsys.readouterr()
    return code, caught.out, caught.err


def test_explain_says_sentence_contributions_completeness_and_model(home, capsys):
    code, said, _ = run(home, capsys, "explain", "p-1", "--date", str(DAY))
    assert code == 0
    whole = json.loads(run(home, capsys, "explain", "p-1", "--date", str(DAY), "--json")[1])
    risk = whole["risk"]
    assert said.splitlines()[0] == f"p-1, {DAY}: uncalibrated"
    assert risk["sentence"] in said
    for name, value in json.loads(risk["contributions"]).items():
        assert name in said
        assert f"{value:+.2f}" in said
    assert "shadow: not sent" in said
    assert "worn       13.3 h" in said
    assert "no value on this day" in said
    assert "prior-1" in said
    assert "default-1" in said
    assert "nobody has counted" in said
    assert "worn 28 days, 28 nights, pain said on 28 days" in said
    assert whole["trend"][0]["sentence"] in said
    # no percentage of a risk; the trend has its own
    assert "%" not in said.partition("4 weeks")[0]


def test_explain_in_german(home, capsys):
    assert "Schritte am Tag" in run(home, capsys, "explain", "p-1", "--date", str(DAY), "--language", "de")[1]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("explain", "p-9", "--date", str(DAY)), f"nothing published of p-9 on {DAY}"),
        (("explain", "p'; drop", "--date", str(DAY)), "patient"),
        (("explain", "p-1", "--date", str(DAY), "--language", "fr"), "no sentences in 'fr'"),
        (("check", "--date", "2020-01-01"), "nothing published of 2020-01-01"),
    ],
)
def test_a_mistake_is_one_line(home, capsys, words, reason):
    code, said, error = run(home, capsys, *words)
    assert (code, said) == (2, "")
    assert reason in error
    assert error.count("\n") == 1


def test_a_published_night_is_the_one_computed_in_sql(home, capsys):
    code, said, _ = run(home, capsys, "check", "--date", str(DAY), "--json")
    found = json.loads(said)
    assert (code, found["patients"]) == (0, 2)
    assert found["largest_difference"] <= 1e-6


@pytest.mark.parametrize("moved", [1e-3, None])
def test_a_published_number_that_nobody_computes_so_is_found(tmp_path, capsys, moved):
    wrong = tables()
    risk = wrong["flare_risk"]
    values = risk["risk_7d"].to_pylist()
    values[-1] = None if moved is None else values[-1] + moved
    place = risk.schema.get_field_index("risk_7d")
    wrong["flare_risk"] = risk.set_column(place, risk.schema.field(place), pa.array(values))
    publish(Clinic(tmp_path).published, wrong, {}, clock=system_clock)
    code, said, _ = run(tmp_path, capsys, "check", "--date", str(DAY))
    assert code == 1
    assert "p-2: risk_7d" in said


def test_a_night_of_an_older_version_is_said_to_be_one(tmp_path, capsys):
    old = tables()
    old["flare_risk"] = old["flare_risk"].drop_columns(["hazard_pending"])
    publish(Clinic(tmp_path).published, old, {}, clock=system_clock)
    code, _, error = run(tmp_path, capsys, "check", "--date", str(DAY))
    assert code == 2
    assert "published by another version" in error
    assert error.count("\n") == 1


def since(made, first):
    """The same where nothing was scored before a date."""
    low = pa.scalar(first)
    return made | {
        name: made[name].filter(pa.compute.greater_equal(made[name]["local_date"], low))
        for name in ("baseline", "flare_risk", "trend")
    }


def test_a_first_night_took_in_a_whole_past_and_is_not_checked(tmp_path, capsys):
    publish(Clinic(tmp_path).published, since(tables(), DAY), {}, clock=system_clock)
    code, said, error = run(tmp_path, capsys, "check", "--date", str(DAY))
    assert (code, said) == (2, "")
    assert f"the night before {DAY} is not published" in error
    assert error.count("\n") == 1


def test_the_second_night_ever_is_checked_though_the_fortnight_before_was_not_scored(tmp_path, capsys):
    publish(Clinic(tmp_path).published, since(tables(), DAY - timedelta(days=1)), {}, clock=system_clock)
    code, said, _ = run(tmp_path, capsys, "check", "--date", str(DAY), "--json")
    found = json.loads(said)
    assert (code, found["patients"]) == (0, 2)
    assert found["largest_difference"] <= 1e-6


def test_progress_counts_every_onset_once(home, capsys):
    code, said, _ = run(home, capsys, "progress", "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["patients"], found["onsets"], found["needed"]) == (2, 4, 100)
    # four in eight weeks
    assert found["onsets_per_week"] == 0.5
    assert date.fromisoformat(found["expected"]) > DAY + timedelta(weeks=180)
    assert "not sent, unless a person has approved it" in run(home, capsys, "progress")[1]


def test_progress_counts_the_onsets_that_a_fit_can_use(tmp_path):
    made = simulate_flares(40, 150, seed=2)
    last = made.first + timedelta(days=149)
    publish(
        Clinic(tmp_path).published,
        scores.compute(made.days, made.first, last, context=made.notes),
        {},
        clock=system_clock,
    )
    told = shadow_of(Clinic(tmp_path).current)
    assert told is not None
    assert COUNTED_AFTER == HISTORY_LAG
    cohort = make_cohort(make_panel(made.days, last, made.notes))
    # the last days' are known three days late, and the personal rate counts from before the fourteenth day
    assert told.progress.onsets == pytest.approx(cohort.rows.onsets(), rel=0.1)
    train = cohort.rows.where(cohort.rows.of_columns(0, split_by_time(cohort).train_to))
    assert told.progress.training == pytest.approx(train.onsets(), rel=0.15)
    assert told.progress.onsets < 0.7 * cohort.labels.is_onset.sum()


def test_a_site_keeps_a_version_of_its_own_spreads_once(tmp_path, home, capsys):
    rng = np.random.default_rng(1)
    rows = pa.concat_tables(
        [
            patient_days(FIRST, {"steps": np.exp(rng.normal(8, 0.3, 60)).tolist()}, patient=f"p-{n}")
            for n in range(22)
        ]
    )
    publish(Clinic(tmp_path).published, {"patient_day": rows}, {}, clock=system_clock)
    code, said, _ = run(tmp_path, capsys, "scales", "site-1", "--json")
    found = json.loads(said)
    assert (code, found["patients"]["steps"], found["patients"]["nrs"]) == (0, 22, 0)
    assert scales_of(Clinic(tmp_path), "site-1").within_sd["steps"] == found["within_sd"]["steps"]
    assert "never changed" in run(tmp_path, capsys, "scales", "site-1")[2]
    assert "never changed" in run(tmp_path, capsys, "scales", "default-1")[2]
    assert "too few people" in run(home, capsys, "scales", "site-1")[2]
    with pytest.raises(UserError, match="no spreads site-2: default-1, site-1"):
        scales_of(Clinic(tmp_path), "site-2")
