"""Live rules: single values judged as they arrive, in the order of event time.

Of each patient and rule only the condition is kept. A value that is not later than the last one, sent
again or overtaken, changes nothing: what the night makes of the whole is the night's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle, people
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import way_of, write
from alerts.engine.beginning import new_alert
from alerts.engine.evaluate import IDLE, ConditionState, band_of, night_of, step
from alerts.engine.holds import RETROSPECTIVE
from alerts.engine.journal import Journal
from alerts.engine.openings import CONDITION_ENDED, may_open_live, may_open_report, open_live
from alerts.engine.people import Directory
from alerts.rules.live import judges
from alerts.rules.pack import RulePack
from alerts.rules.rule import Override, ReportedRule, ThresholdRule
from alerts.store.schema import alert as table
from alerts.store.schema import condition, live_condition
from devices.clock import DAY, local_date

#: What is older when it arrives is a backlog: what it says held then, not now, and pages nobody.
FRESH: Final = DAY


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a patient.

    Parameters
    ----------
    column : str
        What it is (:mod:`alerts.rules.live`).
    at : int
        Event time, microseconds UTC; never later than its arrival.
    """

    patient: str
    column: str
    at: int
    value: float
    zone: str
    site: str | None = None


def judge_samples(
    journal: Journal,
    pack: RulePack,
    samples: Iterable[Sample],
    is_withdrawn: Callable[[str], bool] = lambda _: False,
) -> int:
    """Judge values by the live rules, in one transaction; returns how many alerts were opened.

    Parameters
    ----------
    journal : Journal
        Where conditions and alerts are kept.
    pack : RulePack
        The rules in force.
    samples : iterable of Sample
        In any order.
    is_withdrawn : callable
        Whether nothing is judged of a patient any more.
    """
    by_patient = attrgetter("patient")
    ordered = sorted(samples, key=attrgetter("patient", "at"))
    with journal.transaction() as con:
        judge = _Judge(journal, con, pack, is_withdrawn)
        for patient, group in groupby(ordered, by_patient):
            own = list(group)
            for rule in pack.rule:
                wanted = [one for one in own if judges(rule, one.column)]
                if wanted and isinstance(rule, ThresholdRule):
                    judge.threshold(rule, patient, wanted)
                elif wanted and isinstance(rule, ReportedRule):
                    judge.report(rule, patient, wanted[-1])
    return judge.opened


class _Judge:
    """One batch in its transaction."""

    def __init__(
        self, journal: Journal, con: sa.Connection, pack: RulePack, is_withdrawn: Callable[[str], bool]
    ) -> None:
        self.opened = 0
        self._con, self._pack, self._is_withdrawn = con, pack, is_withdrawn
        self._now = journal.now()
        self._directory: Directory = people.load(con)

    def threshold(self, rule: ThresholdRule, patient: str, samples: Sequence[Sample]) -> None:
        """Bring the condition up to date; decide by where the last value leaves it."""
        state = before = _state(self._con, patient, rule.id)
        last: Sample | None = None
        override = self._override(rule, samples[-1])
        for one in samples:
            if state.last_at is not None and one.at <= state.last_at:
                continue
            band = band_of(rule, {one.column: one.value}, override)[0]
            state, last = step(rule, band, one.at, state)[1], one
        if last is None:
            return
        _keep(self._con, patient, rule.id, state)
        if state.is_firing or before.is_firing:
            self._decide(rule, last, state)

    def _override(self, rule: ThresholdRule, last: Sample) -> Override | None:
        override = self._pack.overrides(rule.id).get(last.patient)
        is_over = override is not None and override.until < local_date(last.at, ZoneInfo(last.zone))
        return None if is_over else override

    def _decide(self, rule: ThresholdRule, last: Sample, state: ConditionState) -> None:
        one, is_late = self._active(rule.id, last.patient), self._now - last.at > FRESH
        if one is None:
            if state.is_firing and state.since is not None:
                began = local_date(state.since, ZoneInfo(last.zone))
                if may_open_live(self._con, self._pack, rule, last.patient, state.since, last.at):
                    self._open(rule, last, began, is_late=is_late)
            return
        way = way_of(self._pack, self._directory, one)
        if not state.is_firing:
            day = local_date(last.at, ZoneInfo(last.zone))
            change = lifecycle.condition_ended(one, CONDITION_ENDED, self._now, day)
        elif one.held_by == RETROSPECTIVE and not is_late:
            change = lifecycle.hold(one, None, way, self._now)
        else:
            return
        write(self._con, change, way.route, self._now)

    def report(self, rule: ReportedRule, patient: str, last: Sample) -> None:
        """A report opens at once; when it is over, say the nights.

        One of an earlier day than yesterday is left to the night, which folds it among the others.
        """
        day = local_date(last.at, ZoneInfo(last.zone))
        today = local_date(self._now, ZoneInfo(last.zone))
        if not last.value or (today - day).days > 1 or self._active(rule.id, patient) is not None:
            return
        began = self._holds_since(rule, patient) or day
        if may_open_report(self._con, self._pack, rule, patient, min(began, day), day):
            self._open(rule, last, day, is_late=False)

    def _holds_since(self, rule: ReportedRule, patient: str) -> date | None:
        """Night on which what the patient reports began; None when the nights know of nothing."""
        is_row = (condition.c.subject == patient, condition.c.rule == rule.id)
        query = sa.select(condition.c.since).where(*is_row, condition.c.phase.in_(("firing", "clearing")))
        since = self._con.scalar(query)
        return None if since is None else night_of(since)

    def _active(self, rule: str, patient: str) -> Alert | None:
        is_own = (table.c.scope == "patient", table.c.subject == patient, table.c.rule == rule)
        return next(iter(alerts.select(self._con, IS_ACTIVE, *is_own)), None)

    def _open(self, rule: ThresholdRule | ReportedRule, last: Sample, began: date, *, is_late: bool) -> None:
        if self._is_withdrawn(last.patient):
            return
        one = new_alert(
            rule,
            ("patient", last.patient),
            rule.reason or rule.title,
            self._now,
            site=last.site,
            night=began,
            zone=last.zone,
            value=last.value,
            inputs={last.column: last.value},
            is_late=is_late,
        )
        open_live(self._con, self._pack, self._directory, one, self._now)
        self.opened += 1


def _is_row(patient: str, rule: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (live_condition.c.subject == patient, live_condition.c.rule == rule)


def _state(con: sa.Connection, patient: str, rule: str) -> ConditionState:
    row: Any = con.execute(sa.select(live_condition).where(*_is_row(patient, rule))).first()
    if row is None:
        return IDLE
    return ConditionState(**{name: getattr(row, name) for name in ConditionState.__dataclass_fields__})


def _keep(con: sa.Connection, patient: str, rule: str, state: ConditionState) -> None:
    values = asdict(state)
    if not con.execute(live_condition.update().where(*_is_row(patient, rule)).values(**values)).rowcount:
        con.execute(live_condition.insert().values(subject=patient, rule=rule, **values))
