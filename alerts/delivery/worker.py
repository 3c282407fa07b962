"""Sends what is due. May be killed at any moment: the outbox knows what is left.

Claim (leased, checked against the alert) -> send -> mark. A worker that dies
between the last two leaves a lease that runs out; the message goes out once
more with the same idempotency key.
"""

import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alerts.delivery.channels.channel import Channel
from alerts.delivery.notice import ClinicalAlert, Event, Notice
from alerts.engine.journal import Journal
from alerts.engine.outbox import Claim, Message
from devices.clock import HOUR, SECOND, Clock

LOG = logging.getLogger(__name__)

FIRST_WAIT = 15 * SECOND
LONGEST_WAIT = HOUR
#: Up to half of the wait is left to chance, so that a receiver that comes back is not stormed.
JITTER = 0.5
#: Kind of a message -> what a channel is told.
EVENTS: Final[dict[str, Event]] = {
    "open": "opened",
    "event": "opened",
    "unmuted": "opened",
    "repeat": "repeated",
    "escalate": "escalated",
    "resolved": "resolved",
    "digest": "technical",
}


@dataclass(slots=True)
class Delivered:
    """What one round did, in messages.

    Parameters
    ----------
    sent : int
        Accepted by the receiver.
    failed : int
        Attempts that failed and will be made again.
    dead : int
        Given up: dead letters.
    cancelled : int
        Not sent, because the alert no longer needed it.
    """

    sent: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0


def deliver_due(
    journal: Journal,
    channels: Sequence[Channel],
    clock: Clock,
    *,
    limit: int = 10_000,
    chance: random.Random | None = None,
) -> Delivered:
    """Send every message that is due, one attempt each.

    Parameters
    ----------
    journal : Journal
        Holds the outbox.
    channels : sequence of Channel
        Ways to tell; messages for others stay queued.
    clock : Clock
        Says what is due, and stamps the attempts.
    limit : int
        Attempts at most.
    chance : random.Random, optional
        Source of the jitter.
    """
    by_name = {channel.name: channel for channel in channels}
    chance = chance or random.Random()
    done = Delivered()
    for _ in range(limit if by_name else 0):
        claim = journal.outbox.claim(tuple(by_name))
        done.cancelled += claim.cancelled
        if not claim.messages:
            break
        _attempt(journal, by_name[claim.messages[0].channel], claim, clock, chance, done)
    return done


def _attempt(
    journal: Journal, channel: Channel, claim: Claim, clock: Clock, chance: random.Random, done: Delivered
) -> None:
    count, attempt = len(claim.messages), claim.messages[0].attempt
    outcome = channel.send(notice_of(claim, is_clinical=channel.is_clinical), clock())
    if outcome.kind == "sent":
        journal.outbox.mark_sent(claim.key)
        done.sent += count
        return
    due = clock() + wait_before(attempt, outcome.retry_after_s, chance)
    if outcome.kind == "permanent":
        _bury(journal, claim, outcome.reason, done)
    elif due > max(message.deadline_utc for message in claim.messages):
        _bury(journal, claim, f"deadline passed: {outcome.reason}", done)
    else:
        journal.outbox.retry(claim.key, outcome.reason, due)
        done.failed += count
        LOG.warning("delivery failed key=%s attempt=%d reason=%s", claim.key, attempt, outcome.reason)


def notice_of(claim: Claim, *, is_clinical: bool) -> Notice:
    """What a channel is told of a batch; who and why only if it is clinical."""
    lead = claim.messages[0]
    return Notice(
        key=claim.key,
        event=EVENTS[lead.kind],
        reference=lead.alert,
        counts=Counter(message.severity for message in claim.messages),
        recipient=lead.recipient,
        clinical=tuple(_told(message) for message in claim.messages) if is_clinical else (),
    )


def _told(message: Message) -> ClinicalAlert:
    return ClinicalAlert(
        alert=message.alert,
        patient=message.patient,
        rule=message.rule,
        rule_version=message.rule_version,
        severity=message.severity,
        status=message.status,
        local_date=message.local_date,
        zone=message.zone,
        sentence=message.sentence,
        opened_utc=message.opened_utc,
    )


def _bury(journal: Journal, claim: Claim, reason: str, done: Delivered) -> None:
    buried = journal.outbox.bury(claim.key, reason)
    done.dead += len(buried.dead)
    done.failed += buried.moved
    LOG.error("channel given up key=%s attempt=%d reason=%s", claim.key, claim.messages[0].attempt, reason)


def wait_before(attempt: int, retry_after_s: float | None, chance: random.Random) -> int:
    """Microseconds until the next attempt: doubling, jittered, never sooner than the receiver asked."""
    longest = min(FIRST_WAIT * 2 ** min(attempt - 1, 16), LONGEST_WAIT)
    wait = int(longest * (1 - JITTER * chance.random()))
    asked = int(min(retry_after_s or 0.0, LONGEST_WAIT / SECOND) * SECOND)
    return max(wait, asked)
