"""Bodies of webhooks: thin, or with the alerts themselves where the channel is clinical."""

import msgspec

from alerts.delivery.notice import ClinicalAlert, Notice
from alerts.rules.rule import Severity
from devices.clock import from_utc


class ThinData(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may see on the way: a reference to ask the console for, and how urgent it is."""

    reference: str
    recipient: str
    severity: Severity | None
    counts: dict[Severity, int]


class ClinicalData(ThinData, frozen=True, kw_only=True):
    """The alerts themselves."""

    alerts: tuple[ClinicalAlert, ...]


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True):
    """Envelope of Standard Webhooks: type, time of the attempt, content."""

    type: str
    timestamp: str
    data: ThinData | ClinicalData


def event_type(notice: Notice) -> str:
    """Type of the event as a receiver sees it, `alert.opened`."""
    return f"alert.{notice.event}"


def webhook_body(notice: Notice, attempt_utc: int, *, is_clinical: bool) -> bytes:
    """JSON body of a webhook.

    Parameters
    ----------
    notice : Notice
        What to tell.
    attempt_utc : int
        When this attempt is made, microseconds UTC.
    is_clinical : bool
        Whether the alerts themselves may be told.
    """
    thin = ThinData(
        reference=notice.reference,
        recipient=notice.recipient,
        severity=notice.severity,
        counts=dict(notice.counts),
    )
    told = (
        ClinicalData(**msgspec.structs.asdict(thin), alerts=tuple(notice.clinical)) if is_clinical else thin
    )
    moment = from_utc(attempt_utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.json.encode(WebhookBody(type=event_type(notice), timestamp=moment, data=told))
