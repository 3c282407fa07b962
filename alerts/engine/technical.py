"""Alerts about what is ours: people missing from a schedule, silent gateways, a night that never ran."""

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import way_of, write, write_new
from alerts.engine.journal import new_reference
from alerts.engine.people import Directory
from alerts.rules.pack import RulePack
from alerts.rules.rule import TechnicalRule
from alerts.store.schema import alert as table
from alerts.store.schema import heartbeat


def open_technical(
    con: sa.Connection,
    pack: RulePack,
    directory: Directory,
    rule: TechnicalRule,
    of: tuple[str, str],
    sentence: str,
    now: int,
) -> bool:
    """Open an alert about (scope, subject), unless one is active; whether it was opened."""
    if _active(con, rule, of):
        return False
    one = Alert(
        alert=new_reference(),
        scope=of[0],
        subject=of[1],
        rule=rule.id,
        rule_version=rule.version,
        route=rule.route,
        severity=rule.severity,
        is_latched=rule.is_latched,
        sentence=sentence,
        opened_utc=now,
    )
    way = way_of(pack, directory, one)
    write_new(con, lifecycle.start(one, way, now), way.route, now)
    return True


def close_technical(
    con: sa.Connection, pack: RulePack, rule: TechnicalRule, of: tuple[str, str], now: int
) -> bool:
    """Close the active alert about (scope, subject), if there is one."""
    changed = False
    for one in _active(con, rule, of):
        change = lifecycle.condition_ended(one, "no longer so", now)
        changed |= write(con, change, pack.route_named(one.route), now)
    return changed


def beat(con: sa.Connection, scope: str, subject: str, now: int, due: int) -> None:
    """Note a sign of life of a gateway, a site or the nightly run, and when the next is due."""
    is_row = (heartbeat.c.scope == scope, heartbeat.c.subject == subject)
    if not con.execute(heartbeat.update().where(*is_row).values(beat_utc=now, due_utc=due)).rowcount:
        con.execute(heartbeat.insert().values(scope=scope, subject=subject, beat_utc=now, due_utc=due))


def _active(con: sa.Connection, rule: TechnicalRule, of: tuple[str, str]) -> list[Alert]:
    return alerts.select(
        con, IS_ACTIVE, table.c.scope == of[0], table.c.subject == of[1], table.c.rule == rule.id
    )
