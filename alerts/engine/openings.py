"""Opening an alert: whether this episode is told at all, and what else a new one changes."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import group_wait, way_of, write, write_new
from alerts.engine.holds import holder
from alerts.engine.people import Directory
from alerts.engine.tick import circumstances
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from alerts.rules.rule import SEVERITIES, StateRule
from alerts.store.schema import alert as table

#: Why the engine closes an alert.
CONDITION_ENDED: Final = "condition ended"
LATE_DATA: Final = "late data: the condition did not hold"
_BY_ENGINE: Final = (CONDITION_ENDED, LATE_DATA)
#: Patients in one question to the store.
ASKED_AT_ONCE: Final = 500

Ends: TypeAlias = tuple[date | None, date | None]
NO_ENDS: Final[Ends] = (None, None)


def may_open(con: sa.Connection, rule: StateRule, patient: str, began: date, day: date) -> bool:
    """Whether an episode of nights is told: not one that a person has closed, not within the cooldown."""
    return is_told(rule, _last_end(con, rule, patient, table.c.resolved_night), began, day)


def last_ends(con: sa.Connection, rule: StateRule, patients: Sequence[str]) -> dict[str, Ends]:
    """Patient -> the last nights on which alerts ended, by a person and at all, of those who had any."""
    found: dict[str, Ends] = {}
    query = _ends(table.c.resolved_night).add_columns(table.c.subject).group_by(table.c.subject)
    for start in range(0, len(patients), ASKED_AT_ONCE):
        own = query.where(
            table.c.rule == rule.id, table.c.subject.in_(patients[start : start + ASKED_AT_ONCE])
        )
        found |= {row[2]: (row[0], row[1]) for row in con.execute(own)}
    return found


def is_told(rule: StateRule, ends: Ends, began: date, day: date) -> bool:
    """Whether an episode of nights is told, by the last nights on which alerts ended (:func:`last_ends`)."""
    by_person, last = ends
    if by_person is not None and by_person >= began:
        return False
    quiet = timedelta(microseconds=parse_duration(rule.cooldown))
    return last is None or not quiet or last + quiet <= day


def may_open_live(con: sa.Connection, rule: StateRule, patient: str, began: int, at: int) -> bool:
    """The same of an episode that began, and still lasted, at an instant."""
    by_person, last = _last_end(con, rule, patient, table.c.resolved_utc)
    if by_person is not None and by_person >= began:
        return False
    quiet = parse_duration(rule.cooldown)
    return last is None or not quiet or last + quiet <= at


def _last_end(con: sa.Connection, rule: StateRule, patient: str, column: sa.ColumnElement[Any]) -> Any:
    is_own = (table.c.subject == patient, table.c.rule == rule.id)
    return con.execute(_ends(column).where(*is_own)).one()


def _ends(column: sa.ColumnElement[Any]) -> sa.Select[Any]:
    by_person = sa.func.max(sa.case((table.c.closed_by.not_in(_BY_ENGINE), column)))
    return sa.select(by_person, sa.func.max(column))


def open_live(con: sa.Connection, pack: RulePack, directory: Directory, one: Alert, now: int) -> None:
    """Open an alert that arose between two nights: silent where something silences it.

    Unless it is critical it waits a moment for others of the same patient.
    """
    held = one.held_by
    if held is None and not one.is_critical:
        held = holder(one, circumstances(con, pack), now)
    way = way_of(pack, directory, one)
    change = lifecycle.start(lifecycle.replace_hold(one, held), way, now)
    write_new(con, change, way.route, now, wait=group_wait(way.route))
    wake_lesser(con, pack, directory, one, now)


def wake_lesser(con: sa.Connection, pack: RulePack, directory: Directory, opened: Alert, now: int) -> None:
    """Something worse than what was snoozed for the same patient: the snooze is over."""
    is_beside = (table.c.scope == opened.scope, table.c.subject == opened.subject)
    for one in alerts.select(con, IS_ACTIVE, *is_beside, table.c.snooze_until_utc.is_not(None)):
        if SEVERITIES.index(opened.severity) > SEVERITIES.index(one.severity):
            way = way_of(pack, directory, one)
            change = lifecycle.wake(one, way, now, is_forced=True)
            write(con, change, way.route, now)
