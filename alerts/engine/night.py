"""The nightly judgement: every patient with rows against every rule, in one transaction.

A night may be judged again when late data have changed it: its reading is
replaced and the condition is folded anew over all nights of that patient. What
matters is the condition after the last night known: a late night can open the
alert it should have opened, or withdraw one that rested on missing data. An
episode that began and ended entirely in the past is kept as readings and opens
nothing.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from alerts.engine.evaluate import IDLE, Band, ConditionState, band_of, step
from alerts.engine.journal import ActiveAlert, Journal, Opening
from alerts.rules.rule import Rule, RulePack

LOG = logging.getLogger(__name__)

#: Why the engine closes an alert.
CONDITION_ENDED = "condition ended"
LATE_DATA = "late data: the condition did not hold"


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
    """

    opened: int = 0
    resolved: int = 0
    kept: int = 0
    judged: int = 0
    no_data: int = 0


@dataclass(slots=True)
class _Patient:
    readings: dict[str, Any] = field(default_factory=dict)
    zone: str | None = None
    sentence: str | None = None


def run_night(journal: Journal, pack: RulePack, day: date, tables: Mapping[str, pa.Table]) -> NightAlerts:
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
        ``flare_risk``, ``patient_day`` and ``baseline`` (schemas of
        :mod:`analytics.tables`) with at least the rows of that date.
    """
    patients = _collect(tables, day, pack)
    night = NightAlerts()
    with journal.transaction():
        active = {(alert.patient, alert.rule): alert for alert in journal.active()}
        for rule in pack.rule:
            _judge_rule(journal, pack, rule, day, patients, active, night)
    LOG.info(
        "night judged date=%s judged=%d no_data=%d opened=%d resolved=%d kept=%d",
        *(day, night.judged, night.no_data, night.opened, night.resolved, night.kept),
    )
    return night


def _judge_rule(
    journal: Journal,
    pack: RulePack,
    rule: Rule,
    day: date,
    patients: Mapping[str, _Patient],
    active: Mapping[tuple[str, str], ActiveAlert],
    night: NightAlerts,
) -> None:
    states, bands = journal.conditions(rule.id), journal.readings(rule.id, day)
    for patient, row in patients.items():
        alert = active.get((patient, rule.id))
        band, value = band_of(rule, row.readings)
        night.judged += 1
        night.no_data += band is Band.ABSENT
        if bands.get(patient) is band:
            night.kept += alert is not None
            continue
        journal.keep_reading(patient, rule.id, day, band)
        state = _advance(journal, rule, patient, day, band, states.get(patient, IDLE))
        journal.keep_condition(patient, rule.id, state)
        if state.is_firing and alert is None:
            sentence = rule.reason or row.sentence or rule.title
            readings = {name: row.readings.get(name) for name in (rule.column, *rule.requires)}
            began = state.since or day
            route = pack.route_of(rule)
            journal.open_alert(Opening(patient, rule, route, began, row.zone, value, sentence, readings))
            night.opened += 1
        elif alert is not None and not state.is_firing:
            is_latest = state.last_night == day
            journal.resolve(alert.alert, day, CONDITION_ENDED if is_latest else LATE_DATA)
            night.resolved += 1
        else:
            night.kept += alert is not None


def _advance(
    journal: Journal, rule: Rule, patient: str, day: date, band: Band, state: ConditionState
) -> ConditionState:
    """State after the patient's last night, with this night's band in its place."""
    if state.last_night is None or day > state.last_night:
        return step(rule, band, day, state)[1]
    state = IDLE
    for earlier, known in journal.history(patient, rule.id):
        state = step(rule, known, earlier, state)[1]
    return state


def _collect(tables: Mapping[str, pa.Table], day: date, pack: RulePack) -> dict[str, _Patient]:
    """What the rules read of each patient's night, patients in order."""
    wanted = pack.columns()
    patients: dict[str, _Patient] = {}
    for table in ("patient_day", "flare_risk", "baseline"):
        for row in _rows(tables[table], day):
            patient = patients.setdefault(row["patient"], _Patient())
            suffix = f".{row['metric']}" if table == "baseline" else ""
            for column, value in row.items():
                name = f"{table}.{column}{suffix}"
                if name in wanted:
                    patient.readings[name] = value
            if table == "patient_day":
                patient.zone = row["zone"]
            elif table == "flare_risk":
                patient.sentence = row["sentence"]
    return dict(sorted(patients.items()))


def _rows(table: pa.Table, day: date) -> Iterator[dict[str, Any]]:
    of_day = table.filter(pc.field("local_date") == day)
    for batch in of_day.to_batches():
        yield from batch.to_pylist()
