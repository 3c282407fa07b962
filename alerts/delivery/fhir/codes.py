"""Required code lists of FHIR R4 (4.0.1) that the resources here use, and our own code systems.

Copied because libraries accept any word in their place (alerts.md 2.3): a wrong one
is an error here, not at the hospital.
"""

from collections.abc import Mapping
from typing import Any, Final

from alerts.errors import ChannelError
from alerts.rules.rule import Severity

#: Identifiers of what we create, by which a repeat finds it again.
IDENTIFIERS: Final = "urn:flarecast:id"
#: Our codes of metrics without a LOINC code, and of risk methods.
METRICS: Final = "urn:flarecast:codesystem:metric"
RULES: Final = "urn:flarecast:codesystem:rule"
LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
#: Standard deviation of R-R intervals: SDNN, and never RMSSD.
SDNN_LOINC: Final = "80404-7"


def _codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


_OBSERVATION: Final = _codes(
    "registered preliminary final amended corrected cancelled entered-in-error unknown"
)
#: Value set -> its codes.
REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "observation-status": _OBSERVATION,
    "riskassessment-status": _OBSERVATION,
    "flag-status": _codes("active inactive entered-in-error"),
    "task-status": _codes(
        "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed"
        " entered-in-error"
    ),
    "task-intent": _codes(
        "unknown proposal plan order original-order reflex-order filler-order instance-order option"
    ),
    "request-priority": _codes("routine urgent asap stat"),
    "event-status": _codes(
        "preparation in-progress not-done on-hold stopped completed entered-in-error unknown"
    ),
    "bundle-type": _codes(
        "document message transaction transaction-response batch batch-response history searchset collection"
    ),
    "http-verb": _codes("GET HEAD POST PUT DELETE PATCH"),
    "publication-status": _codes("draft active retired unknown"),
    "trigger-type": _codes(
        "named-event periodic data-changed data-added data-modified data-removed data-accessed"
        " data-access-ended"
    ),
    "action-condition-kind": _codes("applicability start stop"),
    "action-participant-type": _codes("patient practitioner related-person device"),
    "action-relationship-type": _codes(
        "before-start before before-end concurrent-with-start concurrent concurrent-with-end after-start"
        " after after-end"
    ),
    "identifier-use": _codes("usual official temp secondary old"),
}

PRIORITY: Final[Mapping[Severity, str]] = {
    "low": "routine",
    "medium": "urgent",
    "high": "asap",
    "critical": "stat",
}


def code(value_set: str, value: str) -> str:
    """The value, if it is one of the required codes.

    Raises
    ------
    ChannelError
        When it is not.
    """
    if value not in REQUIRED[value_set]:
        raise ChannelError(f"{value!r} is not a code of {value_set}")
    return value


def concept(system: str, value: str, text: str) -> dict[str, Any]:
    """CodeableConcept of one code."""
    return {"coding": [{"system": system, "code": value, "display": text}], "text": text}
