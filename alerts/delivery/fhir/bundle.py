"""One transaction per notice: everything of it is kept or nothing, and a repeat creates nothing."""

import uuid
from collections.abc import Callable, Collection
from typing import Any, Final

from alerts.delivery.fhir import resources
from alerts.delivery.fhir.codes import IDENTIFIERS, code
from alerts.delivery.fhir.resources import Resource
from alerts.delivery.notice import ClinicalAlert, Notice
from alerts.delivery.wording import wording

Subject = Callable[[ClinicalAlert], Resource]

#: Resource -> what a server must be able to do with it, both conditionally.
NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "Observation": ("create",),
    "RiskAssessment": ("create",),
    "Flag": ("create", "update"),
    "Task": ("create", "update"),
    "Communication": ("create",),
}


def transaction(
    notice: Notice,
    attempt_utc: int,
    *,
    subject: Subject,
    recipient: Resource,
    takes: Collection[str] = tuple(NEEDED),
) -> Resource:
    """Transaction bundle of a notice.

    Parameters
    ----------
    notice : Notice
        What to tell, with the alerts themselves.
    attempt_utc : int
        When this attempt is made, microseconds UTC.
    subject : callable
        Reference to the patient of an alert.
    recipient : Resource
        Reference to whom it is told.
    takes : collection of str
        Resources the server takes; the others, and references to them, are left out.
    """
    entries: list[Resource] = []
    about: list[Resource] = []
    for alert in notice.clinical:
        made = [one for one in _of_alert(alert, subject(alert), recipient, takes) if _kind(one) in takes]
        entries += made
        about += [{"reference": one["fullUrl"]} for one in made if _kind(one) == "Task"]
    if "Communication" in takes:
        told = message(notice, attempt_utc, recipient=recipient)
        if notice.clinical:
            told |= {"subject": subject(notice.clinical[0])} | ({"about": about} if about else {})
        entries.append(_create(told))
    return {"resourceType": "Bundle", "type": code("bundle-type", "transaction"), "entry": entries}


def message(notice: Notice, attempt_utc: int, *, recipient: Resource) -> Resource:
    """The notice as a Communication that names nobody: all that many servers take."""
    return resources.communication(
        notice.wire_id,
        wording(notice).text,
        sent_utc=attempt_utc,
        severity=notice.severity,
        recipient=recipient,
    )


def _of_alert(
    alert: ClinicalAlert, subject: Resource, owner: Resource, takes: Collection[str]
) -> list[Resource]:
    """Entries of an alert; what was measured and judged at its beginning stays as it is at its end."""
    write = _replace if alert.status == "resolved" else _create
    flag = write(resources.flag(alert, subject))
    focus = {"reference": flag["fullUrl"]} if "Flag" in takes else None
    task = write(resources.task(alert, subject, owner, focus))
    if alert.status == "resolved":
        return [flag, task]
    measured = [_create(one) for one in resources.observations(alert, subject)]
    basis = [{"reference": one["fullUrl"]} for one in measured] if "Observation" in takes else []
    return [*measured, _create(resources.risk_assessment(alert, subject, basis)), flag, task]


def _kind(entry: Resource) -> str:
    return entry["resource"]["resourceType"]


def query(resource: Resource) -> str:
    """Search that finds the resource again."""
    return f"identifier={IDENTIFIERS}|{resource['identifier'][0]['value']}"


def _create(resource: Resource) -> Resource:
    kind = resource["resourceType"]
    request = {"method": code("http-verb", "POST"), "url": kind, "ifNoneExist": query(resource)}
    return _entry(resource, request)


def _replace(resource: Resource) -> Resource:
    url = f"{resource['resourceType']}?{query(resource)}"
    return _entry(resource, {"method": code("http-verb", "PUT"), "url": url})


def _entry(resource: Resource, request: dict[str, Any]) -> Resource:
    # the same name in every attempt: what was logged of the first is found by the second
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{IDENTIFIERS}:{resource['identifier'][0]['value']}")
    return {"fullUrl": name.urn, "resource": resource, "request": request}
