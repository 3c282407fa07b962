"""What a rule or model would have alerted, night by night, by what had arrived by then.

Every night is computed anew from the rows the collector had received, and the records somebody had written
down, before that night's run: noon UTC of the day after. What came later is not there. Outcomes are
judged by everything that is known today.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alerts.engine.evaluate import IDLE, Band, ConditionState, Outcome, band_of, event_time, step
from alerts.rules.pack import BY_METRIC, READABLE
from alerts.rules.rule import CompositeRule, ReportedRule, RiskRule, ThresholdRule, TrendRule
from analytics.features import days as features
from analytics.risk import scores
from analytics.risk.alert_measures import fire
from analytics.risk.arrays import Floats, Marks
from analytics.risk.model import SHIPPED, Model
from analytics.risk.scales import DEFAULT_SCALES, Scales
from analytics.store import warehouse
from analytics.tables import PATIENT_DAY
from devices.clock import from_utc, to_utc
from devices.observations import KINDS
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_context import patient_context

#: A night is computed at this hour (UTC) of the day after: by then every zone has ended its day.
RUN_HOUR: Final = 12
TestableRule = ThresholdRule | ReportedRule | CompositeRule | TrendRule | RiskRule


@dataclass(frozen=True)
class Replayed:
    """Alerts of the nights; matrices (patients, nights).

    Parameters
    ----------
    score : matrix
        What was judged (NaN: nothing could be).
    alerts : matrix of bool
        Nights on which an alert would have opened.
    blind : int
        Nights by which nothing of anybody had arrived.
    """

    patients: list[str]
    first: date
    score: Floats
    alerts: Marks
    blind: int


def replay(
    clinic: Clinic,
    first: date,
    last: date,
    *,
    rule: TestableRule | None = None,
    model: Model = SHIPPED,
    scales: Scales = DEFAULT_SCALES,
    theta: float | None = None,
) -> Replayed:
    """Judge the nights `first` to `last` by a rule, or by a model with a threshold.

    Raises
    ------
    UserError
        Nothing is in the lake, or it had not arrived by any of the nights.
    """
    files = {kind: clinic.lake.files(kind) for kind in KINDS}
    arrived = _least(files, clinic.enrolment().table, "received_utc") or 0
    blind = sum(cut(first + timedelta(days=n)) <= arrived for n in range((last - first).days + 1))
    if blind > (last - first).days:
        raise UserError(
            f"nothing had arrived by the nights {first} to {last}: there is nothing that could have alerted "
            "(an import counts as arrived on the day it was made)"
        )
    patients = sorted(clinic.patients())
    place = {patient: row for row, patient in enumerate(patients)}
    shape = len(patients), (last - first).days + 1
    score, alerts = np.full(shape, np.nan), np.zeros(shape, np.bool_)
    states: dict[str, ConditionState] = {}
    for number, (day, known) in enumerate(nights(clinic, first, last)):
        context = patient_context(clinic, known_utc=cut(day) - 1)
        tables = scores.compute(known, day, day, context=context, model=model, scales=scales)
        tables["patient_day"] = known.filter(pc.field("local_date") == day)
        for patient, readings in _readings(tables).items():
            row = place[patient]
            if rule is None:
                value = readings.get("flare_risk.risk_7d")
                score[row, number] = np.nan if value is None else value
            else:
                band, value = band_of(rule, readings)
                score[row, number] = np.nan if band is Band.ABSENT else float(value or 0)
                outcome, states[patient] = step(rule, band, event_time(day), states.get(patient, IDLE))
                alerts[row, number] = outcome is Outcome.ENTER
    if rule is None:
        alerts = fire(score, np.inf if theta is None else theta)
    return Replayed(patients, first, score, alerts, blind)


def cut(day: date) -> int:
    """Instant of the night's run, microseconds UTC; what is received from then on is too late for it."""
    after = day + timedelta(days=1)
    return to_utc(datetime(after.year, after.month, after.day, RUN_HOUR, tzinfo=UTC))


def nights(clinic: Clinic, first: date, last: date) -> Iterator[tuple[date, pa.Table]]:
    """Every night with the patient-days as its run knew them, its own included."""
    files = {kind: clinic.lake.files(kind) for kind in KINDS}
    enrolment = clinic.enrolment().table
    begin = _begin(files, enrolment)
    if begin is None or begin > last:
        raise UserError("nothing in the lake before the last of these nights")
    known = PATIENT_DAY.empty_table()
    before: int | None = None
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        with warehouse.connect(files, enrolment, received_before=cut(day)) as con:
            start = begin if before is None else _touched(con, before, day)
            fresh = features.compute(con, min(start, day), day)["patient_day"]
        kept = known.filter(pc.field("local_date") < min(start, day))
        known = pa.concat_tables([kept, fresh])
        before = cut(day)
        yield day, known


def _begin(files: dict[str, Any], enrolment: pa.Table) -> date | None:
    found = _least(files, enrolment, "start_utc")
    return None if found is None else (from_utc(found) - timedelta(days=1)).date()


def _least(files: dict[str, Any], enrolment: pa.Table, column: str) -> int | None:
    """The earliest instant of a column in all of the lake, microseconds UTC."""
    with warehouse.connect(files, enrolment) as con:
        parts = " union all ".join(f"select min({column}) as t from observations_{kind}" for kind in KINDS)
        (found,) = con.execute(f"select epoch_us(min(t)) from ({parts})").fetchone() or (None,)
    return found


def _touched(con: Any, since: int, day: date) -> date:
    """First date that what was received since the night before may have changed."""
    new = f"where received_utc >= make_timestamptz({since:d})"
    parts = " union all ".join(f"select min(start_utc) as t from observations_{kind} {new}" for kind in KINDS)
    (found,) = con.execute(f"select epoch_us(min(t)) from ({parts})").fetchone() or (None,)
    # the day of a sample is local: up to a day earlier, and its night began the evening before
    return day if found is None else min(day, (from_utc(found) - timedelta(days=1)).date())


def _readings(tables: dict[str, pa.Table]) -> dict[str, dict[str, Any]]:
    """Patient -> column -> value, as the engine names them."""
    found: dict[str, dict[str, Any]] = {}
    for table in READABLE:
        for row in tables[table].to_pylist() if table in tables else ():
            suffix = f".{row['metric']}" if table in BY_METRIC else ""
            own = found.setdefault(row["patient"], {})
            own |= {f"{table}.{column}{suffix}": value for column, value in row.items()}
    return found
