"""Nights scored by an approved version of the site's own: who scored them, explained, and checked in SQL."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from analytics.risk.model import SHIPPED
from analytics.risk.scales import DEFAULT_SCALES
from analytics.store import query
from flows.cli import main
from flows.clinic import Clinic
from flows.model_registry import ModelRegistry
from flows.nightly import run
from tests.fixtures_night import LAST, PEOPLE, make_clinic, now

VERSION = "site-2026-05-16-1"
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
        SHIPPED, version=VERSION, standing="fitted", weights=weights, scales_version=scales.version
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


def rows_of(clinic: Clinic, day: date) -> list[dict[str, str]]:
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


def test_its_night_is_explained(clinic: Clinic, risk: Callable[..., tuple[int, str, str]]) -> None:
    scored = next(row for row in rows_of(clinic, LAST) if row["status"] == "ok")
    code, said, _ = risk("explain", scored["patient"], "--date", str(LAST))
    assert code == 0
    assert said.splitlines()[0] == f"{scored['patient']}, {LAST}: ok"
    assert scored["sentence"] in said
    assert f"model      {VERSION}; spreads {VERSION}-scales" in said
    assert "(shadow: not sent)" not in said


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
