"""The alert journal: what the night and the people at their desks write into the store."""

import secrets
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from alerts.engine.evaluate import ConditionState
from alerts.engine.outbox import Outbox
from alerts.store import audit
from alerts.store.database import Database
from alerts.store.schema import alert, condition
from alerts.store.schema import outbox as outbox_table
from alerts.tables import ALERTS
from devices.clock import Clock

#: Letters and digits that cannot be mistaken for each other when read aloud.
REFERENCE_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
REFERENCE_LENGTH: Final = 10
ENGINE: Final = "engine"

_STATE: Final = tuple(ConditionState.__dataclass_fields__)
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
        """Patient -> state of the rule's condition, where it is not idle."""
        with self.transaction() as con:
            rows = con.execute(sa.select(condition).where(condition.c.rule == rule)).all()
        return {row.subject: _state(row) for row in rows}

    def keep_conditions(self, rule: str, states: Mapping[str, ConditionState]) -> None:
        """Remember where conditions stand: what is idle is not worth a row."""
        rows = [
            {"subject": subject, "rule": rule} | {name: getattr(state, name) for name in _STATE}
            for subject, state in states.items()
            if state.phase != "idle"
        ]
        idle = [{"of": subject} for subject, state in states.items() if state.phase == "idle"]
        with self.transaction() as con:
            if idle:
                is_own = (condition.c.rule == rule, condition.c.subject == sa.bindparam("of"))
                con.execute(condition.delete().where(*is_own), idle)
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
    return ConditionState(**{name: getattr(row, name) for name in _STATE})


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
