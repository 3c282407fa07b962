"""Opening an alert: whether this episode is told at all, and what else a new one changes."""

from collections.abc import Collection, Sequence
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
from alerts.rules.rule import SEVERITIES, ReportedRule, StateRule
from alerts.store.schema import alert as table
from alerts.store.schema import condition

#: Why the engine closes an alert.
CONDITION_ENDED: Final = "condition ended"
LATE_DATA: Final = "late data: the condition did not hold"
_BY_ENGINE: Final = (CONDITION_ENDED, LATE_DATA)
#: Patients in one question to the store.
ASKED_AT_ONCE: Final = 500

Ends: TypeAlias = tuple[date | None, date | None]
NO_ENDS: Final[Ends] = (None, None)


def last_ends(con: sa.Connection, rules: Sequence[str], patients: Sequence[str]) -> dict[str, Ends]:
    """Patient -> the last nights on which alerts of the rules ended, by a person and at all."""
    found: dict[str, Ends] = {}
    query = _ends(table.c.resolved_night).add_columns(table.c.subject).group_by(table.c.subject)
    for start in range(0, len(patients), ASKED_AT_ONCE):
        own = query.where(
            table.c.rule.in_(rules), table.c.subject.in_(patients[start : start + ASKED_AT_ONCE])
        )
        found |= {row[2]: (row[0], row[1]) for row in con.execute(own)}
    return found


def told_from(rule: StateRule, ends: Ends, began: date, day: date, *, is_fresh: bool) -> date | None:
    """Night from which an episode of nights is told; None when it is not.

    Not when a person has closed it, unless a report comes `again` so long after that (then from its own
    night), and not within the cooldown.

    Parameters
    ----------
    ends : tuple of date
        Last nights on which alerts of the episode ended (:func:`last_ends`).
    began, day : date
        Nights on which the condition began, and on which it was looked at.
    is_fresh : bool
        Whether it was breached on that night, and does not only last.
    """
    by_person, last = ends
    if by_person is not None and by_person >= began:
        again = rule.again if isinstance(rule, ReportedRule) else None
        return day if again is not None and is_fresh and by_person + _days(again) <= day else None
    quiet = _days(rule.cooldown)
    return began if last is None or not quiet or last + quiet <= day else None


def may_open_report(
    con: sa.Connection, pack: RulePack, rule: ReportedRule, patient: str, began: date, day: date
) -> bool:
    """Whether a report that arrives between two nights is told."""
    seen_by = pack.episode_of(rule)
    if _is_asked(con, rule, seen_by, patient):
        return False
    ends = last_ends(con, seen_by, [patient]).get(patient, NO_ENDS)
    return told_from(rule, ends, began, day, is_fresh=True) is not None


def may_open_live(
    con: sa.Connection, pack: RulePack, rule: StateRule, patient: str, began: int, at: int
) -> bool:
    """Whether an episode that began, and still lasted, at an instant is told."""
    seen_by = pack.episode_of(rule)
    if _is_asked(con, rule, seen_by, patient):
        return False
    is_own = (table.c.subject == patient, table.c.rule.in_(seen_by))
    by_person, last = con.execute(_ends(table.c.resolved_utc).where(*is_own)).one()
    if by_person is not None and by_person >= began:
        return False
    quiet = parse_duration(rule.cooldown)
    return last is None or not quiet or last + quiet <= at


def _days(text: str) -> timedelta:
    return timedelta(microseconds=parse_duration(text))


def _is_asked(con: sa.Connection, rule: StateRule, seen_by: Sequence[str], patient: str) -> bool:
    """Whether the team is asked about the episode already, as urgently."""
    severities = SEVERITIES[SEVERITIES.index(rule.severity) :]
    is_own = (table.c.scope == "patient", table.c.subject == patient, table.c.rule.in_(seen_by))
    is_asked = sa.exists().where(IS_ACTIVE, *is_own, table.c.severity.in_(severities))
    return rule.episode is not None and bool(con.scalar(sa.select(is_asked)))


def still_seen(con: sa.Connection, pack: RulePack, ended: Collection[Alert]) -> set[str]:
    """Of alerts whose own condition has ended, those whose episode another rule still sees."""
    names = {rule.id: rule for rule in pack.rule}
    others = {
        one.alert: set(pack.episode_of(names[one.rule])) - {one.rule} for one in ended if one.rule in names
    }
    wanted = set[str]().union(*others.values())
    if not wanted:
        return set()
    is_holding = (condition.c.rule.in_(wanted), condition.c.phase.in_(("firing", "clearing")))
    holding = {
        (row.subject, row.rule)
        for row in con.execute(sa.select(condition.c.subject, condition.c.rule).where(*is_holding))
    }
    return {
        one.alert
        for one in ended
        if any((one.subject, rule) in holding for rule in others.get(one.alert, ()))
    }


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
