"""Judge one night: every rule for every patient, in event time, at most once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from alerts.engine.evaluate import evaluate
from alerts.engine.journal import Journal
from alerts.rules.pack import Rule, RulePack


@dataclass
class NightAlerts:
    """What a night changed."""

    opened: int = 0
    resolved: int = 0
    unknown: int = 0
    already_judged: int = 0


def run_night(journal: Journal, pack: RulePack, day: date, tables: Mapping[str, pa.Table]) -> NightAlerts:
    """Judge the night that ends on `day`.

    A night that was judged, or that lies before one that was, changes nothing:
    the same run again opens nothing.

    Parameters
    ----------
    journal : Journal
    pack : RulePack
    day : date
        Local date.
    tables : mapping of str to Table
        Derived tables of that date by name (:data:`analytics.tables.TABLES`).
    """
    night = NightAlerts()
    context = {row["patient"]: row for row in tables["patient_day"].to_pylist()}
    sentences = {row["patient"]: row["sentence"] for row in tables["flare_risk"].to_pylist()}
    with journal.transaction():
        for rule in pack.rules.values():
            for row in tables[rule.table].to_pylist():
                patient = row["patient"]
                zone = (context.get(patient) or {}).get("zone") or "UTC"
                _judge(journal, rule, row, day, _sentence(rule, sentences.get(patient)), zone, night)
    return night


def _judge(
    journal: Journal,
    rule: Rule,
    row: Mapping[str, Any],
    day: date,
    sentence: str,
    zone: str,
    night: NightAlerts,
) -> None:
    patient = row["patient"]
    was_firing, judged = journal.condition(patient, rule.id)
    if judged is not None and day <= judged:
        night.already_judged += 1
        return
    verdict = evaluate(rule, row, was_firing=was_firing)
    body = {
        "rule": rule.id,
        "rule_version": rule.version,
        "severity": rule.severity,
        "title": rule.title,
        "reason": sentence,
        "local_date": day.isoformat(),
        "zone": zone,
    }
    if verdict == "enter":
        alert = {
            "patient": patient,
            "rule": rule.id,
            "rule_version": rule.version,
            "severity": rule.severity,
            "opened_date": day.isoformat(),
            "sentence": sentence,
            "zone": zone,
        }
        journal.open_alert(alert, {**body, "event": "opened"})
        night.opened += 1
    elif verdict == "exit":
        night.resolved += journal.resolve_alert(patient, rule.id, day, {**body, "event": "resolved"})
    elif verdict == "unknown":
        night.unknown += 1
    is_firing = verdict == "enter" or (was_firing and verdict != "exit")
    journal.set_condition(patient, rule.id, is_firing=is_firing, day=day)


def _sentence(rule: Rule, sentence: str | None) -> str:
    if rule.kind == "threshold" and sentence:
        return sentence
    return f"{rule.title}. {sentence}" if sentence else f"{rule.title}."
