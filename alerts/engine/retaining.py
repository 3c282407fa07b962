"""Forget what is old: readings that no late night can need, and alerts that were closed long ago.

Rows of the audit stay, whatever they are about: the chain verifies as before.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import sqlalchemy as sa

from alerts.engine.alert import IS_ACTIVE
from alerts.engine.evaluate import IDLE, Band, ConditionState, step
from alerts.engine.events import sealed
from alerts.engine.silence import USUAL_NIGHTS
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from alerts.rules.rule import StateRule
from alerts.store import audit, readings
from alerts.store.schema import (
    alert,
    comment,
    condition,
    judged_event,
    live_condition,
    outbox,
    outcome,
    reading,
    silence,
    suggestion,
)
from devices.clock import DAY

ACTOR: Final = "retention"
#: Fewer days are refused. A night can be judged late as long as the usual wear before it is known, and a
#: home that was cut off for four months is still folded in.
LEAST_READING_DAYS: Final = USUAL_NIGHTS + 124
#: A year: what helped last time, and whether a person has closed this episode, is looked up in old alerts.
LEAST_ALERT_DAYS: Final = 365
#: Alerts in one question to the store.
_AT_ONCE: Final = 500


def first_foldable(limit: int) -> int:
    """Event time of the first night that can still be judged when readings before `limit` are gone."""
    return limit + USUAL_NIGHTS * DAY


def forget_readings(con: sa.Connection, pack: RulePack, limit: int, now: int) -> int:
    """Forget readings before event time `limit`; returns nights of rules that are gone.

    Conditions that had begun by then, and not ended, keep their readings from their first on: a later
    night that comes late is folded to the same condition as with all of them.
    """
    rules = {rule.id: rule for rule in pack.rule if isinstance(rule, StateRule)}
    gone = 0
    for name in con.scalars(sa.select(reading.c.rule).distinct().order_by(reading.c.rule)).all():
        begun = _begun(con, rules[name], limit) if name in rules else {}
        gone += readings.forget_before(con, name, limit, begun)
    if gone:
        audit.append(con, now, ACTOR, "forget readings", before=limit, nights=gone)
    return gone


def _begun(con: sa.Connection, rule: StateRule, limit: int) -> Mapping[int, int]:
    """Number -> since when, of conditions that last at event time `limit`."""
    states: dict[int, ConditionState] = {}
    for at, codes in readings.old_nights(con, rule.id, limit):
        # whoever is idle, and has no breach to count from, stays so
        for number in {*states, *np.flatnonzero(codes == Band.BREACH).tolist()}:
            if number >= len(codes) or not codes[number]:
                continue
            state = step(rule, Band(codes[number]), at, states.pop(number, IDLE))[1]
            if state.phase != "idle":
                states[number] = state
    return {number: state.since for number, state in states.items() if state.since is not None}


def forget_alerts(con: sa.Connection, pack: RulePack, before: int, now: int) -> int:
    """Forget alerts closed before an instant, with their messages, steps, comments and outcomes.

    Kept are those that still decide whether somebody is told: of a subject with a condition that has
    begun and not ended, within the longest cooldown of the rules, and with a message on its way.
    Silences that ended before go too. Of an answer that was judged before, and has no alert any more,
    only a digest of its id stays: should it come again, it pages nobody again. Returns how many alerts
    are gone.
    """
    quiet = max(
        (parse_duration(rule.cooldown) for rule in pack.rule if isinstance(rule, StateRule)), default=0
    )
    before = min(before, now - quiet)
    is_waiting = sa.exists().where(outbox.c.alert == alert.c.alert, outbox.c.status.in_(("queued", "leased")))
    lasts = [
        sa.exists().where(table.c.subject == alert.c.subject, table.c.phase != "idle")
        for table in (condition, live_condition)
    ]
    doomed = con.scalars(
        sa.select(alert.c.alert).where(
            ~IS_ACTIVE, alert.c.resolved_utc < before, ~is_waiting, *(~one for one in lasts)
        )
    ).all()
    for start in range(0, len(doomed), _AT_ONCE):
        own = doomed[start : start + _AT_ONCE]
        # what names an alert goes before the alert
        for table in (comment, outcome, suggestion, outbox, alert):
            con.execute(table.delete().where(table.c.alert.in_(own)))
    ended = sa.func.coalesce(silence.c.ended_utc, silence.c.expires_utc)
    silences = con.execute(silence.delete().where(ended < before)).rowcount
    answers = _seal_answers(con, before)
    if doomed or silences or answers:
        audit.append(
            con,
            now,
            ACTOR,
            "forget alerts",
            before=before,
            alerts=len(doomed),
            silences=silences,
            answers=answers,
        )
    return len(doomed)


def _seal_answers(con: sa.Connection, before: int) -> int:
    """Leave nothing of old answers but that they were judged."""
    has_alert = sa.exists().where(alert.c.alert == judged_event.c.alert)
    is_known = (judged_event.c.subject != "", judged_event.c.judged_utc < before)
    rows = con.execute(
        sa.select(judged_event.c.event, judged_event.c.rule).where(*is_known, ~has_alert)
    ).all()
    if rows:
        is_row = (judged_event.c.event == sa.bindparam("of"), judged_event.c.rule == sa.bindparam("by"))
        nothing = {"subject": "", "at": 0, "is_positive": False, "alert": None}
        con.execute(
            judged_event.update().where(*is_row).values(event=sa.bindparam("seal"), **nothing),
            [{"of": row.event, "by": row.rule, "seal": sealed(row.event)} for row in rows],
        )
    return len(rows)
