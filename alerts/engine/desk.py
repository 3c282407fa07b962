"""What people at their desks do with alerts: each act checked, written and audited in one transaction."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine import letters, lifecycle, people
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.apply import way_of, write
from alerts.engine.holds import MATCHED, SILENCE_LIMIT
from alerts.engine.journal import Journal
from alerts.engine.lifecycle import Change
from alerts.engine.tick import reconcile_holds
from alerts.errors import JournalError
from alerts.rules.pack import RulePack
from alerts.store import audit
from alerts.store.schema import alert as table
from alerts.store.schema import comment, outbox, outcome, silence

#: Who may act on alerts; the others may look.
ACTING: Final = frozenset({"nurse", "clinician", "lead", "technical"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and as what."""

    staff: str
    roles: frozenset[str]


class Desk:
    """The alerts as one person may change them.

    Parameters
    ----------
    journal : Journal
        The store.
    pack : RulePack
        The rules in force.
    actor : Actor
        Who acts.
    """

    def __init__(self, journal: Journal, pack: RulePack, actor: Actor) -> None:
        self._journal, self._pack, self._actor = journal, pack, actor

    def look(self, name: str) -> Alert:
        """Read an alert; that it was looked at is on record."""
        with self._journal.transaction() as con:
            one = _known(con, name)
            audit.append(
                con,
                self._journal.now(),
                self._actor.staff,
                "view",
                alert=name,
                subject=(one.scope, one.subject),
            )
            return one

    def acknowledge(self, name: str, version: int) -> Alert:
        """Take the alert on."""
        with self._journal.transaction() as con:
            one, now = self._checked(con, name), self._journal.now()
            way = way_of(self._pack, people.load(con), one)
            return self._write(con, lifecycle.acknowledge(one, self._actor.staff, version, way, now), now)

    def snooze(self, name: str, version: int, until: int, reason: str) -> Alert:
        """Silence it until an instant."""
        with self._journal.transaction() as con:
            one, now = self._checked(con, name), self._journal.now()
            by, roles = self._actor.staff, self._actor.roles
            return self._write(con, lifecycle.snooze(one, by, roles, version, until, reason, now), now)

    def resolve(self, name: str, version: int, reason: str) -> Alert:
        """Close it by hand.

        Raises
        ------
        JournalError
            When it is closed already (the second reason would be lost), or none is given.
        """
        if not reason.strip():
            raise JournalError("closing an alert by hand needs a reason")
        with self._journal.transaction() as con:
            one, now = self._checked(con, name), self._journal.now()
            if not one.is_active:
                raise JournalError(f"alert {name} is closed already: {one.closed_by}")
            lifecycle.check_version(one, version)
            by = self._actor.staff
            change = lifecycle.resolve(one, by, f"{by}: {reason}", now, one.night_at(now))
            return self._write(con, change, now)

    def assign(self, name: str, version: int, to: str) -> Alert:
        """Give it to somebody.

        Raises
        ------
        JournalError
            When it is closed, or to whom nothing may be given.
        """
        with self._journal.transaction() as con:
            one, now = self._checked(con, name), self._journal.now()
            if not one.is_active:
                raise JournalError(f"alert {name} is closed: there is nothing left to do for {to}")
            lifecycle.check_version(one, version)
            person = people.load(con).people.get(to)
            if person is None:
                raise JournalError(f"{to!r} is not a member of staff")
            if not person.roles & ACTING:
                raise JournalError(
                    f"{to} may look at alerts but not change them: give it to somebody who may"
                )
            after = replace(one, assignee=to, version=one.version + 1)
            return self._write(con, Change(after, "assign", {"to": to}), now)

    def comment(self, name: str, text: str) -> None:
        """Write something beside it."""
        if not text.strip():
            raise JournalError("an empty comment")
        with self._journal.transaction() as con:
            one, now = self._checked(con, name), self._journal.now()
            con.execute(
                comment.insert().values(
                    comment=secrets.token_hex(8), alert=name, utc=now, author=self._actor.staff, text=text
                )
            )
            self._write(con, Change(one, "comment", {"text": text}), now)

    def set_outcome(self, name: str, label: str, helped: str | None = None) -> Alert:
        """Say what it turned out to be, and what helped; also of a closed alert, which stays closed."""
        with self._journal.transaction() as con:
            one, now = self._checked(con, name), self._journal.now()
            change = lifecycle.set_outcome(one, label)
            number = con.scalar(sa.select(sa.func.count()).where(outcome.c.alert == name)) or 0
            con.execute(
                outcome.insert().values(
                    alert=name,
                    number=number + 1,
                    utc=now,
                    author=self._actor.staff,
                    label=label,
                    helped=(helped or "").strip() or None,
                )
            )
            return self._write(con, change, now)

    def silence(self, matcher: Mapping[str, str], expires: int, reason: str) -> str:
        """Silence whatever matches, for a week at most."""
        with self._journal.transaction() as con:
            now = self._journal.now()
            self._check_acting()
            if not matcher or set(matcher) - set(MATCHED):
                raise JournalError(f"a silence matches at least one of {', '.join(MATCHED)}")
            if not now < expires <= now + SILENCE_LIMIT:
                raise JournalError("a silence lasts at most 7 days")
            if not reason.strip():
                raise JournalError("a silence needs a reason")
            name = "S-" + secrets.token_hex(4)
            con.execute(
                silence.insert().values(
                    silence=name,
                    matcher=dict(matcher),
                    starts_utc=now,
                    expires_utc=expires,
                    author=self._actor.staff,
                    reason=reason,
                )
            )
            audit.append(con, now, self._actor.staff, "silence", silence=name, expires_utc=expires)
            reconcile_holds(con, self._pack, people.load(con), now)
            return name

    def end_silence(self, name: str) -> None:
        """End a silence before its time; what it hid speaks."""
        with self._journal.transaction() as con:
            now = self._journal.now()
            self._check_acting()
            is_row = (silence.c.silence == name, silence.c.ended_utc.is_(None))
            if not con.execute(silence.update().where(*is_row).values(ended_utc=now)).rowcount:
                raise JournalError(f"there is no silence {name!r}")
            audit.append(con, now, self._actor.staff, "end silence", silence=name)
            reconcile_holds(con, self._pack, people.load(con), now)

    def _checked(self, con: sa.Connection, name: str) -> Alert:
        self._check_acting()
        return _known(con, name)

    def _check_acting(self) -> None:
        if not self._actor.roles & ACTING:
            raise JournalError(f"{self._actor.staff} may look at alerts but not change them")

    def _write(self, con: sa.Connection, change: Change, now: int) -> Alert:
        route = self._pack.route_named(change.alert.route)
        write(con, change, route, now, actor=self._actor.staff)
        return change.alert


def hand_over(con: sa.Connection, pack: RulePack, who: str, now: int) -> int:
    """Somebody has left: their alerts have no assignee, what they acknowledged is open again.

    Messages that waited for them are called off; the chain that begins anew tells those who are there.
    Returns how many alerts were handed over.
    """
    directory, count = people.load(con), 0
    waiting = sa.select(outbox.c.alert).where(outbox.c.recipient == who, outbox.c.status == "queued")
    is_theirs = sa.or_(table.c.assignee == who, table.c.acked_by == who, table.c.alert.in_(waiting))
    found = alerts.select(con, IS_ACTIVE, is_theirs)
    keys = con.scalars(
        sa.select(outbox.c.key).where(outbox.c.recipient == who, outbox.c.status.in_(("queued", "leased")))
    ).all()
    letters.close(con, list(keys), "cancelled", "left")
    for one in found:
        free = replace(one, assignee=None, status="open", acked_by=None, acked_utc=None, outcome_due_utc=None)
        way = way_of(pack, directory, free)
        count += write(con, lifecycle.restart(free, way, now, "open", "hand over"), way.route, now)
    return count


def _known(con: sa.Connection, name: str) -> Alert:
    one = alerts.find(con, name)
    if one is None:
        raise JournalError(f"there is no alert {name!r}")
    return one
