"""Staff, their roles, and whom a step of a route means at an instant. Pure but for :func:`load`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from alerts.engine.oncall import on_call
from alerts.rules.route import Route, Step
from alerts.store.schema import schedule, staff, staff_role


@dataclass(frozen=True, slots=True)
class Person:
    """A member of staff who has not left."""

    staff: str
    zone: str
    roles: frozenset[str]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom to tell, as what, and by which channels in order."""

    name: str
    role: str | None
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Directory:
    """Who is there.

    Parameters
    ----------
    schedules : mapping
        Role -> its on-call calendar (iCalendar).
    """

    people: Mapping[str, Person] = field(default_factory=dict[str, Person])
    schedules: Mapping[str, str] = field(default_factory=dict[str, str])

    def of_role(self, role: str) -> tuple[Person, ...]:
        """Everybody with the role, by name."""
        return tuple(self.people[name] for name in sorted(self.people) if role in self.people[name].roles)

    def resolve(self, step: Step, route: Route, now: int) -> tuple[Recipient, ...]:
        """Whom the step means at `now`; empty when nobody is there."""
        if step.kind == "inbox":
            return (Recipient(step.name, None, route.channels),)
        if step.kind == "staff":
            found = [self.people[step.name]] if step.name in self.people else []
        elif step.kind == "oncall":
            found = self.on_call(step.name, now)
        else:
            found = list(self.of_role(step.name))
        return tuple(Recipient(one.staff, step.to, one.channels or route.channels) for one in found)

    def on_call(self, role: str, now: int) -> list[Person]:
        """Who is on call for the role at `now`; without a calendar everybody who has it."""
        calendar = self.schedules.get(role)
        if calendar is None:
            return list(self.of_role(role))
        return [self.people[name] for name in on_call(calendar, now) if name in self.people]


def load(con: sa.Connection) -> Directory:
    """Everybody who has not left."""
    roles: dict[str, set[str]] = {}
    for row in con.execute(sa.select(staff_role)):
        roles.setdefault(row.staff, set()).add(row.role)
    people = {
        row.staff: Person(row.staff, row.zone, frozenset(roles.get(row.staff, ())), tuple(row.channels or ()))
        for row in con.execute(sa.select(staff).where(staff.c.left_utc.is_(None)))
    }
    calendars = {row.role: row.calendar for row in con.execute(sa.select(schedule))}
    return Directory(people, calendars)
