"""What is due: each tick looks at the timers in the store, decides, and writes.

Escalation, repeat, the end of a snooze or a silence, an acknowledgement without an outcome, holes in
the on-call schedule, silence of a gateway or of the nightly run. After downtime an alert moves by at
most one step per tick.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle, people
from alerts.engine.alert import IS_ACTIVE
from alerts.engine.apply import ENGINE, way_of, write
from alerts.engine.holds import Circumstances, Silence, holder
from alerts.engine.journal import Journal
from alerts.engine.oncall import AHEAD, gaps
from alerts.engine.people import Directory
from alerts.engine.technical import close_technical, open_technical, watch_silence, watching
from alerts.rules.pack import RulePack
from alerts.rules.rule import NoDataRule
from alerts.store.schema import alert as table
from alerts.store.schema import condition, silence
from devices.clock import HOUR, from_utc

#: A hole in the schedule shorter than this is a handover.
LEAST_GAP: Final = HOUR // 4
#: Why alerts of a patient who has left are closed.
WITHDRAWN: Final = "patient withdrawn"


def tick(journal: Journal, pack: RulePack, now: int) -> Counter[str]:
    """Do what is due; returns how many alerts were escalated, repeated and so on."""
    done: Counter[str] = Counter()
    with journal.transaction() as con:
        directory = people.load(con)
        done += reconcile_holds(con, pack, directory, now)
        uncovered: list[str] = []
        for one in alerts.select(con, _is_due(now)):
            way = way_of(pack, directory, one)
            for change in (
                lifecycle.unacknowledge(one, way, now),
                lifecycle.wake(one, way, now),
                lifecycle.escalate(one, way, now),
                lifecycle.repeat(one, way, now),
            ):
                if write(con, change, way.route, now):
                    done[change.action] += 1
                    uncovered += change.uncovered
                    break
        done += watch_coverage(con, pack, directory, uncovered, now)
        done += watch_silence(con, pack, directory, now)
    return done


def _is_due(now: int) -> sa.ColumnElement[bool]:
    timers = (
        table.c.next_escalation_utc,
        table.c.next_repeat_utc,
        table.c.snooze_until_utc,
        table.c.outcome_due_utc,
    )
    return sa.and_(IS_ACTIVE, sa.or_(*(timer <= now for timer in timers)))


def circumstances(con: sa.Connection, pack: RulePack) -> Circumstances:
    """What silences alerts now."""
    quiet = con.execute(sa.select(silence).where(silence.c.ended_utc.is_(None)))
    no_data = [rule.id for rule in pack.rule if isinstance(rule, NoDataRule)]
    firing = con.execute(
        sa.select(condition.c.subject, condition.c.rule).where(
            condition.c.rule.in_(no_data), condition.c.phase.in_(("firing", "clearing"))
        )
    )
    is_storm = con.scalar(
        sa.select(sa.exists().where(table.c.scope == "system", table.c.subject == "storm", IS_ACTIVE))
    )
    return Circumstances(
        [Silence(row.silence, row.matcher, row.starts_utc, row.expires_utc) for row in quiet],
        {rule.id: rule.inhibited_by for rule in pack.rule},
        {(row.subject, row.rule) for row in firing},
        bool(is_storm),
    )


def reconcile_holds(con: sa.Connection, pack: RulePack, directory: Directory, now: int) -> Counter[str]:
    """Silence what has a reason to be silent, let speak what has none any more."""
    around = circumstances(con, pack)
    done: Counter[str] = Counter()
    for one in alerts.select(con, IS_ACTIVE):
        way = way_of(pack, directory, one)
        change = lifecycle.hold(one, holder(one, around, now), way, now)
        done[change.action or "kept"] += write(con, change, way.route, now)
    return Counter({name: count for name, count in done.items() if count})


def watch_coverage(
    con: sa.Connection, pack: RulePack, directory: Directory, uncovered: list[str], now: int
) -> Counter[str]:
    """One alert per role that nobody answers, now or within 14 days; closed when the hole is filled."""
    done: Counter[str] = Counter()
    rule = watching(pack, "coverage-gap")
    if rule is None:
        return done
    wanted = {step.to: step for route in pack.route for step in route.step if step.kind != "inbox"}
    for to, step in wanted.items():
        words = f"Nobody is reached as {to}." if to in uncovered else None
        calendar = directory.schedules.get(step.name) if step.kind == "oncall" else None
        if words is None and calendar is not None:
            known = frozenset(directory.people)
            holes = [
                hole for hole in gaps(calendar, now, now + AHEAD, known) if hole[1] - hole[0] >= LEAST_GAP
            ]
            if holes:
                words = f"Nobody is on call as {step.name} from {from_utc(holes[0][0]):%Y-%m-%d %H:%M} UTC."
        route = pack.route_of(rule)
        if words is None and not directory.resolve(step, route, now):
            words = f"Nobody is reached as {to}."
        if words is not None:
            done["coverage-gap"] += open_technical(con, pack, directory, rule, ("system", to), words, now)
        else:
            done["covered"] += close_technical(con, pack, rule, ("system", to), now)
    return Counter({name: count for name, count in done.items() if count})


def close_withdrawn(con: sa.Connection, pack: RulePack, patients: Collection[str], now: int) -> int:
    """Close what is active about patients who have left; returns how many.

    Queued messages are called off, and whoever was told is told the end. What only a person may close,
    an answer on self-harm above all, stays.
    """
    count = 0
    of_theirs = (table.c.scope == "patient", table.c.subject.in_(patients), table.c.is_latched.is_(False))
    for one in alerts.select(con, IS_ACTIVE, *of_theirs):
        change = lifecycle.resolve(one, ENGINE, WITHDRAWN, now, one.night_at(now))
        count += write(con, change, pack.route_named(one.route), now)
    return count
