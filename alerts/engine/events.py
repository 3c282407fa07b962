"""Answers that are events: each judged once, however late it comes and whatever else is missing.

A positive one opens an alert; a further one tells anew, also while the first is acknowledged. The
sentence says how old the answer is.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle, people
from alerts.engine.alert import IS_ACTIVE
from alerts.engine.apply import group_wait, way_of, write
from alerts.engine.beginning import new_alert
from alerts.engine.journal import Journal
from alerts.engine.openings import open_live
from alerts.rules.bounds import parse_bound
from alerts.rules.pack import RulePack
from alerts.rules.rule import ItemRule
from alerts.store.schema import alert as alert_table
from alerts.store.schema import judged_event
from devices.clock import DAY, HOUR, MINUTE


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one item.

    Parameters
    ----------
    answer : str
        Id of the answer: the same when it is sent again.
    at : int
        When it was given, microseconds UTC.
    """

    answer: str
    patient: str
    instrument: str
    item: str
    value: float
    at: int
    zone: str | None = None
    site: str | None = None


def judge_answers(
    journal: Journal, pack: RulePack, answers: Iterable[Answer], *, is_live: bool = False
) -> int:
    """Judge answers by the item rules, `is_live` by the live ones only; returns how many told somebody.

    The same answer again does nothing.
    """
    told = 0
    items = (rule for rule in pack.rule if isinstance(rule, ItemRule))
    rules = [rule for rule in items if rule.cadence == "live" or not is_live]
    with journal.transaction() as con:
        now = journal.now()
        for answer in sorted(answers, key=lambda answer: (answer.at, answer.answer)):
            for rule in rules:
                if (rule.instrument, rule.item) == (answer.instrument, answer.item):
                    told += _judge(con, pack, rule, answer, now)
    return told


def _judge(con: sa.Connection, pack: RulePack, rule: ItemRule, answer: Answer, now: int) -> bool:
    names = (answer.answer, sealed(answer.answer))
    is_row = (judged_event.c.event.in_(names), judged_event.c.rule == rule.id)
    if con.scalar(sa.select(sa.exists().where(*is_row))):
        return False
    is_positive = parse_bound(rule.enter).holds(answer.value)
    name = _tell(con, pack, rule, answer, now) if is_positive else None
    con.execute(
        judged_event.insert().values(
            event=answer.answer,
            rule=rule.id,
            subject=answer.patient,
            at=answer.at,
            judged_utc=now,
            is_positive=is_positive,
            alert=name,
        )
    )
    return is_positive


def _tell(con: sa.Connection, pack: RulePack, rule: ItemRule, answer: Answer, now: int) -> str:
    sentence = f"{rule.reason or f'{rule.title}.'} {age(now - answer.at)}"
    of_patient = (alert_table.c.scope == "patient", alert_table.c.subject == answer.patient)
    found = alerts.select(con, IS_ACTIVE, alert_table.c.rule == rule.id, *of_patient)
    directory = people.load(con)
    if found:
        way = way_of(pack, directory, found[0])
        again = lifecycle.reopen(found[0], way, now, sentence)
        write(con, again, way.route, now, wait=group_wait(way.route))
        return found[0].alert
    one = new_alert(
        rule,
        ("patient", answer.patient),
        sentence,
        now,
        site=answer.site,
        zone=answer.zone,
        value=answer.value,
        inputs={"answer": answer.answer, "answered_utc": answer.at},
    )
    open_live(con, pack, directory, one, now)
    return one.alert


def sealed(answer: str) -> str:
    """What is kept of an answer's id when all else about it is forgotten: enough to know it again."""
    return "sha256:" + hashlib.sha256(answer.encode()).hexdigest()


def age(elapsed: int) -> str:
    """How old an answer is, in words."""
    if elapsed < 2 * MINUTE:
        return "Answered just now."
    if elapsed < 2 * HOUR:
        return f"Answered {elapsed // MINUTE} minutes ago."
    if elapsed < 2 * DAY:
        return f"Answered {elapsed // HOUR} hours ago."
    return f"Answered {elapsed // DAY} days ago: it arrived late."
