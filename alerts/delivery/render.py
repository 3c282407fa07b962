"""What a message says. No name, no patient id: the reference opens the rest at the clinic."""

import msgspec

from alerts.engine.outbox import Message
from devices.clock import from_utc

#: Type of the event, as the receiver sees it.
EVENTS = {"open": "alert.opened", "resolved": "alert.resolved"}


class AlertBody(msgspec.Struct, frozen=True, kw_only=True):
    """What the care team's system is told about an alert."""

    alert: str
    recipient: str
    rule: str
    rule_version: int
    severity: str
    local_date: str
    zone: str | None
    sentence: str


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True):
    """Envelope of Standard Webhooks: type, time of the attempt, content."""

    type: str
    timestamp: str
    data: AlertBody


def webhook_body(message: Message, attempt_utc: int) -> bytes:
    """JSON body of a webhook.

    Parameters
    ----------
    message : Message
        What to tell.
    attempt_utc : int
        When this attempt is made, microseconds UTC.
    """
    told = AlertBody(
        alert=message.alert,
        recipient=message.recipient,
        rule=message.rule,
        rule_version=message.rule_version,
        severity=message.severity,
        local_date=message.local_date,
        zone=message.zone,
        sentence=message.sentence,
    )
    moment = from_utc(attempt_utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.json.encode(WebhookBody(type=EVENTS[message.step], timestamp=moment, data=told))
