"""The alert journal: what the night and the people at their desks write into the store."""

import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from alerts.engine import letters
from alerts.engine.evaluate import Band, ConditionState
from alerts.engine.letters import Letter
from alerts.engine.outbox import Outbox
from alerts.errors import JournalError, StaleAlertError
from alerts.rules.rule import Readings, Route, Rule
from alerts.store import audit
from alerts.store.database import Database
from alerts.store.schema import alert, condition, reading
from alerts.store.schema import outbox as outbox_table
from alerts.tables import ALERTS
from devices.clock import DAY, Clock

#: Letters and digits that cannot be mistaken for each other when read aloud.
REFERENCE_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
REFERENCE_LENGTH: Final = 10
ENGINE: Final = "engine"

_EPOCH: Final = date(1970, 1, 1)
_IS_ACTIVE: Final = alert.c.status.in_(("open", "acked"))
_FIRST_SENT: Final = (
    sa.select(sa.func.min(outbox_table.c.sent_utc))
    .where(outbox_table.c.alert == alert.c.alert, outbox_table.c.kind != "resolved")
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert that is open or acknowledged."""

    alert: str
    patient: str
    rule: str
    rule_version: int
    severity: str
    status: str
    local_date: date
    sentence: str
    version: int
    is_delivered: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """What an alert is opened with."""

    patient: str
    rule: Rule
    route: Route
    night: date
    zone: str | None
    value: float | None
    sentence: str
    readings: Readings


class Journal:
    """The alert journal of an installation.

    Parameters
    ----------
    where : Path or str
        SQLite file, made when it is not there; or the URL of a PostgreSQL database.
    clock : Clock
        Stamps what is written; no judgement depends on it.

    Raises
    ------
    JournalError
        When the store cannot be opened or is of another version.
    """

    def __init__(self, where: Path | str, clock: Clock) -> None:
        self._clock = clock
        self._database = Database(where)
        self.outbox = Outbox(self, clock)

    def close(self) -> None:
        """Close the store."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Generator[sa.Connection, None, None]:
        """Immediate transaction: everything inside is kept together or not at all.

        Inside another one it is part of that.
        """
        with self._database.transaction() as con:
            yield con

    # -- conditions ---------------------------------------------------------------------------

    def conditions(self, rule: str) -> dict[str, ConditionState]:
        """Patient -> state of the rule's condition."""
        with self.transaction() as con:
            rows = con.execute(sa.select(condition).where(condition.c.rule == rule)).all()
        return {row.subject: _state(row) for row in rows}

    def readings(self, rule: str, night: date) -> dict[str, Band]:
        """Patient -> where the night's value lay, for the nights judged before."""
        query = sa.select(reading.c.subject, reading.c.band)
        with self.transaction() as con:
            rows = con.execute(query.where(reading.c.rule == rule, reading.c.at == event_time(night))).all()
        return {row.subject: Band(row.band) for row in rows}

    def history(self, patient: str, rule: str) -> list[tuple[date, Band]]:
        """Every judged night of a patient under a rule, in order."""
        query = sa.select(reading.c.at, reading.c.band).order_by(reading.c.at)
        with self.transaction() as con:
            rows = con.execute(query.where(reading.c.subject == patient, reading.c.rule == rule)).all()
        return [(night_of(row.at), Band(row.band)) for row in rows]

    def keep_reading(self, patient: str, rule: str, night: date, band: Band) -> None:
        """Remember where a night's value lay; a later word on the same night replaces it."""
        key = {"subject": patient, "rule": rule, "at": event_time(night)}
        with self.transaction() as con:
            _put(con, reading, key, {"band": band.value})

    def keep_condition(self, patient: str, rule: str, state: ConditionState) -> None:
        """Remember where the condition stands."""
        values = {
            "phase": "firing" if state.is_firing else "idle",
            "since": _event_time(state.since),
            "last_breach": _event_time(state.last_breach),
            "clear_count": state.clear_count,
            "last_at": _event_time(state.last_night),
        }
        with self.transaction() as con:
            _put(con, condition, {"subject": patient, "rule": rule}, values)

    # -- alerts -------------------------------------------------------------------------------

    def open_alert(self, opening: Opening) -> str:
        """Open an alert with its messages, in one transaction.

        Returns
        -------
        str
            Random reference: it says nothing about the patient.

        Raises
        ------
        JournalError
            When the patient has an active alert of the rule.
        """
        rule, route = opening.rule, opening.route
        name = new_reference()
        with self.transaction() as con:
            now = self._clock()
            try:
                con.execute(
                    alert.insert().values(
                        alert=name,
                        scope="patient",
                        subject=opening.patient,
                        rule=rule.id,
                        rule_version=rule.version,
                        route=route.id,
                        severity=rule.severity,
                        status="open",
                        night=opening.night,
                        zone=opening.zone,
                        value=opening.value,
                        sentence=opening.sentence,
                        inputs=dict(opening.readings),
                        opened_utc=now,
                    )
                )
            except IntegrityError as fault:
                raise JournalError(
                    f"rule {rule.id!r} has an active alert for this patient already"
                ) from fault
            messages = [
                Letter(
                    alert=name,
                    kind="open",
                    step="1",
                    recipient=recipient,
                    channels=(route.channel,),
                    grouping=f"patient:{opening.patient}",
                    severity=rule.severity,
                    not_before_utc=now,
                )
                for recipient in route.recipients
            ]
            letters.queue(con, messages, now)
            subject = ("patient", opening.patient)
            audit.append(
                *(con, now, ENGINE, "open"), alert=name, subject=subject, rule=rule.id, version=rule.version
            )
        return name

    def resolve(self, name: str, night: date, closed_by: str) -> None:
        """The condition ended: close the alert, call off what is queued, tell those who were told."""
        with self.transaction() as con:
            now = self._clock()
            row = con.execute(
                alert.update()
                .where(alert.c.alert == name, _IS_ACTIVE)
                .values(
                    status="resolved",
                    resolved_utc=now,
                    resolved_night=night,
                    closed_by=closed_by,
                    version=alert.c.version + 1,
                )
                .returning(alert.c.severity, alert.c.scope, alert.c.subject)
            ).first()
            if row is None:
                return
            letters.cancel(con, name, "resolved")
            letters.queue_resolved(con, name, row.severity, now)
            subject = (row.scope, row.subject)
            audit.append(con, now, ENGINE, "resolve", alert=name, subject=subject, closed_by=closed_by)

    def acknowledge(self, name: str, by: str, version: int) -> None:
        """A person takes the alert on; nothing more is sent about its opening.

        Parameters
        ----------
        name : str
            Reference of the alert.
        by : str
            Who acknowledges.
        version : int
            Version of the alert that person saw.

        Raises
        ------
        StaleAlertError
            When the alert has changed since.
        JournalError
            When there is no such alert.
        """
        with self.transaction() as con:
            row = con.execute(sa.select(alert).where(alert.c.alert == name)).first()
            if row is None:
                raise JournalError(f"there is no alert {name!r}")
            if row.status == "resolved":
                return
            if row.version != version:
                raise StaleAlertError(f"alert {name} is at version {row.version}, not {version}: look again")
            now = self._clock()
            con.execute(
                alert.update()
                .where(alert.c.alert == name)
                .values(status="acked", acked_utc=now, acked_by=by, version=version + 1)
            )
            letters.cancel(con, name, "acknowledged")
            audit.append(con, now, by, "acknowledge", alert=name, subject=(row.scope, row.subject))

    def active(self, patients: Iterable[str] | None = None) -> list[ActiveAlert]:
        """Open and acknowledged alerts, oldest first; of some patients, or of all."""
        wanted = None if patients is None else set(patients)
        query = sa.select(alert, _FIRST_SENT.label("delivered_utc")).where(_IS_ACTIVE)
        with self.transaction() as con:
            rows = con.execute(query.order_by(alert.c.night, alert.c.alert)).all()
        return [_active(row) for row in rows if wanted is None or row.subject in wanted]

    def to_table(self) -> pa.Table:
        """Every alert, for the published `alerts` view (schema :data:`alerts.tables.ALERTS`)."""
        query = sa.select(alert, _FIRST_SENT.label("delivered_utc")).where(alert.c.scope == "patient")
        with self.transaction() as con:
            rows = con.execute(query.order_by(alert.c.night, alert.c.alert)).all()
        return pa.Table.from_pylist([_published(row) for row in rows], schema=ALERTS)

    def first_audit_fault(self) -> int | None:
        """Number of the first audit row that was tampered with; None when the chain is whole."""
        with self.transaction() as con:
            return audit.first_fault(con)


def new_reference() -> str:
    """Random name of an alert: what is sent, and what the console asks for."""
    return "A-" + "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(REFERENCE_LENGTH))


def event_time(night: date) -> int:
    """A night on the axis of event time: calendar days of 24 h each, whatever the clocks did."""
    return (night - _EPOCH).days * DAY


def night_of(at: int) -> date:
    """The night at a point of event time."""
    return date.fromordinal(_EPOCH.toordinal() + at // DAY)


def _event_time(night: date | None) -> int | None:
    return None if night is None else event_time(night)


def _night_of(at: int | None) -> date | None:
    return None if at is None else night_of(at)


def _put(con: sa.Connection, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    is_row = [table.c[name] == value for name, value in key.items()]
    if not con.execute(table.update().where(*is_row).values(**values)).rowcount:
        con.execute(table.insert().values(**key, **values))


def _state(row: Any) -> ConditionState:
    return ConditionState(
        row.phase == "firing",
        _night_of(row.since),
        _night_of(row.last_breach),
        row.clear_count,
        _night_of(row.last_at),
    )


def _active(row: Any) -> ActiveAlert:
    return ActiveAlert(
        alert=row.alert,
        patient=row.subject,
        rule=row.rule,
        rule_version=row.rule_version,
        severity=row.severity,
        status=row.status,
        local_date=row.night,
        sentence=row.sentence,
        version=row.version,
        is_delivered=row.delivered_utc is not None,
    )


def _published(row: Any) -> dict[str, Any]:
    other = {"patient": row.subject, "local_date": row.night, "resolved_date": row.resolved_night}
    return {name: getattr(row, name) for name in ALERTS.names if name not in other} | other
