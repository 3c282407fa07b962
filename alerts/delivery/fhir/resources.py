"""Builders of the R4 resources that tell an alert: typed arguments in, a dict of JSON out."""

from typing import Any, Final

from alerts.delivery.fhir.codes import (
    CATEGORIES,
    IDENTIFIERS,
    LOINC,
    METRICS,
    PRIORITY,
    RULES,
    SDNN_LOINC,
    UCUM,
    code,
    concept,
)
from alerts.delivery.notice import ClinicalAlert
from alerts.errors import ChannelError
from alerts.rules.rule import Severity
from analytics.metrics import REGISTRY, Metric
from devices.clock import from_utc

Resource = dict[str, Any]

#: Tables whose columns are metrics in their native unit.
_NATIVE: Final = ("patient_day", "night")
#: Probability of a flare within seven days, from a model the site has approved.
RISK: Final = "flare_risk.risk_7d"
_SURVEY: Final = "questionnaire"
#: State of the alert -> of the work it is.
_TASK_STATUS: Final = {"open": "requested", "acked": "accepted", "resolved": "completed"}


def instant(utc: int) -> str:
    """Instant as FHIR writes it."""
    return from_utc(utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def identified(value: str) -> list[Resource]:
    """Identifier by which a repeat finds the resource again; says nothing about the patient."""
    return [{"use": code("identifier-use", "official"), "system": IDENTIFIERS, "value": value}]


def observation(
    alert: ClinicalAlert, metric: Metric, value: float, subject: Resource, local_date: str
) -> Resource:
    """Daily value or score of a metric, with the code and unit of the registry.

    Raises
    ------
    ChannelError
        When a metric other than SDNN would go out under the code of SDNN.
    """
    if metric.loinc == SDNN_LOINC and not metric.id.startswith("sdnn"):
        raise ChannelError(f"{metric.id} is not SDNN and must not be coded {SDNN_LOINC}")
    system = LOINC if metric.loinc else METRICS
    is_answer = metric.grain == _SURVEY or metric.id in ("nrs", "mood")
    return {
        "resourceType": "Observation",
        "identifier": identified(f"{alert.alert}-{metric.id.replace('_', '-')}"),
        "status": code("observation-status", "final"),
        "category": [concept(CATEGORIES, "survey", "Survey")]
        if is_answer
        else [concept(CATEGORIES, "activity", "Activity")],
        "code": concept(system, metric.code, metric.name),
        "subject": subject,
        "effectiveDateTime": local_date,
        "valueQuantity": {"value": value, "unit": metric.unit, "system": UCUM, "code": metric.unit},
    }


def observations(alert: ClinicalAlert, subject: Resource) -> list[Resource]:
    """Observations of those readings that are a metric in its native unit."""
    found: list[Resource] = []
    if alert.local_date is None:
        return found
    for name, value in sorted(alert.readings.items()):
        table, _, column = name.partition(".")
        metric = REGISTRY.get(column)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if table in _NATIVE and metric is not None and is_number:
            found.append(observation(alert, metric, value, subject, alert.local_date))
    return found


def risk_assessment(alert: ClinicalAlert, subject: Resource, basis: list[Resource]) -> Resource:
    """What the rule judged, with a probability only where an approved model gave one."""
    prediction: Resource = {"outcome": {"text": "flare"}, "rationale": alert.sentence}
    risk = alert.readings.get(RISK)
    if isinstance(risk, int | float) and not isinstance(risk, bool):
        prediction["probabilityDecimal"] = float(risk)
    method = f"{alert.rule} version {alert.rule_version}"
    return {
        "resourceType": "RiskAssessment",
        "identifier": identified(f"{alert.alert}-risk"),
        "status": code("riskassessment-status", "final"),
        "method": concept(RULES, alert.rule, method),
        "subject": subject,
        "occurrenceDateTime": instant(alert.opened_utc),
        "prediction": [prediction],
        **({"basis": basis} if basis else {}),
        **({"mitigation": "; ".join(alert.steps)} if alert.steps else {}),
    }


def flag(alert: ClinicalAlert, subject: Resource) -> Resource:
    """Warning that stands in the chart while the alert is active."""
    ended = {"end": instant(alert.resolved_utc)} if alert.resolved_utc is not None else {}
    return {
        "resourceType": "Flag",
        "identifier": identified(f"{alert.alert}-flag"),
        "status": code("flag-status", "inactive" if alert.status == "resolved" else "active"),
        "code": {"text": "Remote monitoring alert"},
        "subject": subject,
        "period": {"start": instant(alert.opened_utc), **ended},
    }


def task(alert: ClinicalAlert, subject: Resource, owner: Resource, focus: Resource | None) -> Resource:
    """Work to be done about the alert; its status follows acknowledgement and end."""
    due = {"restriction": {"period": {"end": instant(alert.due_utc)}}} if alert.due_utc is not None else {}
    return {
        "resourceType": "Task",
        "identifier": identified(f"{alert.alert}-task"),
        "status": code("task-status", _TASK_STATUS[alert.status]),
        "intent": code("task-intent", "order"),
        "priority": code("request-priority", PRIORITY[alert.severity]),
        "code": {"text": "Review a remote monitoring alert"},
        "description": alert.sentence,
        **({"focus": focus} if focus else {}),
        "for": subject,
        "authoredOn": instant(alert.opened_utc),
        "owner": owner,
        **due,
        **({"note": [{"text": step} for step in alert.steps]} if alert.steps else {}),
    }


def communication(
    name: str,
    text: str,
    *,
    sent_utc: int,
    severity: Severity | None,
    recipient: Resource,
    subject: Resource | None = None,
    about: list[Resource] | None = None,
) -> Resource:
    """Message to the team: the words of the thin channels."""
    priority = {"priority": code("request-priority", PRIORITY[severity])} if severity else {}
    return {
        "resourceType": "Communication",
        "identifier": identified(name),
        "status": code("event-status", "completed"),
        **priority,
        **({"subject": subject} if subject else {}),
        **({"about": about} if about else {}),
        "sent": instant(sent_utc),
        "recipient": [recipient],
        "payload": [{"contentString": text}],
    }
