"""Nights judged again in a store of their own: what a pack would have alerted. Nobody is told."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine.alert import Alert
from alerts.engine.desk import Actor, Desk
from alerts.engine.evaluate import Band, Marks, event_time
from alerts.engine.journal import Journal
from alerts.engine.load import FOUND_FROM, FOUND_TO, Labels, Load, load_of
from alerts.engine.night import Surroundings, run_night
from alerts.rules.pack import RulePack
from alerts.store import readings
from analytics.risk import scores
from analytics.risk.arrays import EPOCH
from analytics.tables import PATIENT_DAY
from devices.clock import DAY
from devices.sim.flares import simulate_flares

#: Nights before the first one that counts: baselines are learned.
LEARNING_DAYS: Final = 42
#: The team of a rehearsal closes an alert so many nights after it was opened.
ANSWERED_DAYS: Final = 3
_TEAM: Final = Actor("rehearsal", frozenset({"lead"}))
#: What a recorded day must have one of for somebody to have been there.
_SIGNS: Final = ("steps", "rmssd", "resting_hr", "minutesAsleep", "TIRED")


class Rehearsal:
    """A pack at work in a store of its own, by a clock that is set for each night. Nobody is told.

    Parameters
    ----------
    pack : RulePack
        The rules.
    answered_days : int, optional
        The team closes an alert so many days after it was opened; without it nobody closes any.
    """

    def __init__(self, pack: RulePack, answered_days: int | None = None) -> None:
        self._pack, self._answered_days, self._now = pack, answered_days, 0
        self._folder = tempfile.TemporaryDirectory()
        self._journal = Journal(Path(self._folder.name) / "rehearsal", lambda: self._now)
        self._desk = Desk(self._journal, pack, _TEAM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self._folder.cleanup()

    def night(self, day: date, tables: Mapping[str, pa.Table], around: Surroundings, now: int) -> None:
        """Judge a night, or judge it again, at an instant (microseconds UTC)."""
        self._now = now
        run_night(self._journal, self._pack, day, tables, around)
        if self._answered_days is not None:
            self._answer(self._answered_days)

    def alerts(self, *where: sa.ColumnElement[bool]) -> list[Alert]:
        """Alerts in the order in which they were opened."""
        with self._journal.transaction() as con:
            return alerts.select(con, *where)

    def judged(self, rule: str, day: date, patients: Sequence[str]) -> Marks:
        """Of which patients the rule could say something on a night."""
        with self._journal.transaction() as con:
            codes = readings.nights(con, rule, readings.numbers_of(con, patients), first=event_time(day))
            found = codes.of(event_time(day))
        return (found != 0) & (found != Band.ABSENT)

    def _answer(self, days: int) -> None:
        """Close what has been open for long: an episode that goes on for weeks was answered long ago."""
        for one in self.alerts(alerts.IS_ACTIVE, sa.column("opened_utc") <= self._now - days * DAY):
            self._desk.resolve(one.alert, one.version, "answered")


def rehearse(
    tables: Mapping[str, pa.Table],
    pack: RulePack,
    first: date,
    last: date,
    around: Callable[[date], Surroundings],
) -> list[Alert]:
    """Alerts that the pack opens over the nights, by a clock that stands at noon of each night.

    Parameters
    ----------
    around : callable
        Night -> who is a patient then, and in which state; nothing is expected of the others.
    """
    by_day = {name: nights_of(table) for name, table in tables.items()}
    with Rehearsal(pack, ANSWERED_DAYS) as rehearsal:
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            night = {name: of[day] for name, of in by_day.items() if day in of}
            rehearsal.night(day, night, around(day), event_time(day) + DAY // 2)
        return rehearsal.alerts()


def staying(stays: Mapping[str, tuple[date, date]]) -> Callable[[date], Surroundings]:
    """Surroundings of people who are there from a first to a last date."""
    return lambda day: Surroundings(
        statuses={name: "active" if a <= day <= b else "withdrawn" for name, (a, b) in stays.items()}
    )


def load_over(found: Sequence[Alert], patient_weeks: float, first: date, last: date) -> Load:
    """Load of the nights `first` to `last`."""
    return load_of(found, patient_weeks, event_time(first), event_time(last + timedelta(days=1)))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a pack asks and finds on simulated people.

    Parameters
    ----------
    load : Load
        Also how many of the alerts were of a true flare (`found`).
    flares : int
        True onsets of the nights that count.
    per_100_weeks : float
        As many per 100 people and week: what an engine without any error would open.
    found, known : int
        Flares with an alert of their own, opened from a day before to six days after the onset; and those
        with one or with a condition of an episode that the team had been told of within two weeks before.
    """

    load: Load
    flares: int
    per_100_weeks: float
    found: int
    known: int


#: An alert so long ago still tells the team of the patient.
KNOWN_DAYS: Final = 14


def measure_simulator(pack: RulePack, *, people: int, days: int, seed: int) -> Measured:
    """Load and sensitivity on SYNTHETIC people."""
    cohort = simulate_flares(people, days, seed=seed)
    last = cohort.first + timedelta(days=days - 1)
    counted = cohort.first + timedelta(days=LEARNING_DAYS)
    stays = _stays(cohort.days)
    found = rehearse(_scored(cohort.days, cohort.first, last), pack, cohort.first, last, staying(stays))
    told: dict[str, list[int]] = {}
    for one in found:
        if one.scope == "patient" and one.night is not None:
            told.setdefault(one.subject, []).append((one.night - cohort.first).days)
    onsets: dict[str, set[date]] = {}
    flares: list[tuple[str, int]] = []
    for row, column in zip(*np.nonzero(cohort.course.is_onset), strict=True):
        patient, day = cohort.patients[row], cohort.first + timedelta(days=int(column))
        onsets.setdefault(patient, set()).add(day)
        if LEARNING_DAYS <= column < days - FOUND_TO and stays[patient][0] <= day:
            flares.append((patient, int(column)))
    own = sum(any(FOUND_FROM <= n - at <= FOUND_TO for n in told.get(who, ())) for who, at in flares)
    known = sum(any(-KNOWN_DAYS <= n - at <= FOUND_TO for n in told.get(who, ())) for who, at in flares)
    weeks = cohort.days.filter(pc.field("local_date") >= counted).num_rows / 7
    nights = {who: {cohort.first + timedelta(days=n) for n in range(days)} for who in cohort.patients}
    begin, end = event_time(counted), event_time(last + timedelta(days=1))
    load = load_of(found, weeks, begin, end, labels=Labels(onsets, nights))
    return Measured(load, len(flares), 100 * len(flares) / weeks, own, known)


def measure_recording(pack: RulePack, path: Path) -> tuple[Load, int]:
    """Load on the daily values of real people (LifeSnaps), and on how many person-days.

    A person is there from the first to the last day with a value or an answer: the file has empty rows
    long after, as of a wearable in a drawer.
    """
    rows = pq.read_table(path)
    is_sign = np.logical_or.reduce([rows[name].is_valid().to_numpy() for name in _SIGNS])
    rows = rows.filter(pa.array(is_sign))
    days = [date.fromisoformat(text) for text in rows["date"].to_pylist()]
    columns = {
        "patient": rows["id"],
        "local_date": pa.array(days, pa.date32()),
        "zone": pa.array(["Europe/Athens"] * len(days)),
        "steps": rows["steps"].cast(pa.float64()),
        "tst_min": rows["minutesAsleep"].cast(pa.float64()),
        "rmssd_ms": rows["rmssd"].cast(pa.float64()),
        "resting_hr_bpm": rows["resting_hr"].cast(pa.float64()),
    }
    table = _filled(pa.table(columns))
    stays, first, last = _stays(table), min(days), max(days)
    found = rehearse(_scored(table, first, last), pack, first, last, staying(stays))
    nights = sum((b - a).days + 1 for a, b in stays.values())
    return load_over(found, nights / 7, first, last), nights


def _stays(table: pa.Table) -> dict[str, tuple[date, date]]:
    """Patient -> first and last date."""
    spans = table.group_by("patient").aggregate([("local_date", "min"), ("local_date", "max")])
    return {row["patient"]: (row["local_date_min"], row["local_date_max"]) for row in spans.to_pylist()}


def _filled(table: pa.Table) -> pa.Table:
    """The table with every column of patient_day, null where nothing is known."""
    return pa.table(
        [
            table[name].cast(field.type)
            if name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for name, field in zip(PATIENT_DAY.names, PATIENT_DAY, strict=True)
        ],
        names=PATIENT_DAY.names,
    )


def _scored(days: pa.Table, first: date, last: date) -> dict[str, pa.Table]:
    full = _filled(days).sort_by([("patient", "ascending"), ("local_date", "ascending")])
    return {"patient_day": full, **scores.compute(full, first, last)}


def nights_of(table: pa.Table) -> dict[date, pa.Table]:
    """Local date -> its rows."""
    ordered = table.sort_by("local_date")
    days = np.asarray(ordered["local_date"].cast(pa.int32()))
    starts = np.flatnonzero(np.diff(days, prepend=days[:1] - 1)) if len(days) else []
    ends = [*starts[1:], len(days)]
    return {
        EPOCH + timedelta(days=int(days[a])): ordered.slice(a, b - a)
        for a, b in zip(starts, ends, strict=True)
    }
