"""Messages that must go out: written with the alert, leased, sent, marked.

A row is inserted in the transaction that changes the alert: one per recipient and channel. Rows of
one subject, recipient and channel that say the same and are due together are leased as one batch,
whose key is the idempotency key of every attempt: after a crash between sending and marking the lease
runs out, the same key goes out again, and the receiver drops it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from alerts.engine.letters import (
    AFTERWARDS,
    DEADLINE,
    OPENINGS,
    Kind,
    close,
    insert,
    key_of,
    queue_resolved,
)
from alerts.engine.quiet import quiet_end, read_wall_clock
from alerts.engine.relief import relieve
from alerts.rules.rule import Severity
from alerts.store.schema import alert, outbox, staff
from devices.clock import MINUTE, Clock

#: Longer than any channel may take to answer, so no two workers hold a message.
LEASE: Final = 2 * MINUTE
QUIET_HOURS: Final = "quiet hours"

_RANK: Final = sa.case({"critical": 0, "high": 1, "medium": 2}, value=alert.c.severity, else_=3)
_ROW: Final = (
    sa.select(
        outbox,
        *(alert.c.status.label("alert_status"), alert.c.scope, alert.c.severity),
        *(alert.c.held_by, alert.c.snooze_until_utc),
        *(staff.c.zone.label("staff_zone"), staff.c.quiet_from, staff.c.quiet_to),
    )
    .join(alert, outbox.c.alert == alert.c.alert)
    .outerjoin(staff, outbox.c.recipient == staff.c.staff)
)


@dataclass(frozen=True, slots=True)
class Message:
    """One alert told to one recipient by one channel: what an attempt needs.

    Nothing of whom or why: only clinical channels are told that, and ask for it
    (:func:`alerts.delivery.clinical.clinical_alerts`).
    """

    key: str
    alert: str
    kind: Kind
    step: str
    recipient: str
    channel: str
    attempt: int
    deadline_utc: int
    scope: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Claim:
    """Outcome of asking for work.

    Parameters
    ----------
    key : str
        Idempotency key of the batch; empty when there is nothing to do.
    messages : tuple of Message
        Leased together: one subject, one recipient, one channel, said in one message.
    cancelled : int
        Messages called off on the way, because nobody needs them any more.
    """

    key: str
    messages: tuple[Message, ...]
    cancelled: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message nobody could be told."""

    key: str
    channel: str
    attempt_count: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Buried:
    """A batch whose channel was given up: messages moved to the next channel, and dead ones."""

    moved: int
    dead: tuple[DeadLetter, ...]


class _Journal(Protocol):
    def transaction(self) -> AbstractContextManager[sa.Connection]: ...


class Outbox:
    """The journal's messages.

    Parameters
    ----------
    journal : Journal
        Opens transactions on the store.
    clock : Clock
        Stamps leases and attempts.
    """

    def __init__(self, journal: _Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    def claim(self, channels: Sequence[str] | None, owner: str = "worker") -> Claim:
        """Lease the most severe of what is due, and what is to be said with it.

        Whether an alert still needs a message, who is on call, and whether it is night at the recipient
        is looked up in the transaction that leases it: every attempt, the first as the tenth, is checked.
        Of all channels with None, those that are not set up too: somebody has to give them up.
        """
        cancelled = 0
        with self._journal.transaction() as con:
            now = self._clock()
            while (lead := _next_due(con, channels, now)) is not None:
                ready: list[Any] = []
                for row in _batch(con, lead, now):
                    verdict = why_not(row, now)
                    if verdict is not None:
                        _call_off(con, row, verdict, now)
                        cancelled += 1
                    elif not relieve(con, row, now) and not _is_deferred(con, row, now):
                        ready.append(row)
                if ready:
                    key = lead.batch or ready[0].key
                    con.execute(
                        outbox.update()
                        .where(outbox.c.key.in_([row.key for row in ready]))
                        .values(
                            status="leased",
                            batch=key,
                            lease_until_utc=now + LEASE,
                            lease_owner=owner,
                            attempt_count=outbox.c.attempt_count + 1,
                            # whoever held it before has died, perhaps after sending
                            is_perhaps_sent=sa.or_(outbox.c.is_perhaps_sent, outbox.c.status == "leased"),
                        )
                    )
                    return Claim(key, tuple(_message(row) for row in ready), cancelled)
        return Claim("", (), cancelled)

    def mark_sent(self, key: str) -> None:
        """The receiver has accepted the batch; of an alert resolved since, the end is told too."""
        with self._journal.transaction() as con:
            now = self._clock()
            rows = con.execute(
                outbox.update()
                .where(outbox.c.batch == key, outbox.c.status != "sent")
                .values(status="sent", sent_utc=now, lease_until_utc=None, lease_owner=None, last_error=None)
                .returning(outbox.c.alert)
            )
            for name in sorted({row.alert for row in rows}):
                severity = con.scalar(
                    sa.select(alert.c.severity).where(alert.c.alert == name, alert.c.status == "resolved")
                )
                if severity is not None:
                    queue_resolved(con, name, severity, now)

    def doubt(self, key: str) -> None:
        """No answer came: the batch may have arrived."""
        with self._journal.transaction() as con:
            con.execute(outbox.update().where(outbox.c.batch == key).values(is_perhaps_sent=True))

    def retry(self, key: str, reason: str, not_before_utc: int) -> None:
        """The attempt failed; another one is due later."""
        with self._journal.transaction() as con:
            con.execute(
                outbox.update()
                .where(outbox.c.batch == key, outbox.c.status == "leased")
                .values(
                    status="queued",
                    lease_until_utc=None,
                    lease_owner=None,
                    last_error=reason,
                    not_before_utc=not_before_utc,
                )
            )

    def bury(self, key: str, reason: str) -> Buried:
        """This channel has failed, or its time is over: the next channel, or a dead letter."""
        moved, dead = 0, list[DeadLetter]()
        with self._journal.transaction() as con:
            now = self._clock()
            rows = con.execute(_ROW.where(outbox.c.batch == key, outbox.c.status.in_(("queued", "leased"))))
            for row in rows.all():
                close(con, [row.key], "failed" if row.next_channels else "dead", error=reason)
                if row.next_channels:
                    moved += 1
                    insert(con, _moved(row, now))
                else:
                    dead.append(DeadLetter(row.key, row.channel, row.attempt_count, reason))
        return Buried(moved, tuple(dead))

    def dead_letters(self) -> list[DeadLetter]:
        """Messages nobody could be told by any channel, oldest first."""
        with self._journal.transaction() as con:
            rows = con.execute(
                sa.select(outbox.c.key, outbox.c.channel, outbox.c.attempt_count, outbox.c.last_error)
                .where(outbox.c.status == "dead")
                .order_by(outbox.c.created_utc, outbox.c.key)
            ).all()
        return [DeadLetter(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Messages by status."""
        with self._journal.transaction() as con:
            rows = con.execute(sa.select(outbox.c.status, sa.func.count()).group_by(outbox.c.status)).all()
        return {row[0]: row[1] for row in rows}


def _call_off(con: sa.Connection, row: Any, why: str, now: int) -> None:
    """End a message nobody needs. One that may have arrived all the same: then the end is told too."""
    is_perhaps_sent = row.is_perhaps_sent or row.status == "leased"
    close(con, [row.key], "cancelled", why, is_perhaps_sent=is_perhaps_sent)
    if is_perhaps_sent and row.alert_status == "resolved":
        queue_resolved(con, row.alert, row.severity, now)


def why_not(row: Any, now: int) -> str | None:
    """Why a message is no longer needed; None when it is. Pure."""
    if row.kind in AFTERWARDS:
        return None
    if row.alert_status != "open":
        return row.alert_status
    if row.held_by is not None:
        return f"held: {row.held_by}"
    if row.snooze_until_utc is not None and row.snooze_until_utc > now:
        return "snoozed"
    return None


def _is_deferred(con: sa.Connection, row: Any, now: int) -> bool:
    """Whether it is night at the recipient; the message then waits for its end."""
    if not row.is_deferrable or not row.quiet_from or not row.quiet_to:
        return False
    begins, ends = read_wall_clock(row.quiet_from), read_wall_clock(row.quiet_to)
    wake = quiet_end(now, ZoneInfo(row.staff_zone), begins, ends)
    if wake is None:
        return False
    con.execute(
        outbox.update()
        .where(outbox.c.key == row.key)
        .values(
            status="queued",
            not_before_utc=wake,
            reason=QUIET_HOURS,
            lease_until_utc=None,
            deadline_utc=sa.case(
                (outbox.c.deadline_utc > wake, outbox.c.deadline_utc), else_=wake + DEADLINE[row.severity]
            ),
        )
    )
    return True


def _next_due(con: sa.Connection, channels: Sequence[str] | None, now: int) -> Any:
    is_due = sa.or_(
        sa.and_(outbox.c.status == "queued", outbox.c.not_before_utc <= now),
        sa.and_(outbox.c.status == "leased", outbox.c.lease_until_utc <= now),
    )
    query = _ROW.where(is_due) if channels is None else _ROW.where(outbox.c.channel.in_(channels), is_due)
    return con.execute(query.order_by(_RANK, outbox.c.not_before_utc, outbox.c.key).limit(1)).first()


def _batch(con: sa.Connection, lead: Any, now: int) -> list[Any]:
    """Rows that go out with the lead: those of its earlier attempts, else what is due beside it.

    One message says one thing: an alert that opens is not hidden in the end of another.
    """
    if lead.batch is not None:
        query = _ROW.where(outbox.c.batch == lead.batch, outbox.c.status.in_(("queued", "leased")))
    elif lead.severity == "critical":
        return [lead]
    else:
        query = _ROW.where(
            outbox.c.grouping == lead.grouping,
            outbox.c.recipient == lead.recipient,
            outbox.c.channel == lead.channel,
            outbox.c.kind.in_(OPENINGS if lead.kind in OPENINGS else (lead.kind,)),
            outbox.c.status == "queued",
            outbox.c.batch.is_(None),
            outbox.c.not_before_utc <= now,
            alert.c.severity != "critical",
        )
    return list(con.execute(query.order_by(_RANK, outbox.c.key)).all())


def _moved(row: Any, now: int) -> dict[str, Any]:
    """The row of the next channel."""
    channel, *others = row.next_channels
    kept = {
        name: getattr(row, name)
        for name in ("alert", "kind", "step", "recipient", "role", "grouping", "is_deferrable")
    }
    return {
        **kept,
        "key": key_of(row.alert, row.kind, row.step, row.recipient, channel),
        "channel": channel,
        "next_channels": others,
        "status": "queued",
        "not_before_utc": now,
        "deadline_utc": now + DEADLINE[row.severity],
        "reason": f"after {row.channel}",
        "created_utc": now,
    }


def _message(row: Any) -> Message:
    return Message(
        key=row.key,
        alert=row.alert,
        kind=row.kind,
        step=row.step,
        recipient=row.recipient,
        channel=row.channel,
        attempt=row.attempt_count + 1,
        deadline_utc=row.deadline_utc,
        scope=row.scope,
        severity=row.severity,
    )
