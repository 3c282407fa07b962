"""Nights judged again in a store of their own: what a pack would have alerted. Nobody is told."""

import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alerts.engine import alert as alerts
from alerts.engine.alert import Alert
from alerts.engine.evaluate import event_time
from alerts.engine.journal import Journal
from alerts.engine.load import Load, load_of
from alerts.engine.night import Surroundings, run_night
from alerts.rules.pack import RulePack
from analytics.risk import scores
from analytics.tables import PATIENT_DAY
from devices.clock import DAY
from devices.sim.flares import simulate_flares

#: Nights before the first one that counts: baselines are learned.
LEARNING_DAYS = 42
#: An alert from this day before a flare's onset to that day of it has found it.
FOUND_FROM, FOUND_TO = -1, 6


def rehearse(
    tables: Mapping[str, pa.Table],
    pack: RulePack,
    first: date,
    last: date,
    patients: list[str],
    stays: Mapping[str, tuple[date, date]] | None = None,
) -> list[Alert]:
    """Alerts that the pack opens over the nights, by a clock that stands at noon of each night.

    `stays` are the first and last dates of those who are not there all the time: before and after
    nothing is expected of them.
    """
    now = event_time(first)

    def clock() -> int:
        return now

    whole = (first, last)
    by_day = {name: _by_day(table, first) for name, table in tables.items()}
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "rehearsal", clock) as journal:
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            now = event_time(day) + DAY // 2
            held = {name: (stays or {}).get(name, whole) for name in patients}
            around = Surroundings(
                statuses={name: "active" if a <= day <= b else "withdrawn" for name, (a, b) in held.items()}
            )
            run_night(
                journal, pack, day, {name: of[offset] for name, of in by_day.items() if offset in of}, around
            )
        with journal.transaction() as con:
            return alerts.select(con)


def load_over(found: list[Alert], patients: int, first: date, last: date) -> Load:
    """Load of the nights `first` to `last`."""
    return load_of(found, patients, event_time(first), event_time(last + timedelta(days=1)))


def measure_simulator(pack: RulePack, *, people: int, days: int, seed: int) -> tuple[Load, float, int]:
    """Load on SYNTHETIC people, the share of their flares that an alert found, and how many flares."""
    cohort = simulate_flares(people, days, seed=seed)
    last = cohort.first + timedelta(days=days - 1)
    counted = cohort.first + timedelta(days=LEARNING_DAYS)
    found = rehearse(_scored(cohort.days, cohort.first, last), pack, cohort.first, last, cohort.patients)
    told: dict[str, list[int]] = {}
    for one in found:
        if one.scope == "patient" and one.night is not None:
            told.setdefault(one.subject, []).append((one.night - cohort.first).days)
    flares = [
        (cohort.patients[row], column)
        for row, column in zip(*np.nonzero(cohort.course.is_onset), strict=True)
        if LEARNING_DAYS <= column < days - FOUND_TO
    ]
    hits = sum(
        any(column + FOUND_FROM <= day <= column + FOUND_TO for day in told.get(patient, ()))
        for patient, column in flares
    )
    share = hits / len(flares) if flares else float("nan")
    return load_over(found, people, counted, last), share, len(flares)


def measure_recording(pack: RulePack, path: Path) -> tuple[Load, int]:
    """Load on the daily values of real people (LifeSnaps): id, date, rmssd, steps, minutesAsleep."""
    rows = pq.read_table(path)
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
    patients = sorted(set(rows["id"].to_pylist()))
    first, last = min(days), max(days)
    stays = {
        row["patient"]: (row["local_date_min"], row["local_date_max"])
        for row in table.group_by("patient")
        .aggregate([("local_date", "min"), ("local_date", "max")])
        .to_pylist()
    }
    found = rehearse(_scored(table, first, last), pack, first, last, patients, stays)
    nights = table.num_rows
    # people come and go: the load is per person-week of those who are there
    load = load_over(found, max(1, round(nights / ((last - first).days + 1))), first, last)
    return load, nights


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


def _by_day(table: pa.Table, first: date) -> dict[int, pa.Table]:
    """Days since `first` -> its rows."""
    ordered = table.sort_by("local_date")
    days = np.asarray(ordered["local_date"].cast(pa.int32())) - (first - date(1970, 1, 1)).days
    starts = np.flatnonzero(np.diff(days, prepend=days[:1] - 1)) if len(days) else []
    ends = [*starts[1:], len(days)]
    return {int(days[a]): ordered.slice(a, b - a) for a, b in zip(starts, ends, strict=True)}
