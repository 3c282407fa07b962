"""Sends what is due. May be killed at any moment: the outbox knows what is left.

Claim (leased, checked against the alert) -> send -> mark. A worker that dies
between the last two leaves a lease that runs out; the message goes out once
more with the same idempotency key. Any number of workers may run at once.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from alerts.delivery.attempt import NOT_SET_UP, make_attempt, send_within, settle, told_of
from alerts.delivery.channels.channel import LONGEST_ATTEMPT_S, Channel, Outcome
from alerts.delivery.dead_letter import Fallback
from alerts.delivery.notice import Notice
from alerts.engine.journal import Journal
from alerts.engine.outbox import Claim
from devices.clock import Clock

#: How long a worker with nothing to do waits; a critical alert should be out within a second.
POLL_S: Final = 0.05
#: Between two transactions of a busy worker: the store is others' too, and what has ended meanwhile is
#: written down at once.
PACE_S: Final = 0.02
THREADS: Final = 16
#: Minutes are what escalation and repeats count in.
TICK_S: Final = 10.0


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
        counts += make_attempt(journal, channel, claim, clock, chance, fallback)
    return Delivered(counts["sent"], counts["failed"] + counts["moved"], counts["dead"], counts["cancelled"])


@dataclass(frozen=True, slots=True)
class Worker:
    """Delivers until it is stopped.

    One thread talks to the store: in one transaction it writes down what became of attempts and leases
    the next ones, so that a rush costs one commit for many. The others send.

    Parameters
    ----------
    open_journal : callable
        Opens the store.
    channels : sequence of Channel
        Every way this site has to tell.
    clock : Clock
        Says what is due.
    name : str
        Stands in the lease, to be seen.
    fallback : Fallback, optional
        Who is told of dead letters.
    threads : int
        Attempts at the same time: a slow receiver holds up one.
    limit_s : float
        Longest attempt; below the lease.
    tick : callable, optional
        Looks at what time has made due (escalation, repeats): called with the journal now and then.
    """

    open_journal: Callable[[], Journal]
    channels: Sequence[Channel]
    clock: Clock
    name: str
    fallback: Fallback | None = None
    threads: int = THREADS
    limit_s: float = LONGEST_ATTEMPT_S
    tick: Callable[[Journal], object] | None = None

    def run(self, stop: threading.Event) -> None:
        """Deliver until stopped; what is being sent is finished first."""
        with self.open_journal() as journal, ThreadPoolExecutor(self.threads, "deliver") as pool:
            flying: dict[Future[Outcome], Claim] = {}
            ticked_s = -TICK_S
            while flying or not stop.is_set():
                if self.tick is not None and time.monotonic() - ticked_s >= TICK_S:
                    ticked_s = time.monotonic()
                    self.tick(journal)
                landed = wait(flying, POLL_S, FIRST_COMPLETED).done if flying else set[Future[Outcome]]()
                if not landed and not flying:
                    stop.wait(POLL_S)
                elif landed:
                    time.sleep(PACE_S)
                    landed = {one for one in flying if one.done()}
                room = 0 if stop.is_set() else self.threads - len(flying) + len(landed)
                attempts = self.turn(journal, [(flying.pop(one), one.result()) for one in landed], room)
                for claim, channel, notice in attempts:
                    flying[pool.submit(send_within, channel, notice, self.clock(), self.limit_s)] = claim

    def turn(
        self, journal: Journal, landed: Sequence[tuple[Claim, Outcome]], room: int
    ) -> list[tuple[Claim, Channel, Notice]]:
        """Write down what became of attempts, lease at most `room` others; one transaction.

        Returns
        -------
        list of (Claim, Channel, Notice)
            What is to be sent now that the lease is committed.
        """
        by_name = {channel.name: channel for channel in self.channels}
        chance = random.Random()
        attempts: list[tuple[Claim, Channel, Notice]] = []
        with journal.transaction():
            for claim, outcome in landed:
                settle(journal, claim, outcome, self.clock, chance, self.fallback)
            while len(attempts) < room:
                claim = journal.outbox.claim(None, self.name)
                if not claim.messages:
                    break
                channel = by_name.get(claim.messages[0].channel)
                notice = told_of(journal, channel, claim)
                if channel is None or isinstance(notice, Outcome):
                    unsent = notice if isinstance(notice, Outcome) else NOT_SET_UP
                    settle(journal, claim, unsent, self.clock, chance, self.fallback)
                else:
                    attempts.append((claim, channel, notice))
        return attempts
