"""The alert journal: what the night and the people at their desks write into the store."""

import secrets
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from alerts.engine.evaluate import Band, ConditionState
from alerts.engine.outbox import Outbox
from alerts.engine.silence import Wear
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
    local_date: date | None
    sentence: str
    version: int
    held_by: str | None
    is_delivered: bool


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

    def now(self) -> int:
        """Instant for what is written, microseconds UTC."""
        return self._clock()

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

    def readings(self, rule: str, at: int) -> dict[str, Band]:
        """Patient -> where the reading at that event time lay, for those judged before."""
        query = sa.select(reading.c.subject, reading.c.band)
        with self.transaction() as con:
            rows = con.execute(query.where(reading.c.rule == rule, reading.c.at == at)).all()
        return {row.subject: Band(row.band) for row in rows}

    def history(self, patient: str, rule: str) -> dict[int, Band]:
        """Every reading of a patient under a rule by event time."""
        query = sa.select(reading.c.at, reading.c.band)
        with self.transaction() as con:
            rows = con.execute(query.where(reading.c.subject == patient, reading.c.rule == rule)).all()
        return {row.at: Band(row.band) for row in rows}

    def wear(self, rule: str, at: int, nights: int) -> dict[str, Wear]:
        """Patient -> the nights before `at` in the eyes of a no-data rule."""
        known, present = sa.func.count(), sa.func.sum(sa.case((reading.c.band == "clear", 1), else_=0))
        latest = sa.func.max(sa.case((reading.c.band == "clear", reading.c.at)))
        is_before = (
            *(reading.c.rule == rule, reading.c.band != "absent"),
            *(reading.c.at < at, reading.c.at >= at - nights * DAY),
        )
        last = sa.select(reading.c.subject, latest.label("at")).where(*is_before)
        last = last.group_by(reading.c.subject).subquery()
        is_silent = sa.or_(last.c.at.is_(None), reading.c.at > last.c.at)
        query = (
            sa.select(reading.c.subject, known, present, sa.func.sum(sa.case((is_silent, 1), else_=0)))
            .join(last, last.c.subject == reading.c.subject)
            .where(*is_before)
            .group_by(reading.c.subject)
        )
        with self.transaction() as con:
            return {row[0]: Wear(row[1], row[2], row[3]) for row in con.execute(query)}

    def keep_readings(self, rule: str, at: int, bands: Mapping[str, tuple[Band, float | None]]) -> None:
        """Remember where readings lay; a later word on the same event time replaces it."""
        rows = [
            {"subject": subject, "rule": rule, "at": at, "band": band.value, "value": value}
            for subject, (band, value) in bands.items()
        ]
        with self.transaction() as con:
            _put(con, reading, ("subject", "rule", "at"), rows)

    def keep_conditions(self, rule: str, states: Mapping[str, ConditionState]) -> None:
        """Remember where conditions stand."""
        rows = [{"subject": subject, "rule": rule, **asdict(state)} for subject, state in states.items()]
        with self.transaction() as con:
            _put(con, condition, ("subject", "rule"), rows)

    # -- alerts -------------------------------------------------------------------------------

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


def _put(con: sa.Connection, table: sa.Table, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    insert = postgresql.insert if con.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    con.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), rows)


def _state(row: Any) -> ConditionState:
    return ConditionState(**{name: getattr(row, name) for name in ConditionState.__dataclass_fields__})


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
        held_by=row.held_by,
        is_delivered=row.delivered_utc is not None,
    )


def _published(row: Any) -> dict[str, Any]:
    other = {"patient": row.subject, "local_date": row.night, "resolved_date": row.resolved_night}
    return {name: getattr(row, name) for name in ALERTS.names if name not in other} | other
