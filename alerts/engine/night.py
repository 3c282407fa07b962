"""The nightly judgement: every patient against every rule, in one transaction.

A night may be judged again when late data have changed it: its reading is replaced and the condition
is folded anew over all nights of that patient. What matters is the condition after the last night
known. A late night can open the alert it should have opened (silently: it speaks when the next night
confirms it), or withdraw one that rested on missing data.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle, people
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import way_of, write, write_new
from alerts.engine.beginning import new_alert
from alerts.engine.columns import NightColumns
from alerts.engine.conditions import Conditions, Moved
from alerts.engine.evaluate import Band, ConditionState, night_of
from alerts.engine.holds import RETROSPECTIVE, STORM, holder, storm_threshold
from alerts.engine.journal import Journal
from alerts.engine.openings import (
    CONDITION_ENDED,
    LATE_DATA,
    NO_ENDS,
    last_ends,
    still_seen,
    told_from,
    wake_lesser,
)
from alerts.engine.people import Directory
from alerts.engine.technical import NIGHT_DUE, NIGHTLY, beat, open_technical, watching
from alerts.engine.tick import circumstances, reconcile_holds
from alerts.rules.pack import RulePack
from alerts.rules.rule import SEVERITIES, ItemRule, NoDataRule, ReportedRule, StateRule, TechnicalRule
from alerts.store.schema import alert as alert_table
from alerts.store.schema import night_count, nudge

LOG = logging.getLogger(__name__)

#: Told beside the reason, where they are known.
CONTEXT: Final = ("patient_day.wear_min", "patient_day.nrs")


@dataclass(slots=True)
class NightAlerts:
    """What a night did.

    Parameters
    ----------
    opened, resolved, kept : int
        Alerts opened, resolved, and active before and after.
    judged : int
        Patient and rule pairs looked at.
    no_data : int
        Of them, too little data to judge.
    nudges : int
        Patients on the list of those to be asked about their device.
    is_storm : bool
        More opened than patients alone explain: they are silent until somebody has looked.
    """

    opened: int = 0
    resolved: int = 0
    kept: int = 0
    judged: int = 0
    no_data: int = 0
    nudges: int = 0
    is_storm: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the patients beside their numbers.

    Parameters
    ----------
    statuses : mapping
        Patient -> status of the record (active, paused, admitted, on-holiday, withdrawn,
        device-in-post), or gateway-silent; active without one. A withdrawn patient is not judged at all.
    sites : mapping
        Patient -> site.
    """

    statuses: Mapping[str, str] = field(default_factory=dict[str, str])
    sites: Mapping[str, str] = field(default_factory=dict[str, str])


def run_night(
    journal: Journal,
    pack: RulePack,
    day: date,
    tables: Mapping[str, pa.Table],
    around: Surroundings | None = None,
) -> NightAlerts:
    """Judge one night of all patients; the same night again changes nothing.

    Parameters
    ----------
    journal : Journal
        Where conditions and alerts are kept.
    pack : RulePack
        The rules in force.
    day : date
        Local date of the night.
    tables : mapping
        ``flare_risk``, ``patient_day``, ``baseline`` and, where there is one, ``trend`` (schemas of
        :mod:`analytics.tables`) with at least the rows of that date.
    around : Surroundings, optional
        States and sites of the patients.
    """
    around = around or Surroundings()
    columns = NightColumns(tables, day, around.statuses)
    with journal.transaction() as con:
        judge = _Judge(journal, con, pack, day, columns, around)
        for rule in sorted(pack.rule, key=lambda rule: not isinstance(rule, NoDataRule)):
            # a report opens live; when it is over, say the nights
            is_nightly = rule.cadence == "nightly" or isinstance(rule, ReportedRule)
            if is_nightly and not isinstance(rule, ItemRule | TechnicalRule):
                judge.judge(rule)
        judge.finish()
    night = judge.night
    LOG.info(
        "night judged date=%s judged=%d no_data=%d opened=%d resolved=%d kept=%d storm=%s",
        *(day, night.judged, night.no_data, night.opened, night.resolved, night.kept, night.is_storm),
    )
    return night


class _Judge:
    """One night in its transaction."""

    def __init__(
        self,
        journal: Journal,
        con: sa.Connection,
        pack: RulePack,
        day: date,
        columns: NightColumns,
        around: Surroundings,
    ) -> None:
        self.night = NightAlerts()
        self._con, self._pack, self._day = con, pack, day
        self._columns, self._around = columns, around
        self._now = journal.now()
        self._conditions = Conditions(journal, con, pack, columns, day, around.statuses)
        self._directory: Directory = people.load(con)
        self._openings: list[Alert] = []
        self._asked: dict[str, list[Alert]] = {}
        self._ended: list[tuple[Alert, str]] = []
        self._has_news = False
        found = alerts.select(con, IS_ACTIVE, alert_table.c.scope == "patient")
        self._active = {(one.subject, one.rule): one for one in found}
        for one in found:
            self._asked.setdefault(one.subject, []).append(one)
        self._nudged = {(row.subject, row.reason) for row in con.execute(sa.select(nudge))}

    def judge(self, rule: StateRule) -> None:
        """Bring every patient's condition under a rule up to date, and tell of it."""
        active = {patient for patient, name in self._active if name == rule.id}
        listed = {patient for patient, reason in self._nudged if reason == rule.id}
        moved = self._conditions.advance(rule, active | listed)
        self.night.judged += len(moved.bands)
        self.night.no_data += int(np.count_nonzero(moved.bands == Band.ABSENT))
        self.night.kept += int(np.count_nonzero(self._conditions.marks(active) & ~moved.is_new))
        self._has_news |= bool(moved.is_new.any())
        self._decide(rule, moved)

    def _decide(self, rule: StateRule, moved: Moved) -> None:
        """Tell of what began, and of what is over."""
        after = moved.after
        if isinstance(rule, NoDataRule) and rule.tell == "list":
            self._note(rule, {patient for patient, state in after.items() if state.is_firing}, after)
            return
        active = {patient: self._active.get((patient, rule.id)) for patient in after}
        begun = [patient for patient, one in active.items() if one is None and after[patient].is_firing]
        for patient, one in active.items():
            # one that arose live after the last night that is known is not a night's to end
            known_until = moved.late.get(patient, self._day)
            if one is not None and (one.night is None or one.night <= known_until):
                self._go_on(one, after[patient], is_late=patient in moved.late)
        begun = [patient for patient in begun if not self._is_asked(rule, patient)]
        ends = last_ends(self._con, self._pack.episode_of(rule), begun)
        for patient in begun:
            state, place = after[patient], self._columns.place[patient]
            began = night_of(state.since) if state.since is not None else self._day
            is_fresh = bool(moved.bands[place] == Band.BREACH)
            night = told_from(rule, ends.get(patient, NO_ENDS), began, self._day, is_fresh=is_fresh)
            if night is not None:
                value = float(moved.values[place])
                opening = self._opening(rule, patient, value, night, is_late=patient in moved.late)
                self._openings.append(opening)
                self._asked.setdefault(patient, []).append(opening)

    def _is_asked(self, rule: StateRule, patient: str) -> bool:
        """Whether the team is asked about the episode already, as urgently: before, or first tonight."""
        if rule.episode is None:
            return False
        seen_by, urgency = self._pack.episode_of(rule), SEVERITIES.index(rule.severity)
        return any(
            one.rule in seen_by and SEVERITIES.index(one.severity) >= urgency
            for one in self._asked.get(patient, ())
        )

    def _go_on(self, one: Alert, state: ConditionState, *, is_late: bool) -> None:
        if not state.is_firing:
            self._ended.append((one, LATE_DATA if is_late else CONDITION_ENDED))
            return
        way = way_of(self._pack, self._directory, one)
        self.night.kept += 1
        if one.held_by == RETROSPECTIVE and not is_late:
            write(self._con, lifecycle.hold(one, None, way, self._now), way.route, self._now)

    def _note(self, rule: NoDataRule, silent: set[str], judged: Iterable[str]) -> None:
        """Bring the list of those to be asked about their device up to date."""
        listed = {patient for patient in judged if (patient, rule.id) in self._nudged}
        values = {"reason": rule.id, "since_night": self._day, "noted_utc": self._now}
        fresh = [{"subject": patient} | values for patient in sorted(silent - listed)]
        if fresh:
            self._con.execute(nudge.insert(), fresh)
        over = [{"of": patient} for patient in sorted(listed - silent)]
        if over:
            is_own = (nudge.c.reason == rule.id, nudge.c.subject == sa.bindparam("of"))
            self._con.execute(nudge.delete().where(*is_own), over)
        self.night.nudges += len(silent)

    def _opening(self, rule: StateRule, patient: str, value: float, night: date, *, is_late: bool) -> Alert:
        place = self._columns.place[patient]
        sentence = self._columns.value("flare_risk.sentence", place)
        names = dict.fromkeys((*rule.columns, *CONTEXT))
        return new_alert(
            rule,
            ("patient", patient),
            rule.reason or sentence or rule.title,
            self._now,
            site=self._around.sites.get(patient),
            night=night,
            zone=self._columns.value("patient_day.zone", place),
            value=None if math.isnan(value) else value,
            inputs={name: self._columns.value(name, place) for name in names},
            is_late=is_late,
        )

    def _close(self) -> None:
        """Close what has ended; an alert lasts as long as any rule sees its episode."""
        kept = still_seen(self._con, self._pack, [one for one, _ in self._ended])
        for one, why in self._ended:
            if one.alert in kept:
                self.night.kept += 1
                continue
            change = lifecycle.condition_ended(one, why, self._now, self._day)
            self.night.resolved += change.action == "resolve"
            write(self._con, change, way_of(self._pack, self._directory, one).route, self._now)

    def finish(self) -> None:
        """Close what has ended, open what is to be opened, told or held; count the night."""
        con, now = self._con, self._now
        self._close()
        if not self._has_news:
            return
        rows = con.execute(
            sa.select(night_count.c.opened)
            .where(night_count.c.night < self._day, night_count.c.is_storm.is_(False))
            .order_by(night_count.c.night)
        )
        limit = storm_threshold(len(self._columns.patients), [row.opened for row in rows])
        self.night.is_storm = len(self._openings) > limit
        self.night.opened = len(self._openings)
        if self.night.is_storm:
            self._tell_storm(limit)
        reconcile_holds(con, self._pack, self._directory, now)
        around = circumstances(con, self._pack)
        snoozed = {one.subject for one in self._active.values() if one.snooze_until_utc is not None}
        for one in self._openings:
            held = STORM if self.night.is_storm and not one.is_critical else one.held_by
            held = held or holder(one, around, now)
            opened = lifecycle.replace_hold(one, held)
            way = way_of(self._pack, self._directory, opened)
            write_new(con, lifecycle.start(opened, way, now), way.route, now)
            if opened.subject in snoozed:
                wake_lesser(con, self._pack, self._directory, opened, now)
        _count_night(con, self._day, self.night, len(self._columns.patients), now)
        beat(con, *NIGHTLY, now, now + NIGHT_DUE)

    def _tell_storm(self, limit: int) -> None:
        rule = watching(self._pack, "storm")
        words = (
            f"The night of {self._day} opened {self.night.opened} alerts, more than {limit}:"
            " a fault of the pipeline is likelier. They are open but silent until this is closed."
        )
        if rule is None:
            self.night.is_storm = False
            return
        open_technical(self._con, self._pack, self._directory, rule, ("system", "storm"), words, self._now)


def _count_night(con: sa.Connection, day: date, night: NightAlerts, patients: int, now: int) -> None:
    values = {"patients": patients, "judged_utc": now}
    if night.is_storm:
        values["is_storm"] = True
    update = night_count.update().where(night_count.c.night == day)
    if not con.execute(update.values(opened=night_count.c.opened + night.opened, **values)).rowcount:
        con.execute(night_count.insert().values(night=day, opened=night.opened, **values))
