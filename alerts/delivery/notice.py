"""What a channel is told to say.

A notice has no field that could hold a name, a value or a condition: what a thin
channel sends cannot say more than is in here. What a clinical channel may say
beside it stands apart, and is filled in for clinical channels only.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import msgspec

from alerts.errors import ChannelError
from alerts.rules.rule import Severity

Event = Literal["opened", "repeated", "escalated", "resolved", "digest", "technical", "test"]

#: Worst first.
SEVERITIES: Final = ("critical", "high", "medium", "low")
#: A random reference, in letters and digits that cannot be mistaken for each other when read aloud.
_REFERENCE: Final = re.compile(r"[A-Z]-[2-9A-HJ-NP-Z]{4,16}")


class ClinicalAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as a clinical channel may tell it.

    Parameters
    ----------
    alert : str
        Random reference of the alert.
    patient : str
        Patient id at the clinic.
    rule, rule_version, severity
        The rule that opened it.
    local_date, zone : str
        Night on which the breach began, at the patient.
    sentence : str
        The reason in one sentence.
    readings : mapping
        What the rule read: `table.column`, or `baseline.column.metric`.
    opened_utc, due_utc, resolved_utc : int or None
        Microseconds UTC; when an answer is due, when it was over.
    status : str
        open, acked or resolved.
    steps : sequence of str
        Suggested steps of the care pathway, in words.
    """

    alert: str
    patient: str
    rule: str
    rule_version: int
    severity: Severity
    status: str
    local_date: str | None
    zone: str | None
    sentence: str
    readings: Mapping[str, Any] = {}
    opened_utc: int
    due_utc: int | None = None
    resolved_utc: int | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one recipient by one channel.

    Parameters
    ----------
    key : str
        Idempotency key: the same for every attempt.
    event : str
        Why somebody is told.
    reference : str
        Random reference under which the console finds the alerts.
    counts : mapping
        Severity -> how many alerts; empty for what is not about alerts.
    recipient : str
        Whom to tell; the channel knows the address.
    clinical : sequence of ClinicalAlert
        The alerts themselves; empty for a thin channel.

    Raises
    ------
    ChannelError
        When a field holds anything else than it may: nothing is sent then.
    """

    key: str
    event: Event
    reference: str
    counts: Mapping[Severity, int]
    recipient: str
    clinical: Sequence[ClinicalAlert] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.event not in get_args(Event):
            raise ChannelError("a notice of an unknown event")
        if not _REFERENCE.fullmatch(self.reference):
            raise ChannelError("a notice whose reference is not a random one")
        if not set(self.counts) <= set(SEVERITIES) or any(count < 1 for count in self.counts.values()):
            raise ChannelError("a notice whose counts are not counts by severity")

    @property
    def severity(self) -> Severity | None:
        """The worst among the alerts."""
        return next((severity for severity in SEVERITIES if severity in self.counts), None)

    @property
    def wire_id(self) -> str:
        """The key as others see it: opaque, the same for every attempt, safe in any header."""
        return "m-" + hashlib.sha256(self.key.encode()).hexdigest()[:40]
