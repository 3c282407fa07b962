"""A message that goes out later than it was queued: it is for whoever is on call by then."""

from typing import Any, Final

import sqlalchemy as sa

from alerts.engine import people
from alerts.engine.letters import AFTERWARDS, Letter, close, queue
from devices.clock import MINUTE

#: On-call duty does not change hands within the moments in which a message is sent at once.
LATER: Final = 5 * MINUTE
NOT_ON_CALL: Final = "not on call any more"


def relieve(con: sa.Connection, row: Any, now: int) -> bool:
    """Hand a message on to who is on call now; whether it was handed on.

    One that was tried already stays whose it was, as does one when nobody is on call: that hole is an
    alert of its own, and somebody is better than nobody.
    """
    kind, _, role = (row.role or "").partition(":")
    is_first = row.attempt_count == 0 and row.kind not in AFTERWARDS
    if kind != "oncall" or not is_first or now - row.created_utc < LATER:
        return False
    on_duty = people.load(con).on_call(role, now)
    if not on_duty or row.recipient in {one.staff for one in on_duty}:
        return False
    close(con, [row.key], "cancelled", NOT_ON_CALL)
    others = (row.channel, *row.next_channels)
    queue(
        con,
        [
            Letter(
                alert=row.alert,
                kind=row.kind,
                step=row.step,
                recipient=one.staff,
                role=row.role,
                channels=one.channels or others,
                grouping=row.grouping,
                severity=row.severity,
                not_before_utc=now,
                is_deferrable=row.is_deferrable,
            )
            for one in on_duty
        ],
        now,
    )
    return True
