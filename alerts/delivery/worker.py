"""Sends what is due. May be killed at any moment: the outbox knows what is left.

Claim (leased, checked against the alert) -> send -> mark. A worker that dies
between the last two leaves a lease that runs out; the message goes out once
more with the same idempotency key. Any number of workers may run at once.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from alerts.delivery.attempt import make_attempt
from alerts.delivery.channels.channel import LONGEST_ATTEMPT_S, Channel
from alerts.delivery.dead_letter import Fallback
from alerts.engine.journal import Journal
from devices.clock import Clock

#: How long a thread with nothing to do waits; a critical alert should be out within a second.
POLL_S: Final = 0.1


@dataclass(slots=True)
class Delivered:
    """What one round did, in messages.

    Parameters
    ----------
    sent : int
        Accepted by the receiver.
    failed : int
        Attempts that failed: made again, or by the next channel.
    dead : int
        Given up by every channel: dead letters.
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
    fallback: Fallback | None = None,
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
    fallback : Fallback, optional
        Who is told of dead letters.
    limit : int
        Attempts at most.
    chance : random.Random, optional
        Source of the jitter.
    """
    by_name = {channel.name: channel for channel in channels}
    chance = chance or random.Random()
    counts: Counter[str] = Counter()
    for _ in range(limit if by_name else 0):
        claim = journal.outbox.claim(tuple(by_name))
        counts["cancelled"] += claim.cancelled
        if not claim.messages:
            break
        channel = by_name[claim.messages[0].channel]
        counts += make_attempt(journal, channel, claim, clock, chance, fallback=fallback)
    return Delivered(counts["sent"], counts["failed"] + counts["moved"], counts["dead"], counts["cancelled"])


@dataclass(frozen=True, slots=True)
class Worker:
    """Delivers until it is stopped, by several threads.

    Parameters
    ----------
    open_journal : callable
        Opens the store; each thread has a connection of its own.
    channels : sequence of Channel
        Every way this site has to tell.
    clock : Clock
        Says what is due.
    name : str
        Stands in the lease, to be seen.
    fallback : Fallback, optional
        Who is told of dead letters.
    threads : int
        Attempts at the same time: one slow receiver holds up one.
    limit_s : float
        Longest attempt; below the lease.
    """

    open_journal: Callable[[], Journal]
    channels: Sequence[Channel]
    clock: Clock
    name: str
    fallback: Fallback | None = None
    threads: int = 4
    limit_s: float = LONGEST_ATTEMPT_S

    def run(self, stop: threading.Event) -> None:
        """Deliver until stopped; what is being sent is finished first.

        Raises
        ------
        Exception
            Whatever ended a thread, after the others have stopped.
        """
        with ThreadPoolExecutor(self.threads, "deliver") as pool:
            for ended in [pool.submit(self._deliver, stop) for _ in range(self.threads)]:
                ended.result()

    def _deliver(self, stop: threading.Event) -> None:
        try:
            with self.open_journal() as journal:
                while not stop.is_set():
                    if not self.deliver_one(journal):
                        stop.wait(POLL_S)
        finally:
            # a thread that ended alone would be a worker that runs and does less than it says
            stop.set()

    def deliver_one(self, journal: Journal) -> bool:
        """Make one attempt; whether there was one to make."""
        by_name = {channel.name: channel for channel in self.channels}
        claim = journal.outbox.claim(None, self.name)
        if not claim.messages:
            return False
        channel = by_name.get(claim.messages[0].channel)
        chance = random.Random()
        make_attempt(
            journal, channel, claim, self.clock, chance, fallback=self.fallback, limit_s=self.limit_s
        )
        return True
