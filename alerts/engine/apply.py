"""Writes what was decided: the alert, its messages and its audit row, in the caller's transaction."""

from collections.abc import Iterable

import sqlalchemy as sa

from alerts.engine import letters
from alerts.engine.alert import Alert, insert, save
from alerts.engine.letters import Letter
from alerts.engine.lifecycle import Change, Way
from alerts.engine.people import Directory
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from alerts.rules.route import Route
from alerts.store import audit

ENGINE = "engine"


def way_of(pack: RulePack, directory: Directory, alert: Alert) -> Way:
    """How the alert is told."""
    route = pack.route_named(alert.route)
    return Way(route, pack.service_of(route), directory)


def write(
    con: sa.Connection, change: Change, route: Route, now: int, *, actor: str = ENGINE, wait: int = 0
) -> bool:
    """Write a change of an alert that is there; whether anything changed."""
    if not change.action:
        return False
    save(con, change.alert)
    _write_rest(con, change, route, now, actor, wait)
    return True


def write_new(con: sa.Connection, change: Change, route: Route, now: int, *, wait: int = 0) -> None:
    """Write an alert that was opened."""
    insert(con, change.alert)
    _write_rest(con, change, route, now, ENGINE, wait)


def _write_rest(con: sa.Connection, change: Change, route: Route, now: int, actor: str, wait: int) -> None:
    one = change.alert
    if change.cancel is not None:
        letters.cancel(con, one.alert, change.cancel)
    letters.queue(con, _letters(change, route, now + (0 if one.is_critical else wait)), now)
    if change.tells_end:
        letters.queue_resolved(con, one.alert, one.severity, now)
    audit.append(
        *(con, now, actor, change.action),
        alert=one.alert,
        subject=(one.scope, one.subject),
        rule=one.rule,
        version=one.version,
        **change.detail,
    )


def _letters(change: Change, route: Route, not_before: int) -> Iterable[Letter]:
    one = change.alert
    is_deferrable = one.severity in ("low", "medium") or (one.severity == "high" and route.is_high_deferred)
    for tell in change.tell:
        for recipient in tell.recipients:
            yield Letter(
                alert=one.alert,
                kind=tell.kind,
                step=tell.step,
                recipient=recipient.name,
                role=recipient.role,
                channels=recipient.channels,
                grouping=f"{one.scope}:{one.subject}",
                severity=one.severity,
                not_before_utc=not_before,
                is_deferrable=is_deferrable,
            )


def group_wait(route: Route) -> int:
    """How long a live alert waits for others of the same patient, us."""
    return parse_duration(route.group_wait)
