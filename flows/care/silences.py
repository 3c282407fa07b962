"""Silences in force, said wherever alerts are listed: what they hide nobody would miss otherwise."""

from collections.abc import Mapping

import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.store.schema import silence
from flows.care.words import moment


def silences_in_force(journal: Journal) -> list[str]:
    """A line for each: its name, what it matches, by whom, until when and why."""
    now = journal.now()
    with journal.transaction() as con:
        is_in_force = (silence.c.ended_utc.is_(None), silence.c.expires_utc > now)
        rows = con.execute(sa.select(silence).where(*is_in_force).order_by(silence.c.expires_utc)).all()
    return [
        f"{row.silence} silences {_matched(row.matcher)} until {moment(row.expires_utc)},"
        f" by {row.author}: {row.reason}"
        for row in rows
    ]


def _matched(matcher: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(matcher.items()))
