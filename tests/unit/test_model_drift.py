"""`flarecast model drift`: a version that meets other people than it was fitted on is monitoring only."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from analytics.risk.cohort import make_cohort
from analytics.risk.drift import profile
from analytics.risk.model import SHIPPED
from analytics.risk.panel import make_panel
from analytics.risk.scales import DEFAULT_SCALES
from devices.sim.flares import simulate_flares
from flows.cli import main
from flows.risk import model_command
from flows.risk.model_registry import ModelRegistry
from tests.fixtures_night import now

VERSION = "site-2026-05-16-1"
DAYS = 150


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Any]]:
    """A clinic whose days are those of the simulated cohort, and the profile of those days."""
    made = simulate_flares(40, DAYS, seed=3)
    last = max(made.days["local_date"].to_pylist())
    cohort = make_cohort(make_panel(made.days, last, made.notes), DEFAULT_SCALES)
    monkeypatch.setattr(model_command, "site_days", lambda _home, _last: (made.days, made.notes))
    return tmp_path, asdict(profile(cohort, replace(SHIPPED, theta=1.0)))


def activate(home: Path, known: dict[str, Any]) -> ModelRegistry:
    """An active version that was fitted on days of this profile; its theta is out of reach."""
    registry = ModelRegistry(home, now)
    model = replace(SHIPPED, version=VERSION, standing="fitted", theta=1.0, budget=0.5)
    fit = {"verdict": "pass", "is_synthetic": True, "stage": "slope", "profile": known}
    registry.add(model, DEFAULT_SCALES, fit, "<html></html>")
    registry.approve(VERSION, "Dr A", "card read")
    registry.activate(VERSION, "Dr A")
    return registry


def drift(home: Path) -> int:
    return main(["model", "drift", "--home", str(home)])


@pytest.mark.parametrize(
    ("fitted_on", "reason"),
    [
        # nearly no risk was seen where it was fitted
        ({"risk_edges": [n / 1e4 for n in range(9)]}, "population stability index"),
        # it alerted, and does not
        ({"load": 0.5}, "0.00 (0.00 to 0.00) alerts per patient-month, 0.50 when it was fitted"),
    ],
)
def test_a_version_that_drifted_is_frozen_into_monitoring_only(
    site: tuple[Path, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    fitted_on: dict[str, Any],
    reason: str,
) -> None:
    home, known = site
    registry = activate(home, known | fitted_on)
    assert registry.active()[0].standing == "approved"
    assert drift(home) == 1
    said = capsys.readouterr().out
    assert f"{VERSION} is frozen, monitoring only:" in said
    frozen = registry.frozen()
    assert frozen is not None
    (told,) = frozen["reasons"]
    assert reason in told
    assert told in said
    assert registry.active_version() == VERSION, "it goes on scoring"
    assert registry.active()[0].standing == "frozen", "as a shadow"
    main(["model", "list", "--home", str(home)])
    assert f"active: {VERSION} (monitoring only)" in capsys.readouterr().out


def test_a_version_that_meets_what_it_was_fitted_on_goes_on(
    site: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    home, known = site
    registry = activate(home, known)
    code = drift(home)
    assert (code, registry.frozen()) == (0, None), capsys.readouterr().out
    assert registry.active()[0].standing == "approved"


def test_drift_of_the_shipped_shadow_is_refused_in_a_line(
    site: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert drift(site[0]) == 2
    assert capsys.readouterr().err.count("\n") == 1
