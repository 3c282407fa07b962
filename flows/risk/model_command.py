"""`flarecast model`: fit a candidate, show it, approve, activate and roll back, list, look for drift."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from alerts.rules.pack import RulePack
from alerts.rules.rule import RiskRule
from analytics.metrics import METRICS
from analytics.risk.alert_measures import fire, measure_alerts, own_rate_score, theta_for
from analytics.risk.arrays import cut
from analytics.risk.cohort import Cohort, make_cohort
from analytics.risk.drift import Drift, Profile, measure_drift, profile
from analytics.risk.evaluation import Forecast, at_site_budgets, evaluate
from analytics.risk.landmarks import within
from analytics.risk.measures import Resampling, decision_curve
from analytics.risk.model import HORIZON
from analytics.risk.panel import Panel, make_panel
from analytics.risk.scales import Scales, estimate_scales
from analytics.risk.site_fit import (
    SiteFit,
    Split,
    fit_site,
    load_curves,
    risk_matrix,
    split_by_time,
)
from analytics.risk.stages import training_days
from analytics.risk.subgroups import Traits, completeness, onsets_by_source, subgroups, wearables_of
from analytics.store.partitions import COUNTS, Partition
from devices.clock import from_utc, system_clock
from flows.care.rules_in_force import rules_now
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.demographics import traits_of
from flows.night.inventory import code_version
from flows.night.patient_context import patient_context
from flows.risk.model_card import BUDGETS, CardFacts, render_card
from flows.risk.model_registry import ModelRegistry, next_version

LEAST_DAYS = 120
#: People a version is fitted on; ten years of them fit into the memory of one machine.
MOST_PATIENTS = 10_000
_COLUMNS = ("patient", "local_date", "day_minutes", "device_segment", "is_flare_reported", *METRICS)
Value = TypeVar("Value")
_THRESHOLDS = tuple(float(one) for one in np.linspace(0.02, 0.5, 25))


class TooLittleError(UserError):
    """A site has too few days, or too few onsets, for what was asked."""


def run_model(home: Path, arguments: argparse.Namespace) -> int:
    """Run one action; returns the exit code."""
    if not home.is_dir():
        raise UserError(f"no clinic folder at {home}: set --home or FLARECAST_HOME")
    registry = ModelRegistry(home, system_clock)
    action = arguments.action
    if action == "fit":
        days, context = site_days(home, arguments.last)
        clinic = Clinic(home)
        found = fit_version(
            registry,
            days,
            context,
            arguments.budget,
            traits=traits_of(clinic, system_clock()),
            is_synthetic=clinic.is_synthetic,
        )
        _show(registry, found, rules_now(clinic))
    elif action == "show":
        _show(registry, arguments.version, rules_now(Clinic(home)))
    elif action == "approve":
        registry.approve(arguments.version, arguments.by, arguments.because)
        print(f"{arguments.version} approved by {arguments.by}; flarecast model activate makes it speak")
    elif action == "activate":
        registry.activate(arguments.version, arguments.by)
        print(f"{arguments.version} is active from the next night on")
    elif action == "rollback":
        print(f"{registry.rollback(arguments.by, arguments.because)} is active again from the next night on")
    elif action == "drift":
        return _drift(registry, *site_days(home, arguments.last))
    else:
        _list(registry)
    return 0


def site_days(home: Path, last: date | None) -> tuple[pa.Table, pa.Table]:
    """Patient-days up to a date, and what was noted about them.

    Of a large site those of so many shares as :data:`MOST_PATIENTS` are in: shares are drawn by a
    digest of the patient, and more onsets than that many people have change no weight.

    Raises
    ------
    TooLittleError
        There are none.
    """
    clinic = Clinic(home)
    span = date(2000, 1, 1), last or date(2099, 12, 31)
    people = len(clinic.patients())
    if people <= MOST_PATIENTS:
        days = clinic.derived.read("patient_day", *span, columns=_COLUMNS)
    else:
        count = max(COUNTS)
        shares = [Partition(number, count) for number in range(max(1, count * MOST_PATIENTS // people))]
        read = partial(clinic.derived.read, "patient_day", *span, columns=_COLUMNS)
        days = pa.concat_tables([read(partition=share) for share in shares])
    if not days.num_rows:
        raise TooLittleError("no days are computed: flarecast nightly first")
    return days, patient_context(clinic)


def fit_version(
    registry: ModelRegistry,
    patient_days: pa.Table,
    context: pa.Table | None,
    budget: float,
    *,
    traits: Mapping[str, Traits],
    is_synthetic: bool,
    draws: int = 500,
    least_onsets: int = 0,
) -> str:
    """Fit a candidate on patient-days and store it with its card; returns its name.

    Parameters
    ----------
    traits : mapping of str to Traits
        Age, sex and work days of the patients of whom they are written down: subgroups.
    least_onsets : int
        With fewer in the validation days nothing is fitted.

    Raises
    ------
    TooLittleError
        Too little to fit.
    """
    last = max(patient_days["local_date"].to_pylist())
    panel = make_panel(patient_days, last, context)
    if panel.shape[1] < LEAST_DAYS:
        raise TooLittleError(f"{panel.shape[1]} days are there, {LEAST_DAYS} at least are needed")
    champion, before = registry.active()
    created = from_utc(system_clock())
    version = next_version(registry.versions(), created)
    scales = _scales(panel, f"{version}-scales", before)
    cohort = make_cohort(panel, scales)
    split = split_by_time(cohort)
    onsets = cohort.rows.where(cohort.rows.of_columns(split.first, split.last)).onsets()
    if onsets < least_onsets:
        raise TooLittleError(
            f"{onsets} onsets from {panel.day(split.first)} to {panel.day(split.last)}, {least_onsets} are "
            "needed to judge a version by"
        )
    try:
        found = fit_site(
            cohort,
            champion,
            version,
            scales_version=scales.version,
            budget=budget,
            groups=subgroups(cohort, traits, wearables_of(patient_days)),
            draws=draws,
        )
    except ValueError as error:
        raise TooLittleError(f"nothing to fit: {error}") from None
    facts = replace(
        _facts(cohort, found, champion.version, is_synthetic, draws),
        created=created.isoformat(timespec="seconds"),
        known_traits=sum(patient in traits for patient in panel.patients),
    )
    fit = {
        "verdict": found.verdict,
        "stage": found.stage,
        **fit_inputs(patient_days, budget, champion.version),
        "is_synthetic": is_synthetic,
        "created_utc": facts.created,
        "patients": facts.patients,
        "train_onsets": found.train_onsets,
        "validation_onsets": found.validation.onsets,
        "trained_to": str(facts.train_to),
        "validated": [str(day) for day in facts.validation],
        "gates": [asdict(gate) for gate in found.gates],
        "profile": asdict(profile(cohort, found.model)),
    }
    registry.add(found.model, scales, fit, render_card(facts))
    return version


def fit_inputs(patient_days: pa.Table, budget: float, parent: str) -> dict[str, Any]:
    """What a fit is made of, as it stands in ``fit.json``: the same again is the same version."""
    return {
        "parent": parent,
        "code": code_version("scores")[:12],
        "last_day": str(max(patient_days["local_date"].to_pylist())),
        "patient_days": patient_days.num_rows,
        "budget": budget,
    }


def _scales(panel: Panel, version: str, before: Scales) -> Scales:
    """Re-estimated from days that train whatever the split is: no day that validates tells its spread."""
    head = cut(panel, slice(None), slice(0, training_days(panel.shape[1])))
    return estimate_scales(head, version, before)


def _facts(cohort: Cohort, found: SiteFit, parent: str, is_synthetic: bool, draws: int) -> CardFacts:
    split, model, panel = found.split, found.model, cohort.panel
    risk = risk_matrix(cohort, model)
    forecast = Forecast(
        cohort.hazards(model, has_history=False),
        cohort.hazards(model),
        risk,
        model.theta or 1.0,
        model.budget or 0,
    )
    resampling = Resampling(len(panel.patients), draws=draws)
    train = risk.copy()
    train[:, split.train_to + 1 :] = np.nan
    budgets = []
    for budget in BUDGETS:
        alerts = fire(risk, theta_for(train, budget))
        own = measure_alerts(cohort, alerts, ~np.isnan(risk), split.first, split.last, resampling)
        budgets.append((budget, own.load, own.sensitivity, own.ppv))
    counted = replace(model, loads=load_curves(cohort, model, split.train_to))
    by_site = at_site_budgets(cohort, risk, counted, split.first, split.last, resampling)
    chosen = cohort.rows.of_columns(split.first, split.last)
    rows = cohort.rows.where(chosen)
    # the own past rate as a risk: relative to everybody's, times the week's mean risk
    rate = cohort.of_rows(own_rate_score(cohort, model.rate_prior))[chosen]
    mean = float(within(forecast.with_history[chosen], HORIZON).mean())
    risks = {
        "model": within(forecast.with_history[chosen], HORIZON),
        "own past rate": np.minimum(rate / max(rate.mean(), 1e-9) * mean, 1.0),
    }
    return CardFacts(
        fit=found,
        parent=parent,
        first=panel.first,
        train_to=panel.day(split.train_to),
        validation=(panel.day(split.first), panel.day(split.last)),
        evaluation=evaluate(cohort, forecast, split.first, split.last, draws=draws),
        budgets=budgets,
        site_budgets=[(budget, own.per_100_weeks, own.sensitivity, own.ppv) for budget, own in by_site],
        thresholds=_THRESHOLDS,
        curve=decision_curve(rows, risks, _THRESHOLDS, Resampling(len(panel.patients), draws=0)),
        code=code_version("scores")[:12],
        patients=len(panel.patients),
        missing=_side_by_side(completeness, cohort, split),
        sources=_side_by_side(
            partial(onsets_by_source, alerts=fire(risk, model.theta or 1.0)), cohort, split
        ),
        is_synthetic=is_synthetic,
    )


def _side_by_side(
    measure: Callable[..., dict[str, Value]], cohort: Cohort, split: Split
) -> list[tuple[str, Value, Value]]:
    """Name, training days, validation days."""
    train = measure(cohort, first=0, last=split.train_to)
    validation = measure(cohort, first=split.first, last=split.last)
    return [(name, train[name], validation[name]) for name in train]


def _show(registry: ModelRegistry, version: str, pack: RulePack) -> None:
    own = registry.read(version)
    fit = own.fit
    said = {"pass": "its gates passed", "fail": "its gates FAILED", "wait": "extend validation"}[
        fit["verdict"]
    ]
    label = "SYNTHETIC: " if fit["is_synthetic"] else ""
    print(
        f"{label}{version}: {said}; stage {fit['stage']}, {fit['train_onsets']} onsets to fit on, "
        f"{fit['validation_onsets']} to judge by ({fit['validated'][0]} to {fit['validated'][1]})"
    )
    table = Table("gate", "answer", "figure")
    for gate in fit["gates"]:
        table.add_row(gate["name"], gate["answer"], gate["said"])
    Console(soft_wrap=True, highlight=False).print(table)
    if own.approval:
        print(
            f"approved by {own.approval['by']} on {own.approval['approved_utc']}: {own.approval['because']}"
        )
    else:
        print("not approved: it alerts nobody")
    for rule in pack.rule:
        if isinstance(rule, RiskRule):
            above = own.model.risk_within(rule.horizon, rule.budget)
            whom = "nobody" if above is None else f"{rule.horizon} risk above {above:.3f}"
            print(f"rule  {rule.id}, {rule.budget:g} alerts per 100 patients and week: {whom}")
    print(f"card  {own.card}")


def _list(registry: ModelRegistry) -> None:
    active, frozen = registry.active_version(), registry.frozen()
    print(f"active: {active or 'the shipped one, as a shadow'}" + (" (monitoring only)" if frozen else ""))
    for reason in (frozen or {}).get("reasons", []):
        print(f"  {reason}")
    for version in registry.versions():
        own = registry.read(version)
        by = f"approved by {own.approval['by']}" if own.approval else "not approved"
        label = "SYNTHETIC " if own.fit["is_synthetic"] else ""
        print(f"{version:24} {label}{own.fit['verdict']:5} {own.fit['stage']:10} {by}")


def _drift(registry: ModelRegistry, days: pa.Table, context: pa.Table) -> int:
    """Freeze the active version when something is out of bounds; exit code 1 then."""
    version = registry.active_version()
    if version is None:
        raise UserError("no version is active: the shipped weights are a shadow in any case")
    found = freeze_if_drifted(registry, version, days, context)
    print("\n".join(drift_in_words(version, found)))
    return 1 if found.reasons else 0


def freeze_if_drifted(registry: ModelRegistry, version: str, days: pa.Table, context: pa.Table) -> Drift:
    """Hold the last 28 days against an active version; out of bounds, it is monitoring only from now on."""
    own = registry.read(version)
    panel = make_panel(days, max(days["local_date"].to_pylist()), context)
    found = measure_drift(make_cohort(panel, own.scales), own.model, Profile(**own.fit["profile"]))
    if found.reasons:
        registry.freeze(found.reasons)
    return found


def drift_in_words(version: str, found: Drift) -> list[str]:
    """The figures in a line, and one for every reason."""
    said = [
        f"last 28 days: O/E {found.observed_expected}, {found.load} alerts per patient-month, "
        f"PSI {found.psi:.2f}, {100 * found.sufficiency:.0f} % of days with enough data"
    ]
    if found.reasons:
        said += [f"{version} is frozen, monitoring only:", *(f"  {reason}" for reason in found.reasons)]
    return said
