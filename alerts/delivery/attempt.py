"""One attempt: a claimed batch, a channel, and what becomes of the batch."""

import logging
import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from alerts.delivery.channels.channel import LONGEST_ATTEMPT_S, Channel, Outcome, permanent, unsure
from alerts.delivery.clinical import clinical_alerts
from alerts.delivery.dead_letter import Fallback, tell_dead
from alerts.delivery.notice import ClinicalAlert, Event, Notice
from alerts.engine.journal import Journal
from alerts.engine.outbox import Claim
from alerts.errors import ChannelError
from devices.clock import HOUR, SECOND, Clock

LOG = logging.getLogger(__name__)

FIRST_WAIT: Final = 15 * SECOND
LONGEST_WAIT: Final = HOUR
#: Up to half of the wait is left to chance, so that a receiver that comes back is not stormed.
JITTER: Final = 0.5
#: Whatever the deadline: time in which no worker ran is not the receiver's fault, nor is one bad moment.
#: Five fit into the shortest deadline.
FEWEST_ATTEMPTS: Final = 5
#: A receiver that wants to be left alone for longer than this may lose to the next channel.
PATIENCE_S: Final = 300.0
NOT_SET_UP: Final = permanent("the channel is not set up")
#: Kind of a message -> what a channel is told.
EVENTS: Final[dict[str, Event]] = {
    "open": "opened",
    "event": "opened",
    "unmuted": "opened",
    "repeat": "repeated",
    "escalate": "escalated",
    "resolved": "resolved",
    "digest": "digest",
}


def make_attempt(
    journal: Journal,
    channel: Channel | None,
    claim: Claim,
    clock: Clock,
    chance: random.Random,
    fallback: Fallback | None = None,
) -> Counter[str]:
    """Send a claimed batch by a channel, None when it is not set up, and write down what became of it."""
    notice = told_of(journal, channel, claim)
    if channel is None or isinstance(notice, Outcome):
        outcome = notice if isinstance(notice, Outcome) else NOT_SET_UP
    else:
        outcome = send_within(channel, notice, clock())
    return settle(journal, claim, outcome, clock, chance, fallback)


def told_of(journal: Journal, channel: Channel | None, claim: Claim) -> Notice | Outcome:
    """What the channel is to be told of a batch, or why it cannot be told anything."""
    if channel is None:
        return NOT_SET_UP
    try:
        return notice_of(claim, clinical_alerts(journal, claim) if channel.is_clinical else ())
    except ChannelError as fault:
        return permanent(str(fault))


def settle(
    journal: Journal,
    claim: Claim,
    outcome: Outcome,
    clock: Clock,
    chance: random.Random,
    fallback: Fallback | None = None,
) -> Counter[str]:
    """Write down what became of an attempt; counts messages sent, failed, moved and dead."""
    count, attempt = len(claim.messages), claim.messages[0].attempt
    if outcome.is_unsure:
        journal.outbox.doubt(claim.key)
    if outcome.kind == "sent":
        journal.outbox.mark_sent(claim.key)
        return Counter(sent=count)
    if outcome.kind == "permanent":
        return give_up(journal, claim, outcome.reason, clock, fallback)
    due = clock() + wait_before(attempt, outcome.retry_after_s, chance)
    is_tried = attempt >= FEWEST_ATTEMPTS or (outcome.retry_after_s or 0.0) > PATIENCE_S
    if is_tried and due > max(message.deadline_utc for message in claim.messages):
        return give_up(journal, claim, f"deadline passed: {outcome.reason}", clock, fallback)
    journal.outbox.retry(claim.key, outcome.reason, due)
    LOG.warning("delivery failed key=%s attempt=%d reason=%s", claim.key, attempt, outcome.reason)
    return Counter(failed=count)


def give_up(
    journal: Journal, claim: Claim, reason: str, clock: Clock, fallback: Fallback | None
) -> Counter[str]:
    """This channel will not do: the next one, or a dead letter that alerts in the same transaction."""
    with journal.transaction():
        buried = journal.outbox.bury(claim.key, reason)
        tell_dead(journal, buried.dead, clock(), fallback)
    LOG.error("channel given up key=%s attempt=%d reason=%s", claim.key, claim.messages[0].attempt, reason)
    for letter in buried.dead:
        LOG.error("dead letter key=%s", letter.key)
    return Counter(moved=buried.moved, dead=len(buried.dead))


def send_within(channel: Channel, notice: Notice, utc: int, limit_s: float = LONGEST_ATTEMPT_S) -> Outcome:
    """Send, and wait no longer than the limit: a receiver that trickles must not outlive the lease.

    What is left behind then may still arrive; the repeat carries the same key.
    """
    outcomes: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(channel.send(notice, utc)), name=f"send-{channel.name}", daemon=True
    )
    thread.start()
    thread.join(limit_s)
    if outcomes:
        return outcomes[0]
    # an error of ours has been printed by its thread; the message is not lost for that
    return unsure("no end within the limit" if thread.is_alive() else "the channel failed")


def notice_of(claim: Claim, clinical: Sequence[ClinicalAlert] = ()) -> Notice:
    """What a channel is told of a batch; who and why only if that is given."""
    lead = claim.messages[0]
    is_technical = all(message.scope != "patient" for message in claim.messages)
    return Notice(
        key=claim.key,
        event="technical" if is_technical and lead.kind in ("open", "unmuted") else EVENTS[lead.kind],
        reference=lead.alert,
        counts=Counter(message.severity for message in claim.messages),
        recipient=lead.recipient,
        clinical=tuple(clinical),
    )


def wait_before(attempt: int, retry_after_s: float | None, chance: random.Random) -> int:
    """Microseconds until the next attempt: doubling, jittered, never sooner than the receiver asked."""
    longest = min(FIRST_WAIT * 2 ** min(attempt - 1, 16), LONGEST_WAIT)
    wait = int(longest * (1 - JITTER * chance.random()))
    asked = int(min(retry_after_s or 0.0, LONGEST_WAIT / SECOND) * SECOND)
    return max(wait, asked)
