"""A message nobody could be told is itself an alert: of the system, not of a patient."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from alerts.engine.journal import ENGINE, Journal, new_reference
from alerts.engine.letters import Letter, queue
from alerts.engine.outbox import DeadLetter
from alerts.rules.rule import Severity
from alerts.store import audit
from alerts.store.schema import alert

#: Rule under which such an alert stands; it has no condition.
RULE: Final = "dead-letter"
SEVERITY: Final[Severity] = "high"


@dataclass(frozen=True, slots=True)
class Fallback:
    """Who is told when a message could not be delivered, and how.

    Parameters
    ----------
    recipients : tuple of str
        Usually those who run the system.
    channels : tuple of str
        In the order to try.
    """

    recipients: tuple[str, ...]
    channels: tuple[str, ...]


def tell_dead(journal: Journal, dead: Iterable[DeadLetter], now: int, fallback: Fallback | None) -> None:
    """Open an alert for each channel that ended in a dead letter, unless one is active.

    In the caller's transaction. Of a dead letter about a dead letter none follows: it stays in
    the list of active alerts, where the digest and the worklist find it.
    """
    with journal.transaction() as con:
        for letter in dead:
            rule = con.scalar(sa.select(alert.c.rule).where(alert.c.alert == letter.key.partition(":")[0]))
            if rule == RULE or _is_active(con, letter.channel):
                continue
            _open(con, letter, now, fallback)


def _is_active(con: sa.Connection, channel: str) -> bool:
    found = sa.exists().where(
        alert.c.scope == "system",
        alert.c.subject == channel,
        alert.c.rule == RULE,
        alert.c.status.in_(("open", "acked")),
    )
    return bool(con.scalar(sa.select(found)))


def _open(con: sa.Connection, letter: DeadLetter, now: int, fallback: Fallback | None) -> None:
    name = new_reference()
    con.execute(
        alert.insert().values(
            alert=name,
            scope="system",
            subject=letter.channel,
            rule=RULE,
            rule_version=1,
            route=RULE,
            severity=SEVERITY,
            status="open",
            sentence=f"A message could not be delivered by any channel; the last, {letter.channel}, said:"
            f" {letter.last_error}.",
            inputs={"message": letter.key},
            opened_utc=now,
        )
    )
    if fallback is not None:
        letters = [
            Letter(
                alert=name,
                kind="open",
                step="1",
                recipient=recipient,
                channels=fallback.channels,
                grouping=f"system:{letter.channel}",
                severity=SEVERITY,
                not_before_utc=now,
            )
            for recipient in fallback.recipients
        ]
        queue(con, letters, now)
    audit.append(con, now, ENGINE, "open", alert=name, subject=("system", letter.channel), rule=RULE)
