"""Delivery: lease, check again, send, settle; back off, give up visibly."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from alerts.engine.journal import Journal, Message
from devices.clock import MINUTE, SECOND, Clock

#: Longer than any channel's own time-out: a second worker never sends what the first is still sending.
LEASE = 60 * SECOND
BATCH = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 5 * SECOND, 15 * MINUTE


class TransientError(Exception):
    """The channel may take it later; `retry_after_s` when it said when."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class PermanentError(Exception):
    """The channel will never take it."""


class Channel(Protocol):
    """Where messages go."""

    def send(self, key: str, body: str) -> None:
        """Deliver `body` under the idempotency key, or raise one of the two errors above."""
        ...


@dataclass
class Delivered:
    """Outcome of a round."""

    sent: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0


def deliver_due(journal: Journal, channels: Sequence[Channel], clock: Clock) -> Delivered:
    """Send everything that is due, each message by the first channel that takes it."""
    outcome = Delivered()
    while messages := journal.lease(limit=BATCH, lease_us=LEASE):
        for message in messages:
            if not journal.is_still_wanted(message):
                journal.settle(message, "cancelled", error="resolved before it was sent")
                outcome.cancelled += 1
                continue
            _send(journal, message, channels, clock, outcome)
    return outcome


def _send(
    journal: Journal, message: Message, channels: Sequence[Channel], clock: Clock, outcome: Delivered
) -> None:
    reasons: list[str] = []
    pauses: list[float] = []
    for channel in channels:
        try:
            channel.send(message.key, message.body)
        except TransientError as error:
            reasons.append(str(error))
            pauses.append((error.retry_after_s or 0) * SECOND)
        except PermanentError as error:
            reasons.append(str(error))
        else:
            journal.settle(message, "sent")
            outcome.sent += 1
            return
    due = clock() + max(*pauses, _pause(message.attempts), 0) if pauses else 0
    if not pauses or due > message.deadline_utc:
        journal.settle(message, "dead", error="; ".join(reasons))
        outcome.dead += 1
    else:
        journal.settle(message, "queued", error="; ".join(reasons), not_before_utc=int(due))
        outcome.failed += 1


def _pause(attempts: int) -> float:
    """Doubling with jitter, so that a recovering receiver is not met by everything at once."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempts - 1)) * random.uniform(0.5, 1.0)
