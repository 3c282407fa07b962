"""Who runs a command of the care team: the member of staff that the operating-system user is."""

import sqlalchemy as sa

from alerts.engine import people
from alerts.engine.desk import ACTING, Actor
from alerts.engine.journal import Journal
from alerts.store.schema import staff
from flows.errors import UserError
from flows.os_user import os_user


def actor_of(journal: Journal) -> Actor:
    """The member of staff who runs this.

    Raises
    ------
    UserError
        When the user is not registered.
    """
    user = os_user()
    with journal.transaction() as con:
        is_user = (staff.c.os_user == user, staff.c.left_utc.is_(None))
        name = con.scalar(sa.select(staff.c.staff).where(*is_user))
        if name is None:
            raise UserError(f"{user} is not registered: flarecast alerts staff add NAME --os-user {user}")
        return Actor(name, people.load(con).people[name].roles)


def acting(journal: Journal) -> Actor:
    """The same, of whom a change is taken.

    Raises
    ------
    UserError
        When the user is not registered, or may only look.
    """
    actor = actor_of(journal)
    if not actor.roles & ACTING:
        raise UserError(
            f"{actor.staff} may look, not change anything: that takes one of {', '.join(sorted(ACTING))}"
        )
    return actor
