"""What a rule or model would have alerted, night by night, by what had arrived by then.

Every night is computed anew from the rows the collector had received, and the records somebody had written
down, before that night's run: noon UTC of the day after. What came later is not there. The engine itself
judges, by all of the rules, in a store of its own; nights before the first begin it, and a night that late
data changed is judged again. Outcomes are judged by everything that is known today.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from alerts.rules.pack import RulePack
from alerts.rules.rule import CompositeRule, ReportedRule, RiskRule, ThresholdRule, TrendRule
from analytics.features import days as features
from analytics.risk import scores
from analytics.risk.arrays import Floats, Marks
from analytics.risk.context import CONTEXT
from analytics.risk.model import SHIPPED, Model
from analytics.risk.scales import DEFAULT_SCALES, Scales
from analytics.store import warehouse
from analytics.tables import PATIENT_DAY
from devices.clock import from_utc, to_utc
from devices.observations import KINDS
from flows.care.rehearsal import Rehearsal, nights_of
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_context import patient_context
from flows.night.patient_states import surroundings_by_night

#: A night is computed at this hour (UTC) of the day after: by then every zone has ended its day.
RUN_HOUR: Final = 12
#: Nights scored together before the first: what memory holds.
SCORED_AT_ONCE: Final = 31
TestableRule = ThresholdRule | ReportedRule | CompositeRule | TrendRule | RiskRule


@dataclass(frozen=True)
class Replayed:
    """Alerts of the nights; matrices (patients, nights).

    Parameters
    ----------
    risk : matrix
        Chance of an onset within seven days as the night knew it; NaN where there was none.
    is_judged : matrix of bool
        Where there was enough to say whether to alert.
    alerts : matrix of bool
        Nights in whose run an alert was opened.
    silent : int
        Of the alerts, those that something held back: they are open, and nobody was told.
    blind : int
        Nights by which nothing of anybody had arrived.
    """

    patients: list[str]
    first: date
    risk: Floats
    is_judged: Marks
    alerts: Marks
    silent: int
    blind: int

    @cached_property
    def row(self) -> dict[str, int]:
        """Patient -> row of the matrices."""
        return {patient: row for row, patient in enumerate(self.patients)}


def replay_rule(
    clinic: Clinic,
    first: date,
    last: date,
    rule: TestableRule,
    pack: RulePack,
    *,
    model: Model = SHIPPED,
    scales: Scales = DEFAULT_SCALES,
    closed_after: int | None = None,
) -> Replayed:
    """Judge the nights `first` to `last` by all rules of a pack, and count the alerts of one.

    Parameters
    ----------
    closed_after : int, optional
        Nights after which the team closes an alert; without it only the engine ends any.

    Raises
    ------
    UserError
        Nothing is in the lake, or it had not arrived by any of the nights.
    """
    found, silent = _empty(clinic, first, last), 0
    notes = patient_context(clinic, known_utc=0)
    with Rehearsal(pack, closed_after) as rehearsal:
        for number, (day, since, known) in enumerate(nights(clinic, first, last)):
            at = cut(day)
            before, notes = notes, patient_context(clinic, known_utc=at - 1)
            begin = since if number == 0 else min(since, _changed_from(before, notes, day))
            around = surroundings_by_night(clinic, at - 1, pack)
            for night, tables in _scored(known, begin, day, context=notes, model=model, scales=scales):
                # the nights that lead up to the first had their run at their own noon
                rehearsal.night(night, tables, around(night), cut(night) if number == 0 else at)
                if night == day:
                    _keep_risk(found, number, tables)
            found.is_judged[:, number] = rehearsal.judged(rule.id, day, found.patients)
            for one in rehearsal.alerts(sa.column("rule") == rule.id, sa.column("opened_utc") == at):
                # opened for a late night and ended by this one: nobody ever saw it
                if one.is_active or not one.is_retrospective:
                    found.alerts[found.row[one.subject], number] = True
                    silent += one.held_by is not None
    return replace(found, silent=silent)


def replay_model(
    clinic: Clinic, first: date, last: date, model: Model, scales: Scales = DEFAULT_SCALES
) -> Replayed:
    """The nights `first` to `last` as a model in shadow would have published them.

    An alert is one that its threshold gives: a week apart, and none that heart values of a new device lead.

    Raises
    ------
    UserError
        Nothing is in the lake, or it had not arrived by any of the nights.
    """
    found = _empty(clinic, first, last)
    for number, (day, _, known) in enumerate(nights(clinic, first, last)):
        notes = patient_context(clinic, known_utc=cut(day) - 1)
        for _, tables in _scored(known, day, day, context=notes, model=model, scales=scales):
            _keep_risk(found, number, tables)
            rows = tables["flare_risk"].filter(pc.field("would_alert"))
            told = [found.row[patient] for patient in rows["patient"].to_pylist()]
            found.alerts[told, number] = True
    return replace(found, is_judged=~np.isnan(found.risk))


def _empty(clinic: Clinic, first: date, last: date) -> Replayed:
    """Nights of which nothing is known yet, as many as by which something had arrived."""
    files = {kind: clinic.lake.files(kind) for kind in KINDS}
    arrived = _least(files, clinic.enrolment().table, "received_utc") or 0
    days = (last - first).days + 1
    blind = sum(cut(first + timedelta(days=n)) <= arrived for n in range(days))
    if blind == days:
        raise UserError(
            f"nothing had arrived by the nights {first} to {last}: there is nothing that could have alerted "
            "(an import counts as arrived on the day it was made)"
        )
    patients = sorted(clinic.patients())
    shape = len(patients), days
    no, none = np.zeros(shape, np.bool_), np.full(shape, np.nan)
    return Replayed(patients, first, none, no, no.copy(), 0, blind)


def _scored(
    known: pa.Table, first: date, last: date, *, context: pa.Table, model: Model, scales: Scales
) -> Iterator[tuple[date, dict[str, pa.Table]]]:
    """Every night with the tables that the rules read of it, as far as it has any."""
    day = pc.field("local_date")
    for low in (first + timedelta(days=n) for n in range(0, (last - first).days + 1, SCORED_AT_ONCE)):
        high = min(last, low + timedelta(days=SCORED_AT_ONCE - 1))
        tables = scores.compute(known, low, high, context=context, model=model, scales=scales)
        tables["patient_day"] = known.filter((day >= low) & (day <= high))
        parts = {name: nights_of(table) for name, table in tables.items()}
        for night in (low + timedelta(days=n) for n in range((high - low).days + 1)):
            yield night, {name: of.get(night, tables[name].slice(0, 0)) for name, of in parts.items()}


def _keep_risk(found: Replayed, number: int, tables: Mapping[str, pa.Table]) -> None:
    rows = tables["flare_risk"]
    risks = rows["risk_7d"].to_numpy(zero_copy_only=False)
    found.risk[[found.row[patient] for patient in rows["patient"].to_pylist()], number] = risks


def _changed_from(before: pa.Table, after: pa.Table, day: date) -> date:
    """First date whose scores notes bear on that were written down, or corrected, between two nights."""
    old, new = ({tuple(row.values()) for row in table.to_pylist()} for table in (before, after))
    return min([day, *(row[CONTEXT.get_field_index("first_date")] for row in old ^ new)])


def cut(day: date) -> int:
    """Instant of the night's run, microseconds UTC; what is received from then on is too late for it."""
    after = day + timedelta(days=1)
    return to_utc(datetime(after.year, after.month, after.day, RUN_HOUR, tzinfo=UTC))


def nights(clinic: Clinic, first: date, last: date) -> Iterator[tuple[date, date, pa.Table]]:
    """Every night, the first date its run computed, and the patient-days as it knew them, its own included.

    The first night computes everything there is; the others what arrived since may have changed.
    """
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
            start = min(start, day)
            fresh = features.compute(con, start, day)["patient_day"]
        kept = known.filter(pc.field("local_date") < start)
        known = pa.concat_tables([kept, fresh])
        before = cut(day)
        yield day, start, known


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
