"""`flarecast alerts steps | step | pathways`: what is suggested, and what was decided and why."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from alerts.delivery.fhir.plan import plan_definition
from alerts.engine.journal import Journal
from alerts.engine.suggestions import Decision, decide, in_order, in_words, steps_of
from alerts.rules.pathway_lint import faults
from alerts.rules.rule import Severity
from alerts.store import audit
from alerts.store.schema import alert
from devices.clock import system_clock
from flows.care.actor import acting, actor_of
from flows.care.contraindications import contraindications, site_pathways
from flows.care.rules_in_force import rules_now
from flows.clinic import Clinic
from flows.errors import UserError


def show_steps(home: Path, name: str) -> int:
    """Print the steps of an alert as they stand now; returns the exit code."""
    clinic = Clinic(home)
    pathways = site_pathways(clinic)
    with Journal(clinic.alert_store, system_clock) as journal:
        actor, patient = actor_of(journal), _patient(journal, name)
        with journal.transaction() as con:
            of = ("patient", patient)
            audit.append(con, journal.now(), actor.staff, "view steps", alert=name, subject=of)
        known = contraindications(clinic, system_clock()).get(patient, {})
        rows = in_order(pathways, steps_of(journal, name))
    for row in rows:
        print(in_words(pathways, known, row))
    if not rows:
        print("no pathway suggests anything for this alert")
    return 0


def record_step(home: Path, name: str, step: str, *, is_accepted: bool, why: str) -> int:
    """Write down what was decided about a step; returns the exit code."""
    clinic, now = Clinic(home), system_clock()
    with Journal(clinic.alert_store, system_clock) as journal, journal.transaction():
        known = contraindications(clinic, now).get(_patient(journal, name), {})
        decision = Decision(acting(journal).staff, is_accepted, why)
        decide(journal, site_pathways(clinic), known, name, step, decision, now)
    print(f"{step}: {'accepted' if is_accepted else 'declined'}")
    return 0


def lint_pathways(home: Path, *, as_fhir: bool = False) -> int:
    """Print what is wrong with the pathways today; returns the exit code, 1 when anything is."""
    clinic = Clinic(home)
    rules: dict[str, Severity] = {rule.id: rule.severity for rule in rules_now(clinic).rule}
    pathways = site_pathways(clinic)
    found = faults(pathways, as_of=datetime.now(UTC).date(), rules=rules)
    for fault in found:
        print(fault, file=sys.stderr)
    for one in pathways.pathway:
        if as_fhir:
            print(json.dumps(plan_definition(pathways, one)))
            continue
        signed = "PLACEHOLDER, signed by nobody" if one.is_placeholder else f"signed by {one.signed_by}"
        print(f"{one.id} version {one.version}: {len(one.step)} steps, {signed}, review by {one.review_by}")
    return 1 if found else 0


def _patient(journal: Journal, name: str) -> str:
    with journal.transaction() as con:
        patient = con.scalar(
            sa.select(alert.c.subject).where(alert.c.alert == name, alert.c.scope == "patient")
        )
    if patient is None:
        raise UserError(f"there is no alert {name!r} of a patient")
    return patient
