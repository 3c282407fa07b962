"""Words of the thin channels: fixed sentences, a count, severities and a random reference.

Text messages, e-mail and push are read on lock screens and by their carriers
(alerts.md 2.4). There is no slot for a name, a value or a condition.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from alerts.delivery.notice import SEVERITIES, Event, Notice

#: Event -> title, and the sentence for one and for several alerts.
_WORDING: Final[Mapping[Event, tuple[str, str, str]]] = {
    "opened": ("RPM: review needed", "1 alert needs review", "{total} alerts need review"),
    "repeated": (
        "RPM: review still needed",
        "1 alert still needs review",
        "{total} alerts still need review",
    ),
    "escalated": (
        "RPM: nobody has answered yet",
        "1 alert has not been answered and is now yours",
        "{total} alerts have not been answered and are now yours",
    ),
    "resolved": ("RPM: resolved", "1 alert is resolved", "{total} alerts are resolved"),
    "digest": ("RPM: handover", "1 alert is in the handover", "{total} alerts are in the handover"),
    "technical": (
        "RPM: technical fault",
        "1 technical fault needs attention",
        "{total} technical faults need attention",
    ),
    "test": ("RPM: test", "This is a test message, nothing needs to be done", ""),
}


class Wording(NamedTuple):
    """What a person reads."""

    title: str
    text: str


def wording(notice: Notice) -> Wording:
    """Title and text of a notice: the same for everybody about whom it could be."""
    title, one, many = _WORDING[notice.event]
    total = sum(notice.counts.values())
    sentence = one if total <= 1 else many.format(total=total)
    by_severity = ", ".join(f"{notice.counts[name]} {name}" for name in SEVERITIES if name in notice.counts)
    detail = f" ({by_severity})" if by_severity else ""
    action = "" if notice.event == "test" else " Open the console."
    return Wording(title, f"RPM: {sentence}{detail}. Ref {notice.reference}.{action}")
