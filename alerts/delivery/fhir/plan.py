"""Care pathways as R4 PlanDefinitions: for exchange and for reading, not to be executed."""

from typing import Final

from alerts.delivery.fhir.codes import IDENTIFIERS, code
from alerts.delivery.fhir.resources import Resource
from alerts.rules.pathway import OfferStep, Pathway, Pathways, Step, TaskStep

_TYPES: Final = "http://terminology.hl7.org/CodeSystem/plan-definition-type"


def plan_definition(site: Pathways, pathway: Pathway) -> Resource:
    """PlanDefinition of a pathway; a draft as long as no clinician has signed it."""
    is_signed = not pathway.is_placeholder
    signed = {"approvalDate": str(pathway.signed_on)} if is_signed else {}
    author = {"author": [{"name": pathway.signed_by}]} if is_signed else {}
    return {
        "resourceType": "PlanDefinition",
        "url": f"urn:flarecast:pathway:{pathway.id}",
        "identifier": [{"system": IDENTIFIERS, "value": f"pathway-{pathway.id}"}],
        "version": str(pathway.version),
        "title": pathway.title,
        "type": {"coding": [{"system": _TYPES, "code": "eca-rule"}]},
        "status": code("publication-status", "active" if is_signed else "draft"),
        "experimental": not is_signed,
        "publisher": pathway.owner,
        **signed,
        **author,
        "effectivePeriod": {"end": str(pathway.review_by)},
        "action": [
            {
                "title": pathway.title,
                "trigger": [
                    {"type": code("trigger-type", "named-event"), "name": f"alert of rule {rule}"}
                    for rule in pathway.when.rules
                ],
                **_conditions([f"{one.column} {one.bound}" for one in pathway.when.all]),
                "action": [_action(site, step) for step in pathway.step],
            }
        ],
    }


def _action(site: Pathways, step: Step) -> Resource:
    who = {"participant": [{"type": code("action-participant-type", "practitioner")}]}
    before = [
        {"actionId": after.step, "relationship": code("action-relationship-type", "after-end")}
        for after in step.after
    ]
    asked = [f"not {one} ({site.question(one)})" for one in step.hold_if]
    return {
        "id": step.id,
        "title": f"{step.role}: {step.text}" if isinstance(step, TaskStep) else step.text,
        **_conditions(asked),
        **({"relatedAction": before} if before else {}),
        **({"timingDuration": _hours(step.due_h)} if isinstance(step, TaskStep) else {}),
        **(who if isinstance(step, TaskStep) else {}),
        **({"textEquivalent": f"module {step.module}"} if isinstance(step, OfferStep) else {}),
    }


def _conditions(texts: list[str]) -> Resource:
    """Conditions in words: a person reads them, no engine."""
    conditions = [
        {
            "kind": code("action-condition-kind", "applicability"),
            "expression": {"description": text, "language": "text/plain"},
        }
        for text in texts
    ]
    return {"condition": conditions} if conditions else {}


def _hours(hours: int) -> Resource:
    return {"value": hours, "unit": "h", "system": "http://unitsofmeasure.org", "code": "h"}
