"""What is queued: one row per recipient and channel, in the transaction that changes the alert."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa

from alerts.store.schema import outbox
from devices.clock import HOUR, MINUTE

Kind = Literal["open", "repeat", "escalate", "event", "unmuted", "resolved", "digest"]

#: After this long a channel is given up: the next one is tried, and after the last it is a dead letter.
#: Per channel, so the second of a critical alert is tried after five minutes at the latest.
DEADLINE: Final[dict[str, int]] = {
    "low": 72 * HOUR,
    "medium": 24 * HOUR,
    "high": 30 * MINUTE,
    "critical": 5 * MINUTE,
}
#: Said of an alert that begins to speak.
OPENINGS: Final = ("open", "event", "unmuted")
#: Said of the end of an alert, or of many: needed whatever became of the alert since.
AFTERWARDS: Final = ("resolved", "digest")


def key_of(alert_: str, kind: str, step: str, recipient: str, channel: str) -> str:
    """Idempotency key: the same for every attempt of one message."""
    return f"{alert_}:{kind}:{step}:{recipient}:{channel}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message to queue.

    Parameters
    ----------
    channels : tuple of str
        The one to try, and those after it.
    grouping : str
        Scope and subject: what is said together.
    role : str, optional
        Whom the recipient stands for.
    """

    alert: str
    kind: Kind
    step: str
    recipient: str
    channels: tuple[str, ...]
    grouping: str
    severity: str
    not_before_utc: int
    role: str | None = None
    reason: str | None = None
    is_deferrable: bool = False


def queue(con: sa.Connection, letters: Iterable[Letter], now: int) -> None:
    """Queue messages, in the caller's transaction; a key that is there already is not queued twice."""
    for letter in letters:
        first, *others = letter.channels
        insert(
            con,
            {
                "key": key_of(letter.alert, letter.kind, letter.step, letter.recipient, first),
                "alert": letter.alert,
                "kind": letter.kind,
                "step": letter.step,
                "recipient": letter.recipient,
                "role": letter.role,
                "channel": first,
                "next_channels": others,
                "status": "queued",
                "grouping": letter.grouping,
                "not_before_utc": letter.not_before_utc,
                "deadline_utc": max(now, letter.not_before_utc) + DEADLINE[letter.severity],
                "is_deferrable": letter.is_deferrable,
                "reason": letter.reason,
                "created_utc": now,
            },
        )


def queue_resolved(con: sa.Connection, name: str, severity: str, now: int) -> None:
    """Tell the end to those who were, or may have been, told the beginning, and to nobody else."""
    told = con.execute(
        sa.select(
            outbox.c.recipient,
            outbox.c.role,
            outbox.c.channel,
            outbox.c.next_channels,
            outbox.c.grouping,
            outbox.c.is_deferrable,
        )
        .where(
            outbox.c.alert == name,
            outbox.c.kind.not_in(AFTERWARDS),
            sa.or_(outbox.c.status == "sent", outbox.c.is_perhaps_sent),
        )
        .order_by(outbox.c.sent_utc.desc(), outbox.c.key)
    ).all()
    queue(
        con,
        [
            Letter(
                alert=name,
                kind="resolved",
                step="1",
                recipient=row.recipient,
                role=row.role,
                channels=(row.channel, *row.next_channels),
                grouping=row.grouping,
                severity=severity,
                not_before_utc=now,
                is_deferrable=row.is_deferrable,
            )
            for row in {row.recipient: row for row in reversed(told)}.values()
        ],
        now,
    )


def cancel(con: sa.Connection, name: str, reason: str) -> None:
    """Nobody needs to be told any more. A leased message is on its way and is left to its worker."""
    con.execute(
        outbox.update()
        .where(outbox.c.alert == name, outbox.c.kind.not_in(AFTERWARDS), outbox.c.status == "queued")
        .values(status="cancelled", reason=reason)
    )


def close(
    con: sa.Connection,
    keys: list[str],
    status: str,
    reason: str | None = None,
    error: str | None = None,
    *,
    is_perhaps_sent: bool = False,
) -> None:
    """End messages that have not gone out, as far as anybody knows."""
    changes: dict[str, Any] = {"reason": reason} if reason else {}
    changes |= {"last_error": error} if error else {}
    changes |= {"is_perhaps_sent": True} if is_perhaps_sent else {}
    con.execute(
        outbox.update()
        .where(outbox.c.key.in_(keys), outbox.c.status.in_(("queued", "leased")))
        .values(status=status, lease_until_utc=None, lease_owner=None, **changes)
    )


def insert(con: sa.Connection, values: dict[str, Any]) -> None:
    if con.scalar(sa.select(sa.exists().where(outbox.c.key == values["key"]))):
        return
    con.execute(outbox.insert(), values)
