"""Alerts about what is ours: people missing from a schedule, silent gateways, a night that never ran."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import way_of, write, write_new
from alerts.engine.beginning import new_alert
from alerts.engine.people import Directory
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from alerts.rules.rule import TechnicalRule
from alerts.store.schema import alert as table
from alerts.store.schema import heartbeat, night_count
from devices.clock import HOUR, from_utc

#: With fewer gateways the silence of a site is that of a home.
LEAST_GATEWAYS: Final = 2
#: Scope and subject of the nightly run.
NIGHTLY: Final = ("system", "nightly")
#: After so long without a judged night the nightly run is missed.
NIGHT_DUE: Final = 30 * HOUR


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
    one = new_alert(rule, of, sentence, now)
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


def beat(
    con: sa.Connection, scope: str, subject: str, now: int, due: int, *, site: str | None = None
) -> None:
    """Note a sign of life of a gateway, a site or the nightly run, and when the next is due."""
    is_row = (heartbeat.c.scope == scope, heartbeat.c.subject == subject)
    values = {"beat_utc": now, "due_utc": due, "site": site}
    if not con.execute(heartbeat.update().where(*is_row).values(**values)).rowcount:
        con.execute(heartbeat.insert().values(scope=scope, subject=subject, **values))


def expect_first_night(
    con: sa.Connection, pack: RulePack, is_expected: bool, last_run: int | None, now: int
) -> Counter[str]:
    """Until the first night is judged: say from when on one is missed.

    Parameters
    ----------
    is_expected : bool
        Whether anybody is enrolled; from when this was first so, a night is owed.
    last_run : int or None
        When a nightly run last ended, though there was nothing to judge; microseconds UTC.
    """
    done: Counter[str] = Counter()
    if has_judged(con):
        return done
    is_row = (heartbeat.c.scope == NIGHTLY[0], heartbeat.c.subject == NIGHTLY[1])
    known = con.scalar(sa.select(heartbeat.c.beat_utc).where(*is_row))
    if is_expected:
        begun = max(now if known is None else known, last_run or 0)
        if begun != known:
            beat(con, *NIGHTLY, begun, begun + NIGHT_DUE)
    elif known is not None:
        con.execute(heartbeat.delete().where(*is_row))
        rule = watching(pack, "nightly")
        done["not expected"] += rule is not None and close_technical(con, pack, rule, NIGHTLY, now)
    return +done


def has_judged(con: sa.Connection) -> bool:
    """Whether any night was ever judged."""
    return bool(con.scalar(sa.select(sa.exists(sa.select(night_count)))))


def note_heard(
    con: sa.Connection, pack: RulePack, heard: Mapping[str, tuple[str, int]], now: int
) -> Counter[str]:
    """Note when each gateway was last heard; what is not among them is not expected any more.

    Parameters
    ----------
    con : Connection
        In a transaction.
    pack : RulePack
        Its rules that watch gateways and sites say how long either may be silent.
    heard : mapping
        Gateway -> its site, and when something of it last came (microseconds UTC).
    now : int
        Microseconds UTC.
    """
    by_site: dict[str, list[int]] = {}
    for site, utc in heard.values():
        by_site.setdefault(site, []).append(utc)
    beats = {("gateway", name): (site, utc) for name, (site, utc) in heard.items()}
    beats |= {
        ("site", site): (site, max(times)) for site, times in by_site.items() if len(times) >= LEAST_GATEWAYS
    }
    done: Counter[str] = Counter()
    for watch in ("gateway", "site"):
        rule = watching(pack, watch)
        rows = con.execute(sa.select(heartbeat).where(heartbeat.c.scope == watch)).all()
        known = {row.subject: (row.site, row.beat_utc, row.due_utc) for row in rows}
        after = parse_duration(rule.after) if rule is not None else 0
        wanted = {
            name: (site, utc, utc + after)
            for (scope, name), (site, utc) in beats.items()
            if rule is not None and scope == watch
        }
        for name in known.keys() - wanted.keys():
            con.execute(heartbeat.delete().where(heartbeat.c.scope == watch, heartbeat.c.subject == name))
            if rule is not None:
                done["not expected"] += close_technical(con, pack, rule, (watch, name), now)
        for name, (site, utc, due) in wanted.items():
            if known.get(name) != (site, utc, due):
                beat(con, watch, name, utc, due, site=site)
    return +done


def watch_silence(con: sa.Connection, pack: RulePack, directory: Directory, now: int) -> Counter[str]:
    """One alert for a gateway, a site or the nightly run that has not been heard of.

    The gateways of a silent site are not told one by one.
    """
    done: Counter[str] = Counter()
    rows = con.execute(sa.select(heartbeat)).all()
    sites = {row.subject for row in rows if row.scope == "site" and row.due_utc < now}
    told = {
        (one.scope, one.subject, one.rule)
        for one in alerts.select(con, IS_ACTIVE, table.c.scope != "patient")
    }
    for row in rows:
        rule = watching(pack, "nightly" if row.scope == "system" else row.scope)
        if rule is None:
            continue
        of, is_told = (row.scope, row.subject), (row.scope, row.subject, rule.id) in told
        if row.due_utc >= now:
            done["heard"] += is_told and close_technical(con, pack, rule, of, now)
        elif is_told:
            continue
        elif row.scope != "gateway" or row.site not in sites:
            is_first = row.scope == "system" and not has_judged(con)
            since = "no night was ever judged, and one is owed since" if is_first else "nothing since"
            words = f"{rule.title}: {since} {from_utc(row.beat_utc):%Y-%m-%d %H:%M} UTC."
            done["silent"] += open_technical(con, pack, directory, rule, of, words, now)
    return +done


def watching(pack: RulePack, watch: str) -> TechnicalRule | None:
    """The rule of the pack that watches for something."""
    found = (rule for rule in pack.rule if isinstance(rule, TechnicalRule) and rule.watch == watch)
    return next(found, None)


def _active(con: sa.Connection, rule: TechnicalRule, of: tuple[str, str]) -> list[Alert]:
    return alerts.select(
        con, IS_ACTIVE, table.c.scope == of[0], table.c.subject == of[1], table.c.rule == rule.id
    )
