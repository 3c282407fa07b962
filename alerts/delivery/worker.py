"""Sends what is due. May be killed at any moment: the outbox knows what is left.

Claim (leased, checked against the alert) -> send -> mark. A worker that dies
between the last two leaves a lease that runs out; the message goes out once
more with the same idempotency key.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from alerts.delivery.channels.channel import Channel
from alerts.delivery.notice import ClinicalAlert, Event, Notice
from alerts.engine.journal import Journal
from alerts.engine.outbox import Message
from devices.clock import HOUR, SECOND, Clock

LOG = logging.getLogger(__name__)

FIRST_WAIT = 15 * SECOND
LONGEST_WAIT = HOUR
#: Up to half of the wait is left to chance, so that a receiver that comes back is not stormed.
JITTER = 0.5
#: Step of the outbox -> what a channel is told.
EVENTS: dict[str, Event] = {"open": "opened", "resolved": "resolved"}


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
        if claim.message is None:
            break
        _attempt(journal, by_name[claim.message.channel], claim.message, clock, chance, done)
    return done


def _attempt(
    journal: Journal, channel: Channel, message: Message, clock: Clock, chance: random.Random, done: Delivered
) -> None:
    outcome = channel.send(notice_of(message, is_clinical=channel.is_clinical), clock())
    if outcome.kind == "sent":
        journal.outbox.mark_sent(message.key)
        done.sent += 1
        return
    due = clock() + wait_before(message.attempt, outcome.retry_after_s, chance)
    if outcome.kind == "permanent":
        _bury(journal, message, outcome.reason, done)
    elif due > message.deadline_utc:
        _bury(journal, message, f"deadline passed: {outcome.reason}", done)
    else:
        journal.outbox.retry(message.key, outcome.reason, due)
        done.failed += 1
        LOG.warning(
            "delivery failed key=%s attempt=%d reason=%s", message.key, message.attempt, outcome.reason
        )


def notice_of(message: Message, *, is_clinical: bool) -> Notice:
    """What a channel is told of a message; who and why only if it is clinical."""
    told = ClinicalAlert(
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
    return Notice(
        key=message.key,
        event=EVENTS[message.step],
        reference=message.alert,
        counts={message.severity: 1},
        recipient=message.recipient,
        clinical=(told,) if is_clinical else (),
    )


def _bury(journal: Journal, message: Message, reason: str, done: Delivered) -> None:
    journal.outbox.bury(message.key, reason)
    done.dead += 1
    LOG.error("delivery given up key=%s attempt=%d reason=%s", message.key, message.attempt, reason)


def wait_before(attempt: int, retry_after_s: float | None, chance: random.Random) -> int:
    """Microseconds until the next attempt: doubling, jittered, never sooner than the receiver asked."""
    longest = min(FIRST_WAIT * 2 ** min(attempt - 1, 16), LONGEST_WAIT)
    wait = int(longest * (1 - JITTER * chance.random()))
    asked = int(min(retry_after_s or 0.0, LONGEST_WAIT / SECOND) * SECOND)
    return max(wait, asked)
