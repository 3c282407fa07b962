"""The nightly judgement: every patient against every rule, in one transaction.

A night may be judged again when late data have changed it: its reading is replaced and the condition
is folded anew over all nights of that patient. What matters is the condition after the last night
known. A late night can open the alert it should have opened (silently: it speaks when the next night
confirms it), or withdraw one that rested on missing data.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import lifecycle, people
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import way_of, write, write_new
from alerts.engine.evaluate import (
    IDLE,
    Band,
    ConditionState,
    band_of,
    event_time,
    fold,
    night_of,
    step,
)
from alerts.engine.holds import RETROSPECTIVE, STORM, holder, storm_threshold
from alerts.engine.journal import Journal, new_reference
from alerts.engine.openings import CONDITION_ENDED, LATE_DATA, may_open, wake_lesser
from alerts.engine.people import Directory
from alerts.engine.silence import USUAL_NIGHTS, Wear, band_of_silence
from alerts.engine.technical import beat, open_technical
from alerts.engine.tick import circumstances, reconcile_holds
from alerts.rules.pack import BY_METRIC, READABLE, RulePack
from alerts.rules.rule import ItemRule, NoDataRule, ReportedRule, StateRule, TechnicalRule
from alerts.store.schema import alert as alert_table
from alerts.store.schema import night_count, nudge
from devices.clock import HOUR

LOG = logging.getLogger(__name__)

#: After so long without a judged night the nightly run is missed.
NIGHT_DUE: Final = 30 * HOUR
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
        device-in-post); active without one. A withdrawn patient is not judged at all.
    sites : mapping
        Patient -> site.
    """

    statuses: Mapping[str, str] = field(default_factory=dict[str, str])
    sites: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class _Patient:
    readings: dict[str, Any] = field(default_factory=dict[str, Any])
    zone: str | None = None
    sentence: str | None = None


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
    patients = _collect(tables, day, pack)
    for patient in around.statuses:
        patients.setdefault(patient, _Patient())
    patients = {p: row for p, row in sorted(patients.items()) if around.statuses.get(p) != "withdrawn"}
    with journal.transaction() as con:
        judge = _Judge(journal, con, pack, day, patients, around)
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
        patients: Mapping[str, _Patient],
        around: Surroundings,
    ) -> None:
        self.night = NightAlerts()
        self._journal, self._con, self._pack, self._day = journal, con, pack, day
        self._patients, self._around = patients, around
        self._now = journal.now()
        self._directory: Directory = people.load(con)
        self._openings: list[Alert] = []
        self._has_news = False
        found = alerts.select(con, IS_ACTIVE, alert_table.c.scope == "patient")
        self._active = {(one.subject, one.rule): one for one in found}

    def judge(self, rule: StateRule) -> None:
        """Bring every patient's condition under a rule up to date."""
        at = event_time(self._day)
        states, before = self._journal.conditions(rule.id), self._journal.readings(rule.id, at)
        found = {p: found for p, found in self._bands(rule, at).items() if before.get(p) is not found[0]}
        self.night.kept += sum((p, rule.id) in self._active for p in self._patients if p not in found)
        after: dict[str, ConditionState] = {}
        self._has_news |= bool(found)
        self._journal.keep_readings(rule.id, at, found)
        for patient, (band, value) in found.items():
            state = states.get(patient, IDLE)
            is_late = state.last_at is not None and at <= state.last_at
            if is_late:
                after[patient] = fold(rule, self._journal.history(patient, rule.id))
            else:
                after[patient] = step(rule, band, at, state)[1]
            self._decide(rule, patient, value, after[patient], is_late=is_late)
        self._journal.keep_conditions(rule.id, after)

    def _bands(self, rule: StateRule, at: int) -> dict[str, tuple[Band, float | None]]:
        overrides = self._pack.overrides(rule.id)
        wear: dict[str, Wear] = {}
        if isinstance(rule, NoDataRule):
            wear = self._journal.wear(rule.id, at, USUAL_NIGHTS)
        bands: dict[str, tuple[Band, float | None]] = {}
        for patient, row in self._patients.items():
            if isinstance(rule, NoDataRule):
                has_data = any(row.readings.get(column) is not None for column in rule.present)
                status = self._around.statuses.get(patient, "active")
                known = wear.get(patient, Wear(0, 0, 0))
                bands[patient] = (band_of_silence(rule, has_data, known, status), None)
            else:
                override = overrides.get(patient)
                if override is not None and override.until < self._day:
                    override = None
                bands[patient] = band_of(rule, row.readings, override)
            self.night.judged += 1
            self.night.no_data += bands[patient][0] is Band.ABSENT
        return bands

    def _decide(
        self, rule: StateRule, patient: str, value: float | None, state: ConditionState, *, is_late: bool
    ) -> None:
        if isinstance(rule, NoDataRule) and rule.tell == "list":
            _note(self._con, patient, rule.id, self._day if state.is_firing else None, self._now)
            self.night.nudges += state.is_firing
            return
        one = self._active.get((patient, rule.id))
        if state.is_firing and one is None:
            began = night_of(state.since) if state.since is not None else self._day
            if may_open(self._con, rule, patient, began, self._day):
                self._openings.append(self._opening(rule, patient, value, state, is_late=is_late))
            return
        # one that arose live after this night is not its to end
        if one is None or (one.night is not None and one.night > self._day):
            return
        way = way_of(self._pack, self._directory, one)
        if not state.is_firing:
            why = LATE_DATA if is_late else CONDITION_ENDED
            change = lifecycle.condition_ended(one, why, self._now, self._day)
            self.night.resolved += change.action == "resolve"
            write(self._con, change, way.route, self._now)
            return
        self.night.kept += 1
        if one.held_by == RETROSPECTIVE and not is_late:
            write(self._con, lifecycle.hold(one, None, way, self._now), way.route, self._now)

    def _opening(
        self, rule: StateRule, patient: str, value: float | None, state: ConditionState, *, is_late: bool
    ) -> Alert:
        row = self._patients[patient]
        names = dict.fromkeys((*rule.columns, *CONTEXT))
        return Alert(
            alert=new_reference(),
            scope="patient",
            subject=patient,
            site=self._around.sites.get(patient),
            rule=rule.id,
            rule_version=rule.version,
            route=rule.route,
            severity=rule.severity,
            night=night_of(state.since) if state.since is not None else self._day,
            zone=row.zone,
            value=value,
            sentence=rule.reason or row.sentence or rule.title,
            inputs={name: row.readings.get(name) for name in names},
            opened_utc=self._now,
            is_latched=rule.is_latched,
            is_retrospective=is_late,
            held_by=RETROSPECTIVE if is_late and rule.severity != "critical" else None,
        )

    def finish(self) -> None:
        """Open what is to be opened, told or held; count the night."""
        con, now = self._con, self._now
        if not self._has_news:
            return
        rows = con.execute(
            sa.select(night_count.c.opened)
            .where(night_count.c.night < self._day, night_count.c.is_storm.is_(False))
            .order_by(night_count.c.night)
        )
        limit = storm_threshold(len(self._patients), [row.opened for row in rows])
        self.night.is_storm = len(self._openings) > limit
        self.night.opened = len(self._openings)
        if self.night.is_storm:
            self._tell_storm(limit)
        reconcile_holds(con, self._pack, self._directory, now)
        around = circumstances(con, self._pack)
        for one in self._openings:
            held = STORM if self.night.is_storm and not one.is_critical else one.held_by
            held = held or holder(one, around, now)
            opened = lifecycle.replace_hold(one, held)
            way = way_of(self._pack, self._directory, opened)
            write_new(con, lifecycle.start(opened, way, now), way.route, now)
            wake_lesser(con, self._pack, self._directory, opened, now)
        _count_night(con, self._day, self.night, len(self._patients), now)
        beat(con, "system", "nightly", now, now + NIGHT_DUE)

    def _tell_storm(self, limit: int) -> None:
        watching = (r for r in self._pack.rule if isinstance(r, TechnicalRule) and r.watch == "storm")
        rule = next(watching, None)
        words = (
            f"The night of {self._day} opened {self.night.opened} alerts, more than {limit}:"
            " a fault of the pipeline is likelier. They are open but silent until this is closed."
        )
        if rule is None:
            self.night.is_storm = False
            return
        open_technical(self._con, self._pack, self._directory, rule, ("system", "storm"), words, self._now)


def _note(con: sa.Connection, patient: str, reason: str, since: date | None, now: int) -> None:
    is_row = (nudge.c.subject == patient, nudge.c.reason == reason)
    if since is None:
        con.execute(nudge.delete().where(*is_row))
    elif not con.scalar(sa.select(sa.exists().where(*is_row))):
        con.execute(nudge.insert().values(subject=patient, reason=reason, since_night=since, noted_utc=now))


def _count_night(con: sa.Connection, day: date, night: NightAlerts, patients: int, now: int) -> None:
    values = {"patients": patients, "judged_utc": now}
    if night.is_storm:
        values["is_storm"] = True
    update = night_count.update().where(night_count.c.night == day)
    if not con.execute(update.values(opened=night_count.c.opened + night.opened, **values)).rowcount:
        con.execute(night_count.insert().values(night=day, opened=night.opened, **values))


def _collect(tables: Mapping[str, pa.Table], day: date, pack: RulePack) -> dict[str, _Patient]:
    """What the rules read of each patient's night."""
    wanted = pack.columns() | set(CONTEXT)
    patients: dict[str, _Patient] = {}
    for table in READABLE:
        for row in _rows(tables[table], day) if table in tables else ():
            patient = patients.setdefault(row["patient"], _Patient())
            suffix = f".{row['metric']}" if table in BY_METRIC else ""
            for column, value in row.items():
                name = f"{table}.{column}{suffix}"
                if name in wanted:
                    patient.readings[name] = value
            if table == "patient_day":
                patient.zone = row["zone"]
            elif table == "flare_risk":
                patient.sentence = row["sentence"]
    return patients


def _rows(table: pa.Table, day: date) -> Iterator[dict[str, Any]]:
    of_day = table.filter(pc.field("local_date") == day)
    for batch in of_day.to_batches():
        yield from batch.to_pylist()
