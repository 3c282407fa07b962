"""The weekly look at the risk model: a candidate, never an approval; drift freezes; too little is said."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest

from analytics.risk.cohort import make_cohort
from analytics.risk.drift import profile
from analytics.risk.model import SHIPPED
from analytics.risk.panel import make_panel
from analytics.risk.scales import DEFAULT_SCALES
from analytics.store.partitions import Partition
from devices.sim.flares import FlareCohort, simulate_flares
from flows.cli import main
from flows.clinic import Clinic
from flows.night.nightly import run
from flows.risk import model_command
from flows.risk.model_registry import ModelRegistry
from flows.shift import recalibrate as weekly
from flows.shift.recalibrate import Recalibration, recalibrate
from tests.fixtures_night import FIRST, make_clinic, now, patient

VERSION = "site-2026-05-16-1"


@cache
def cohort(people: int, days: int) -> FlareCohort:
    return simulate_flares(people, days, seed=3)


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Recalibration]:
    """A run at a clinic whose days are those of a SYNTHETIC cohort."""
    (tmp_path / "SYNTHETIC").touch()

    def run(people: int, days: int) -> Recalibration:
        made = cohort(people, days)
        monkeypatch.setattr(weekly, "site_days", lambda _home, _last: (made.days, made.notes))
        return recalibrate(Clinic(tmp_path), clock=now, draws=30)

    return run


def test_a_candidate_is_made_once_and_approved_by_nobody(
    look: Callable[[int, int], Recalibration], tmp_path: Path
) -> None:
    found = look(160, 260)
    registry = ModelRegistry(tmp_path, now)
    assert registry.versions() == [found.candidate]
    assert found.candidate is not None
    assert registry.read(found.candidate).approval is None
    assert registry.active_version() is None
    assert registry.read(found.candidate).fit["is_synthetic"]
    assert "approved by nobody yet" in found.words()[-1]
    again = look(160, 260)
    assert (again.candidate, again.verdict) == (found.candidate, found.verdict)
    assert registry.versions() == [found.candidate], "the same days make no other one"
    reports = sorted((tmp_path / "reports").glob("recalibrate-*.json"))
    assert json.loads(reports[-1].read_text())["candidate"] == found.candidate
    assert "patient" not in reports[-1].read_text()


def test_too_few_onsets_and_too_few_days_are_said(
    look: Callable[[int, int], Recalibration], tmp_path: Path
) -> None:
    found = look(12, 150)
    assert found.candidate is None
    assert "onsets from" in (found.too_little or "")
    assert "50 are needed" in found.words()[-1]
    assert "days are there, 120 at least" in (look(12, 100).too_little or "")
    assert ModelRegistry(tmp_path, now).versions() == []


def test_a_clinic_without_a_night_is_said_by_the_command(tmp_path: Path, capsys) -> None:
    clinic = make_clinic(tmp_path, people=1, days=1)
    assert main(["recalibrate", "--home", str(clinic.home)]) == 0
    assert "nothing was fitted: no days are computed" in capsys.readouterr().out


def test_of_a_large_site_some_shares_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic = make_clinic(tmp_path, people=12, days=2)
    run(clinic, FIRST, FIRST, clock=now, has_alerts=False)
    everybody = {patient(number) for number in range(12)}
    whole, _ = model_command.site_days(tmp_path, None)
    assert set(whole["patient"].to_pylist()) == everybody
    monkeypatch.setattr(model_command, "MOST_PATIENTS", 6)
    some, _ = model_command.site_days(tmp_path, None)
    drawn = set(some["patient"].to_pylist())
    assert drawn == {one for one in everybody if any(Partition(n, 32).holds(one) for n in range(16))}
    assert 2 < len(drawn) < 10
    assert some.schema == whole.schema


def test_an_active_version_that_drifted_is_frozen(
    look: Callable[[int, int], Recalibration], tmp_path: Path
) -> None:
    made = cohort(40, 150)
    last = max(made.days["local_date"].to_pylist())
    known = asdict(profile(make_cohort(make_panel(made.days, last, made.notes), DEFAULT_SCALES), SHIPPED))
    registry = ModelRegistry(tmp_path, now)
    model = replace(SHIPPED, version=VERSION, standing="fitted", theta=1.0, budget=0.5)
    fit = {"verdict": "pass", "is_synthetic": True, "stage": "slope", "profile": known | {"load": 0.5}}
    registry.add(model, DEFAULT_SCALES, fit, "<html></html>")
    registry.approve(VERSION, "Dr A", "card read")
    registry.activate(VERSION, "Dr A")
    found = look(40, 150)
    assert found.has_drifted
    assert registry.frozen() is not None
    assert registry.active()[0].standing == "frozen"
    assert any("0.50 when it was fitted" in words for words in found.words())


def test_what_is_not_known_yet_is_null_in_the_report(
    look: Callable[[int, int], Recalibration], tmp_path: Path
) -> None:
    registry = ModelRegistry(tmp_path, now)
    known = {"risk_edges": [n / 10 for n in range(1, 10)], "load": 0.5, "sufficiency": 0.9, "segments": 0.0}
    fit = {"verdict": "pass", "is_synthetic": True, "stage": "slope", "profile": known}
    registry.add(replace(SHIPPED, version=VERSION), DEFAULT_SCALES, fit, "<html></html>")
    registry.approve(VERSION, "Dr A", "card read")
    registry.activate(VERSION, "Dr A")
    found = look(6, 30)
    assert found.drift is not None
    assert found.words()[1].startswith("last 28 days: O/E n/a")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    (report,) = Clinic(tmp_path).reports.glob("recalibrate-*.json")
    kept = json.loads(report.read_text(), parse_constant=refuse)
    assert kept["drift"]["observed_expected"]["value"] is None
