"""An alert as the engine sees it, and its row."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa

from alerts.store.schema import alert
from devices.clock import DAY

IS_ACTIVE: Final = alert.c.status.in_(("open", "acked"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """State of an alert; instants in microseconds UTC. See :data:`alerts.store.schema.alert`."""

    alert: str
    scope: str
    subject: str
    site: str | None = None
    rule: str
    rule_version: int
    route: str
    severity: str
    status: str = "open"
    version: int = 1
    night: date | None = None
    zone: str | None = None
    value: float | None = None
    sentence: str
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    opened_utc: int
    held_by: str | None = None
    is_retrospective: bool = False
    is_latched: bool = False
    cleared_utc: int | None = None
    assignee: str | None = None
    snooze_until_utc: int | None = None
    snoozed_by: str | None = None
    round: int = 1
    escalation_step: int = 0
    next_escalation_utc: int | None = None
    repeat_count: int = 0
    next_repeat_utc: int | None = None
    acked_utc: int | None = None
    acked_by: str | None = None
    first_acked_utc: int | None = None
    outcome_due_utc: int | None = None
    outcome: str | None = None
    resolved_utc: int | None = None
    resolved_night: date | None = None
    closed_by: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it is open or acknowledged."""
        return self.status != "resolved"

    def night_at(self, now: int) -> date | None:
        """The night as many days after its own as have passed since it was opened."""
        return self.night and self.night + timedelta(days=(now - self.opened_utc) // DAY)

    @property
    def is_critical(self) -> bool:
        """Whether nothing defers, silences or inhibits it."""
        return self.severity == "critical"


def of_row(row: Any) -> Alert:
    """Alert of a row."""
    return Alert(**{name: getattr(row, name) for name in Alert.__dataclass_fields__})


def find(con: sa.Connection, name: str) -> Alert | None:
    """Alert by its reference."""
    row = con.execute(sa.select(alert).where(alert.c.alert == name)).first()
    return None if row is None else of_row(row)


def select(con: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Alert]:
    """Alerts in the order in which they were opened."""
    rows = con.execute(sa.select(alert).where(*where).order_by(alert.c.opened_utc, alert.c.alert))
    return [of_row(row) for row in rows]


def save(con: sa.Connection, one: Alert) -> None:
    """Write the changed row."""
    con.execute(alert.update().where(alert.c.alert == one.alert).values(**_values(one)))


def insert(con: sa.Connection, one: Alert) -> None:
    """Write a new row; the database refuses a second active one of the subject and rule."""
    con.execute(alert.insert(), _values(one))


def _values(one: Alert) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Alert.__dataclass_fields__}
