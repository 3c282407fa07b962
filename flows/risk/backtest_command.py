"""`flarecast backtest`: what would this rule or model have alerted, and what was it worth?"""

import argparse
import json
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from alerts.rules.pack import RulePack, load_pack
from alerts.rules.rule import ReportedRule, RiskRule
from analytics.risk.alert_measures import (
    AlertMeasures,
    UnderWay,
    by_chance,
    fire,
    measure_alerts,
    own_rate_score,
    theta_for,
    under_way,
)
from analytics.risk.arrays import Marks
from analytics.risk.cohort import make_cohort
from analytics.risk.measures import Resampling
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import make_panel
from analytics.risk.scales import DEFAULT_SCALES, Scales
from devices.clock import system_clock
from flows.care.rules_in_force import rules_now
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_context import patient_context
from flows.risk.backtest import Replayed, TestableRule, replay_model, replay_rule
from flows.risk.model_registry import ModelRegistry
from flows.words import counted


def run_backtest(home: Path, arguments: argparse.Namespace) -> int:
    """Replay the nights and print the figures; returns the exit code."""
    clinic, first, last = Clinic(home), arguments.first, arguments.last
    if first > last:
        raise UserError(f"--from {first} is after --to {last}")
    if not clinic.has_lake():
        raise UserError(f"no lake at {clinic.lake_place}: set --home or FLARECAST_HOME")
    kind, _, version = arguments.rule.partition(":")
    if kind == "model":
        model, scales = _model(home, version)
        theta = arguments.theta if arguments.theta is not None else model.theta
        if theta is None:
            raise UserError(f"{model.version} has no threshold: give one with --theta")
        found = replay_model(clinic, first, last, replace(model, theta=theta), scales)
    else:
        pack, rule = _rule(clinic, arguments.pack, arguments.rule)
        model, scales = ModelRegistry(home, system_clock).active()
        if isinstance(rule, RiskRule) and model.standing != "approved":
            raise UserError(f"rule {rule.id} needs an active approved model: --rule model:{model.version}")
        after = arguments.closed_after
        found = replay_rule(clinic, first, last, rule, pack, model=model, scales=scales, closed_after=after)
    answer = judge(clinic, found, last, draws=arguments.draws)
    print(json.dumps(answer) if arguments.json else _in_words(arguments.rule, first, last, answer))
    return 0


def _model(home: Path, version: str) -> tuple[Model, Scales]:
    registry = ModelRegistry(home, system_clock)
    if version == "active":
        return registry.active()
    if version == SHIPPED.version:
        return SHIPPED, DEFAULT_SCALES
    own = registry.read(version)
    return own.model, own.scales


def _rule(clinic: Clinic, path: Path | None, name: str) -> tuple[RulePack, TestableRule]:
    pack = load_pack(path) if path is not None else rules_now(clinic)
    found = next((rule for rule in pack.rule if rule.id == name), None)
    if found is None:
        raise UserError(f"no rule {name}; there are {', '.join(rule.id for rule in pack.rule)}")
    if not isinstance(found, TestableRule):
        raise UserError(f"rule {name} is not judged by nights: it cannot be tested back")
    if found.cadence == "live" and not isinstance(found, ReportedRule):
        raise UserError(f"rule {name} is judged as values arrive, not by nights: it cannot be tested back")
    return pack, found


def judge(clinic: Clinic, found: Replayed, last: date, *, draws: int) -> dict[str, Any]:
    """Figures of the alerts beside as many random ones and as many by the own past rate."""
    days = clinic.derived.read("patient_day", date(2000, 1, 1), date(2099, 12, 31))
    if not days.num_rows:
        raise UserError("no outcomes: flarecast nightly has computed no day")
    newest = max(days["local_date"].to_pylist())
    cohort = make_cohort(make_panel(days, max(newest, last), patient_context(clinic)))
    panel = cohort.panel
    column = panel.column(found.first)
    alerts, eligible = np.zeros(panel.shape, np.bool_), np.zeros(panel.shape, np.bool_)
    place = {patient: row for row, patient in enumerate(panel.patients)}
    width = found.alerts.shape[1]
    for number, patient in enumerate(found.patients):
        if patient in place and column >= 0:
            part = slice(column, column + width)
            alerts[place[patient], part] = found.alerts[number]
            eligible[place[patient], part] = found.is_judged[number]
    resampling = Resampling(len(panel.patients), draws=draws)
    first_column, last_column = column, column + width - 1
    own = measure_alerts(cohort, alerts, eligible, first_column, last_column, resampling)
    found_by = under_way(cohort, alerts, eligible, first_column, last_column, resampling)
    past = np.where(eligible, np.nan_to_num(own_rate_score(replace(cohort, is_scored=eligible), 4.0)), np.nan)
    load = own.load.value if own.alerts else 0.0
    by_rate = fire(past, theta_for(past, load)) if load else _nothing(alerts)
    rate = measure_alerts(cohort, by_rate, eligible, first_column, last_column, resampling)
    chance = by_chance(cohort, eligible, first_column, last_column, load) if load else (0.0, float("nan"))
    return {
        "patients": len(found.patients),
        "nights_with_nothing_arrived": found.blind,
        "silent": found.silent,
        "rule": _plain(own),
        "under_way": _plain(found_by),
        "own_past_rate": _plain(rate),
        "random": {"sensitivity": _number(chance[0]), "ppv": _number(chance[1])},
    }


def _nothing(alerts: Marks) -> Marks:
    return np.zeros_like(alerts)


def _plain(own: AlertMeasures | UnderWay) -> dict[str, Any]:
    found = asdict(own)
    for name, value in found.items():
        if isinstance(value, dict):
            found[name] = {part: _number(one) for part, one in value.items()}
        else:
            found[name] = _number(value)
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _in_words(rule: str, first: date, last: date, answer: dict[str, Any]) -> str:
    own, rate, chance = answer["rule"], answer["own_past_rate"], answer["random"]

    def said(value: dict[str, float | None]) -> str:
        if value["value"] is None:
            return "too little to say"
        if value["low"] is None:
            return f"{value['value']:.2f}"
        return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"

    def plain(value: float | None) -> str:
        return "too little to say" if value is None else f"{value:.2f}"

    blind = answer["nights_with_nothing_arrived"]
    unseen = (
        [f"  nothing had arrived by {counted(blind, 'night')} of these: none could alert"] if blind else []
    )
    if answer["silent"]:
        unseen.append(f"  {answer['silent']} of the alerts were held back: open, and nobody told")
    begun = answer["under_way"]
    lead = "no onset caught" if own["lead_days"] is None else f"lead {own['lead_days']:.0f} days (median)"
    return "\n".join(
        [
            f"{rule}, nights {first} to {last}, {counted(answer['patients'], 'patient')}; "
            "every night by what had arrived before it",
            *unseen,
            f"  {counted(own['alerts'], 'alert')}, {counted(own['onsets'], 'onset')} reported; "
            f"{said(own['per_100_weeks'])} alerts per 100 patients and week",
            f"  {'':16}{'PPV':24}sensitivity",
            f"  {'this rule':16}{said(own['ppv']):24}{said(own['sensitivity'])}",
            f"  {'own past rate':16}{said(rate['ppv']):24}{said(rate['sensitivity'])}",
            f"  {'random days':16}{plain(chance['ppv']):24}{plain(chance['sensitivity'])}",
            f"  {lead}",
            "  These are of a forecast, an onset within the 7 days after. Of a flare under way,",
            f"  begun up to 6 days before or the day after: PPV {said(begun['ppv'])}, by chance "
            f"{plain(begun['by_chance'])}; sensitivity {said(begun['sensitivity'])}",
        ]
    )
