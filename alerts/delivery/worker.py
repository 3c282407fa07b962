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
from alerts.engine.journal import Journal
from alerts.engine.outbox import Message
from alerts.errors import PermanentFailure, TransientFailure
from devices.clock import HOUR, SECOND, Clock

LOG = logging.getLogger(__name__)

FIRST_WAIT = 15 * SECOND
LONGEST_WAIT = HOUR
#: Up to half of the wait is left to chance, so that a receiver that comes back is not stormed.
JITTER = 0.5


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
    try:
        channel.send(message, clock())
    except PermanentFailure as fault:
        _bury(journal, message, str(fault), done)
    except TransientFailure as fault:
        due = clock() + wait_before(message.attempt, fault.retry_after_s, chance)
        if due > message.deadline_utc:
            _bury(journal, message, f"deadline passed: {fault}", done)
            return
        journal.outbox.retry(message.key, str(fault), due)
        done.failed += 1
        LOG.warning("delivery failed key=%s attempt=%d reason=%s", message.key, message.attempt, fault)
    else:
        journal.outbox.mark_sent(message.key)
        done.sent += 1


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
