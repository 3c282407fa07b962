"""The demo's model: fitted on a SYNTHETIC year, through its gates, approved; apart from the demo's clinic.

Its own patients have sixty days and too few onsets: there the risk stays a shadow, as at any new site.
"""

from pathlib import Path
from typing import Any

from devices.clock import system_clock
from devices.sim.flares import simulate_flares
from flows.night.shadow import shadow_of
from flows.risk.model_command import fit_version
from flows.risk.model_registry import ModelRegistry

PEOPLE, DAYS = 400, 365
#: One whose gates pass: of the years 3, 4 and 5 of 400 people two pass, one asks for more validation.
YEAR_SEED = 3
BUDGET = 0.5
_DRAWS = 200


def fit_synthetic_year(folder: Path) -> dict[str, Any]:
    """Fit, and approve and activate when the gates pass; what the demo says about it."""
    made = simulate_flares(PEOPLE, DAYS, seed=YEAR_SEED)
    registry = ModelRegistry(folder, system_clock)
    version = fit_version(registry, made.days, made.notes, BUDGET, traits={}, is_synthetic=True, draws=_DRAWS)
    fit = registry.read(version).fit
    if fit["verdict"] == "pass":
        registry.approve(version, "demo", "SYNTHETIC data: shows the way, decides nothing")
        registry.activate(version, "demo")
    return {
        "version": version,
        "people": PEOPLE,
        "days": DAYS,
        "verdict": fit["verdict"],
        "train_onsets": fit["train_onsets"],
        "validation_onsets": fit["validation_onsets"],
        "is_approved": fit["verdict"] == "pass",
        "card": str(registry.read(version).card),
    }


def shadow_progress(current: Path) -> dict[str, Any] | None:
    """How far the clinic's own shadow is on its way to a fit, as `flarecast risk progress` says it."""
    found = shadow_of(current)
    return found and found.to_json() | {"said": found.words()[0]}


def in_words(model: dict[str, Any], shadow: dict[str, Any] | None) -> list[str]:
    """The same for a person."""
    words = {"pass": "gates passed, approved", "fail": "gates failed", "wait": "extend validation"}
    said = shadow["said"] if shadow else "nobody has been scored yet"
    return [
        f"shadow    {said}",
        f"model     SYNTHETIC year of {model['people']} others: {model['train_onsets']} onsets to fit on, "
        f"{model['validation_onsets']} to judge by; {words[model['verdict']]}",
        f"card      {model['card']}",
    ]
