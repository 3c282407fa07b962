"""Nights scored by an approved version of the site's own: who scored them, explained, and checked in SQL."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.engine import alert as alerts
from alerts.engine.journal import Journal
from analytics.risk.model import SHIPPED
from analytics.risk.scales import DEFAULT_SCALES
from analytics.store import query
from flows.cli import main
from flows.clinic import Clinic
from flows.night.nightly import run
from flows.risk.model_registry import ModelRegistry
from tests.fixtures_night import DAYS, LAST, PEOPLE, land, make_clinic, now, observations

VERSION = "site-2026-05-16-1"
#: As if a fit had counted: half the risks of these people are within the budget.
LOADS = {"7d": ((0.0, 9.0), (0.05, 0.5))}
#: Alerts per 100 patients and week of the rule of the default pack.
BUDGET = 2.0
BEFORE = LAST - timedelta(days=2)
FIRST_OF_VERSION = LAST - timedelta(days=1)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """Nights of the shipped shadow, then an approval, then two nights of the version."""
    made = make_clinic(tmp_path_factory.mktemp("clinic"))
    run(made, BEFORE, BEFORE, clock=now)
    registry = ModelRegistry(made.home, now)
    spreads = {name: 1.5 * sd for name, sd in DEFAULT_SCALES.within_sd.items()}
    scales = replace(DEFAULT_SCALES, version=f"{VERSION}-scales", within_sd=spreads)
    weights = {name: 1.2 * weight for name, weight in SHIPPED.weights.items()}
    model = replace(
        SHIPPED,
        version=VERSION,
        standing="fitted",
        weights=weights,
        scales_version=scales.version,
        loads=LOADS,
    )
    registry.add(model, scales, {"verdict": "pass"}, "<html></html>")
    registry.approve(VERSION, "Dr A", "gates passed, card read")
    registry.activate(VERSION, "Dr A")
    run(made, FIRST_OF_VERSION, LAST, clock=now)
    return made


@pytest.fixture
def risk(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*words: str) -> tuple[int, str, str]:
        code = main(["risk", *words, "--home", str(clinic.home)])
        caught = capsys.readouterr()
        return code, caught.out, caught.err

    return call


def rows_of(clinic: Clinic, day: date) -> list[dict[str, Any]]:
    return query.run(clinic.current, f"from flare_risk where local_date = date '{day}'").to_pylist()


def test_from_the_night_of_the_approval_on_the_version_scores_and_may_alert(clinic: Clinic) -> None:
    assert {row["model_version"] for row in rows_of(clinic, BEFORE)} == {SHIPPED.version}
    assert "ok" not in {row["status"] for row in rows_of(clinic, BEFORE)}
    for day in (FIRST_OF_VERSION, LAST):
        rows = rows_of(clinic, day)
        assert len(rows) == PEOPLE
        assert {row["model_version"] for row in rows} == {VERSION}
        statuses = {row["status"] for row in rows}
        assert "ok" in statuses
        assert "uncalibrated" not in statuses
    spreads = query.run(clinic.current, f"from baseline where local_date = date '{LAST}'")
    assert set(spreads["scales_version"].to_pylist()) == {f"{VERSION}-scales"}


def risk_alerts(clinic: Clinic) -> dict[str, date | None]:
    with Journal(clinic.alert_store, now) as journal, journal.transaction() as con:
        return {one.subject: one.night for one in alerts.select(con) if one.rule == "flare-risk"}


def test_who_is_within_the_sites_budget_is_told_and_nobody_on_a_night_of_the_shadow(clinic: Clinic) -> None:
    told = risk_alerts(clinic)
    within = {
        row["patient"]
        for day in (FIRST_OF_VERSION, LAST)
        for row in rows_of(clinic, day)
        if row["alert_load_7d"] is not None and row["alert_load_7d"] <= BUDGET
    }
    assert set(told) == within
    assert 0 < len(told) < PEOPLE
    assert all(night is not None and night >= FIRST_OF_VERSION for night in told.values())
    assert {row["alert_load_7d"] for row in rows_of(clinic, BEFORE)} == {None}


def test_a_frozen_version_scores_on_and_tells_nobody(clinic: Clinic, tmp_path: Path) -> None:
    copy = Clinic(Path(shutil.copytree(clinic.home, tmp_path / "copy", symlinks=True)), partitions=8)
    (copy.home / "alerts.sqlite").unlink()
    ModelRegistry(copy.home, now).freeze(["observed/expected onsets 1.60"])
    late = observations(1, DAYS, first=LAST + timedelta(days=1) - timedelta(days=DAYS))
    land(copy, late, now())
    after = LAST + timedelta(days=1)
    run(copy, after, after, clock=now)
    rows = [row for row in rows_of(copy, after) if row["risk_7d"] is not None]
    assert rows
    assert {(row["model_version"], row["status"], row["alert_load_7d"]) for row in rows} == {
        (VERSION, "uncalibrated", None)
    }
    assert {"monitoring only" in row["reason"] for row in rows} == {True}
    assert after not in risk_alerts(copy).values()


def test_its_night_is_explained(clinic: Clinic, risk: Callable[..., tuple[int, str, str]]) -> None:
    scored = next(row for row in rows_of(clinic, LAST) if row["status"] == "ok")
    code, said, _ = risk("explain", scored["patient"], "--date", str(LAST))
    assert code == 0
    assert said.splitlines()[0] == f"{scored['patient']}, {LAST}: ok"
    assert scored["sentence"] in said
    assert f"model      {VERSION}; spreads {VERSION}-scales" in said
    assert "(shadow: not sent)" not in said
    assert f"within a budget of {scored['alert_load_7d']} alerts per 100 patients and week" in said


def test_its_night_is_checked_with_its_own_weights_and_spreads(
    clinic: Clinic, risk: Callable[..., tuple[int, str, str]]
) -> None:
    code, said, _ = risk("check", "--date", str(LAST), "--json")
    found = json.loads(said)
    assert (code, found["patients"], found["where"]) == (0, PEOPLE, None)
    assert found["largest_difference"] <= 1e-6


def test_a_night_that_takes_over_from_another_model_cannot_be_checked_and_it_is_said(
    risk: Callable[..., tuple[int, str, str]],
) -> None:
    code, said, error = risk("check", "--date", str(FIRST_OF_VERSION))
    assert (code, said) == (2, "")
    assert f"scored by {SHIPPED.version}, {VERSION}" in error
    assert error.count("\n") == 1


def test_a_night_of_a_version_that_is_gone_is_said_to_be_one(
    clinic: Clinic, risk: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    folder = clinic.home / "models" / VERSION
    folder.rename(tmp_path / VERSION)
    try:
        code, _, error = risk("check", "--date", str(LAST))
    finally:
        (tmp_path / VERSION).rename(folder)
    assert code == 2
    assert f"no model {VERSION}" in error
