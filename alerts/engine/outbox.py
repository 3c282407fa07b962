"""Messages that must go out: written with the alert, leased, sent, marked.

A row is inserted in the transaction that opens the alert. Its key is the
idempotency key of every attempt: after a crash between sending and marking the
lease runs out and the same key goes out again, and the receiver drops it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from alerts.rules.rule import Severity
from devices.clock import HOUR, MINUTE, Clock

Step = Literal["open", "resolved"]
Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]

#: Longer than any channel may take to answer, so no two workers hold a message.
LEASE = 2 * MINUTE
#: After this long a message is of no use any more; it becomes a dead letter.
DEADLINE = {"low": 72 * HOUR, "medium": 24 * HOUR, "high": 4 * HOUR, "critical": 1 * HOUR}

_DUE = """
    select o.key, o.alert, o.step, o.recipient, o.channel, o.attempt_count, o.deadline_utc,
           a.status, a.patient, a.rule, a.rule_version, a.severity, a.night, a.zone, a.sentence, a.opened_utc
    from outbox o join alert a using (alert)
    where o.channel in ({channels})
      and ((o.status = 'queued' and o.not_before_utc <= :now)
           or (o.status = 'leased' and o.lease_until_utc <= :now))
    order by o.not_before_utc, o.key
    limit 1
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one recipient by one channel: what an attempt needs."""

    key: str
    alert: str
    step: Step
    recipient: str
    channel: str
    attempt: int
    deadline_utc: int
    status: str
    patient: str
    rule: str
    rule_version: int
    severity: Severity
    local_date: str
    zone: str | None
    sentence: str
    opened_utc: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message nobody could be told."""

    key: str
    channel: str
    attempt_count: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Outcome of asking for work: a leased message, or how many were cancelled on the way."""

    message: Message | None
    cancelled: int


def key_of(alert: str, step: Step, recipient: str, channel: str) -> str:
    """Idempotency key: the same for every attempt of one message."""
    return f"{alert}:{step}:{recipient}:{channel}"


class Outbox:
    """The journal's messages.

    Parameters
    ----------
    transaction : callable
        Opens an immediate transaction on the journal.
    clock : Clock
        Stamps leases and attempts.
    """

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    def claim(self, channels: Sequence[str]) -> Claim:
        """Lease the message that has waited longest among those due.

        Whether the alert still needs it is looked up in the transaction that
        leases it: every attempt, the first as the tenth, is checked.
        """
        cancelled = 0
        with self._transaction() as con:
            now = self._clock()
            while (row := _next_due(con, channels, now)) is not None:
                if row["step"] == "open" and row["status"] != "open":
                    _close(con, row["key"], "cancelled")
                    cancelled += 1
                    continue
                con.execute(
                    "update outbox set status = 'leased', lease_until_utc = ?,"
                    " attempt_count = attempt_count + 1 where key = ?",
                    (now + LEASE, row["key"]),
                )
                return Claim(_message(row), cancelled)
        return Claim(None, cancelled)

    def mark_sent(self, key: str) -> None:
        """The receiver has accepted it. Whoever was told of an alert since resolved is told that too."""
        with self._transaction() as con:
            now = self._clock()
            con.execute(
                "update outbox set status = 'sent', sent_utc = ?, lease_until_utc = null, last_error = null"
                " where key = ? and status <> 'sent'",
                (now, key),
            )
            row = con.execute(
                "select a.alert, a.severity from outbox o join alert a using (alert)"
                " where o.key = ? and o.step = 'open' and a.status = 'resolved'",
                (key,),
            ).fetchone()
            if row is not None:
                queue_resolved(con, row["alert"], row["severity"], now)

    def retry(self, key: str, reason: str, not_before_utc: int) -> None:
        """The attempt failed; another one is due later."""
        with self._transaction() as con:
            con.execute(
                "update outbox set status = 'queued', lease_until_utc = null, last_error = ?,"
                " not_before_utc = ? where key = ? and status = 'leased'",
                (reason, not_before_utc, key),
            )

    def bury(self, key: str, reason: str) -> None:
        """No attempt will succeed, or the deadline has passed: a dead letter, kept to be seen."""
        with self._transaction() as con:
            _close(con, key, "dead", reason)

    def dead_letters(self) -> list[DeadLetter]:
        """Messages nobody could be told, oldest first."""
        with self._transaction() as con:
            rows = con.execute(
                "select key, channel, attempt_count, last_error from outbox where status = 'dead'"
                " order by created_utc, key"
            ).fetchall()
        return [DeadLetter(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Messages by status."""
        with self._transaction() as con:
            return dict(con.execute("select status, count(*) from outbox group by status").fetchall())


def queue_open(
    con: sqlite3.Connection, alert: str, severity: str, recipients: Sequence[str], channel: str, now: int
) -> None:
    """Queue the message of a new alert, in the caller's transaction."""
    for recipient in recipients:
        _insert(con, alert, "open", recipient, channel, severity, now)


def queue_resolved(con: sqlite3.Connection, alert: str, severity: str, now: int) -> None:
    """Tell the end to those who were told the beginning, and to nobody else."""
    told = con.execute(
        "select recipient, channel from outbox where alert = ? and step = 'open' and status = 'sent'",
        (alert,),
    ).fetchall()
    for recipient, channel in told:
        _insert(con, alert, "resolved", recipient, channel, severity, now)


def cancel_open(con: sqlite3.Connection, alert: str) -> None:
    """Nobody needs to be told any more. A leased message is on its way and is left to its worker."""
    con.execute(
        "update outbox set status = 'cancelled' where alert = ? and step = 'open' and status = 'queued'",
        (alert,),
    )


def _insert(
    con: sqlite3.Connection, alert: str, step: Step, recipient: str, channel: str, severity: str, now: int
) -> None:
    con.execute(
        "insert into outbox (key, alert, step, recipient, channel, status, not_before_utc, deadline_utc,"
        " created_utc) values (?, ?, ?, ?, ?, 'queued', ?, ?, ?) on conflict (key) do nothing",
        (
            *(key_of(alert, step, recipient, channel), alert, step, recipient, channel),
            *(now, now + DEADLINE[severity], now),
        ),
    )


def _next_due(con: sqlite3.Connection, channels: Sequence[str], now: int) -> Any:
    names = {f"channel_{n}": name for n, name in enumerate(channels)}
    query = _DUE.format(channels=", ".join(f":{name}" for name in names))
    return con.execute(query, {**names, "now": now}).fetchone()


def _close(con: sqlite3.Connection, key: str, status: str, reason: str | None = None) -> None:
    con.execute(
        "update outbox set status = ?, lease_until_utc = null, last_error = coalesce(?, last_error)"
        " where key = ? and status in ('queued', 'leased')",
        (status, reason, key),
    )


def _message(row: Any) -> Message:
    return Message(
        key=row["key"],
        alert=row["alert"],
        step=row["step"],
        recipient=row["recipient"],
        channel=row["channel"],
        attempt=row["attempt_count"] + 1,
        deadline_utc=row["deadline_utc"],
        status=row["status"],
        patient=row["patient"],
        rule=row["rule"],
        rule_version=row["rule_version"],
        severity=row["severity"],
        local_date=row["night"],
        zone=row["zone"],
        sentence=row["sentence"],
        opened_utc=row["opened_utc"],
    )
