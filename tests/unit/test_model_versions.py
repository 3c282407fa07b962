"""Versions of the model: fitted, judged, approved by a person, never changed, rolled back, frozen."""

import json
from dataclasses import replace

import numpy as np
import pytest

from analytics.risk.model import SHIPPED
from analytics.risk.scales import DEFAULT_SCALES
from analytics.risk.subgroups import Traits
from devices.clock import to_utc
from devices.sim.flares import simulate_flares
from flows.cli import main
from flows.errors import UserError
from flows.risk.model_command import fit_version
from flows.risk.model_registry import ModelRegistry
from tests.fixtures_analytics import utc

NOW = to_utc(utc("2026-01-02T08:00"))


@pytest.fixture
def registry(tmp_path):
    return ModelRegistry(tmp_path, lambda: NOW)


def add(registry, version, verdict="pass"):
    model = replace(SHIPPED, version=version, standing="fitted", theta=0.2, budget=0.5)
    registry.add(model, DEFAULT_SCALES, {"verdict": verdict}, "<html></html>")
    return version


def test_without_a_version_the_shipped_weights_are_a_shadow(registry):
    assert registry.active() == (SHIPPED, DEFAULT_SCALES)


def test_only_an_approved_version_is_used_and_only_a_named_person_approves(registry):
    add(registry, "site-1")
    with pytest.raises(UserError, match="not approved"):
        registry.activate("site-1", "Dr A")
    with pytest.raises(UserError, match="names a person"):
        registry.approve("site-1", " ", "good")
    registry.approve("site-1", "Dr A", "gates passed, card read")
    with pytest.raises(UserError, match="approved already"):
        registry.approve("site-1", "Dr B", "again")
    assert registry.active()[0] == SHIPPED
    registry.activate("site-1", "Dr A")
    assert registry.active()[0].version == "site-1"
    assert registry.active()[0].standing == "approved"


@pytest.mark.parametrize("verdict", ["fail", "wait"])
def test_what_has_not_passed_its_gates_cannot_be_approved(registry, verdict):
    add(registry, "site-1", verdict)
    with pytest.raises(UserError, match="has not passed"):
        registry.approve("site-1", "Dr A", "I like it")


def test_a_version_is_never_written_over(registry):
    add(registry, "site-1")
    before = registry.read("site-1")
    with pytest.raises(UserError, match="never changed"):
        registry.add(replace(before.model, theta=0.9), DEFAULT_SCALES, {}, "")
    assert registry.read("site-1") == before
    assert registry.versions() == ["site-1"]


def test_rollback_moves_the_pointer_and_nothing_else(registry):
    for version in ("site-1", "site-2"):
        add(registry, version)
        registry.approve(version, "Dr A", "card read")
        registry.activate(version, "Dr A")
    assert registry.rollback("Dr B", "too many alerts") == "site-1"
    assert registry.active_version() == "site-1"
    assert registry.versions() == ["site-1", "site-2"]
    past = json.loads((registry.root / "active.json").read_text())["past"]
    assert [one["by"] for one in past] == ["Dr A", "Dr A", "Dr B"]
    with pytest.raises(UserError, match="no model site-9"):
        registry.read("site-9")


def test_a_version_that_was_rolled_back_is_not_gone_back_to(registry):
    for version in ("site-1", "site-2"):
        add(registry, version)
        registry.approve(version, "Dr A", "card read")
        registry.activate(version, "Dr A")
    assert registry.rollback("Dr B", "too many alerts") == "site-1"
    assert registry.rollback("Dr B", "that one too") == SHIPPED.version
    with pytest.raises(UserError, match="nothing to roll back"):
        registry.rollback("Dr B", "again")
    # what a person activates anew stands again, and before it stands what stood then
    for version in ("site-2", "site-1"):
        registry.activate(version, "Dr A")
    assert registry.rollback("Dr B", "no") == "site-2"


def test_the_first_version_is_rolled_back_to_the_shadow(registry):
    with pytest.raises(UserError, match="nothing to roll back"):
        registry.rollback("Dr B", "x")
    add(registry, "site-1")
    registry.approve("site-1", "Dr A", "card read")
    registry.activate("site-1", "Dr A")
    assert registry.rollback("Dr B", "too many alerts") == SHIPPED.version
    assert registry.active() == (SHIPPED, DEFAULT_SCALES)
    assert registry.active_version() is None


def test_a_frozen_version_goes_on_as_a_shadow_until_a_person_activates_one(registry):
    add(registry, "site-1")
    registry.approve("site-1", "Dr A", "card read")
    registry.activate("site-1", "Dr A")
    registry.freeze(["observed/expected onsets 1.60"])
    assert registry.active()[0].standing == "frozen"
    registry.activate("site-1", "Dr A")
    assert registry.active()[0].standing == "approved"


def test_a_pointer_that_somebody_spoilt_is_said(registry):
    add(registry, "site-1")
    (registry.root / "active.json").write_text('{"past": ')
    with pytest.raises(UserError, match="not valid JSON"):
        registry.active()


def test_a_synthetic_year_is_fitted_and_its_card_says_so(registry, capsys):
    made = simulate_flares(160, 260, seed=3)
    traits = {
        name: Traits(1990 - 10 * (number % 5), ("female", "male")[number % 2], frozenset({number % 7}))
        for number, name in enumerate(made.patients[:150])
    }
    version = fit_version(registry, made.days, made.notes, 0.5, traits=traits, is_synthetic=True, draws=30)
    own = registry.read(version)
    card = own.card.read_text()
    assert card.count("<svg") == 3
    assert "SYNTHETIC" in card
    assert own.model.standing == "fitted"
    assert own.model.scales_version == own.scales.version != DEFAULT_SCALES.version
    assert own.fit["stage"] in ("slope", "refit")
    assert own.fit["trained_to"] < own.fit["validated"][0]
    gates = {gate["name"] for gate in own.fit["gates"]}
    assert {"subgroup age 45 to 64", "subgroup sex female", "subgroup sex male"} <= gates
    # the simulated wearables do not say what they measure with; everybody has one
    assert {"subgroup works Monday to Friday", "subgroup heart sensor unknown"} <= gates
    assert "subgroup sex other" not in gates, "nobody is"
    assert "written down of 150 of 160 patients" in " ".join(card.split())
    for words in (
        "age under 45",
        "sex other",
        "heart sensor ecg",
        "too few to say",
        "tap",
        "nrs and tap",
        "enough data",
    ):
        assert f"<td>{words}</td>" in card
    within = own.model.load_at("7d", np.array([0.001, 0.999]))
    assert within[0] > 10 > 0.1 > within[1]
    assert main(["model", "show", version, "--home", str(registry.root.parent)]) == 0
    (rule,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rule")]
    above = float(rule.rpartition(" ")[2])
    assert rule.startswith("rule  flare-risk, 2 alerts per 100 patients and week: 7d risk above")
    below, beyond = own.model.load_at("7d", np.array([above - 0.002, above + 0.002]))
    assert beyond <= 2 < below
    assert replace(own.model, loads={}).risk_within("7d", 2.0) is None
